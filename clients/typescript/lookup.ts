// What a topic is and where its partitions are served.

import { isFailure } from '#lib/types/errors.ts';

import { parseTopicName, shortTopicName } from '#lib/types/names.ts';
import { type Calls, listOf, numberOf, textOf } from './calls.ts';

export interface TopicPlaces {
  /** As ids show it. */
  readonly topic: string;
  readonly topicId: string;
  /** Addresses by partition; null: where the client is at home. */
  readonly addresses: readonly (string | null)[];
}

/** `create`: where the namespace allows it. Throws `SluiceError`. */
export async function lookUp(calls: Calls, topic: string, create: boolean): Promise<TopicPlaces> {
  const response = await calls.call('Messaging', 'Lookup', { topic, create });
  const addresses: (string | null)[] = [];
  for (const place of listOf(response, 'partitions')) {
    const address = textOf(place, 'address');
    addresses[numberOf(place, 'partition')] = address === '' ? null : address;
  }
  const name = parseTopicName('topic', textOf(response, 'topic'));
  return { topic: isFailure(name) ? topic : shortTopicName(name), topicId: textOf(response, 'topic_id'), addresses };
}
