// Which partition a message goes to: that of its key, as Kafka computes it, or without a key the present one of a round that moves on
// with every batch, so that batches stay large.

import { assert } from '#lib/types/assert.ts';
import { partitionOfHash } from '#lib/wire/murmur2.ts';

export class Partitioner {
  readonly #partitions: number;
  #turn: number;

  /** `first` is where the round begins: a random one spreads many producers. */
  constructor(partitions: number, first: number) {
    assert(partitions >= 1, 'a topic has partitions');
    this.#partitions = partitions;
    this.#turn = first % partitions;
  }

  /** Of a key whose murmur2 is `hash`. */
  ofHash(hash: number): number {
    return partitionOfHash(hash, this.#partitions);
  }

  /** For a message without a key. */
  present(): number {
    return this.#turn;
  }

  /** A batch of `partition` was closed: messages without a key go to the next one, if that was theirs. */
  onBatchClosed(partition: number): void {
    if (partition === this.#turn) this.#turn = (this.#turn + 1) % this.#partitions;
  }
}
