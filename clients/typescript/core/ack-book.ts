// What a consumer has acknowledged of one partition: what is still to be sent, and all of it, so that a new connection can say it again
// before anything is delivered twice. A receipt of another life of the cursor (its reset epoch) means nothing any more.

import { assert } from '#lib/types/assert.ts';
import { RangeSet } from './range-set.ts';

export interface PendingAcks {
  /** All below; 0: none. */
  readonly upTo: number;
  readonly spans: readonly (readonly [number, number])[];
}

/** Ranges that are remembered for a new connection; what is forgotten may be delivered again, which at-least-once allows. */
const REMEMBERED_MAX = 10_000;

export class AckBook {
  #resetEpoch = 0;
  /** Acknowledged since the cursor was created or sought. */
  readonly #all = new RangeSet();
  #allUpTo = 0;
  /** Of these, not sent on the present connection. */
  readonly #pending = new RangeSet();
  #pendingUpTo = 0;

  get resetEpoch(): number {
    return this.#resetEpoch;
  }

  get hasPending(): boolean {
    return this.#pendingUpTo > 0 || this.#pending.count > 0;
  }

  /** [first, end), received under `resetEpoch`. False: the cursor has had another life since. */
  add(resetEpoch: number, first: number, end: number): boolean {
    assert(first < end, 'an acknowledgement is of something');
    if (resetEpoch !== this.#resetEpoch) return false;
    this.#all.add(first, end);
    this.#pending.add(first, end);
    if (this.#all.count > REMEMBERED_MAX) this.#all.keepNewest(REMEMBERED_MAX / 2);
    return true;
  }

  /** All below `offset`. */
  addUpTo(resetEpoch: number, offset: number): boolean {
    if (resetEpoch !== this.#resetEpoch) return false;
    if (offset <= this.#allUpTo) return true;
    this.#allUpTo = offset;
    this.#pendingUpTo = offset;
    this.#all.dropBelow(offset);
    this.#pending.dropBelow(offset);
    return true;
  }

  /** Acknowledged with a receipt: sent by itself, and remembered here. */
  remember(resetEpoch: number, upTo: number, spans: readonly (readonly [number, number])[]): void {
    if (resetEpoch !== this.#resetEpoch) return;
    for (const [first, end] of spans) this.#all.add(first, end);
    if (upTo <= this.#allUpTo) return;
    this.#allUpTo = upTo;
    this.#all.dropBelow(upTo);
  }

  /** Attached, on a new connection: what the server's cursor does not have is pending again. */
  onAttached(resetEpoch: number, markDelete: number): void {
    if (resetEpoch !== this.#resetEpoch) {
      this.onReset(resetEpoch);
      return;
    }
    this.#all.dropBelow(markDelete);
    this.#pending.clear();
    for (const [first, end] of this.#all.pairs()) this.#pending.add(first, end);
    this.#pendingUpTo = this.#allUpTo > markDelete ? this.#allUpTo : 0;
  }

  /** The cursor was sought: it has another life, in which nothing is acknowledged. */
  onReset(resetEpoch: number): void {
    this.#resetEpoch = resetEpoch;
    this.#all.clear();
    this.#allUpTo = 0;
    this.#pending.clear();
    this.#pendingUpTo = 0;
  }

  /** What is to be sent, in pieces of at most `spansMax`; null: nothing. */
  takePending(spansMax: number): PendingAcks | null {
    if (!this.hasPending) return null;
    const upTo = this.#pendingUpTo;
    this.#pendingUpTo = 0;
    const all = this.#pending.pairs();
    this.#pending.clear();
    for (const [first, end] of all.slice(spansMax)) this.#pending.add(first, end);
    return { upTo, spans: all.length > spansMax ? all.slice(0, spansMax) : all };
  }
}
