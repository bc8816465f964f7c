// Who may hold an exclusive subscription. A consumer is its name; an instance is one run of its process; an epoch counts the attaches of that
// run. A ghost of the same consumer is replaced at once, so that nobody is locked out by its own dead connection.

import { type Failure, fail } from '#lib/types/errors.ts';
import type { ConsumerIdentity } from '../partition/api.ts';

/** What becomes of the one that holds it when another attaches. */
export function judgeHolder(
  subscription: string,
  holder: ConsumerIdentity & { readonly attachedMs: number },
  next: ConsumerIdentity,
): 'replace' | Failure {
  if (holder.name !== next.name) {
    const since = new Date(holder.attachedMs).toISOString();
    return fail(
      'subscription_busy',
      `subscription ${subscription} is held by consumer ${holder.name} from ${holder.address} since ${since}`,
      { subscription, holder: holder.name, address: holder.address, client: holder.client, since },
      1000,
    );
  }
  if (holder.instance === next.instance && next.epoch < holder.epoch)
    return fail('consumer_replaced', `consumer ${next.name} has attached again since (epoch ${holder.epoch})`, { subscription });
  return 'replace';
}

/** What the one that is replaced is told. */
export function replacedBy(subscription: string, next: ConsumerIdentity): Failure {
  const { name, address } = next;
  return fail('consumer_replaced', `consumer ${name} has attached again from ${address}`, { subscription, consumer: name, address });
}
