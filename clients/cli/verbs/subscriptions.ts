// `sluice subscriptions create | list | describe | seek | delete`.

import type { Subscription } from '#clients/typescript/index.ts';
import { UsageError } from '../arguments.ts';
import type { Invocation, Verb } from '../command.ts';
import { isRefused, withClient } from '../connection.ts';
import { EXIT } from '../exit-codes.ts';
import type { NONE, SUBSCRIPTIONS_CREATE, SUBSCRIPTIONS_DELETE, SUBSCRIPTIONS_SEEK } from '../options.ts';
import { parsePosition } from '../position.ts';
import { type Terminal, table, thousands } from '../terminal.ts';
import { timeOf } from './topics.ts';

const refOf = ({ positionals: [topic = '', subscription = ''] }: Pick<Invocation<typeof NONE>, 'positionals'>) => ({ topic, subscription });

export const createSubscription: Verb<typeof SUBSCRIPTIONS_CREATE> = async ({ values, positionals, servers, json, terminal }) => {
  const start = parsePosition('--from', values.from ?? 'latest', Date.now());
  return withClient(servers, async client => {
    const made = await client.admin.createSubscription({ ...refOf({ positionals }), start });
    showOne(terminal, json, made, 'created');
    return EXIT.ok;
  });
};

function showOne(terminal: Terminal, json: boolean, subscription: Subscription, what: string): void {
  if (json) terminal.printJson(subscription);
  else terminal.print(`${subscription.name} of ${subscription.topic} ${what}: backlog ${thousands(subscription.backlog)}`);
}

export const listSubscriptions: Verb<typeof NONE> = async ({ positionals, servers, json, terminal }) =>
  withClient(servers, async client => {
    const subscriptions: Subscription[] = [];
    for await (const subscription of client.admin.listSubscriptions(positionals[0] ?? '')) subscriptions.push(subscription);
    if (json) terminal.printJson(subscriptions);
    else if (subscriptions.length > 0) {
      const rows = subscriptions.map(one => [
        one.name,
        one.type,
        thousands(one.backlog),
        [...new Set(one.partitions.flatMap(partition => partition.consumers.map(consumer => consumer.name)))].join(', '),
      ]);
      terminal.print(table(['SUBSCRIPTION', 'TYPE', 'BACKLOG', 'CONSUMERS'], rows));
    }
    return EXIT.ok;
  });

export const describeSubscription: Verb<typeof NONE> = async ({ positionals, servers, json, terminal }) =>
  withClient(servers, async client => {
    const found = await client.admin.describeSubscription(refOf({ positionals }));
    if (json) {
      terminal.printJson(found);
      return EXIT.ok;
    }
    terminal.print(
      `${found.name} of ${found.topic}\ntype     ${found.type}\ncreated  ${timeOf(found.createdMs)}\nbacklog  ${thousands(found.backlog)}\n`,
    );
    const rows = found.partitions.map(({ partition, markDelete, endOffset, backlog, holes, consumers }) => [
      `${partition}`,
      `${markDelete}`,
      `${endOffset}`,
      thousands(backlog),
      `${holes}`,
      consumers.map(({ name, address, attachedMs }) => `${name} (${address}, since ${timeOf(attachedMs)})`).join(', '),
    ]);
    terminal.print(table(['PARTITION', 'ACKNOWLEDGED', 'END', 'BACKLOG', 'HOLES', 'CONSUMERS'], rows));
    return EXIT.ok;
  });

export const seekSubscription: Verb<typeof SUBSCRIPTIONS_SEEK> = async ({ values, positionals, servers, json, terminal }) => {
  if (values.to === undefined) throw new UsageError('--to is missing: where shall the subscription go?');
  const to = parsePosition('--to', values.to, Date.now());
  const partition = values.partition === undefined ? {} : { partition: values.partition };
  return withClient(servers, async client => {
    const moved = await client.admin.seekSubscription({ ...refOf({ positionals }), to, ...partition });
    showOne(terminal, json, moved, 'moved');
    return EXIT.ok;
  });
};

export const deleteSubscription: Verb<typeof SUBSCRIPTIONS_DELETE> = async ({ values, positionals, servers, json, terminal }) =>
  withClient(servers, async client => {
    const ref = refOf({ positionals });
    let deleted = true;
    try {
      // The server takes a second deletion for a repeat of the first; a person wants to know that there is none.
      await client.admin.describeSubscription(ref);
      await client.admin.deleteSubscription(ref);
    } catch (error) {
      const missing = isRefused(error, 'subscription_not_found') || isRefused(error, 'topic_not_found');
      if (!values.ifExists || !missing) throw error;
      deleted = false;
    }
    if (json) terminal.printJson({ ...ref, deleted });
    else
      terminal.print(
        deleted ? `${ref.subscription} of ${ref.topic} deleted` : `there is no subscription ${ref.subscription} of ${ref.topic}`,
      );
    return EXIT.ok;
  });
