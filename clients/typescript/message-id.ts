// Where a message is: three fields and the text that people read.

import type { MessageId } from './types.ts';

export class StoredMessageId implements MessageId {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;

  constructor(topic: string, partition: number, offset: number) {
    this.topic = topic;
    this.partition = partition;
    this.offset = offset;
  }

  toString(): string {
    return `${this.topic}:${this.partition}@${this.offset}`;
  }
}
