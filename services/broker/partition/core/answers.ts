// Answers that wait until entries are acknowledged, in the order of the log: all that is below an offset goes out at
// once.

import { RingQueue } from '#lib/runtime/ring-queue.ts';
import { assert } from '#lib/types/assert.ts';
import type { Failure } from '#lib/types/errors.ts';
import type { StoredBatch } from '../api.ts';

type BatchReply = (result: StoredBatch | Failure) => void;

export type Answer =
  | { readonly kind: 'batch'; readonly upTo: number; readonly bytes: number; readonly reply: BatchReply; readonly result: StoredBatch }
  /** `lost` null: everything below `upTo` is acknowledged. */
  | { readonly kind: 'call'; readonly upTo: number; readonly done: (lost: Failure | null) => void };

/** Far above what a partition's limits let in: publishing stops long before. */
const ANSWERS_MAX = 2 ** 20;

export class Answers {
  readonly #queue = new RingQueue<Answer>(ANSWERS_MAX);
  #newest = 0;

  get size(): number {
    return this.#queue.length;
  }

  push(answer: Answer): void {
    assert(this.#newest <= answer.upTo, 'answers wait in the order of the log');
    this.#newest = answer.upTo;
    this.#queue.push(answer);
  }

  /** The next answer that waits for nothing at or above `ackedEnd`; undefined: none. */
  take(ackedEnd: number): Answer | undefined {
    const answer = this.#queue.peek();
    return answer === undefined || answer.upTo > ackedEnd ? undefined : this.#queue.shift();
  }
}
