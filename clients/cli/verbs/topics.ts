// `sluice topics create | list | describe | update | delete`.

import type { Policies, Topic } from '#clients/typescript/index.ts';
import { formatBytes } from '#lib/config/units.ts';
import { UsageError } from '../arguments.ts';
import type { Verb } from '../command.ts';
import { isRefused, withClient } from '../connection.ts';
import { EXIT } from '../exit-codes.ts';
import type { NONE, TOPICS_CREATE, TOPICS_DELETE, TOPICS_LIST, TOPICS_UPDATE } from '../options.ts';
import { type Terminal, table, thousands } from '../terminal.ts';
import { POLICY_FIELDS, policiesOf, showPolicies } from './policies.ts';

export const createTopic: Verb<typeof TOPICS_CREATE> = async ({ values, positionals, servers, json, terminal }) =>
  withClient(servers, async client => {
    const topic = positionals[0] ?? '';
    const partitions = values.partitions === undefined ? {} : { partitions: values.partitions };
    try {
      const made = await client.admin.createTopic({ topic, ...partitions, policies: policiesOf(values) });
      showTopic(terminal, json, made, 'created');
    } catch (error) {
      if (!values.ifNotExists || !isRefused(error, 'already_exists')) throw error;
      showTopic(terminal, json, await client.admin.describeTopic(topic), 'exists');
    }
    return EXIT.ok;
  });

function showTopic(terminal: Terminal, json: boolean, topic: Topic, what: string): void {
  if (json) terminal.printJson(topic);
  else terminal.print(`${topic.name} ${what}: ${topic.partitions} ${topic.partitions === 1 ? 'partition' : 'partitions'}`);
}

export const listTopics: Verb<typeof TOPICS_LIST> = async ({ values, servers, json, terminal }) =>
  withClient(servers, async client => {
    const topics: Topic[] = [];
    for await (const topic of client.admin.listTopics(values.namespace ?? '')) topics.push(topic);
    if (json) terminal.printJson(topics);
    else if (topics.length > 0) {
      const rows = topics.map(({ name, partitions, createdMs, policies }) => [
        name,
        `${partitions}`,
        timeOf(createdMs),
        showPolicies(policies),
      ]);
      terminal.print(table(['TOPIC', 'PARTITIONS', 'CREATED', 'POLICIES'], rows));
    }
    return EXIT.ok;
  });

export const describeTopic: Verb<typeof NONE> = async ({ positionals, servers, json, terminal }) =>
  withClient(servers, async client => {
    const topic = await client.admin.describeTopic(positionals[0] ?? '');
    if (json) {
      terminal.printJson(topic);
      return EXIT.ok;
    }
    const own = showPolicies(topic.policies);
    terminal.print(
      `${topic.name}\nid        ${topic.topicId}\ncreated   ${timeOf(topic.createdMs)}\npolicies  ${showPolicies(topic.effective)}`,
    );
    if (own !== '') terminal.print(`  its own ${own}`);
    const rows = topic.partitionStatus.map(status => [
      `${status.partition}`,
      `${status.startOffset}`,
      `${status.endOffset}`,
      thousands(status.messages),
      formatBytes(status.bytes),
      `${status.ledgers}`,
      `${status.producers}`,
      `${status.subscriptions}`,
      status.error?.message ?? '',
    ]);
    terminal.print(`\n${table(['PARTITION', 'START', 'END', 'MESSAGES', 'BYTES', 'LEDGERS', 'PRODUCERS', 'SUBSCRIPTIONS', ''], rows)}`);
    return EXIT.ok;
  });

/** The server replaces a topic's policies whole; what is not named here is taken over, and nobody else's change is lost. */
export const updateTopic: Verb<typeof TOPICS_UPDATE> = async ({ values, positionals, servers, json, terminal }) => {
  const set = policiesOf(values);
  const unset = (values.unset ?? '').split(',').filter(name => name !== '');
  if (Object.keys(set).length + unset.length === 0) throw new UsageError('nothing to change: name a policy, or --unset one');
  const fields = unset.map(fieldOf);
  return withClient(servers, async client => {
    const topic = positionals[0] ?? '';
    const before = await client.admin.describeTopic(topic);
    const kept = Object.fromEntries(Object.entries(before.policies).filter(([name]) => !fields.some(field => field === name)));
    const policies: Policies = { ...kept, ...set };
    const after = await client.admin.updateTopic({ topic, policies, etag: before.etag });
    if (json) terminal.printJson(after);
    else terminal.print(`${after.name} updated: ${showPolicies(after.policies) || 'no policies of its own'}`);
    return EXIT.ok;
  });
};

function fieldOf(name: string): keyof Policies {
  for (const [option, field] of Object.entries(POLICY_FIELDS)) if (option === name) return field;
  throw new UsageError(`--unset: ${JSON.stringify(name)} is none of ${Object.keys(POLICY_FIELDS).join(', ')}`);
}

export const deleteTopic: Verb<typeof TOPICS_DELETE> = async ({ values, positionals, servers, json, terminal }) =>
  withClient(servers, async client => {
    const topic = positionals[0] ?? '';
    let deleted = true;
    try {
      await client.admin.deleteTopic(topic);
    } catch (error) {
      if (!values.ifExists || !isRefused(error, 'topic_not_found')) throw error;
      deleted = false;
    }
    if (json) terminal.printJson({ topic, deleted });
    else terminal.print(deleted ? `${topic} deleted` : `there is no topic ${topic}`);
    return EXIT.ok;
  });

export const timeOf = (ms: number): string => new Date(ms).toISOString();
