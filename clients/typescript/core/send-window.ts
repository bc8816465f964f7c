// Which batch of one partition's producer is sent next, and what an answer means. It guarantees: batches are offered to the broker in the
// order of their messages, each naming the one before it; after a refusal nothing is sent until everything under way is answered; after a
// lost connection all that is unanswered is sent again under the same sequences, so that the broker's deduplication answers what it has;
// nobody is told "not stored" of a batch that may be.

import { assert } from '#lib/types/assert.ts';
import { ERRORS, type Failure, fail } from '#lib/types/errors.ts';
import { Deque } from './deque.ts';
import type { PendingBatch } from './pending-batch.ts';

/** What became of a batch. `dropped`: its bytes are free; its callers were told before that nobody knows. */
export type Settlement =
  | { readonly kind: 'stored'; readonly batch: PendingBatch; readonly offset: number }
  | { readonly kind: 'failed'; readonly batch: PendingBatch; readonly failure: Failure; readonly released: boolean }
  | { readonly kind: 'dropped'; readonly batch: PendingBatch };

/** The owner's next step after an answer: nothing, open the producer again, or give up on it. */
export type Verdict = { readonly kind: 'go-on' } | { readonly kind: 'reopen' } | { readonly kind: 'fatal'; readonly failure: Failure };

const GO_ON: Verdict = { kind: 'go-on' };
const REOPEN: Verdict = { kind: 'reopen' };
/** A first batch that is refused so often, although its producer was opened anew each time, has a sequence that cannot be used. */
const HEAD_REFUSALS_MAX = 3;
const PAUSE_MS = 20;
const PAUSE_MAX_MS = 1000;

export class SendWindow {
  /** Results for the owner to hand out: taken with `takeSettled`. */
  #settled: Settlement[] = [];
  readonly #queue = new Deque<PendingBatch>();
  /** Sent at least once and not done with, in the order of their sequences. */
  readonly #window: PendingBatch[] = [];
  #size: number;
  #open = false;
  /** The last sequence before the window that the broker has accepted. */
  #accepted = 0;
  #lastSequence = 0;
  #sentCount = 0;
  #returnedCount = 0;
  /** A refusal came: all under way must be answered before anything is sent again. */
  #draining = false;
  #pausedUntilMs = 0;
  #refusals = 0;
  #headRefusals = 0;

  constructor(size: number) {
    assert(size >= 1, 'a window holds a batch');
    this.#size = size;
  }

  /** On a connection without an answer. */
  get inFlight(): number {
    return this.#sentCount;
  }

  get queued(): number {
    return this.#queue.length;
  }

  get isEmpty(): boolean {
    return this.#queue.length === 0 && this.#window.length === 0;
  }

  /** A fresh batch would go out at once. */
  get canSendFresh(): boolean {
    return this.#open && !this.#draining && this.#queue.length === 0 && this.#returnedCount === 0 && this.#window.length < this.#size;
  }

  enqueue(batch: PendingBatch): void {
    assert(batch.state === 'queued', 'only what was never sent is queued');
    this.#queue.push(batch);
  }

  /** The next batch to send, with its sequence set; null: nothing may be sent now. `pausedMs` says until when. */
  take(nowMs: number): PendingBatch | null {
    if (!this.#open) return null;
    if (this.#draining) {
      if (this.#sentCount > 0 || nowMs < this.#pausedUntilMs) return null;
      this.#draining = false;
    }
    const at = this.#returnedCount > 0 ? this.#window.findIndex(batch => batch.state === 'returned') : this.#addFresh();
    const batch = this.#window[at];
    if (!batch) return null;
    if (batch.state === 'returned') this.#returnedCount -= 1;
    batch.state = 'sent';
    batch.attempts += 1;
    batch.previous = this.#previousAt(at);
    this.#sentCount += 1;
    assert(batch.previous < batch.sequence, 'sequences increase');
    assert(this.#sentCount + this.#returnedCount <= this.#window.length, 'what is under way is in the window');
    return batch;
  }

  /** Until when a refusal pauses sending; 0: it does not, or answers are awaited. */
  get pausedUntilMs(): number {
    return this.#open && this.#draining && this.#sentCount === 0 ? this.#pausedUntilMs : 0;
  }

  /** The producer is open on a connection: `lastSequence` is what the broker has. */
  onOpened(lastSequence: number, size: number): void {
    assert(this.#sentCount === 0, 'nothing is under way on a connection that opens');
    this.#open = true;
    this.#size = Math.max(1, Math.min(this.#size, size));
    const first = this.#window[0];
    if (first === undefined || lastSequence < first.sequence) this.#accepted = lastSequence;
    this.#lastSequence = Math.max(this.#lastSequence, lastSequence);
  }

  /** The connection is lost, or the broker closed the producer: what was under way may be stored. */
  onClosed(): void {
    this.#open = false;
    for (const batch of this.#window) {
      if (batch.state !== 'sent') continue;
      batch.state = 'returned';
      batch.inDoubt = true;
      this.#returnedCount += 1;
    }
    this.#sentCount = 0;
  }

  onStored(sequence: number, offset: number): void {
    const batch = this.#answered(sequence);
    if (!batch) return;
    batch.state = 'stored';
    this.#refusals = 0;
    if (this.#window[0] === batch) this.#headRefusals = 0;
    this.#settled.push(batch.abandoned ? { kind: 'dropped', batch } : { kind: 'stored', batch, offset });
    this.#popStored();
  }

  onRefused(sequence: number, failure: Failure, nowMs: number): Verdict {
    const batch = this.#answered(sequence);
    if (!batch) return GO_ON;
    if (failure.stored === 'unknown') batch.inDoubt = true;
    batch.state = 'returned';
    this.#returnedCount += 1;
    batch.refusal = failure;
    if (failure.code === 'fenced' || failure.code === 'topic_not_found') return { kind: 'fatal', failure };
    if (failure.code === 'out_of_sequence') return this.#onOutOfSequence(batch, failure, nowMs);
    if (ERRORS[failure.code].retry === 'never') {
      this.#failForGood(batch, failure);
      return GO_ON;
    }
    this.#pause(nowMs, failure.retryAfterMs);
    return failure.code === 'not_owner' || failure.code === 'producer_unknown' ? REOPEN : GO_ON;
  }

  /** Fails what is past its time. What never left, or was refused, is dropped; what may be stored stays until that is known. */
  expire(nowMs: number, why: string): void {
    for (let batch = this.#queue.peek(); batch !== undefined && batch.deadlineMs <= nowMs; batch = this.#queue.peek()) {
      this.#queue.shift();
      this.#settle(batch, timeout(why), true);
    }
    for (const batch of [...this.#window]) {
      if (batch.deadlineMs > nowMs || batch.abandoned || batch.state === 'stored') continue;
      if (batch.isCertainlyNotStored) {
        this.#remove(batch);
        this.#settle(batch, refusedInTime(batch) ?? timeout(why), true);
      } else {
        this.#settle(batch, timeout(why), false);
        batch.abandoned = true;
      }
    }
    this.#popStored();
  }

  /** The producer is over: everything fails, and nothing is sent any more. */
  failAll(failure: Failure): void {
    this.#open = false;
    for (const batch of this.#window) {
      if (batch.state === 'stored') continue;
      if (batch.abandoned) this.#settled.push({ kind: 'dropped', batch });
      else this.#settle(batch, failure, true);
    }
    this.#window.length = 0;
    this.#sentCount = 0;
    this.#returnedCount = 0;
    for (const batch of this.#queue.drain()) this.#settle(batch, failure, true);
  }

  /** What was settled since the last call. */
  takeSettled(): Settlement[] {
    if (this.#settled.length === 0) return NOTHING;
    const settled = this.#settled;
    this.#settled = [];
    return settled;
  }

  // ---- inside ----

  /** Moves the oldest queued batch into the window; returns where it stands, or −1. */
  #addFresh(): number {
    if (this.#window.length >= this.#size) return -1;
    const batch = this.#queue.shift();
    if (!batch) return -1;
    batch.sequence = ++this.#lastSequence;
    return this.#window.push(batch) - 1;
  }

  #previousAt(at: number): number {
    return at === 0 ? this.#accepted : (this.#window[at - 1]?.sequence ?? 0);
  }

  /** The batch under way that an answer is for; answers to anything else are late and mean nothing. */
  #answered(sequence: number): PendingBatch | undefined {
    const first = this.#window[0];
    const batch = first?.sequence === sequence ? first : this.#window.find(candidate => candidate.sequence === sequence);
    if (batch?.state !== 'sent') return undefined;
    this.#sentCount -= 1;
    return batch;
  }

  #onOutOfSequence(batch: PendingBatch, failure: Failure, nowMs: number): Verdict {
    this.#pause(nowMs, failure.retryAfterMs);
    const at = this.#window.findIndex(candidate => candidate.state !== 'stored');
    // Behind a refused batch, or naming one that has been given up since: sending it again is all that it needs.
    if (this.#window[at] !== batch || this.#previousAt(at) !== batch.previous) return GO_ON;
    this.#headRefusals += 1;
    if (this.#headRefusals <= HEAD_REFUSALS_MAX) return REOPEN;
    this.#headRefusals = 0;
    this.#failForGood(batch, failure);
    return GO_ON;
  }

  /** What comes after it was refused as well, and names another batch before it when it is sent again. */
  #failForGood(batch: PendingBatch, failure: Failure): void {
    this.#remove(batch);
    if (this.#sentCount > 0) this.#draining = true;
    if (batch.abandoned) this.#settled.push({ kind: 'dropped', batch });
    else this.#settle(batch, failure, true);
    this.#popStored();
  }

  #pause(nowMs: number, hintMs: number): void {
    if (!this.#draining) this.#refusals += 1;
    this.#draining = true;
    const waitMs = Math.min(PAUSE_MAX_MS, PAUSE_MS * 2 ** Math.min(this.#refusals - 1, 10));
    this.#pausedUntilMs = nowMs + Math.max(waitMs, hintMs);
  }

  #popStored(): void {
    for (let batch = this.#window[0]; batch?.state === 'stored'; batch = this.#window[0]) {
      this.#window.shift();
      this.#accepted = Math.max(this.#accepted, batch.sequence);
    }
  }

  #remove(batch: PendingBatch): void {
    const at = this.#window.indexOf(batch);
    assert(at >= 0 && batch.state === 'returned', 'only what is not under way is removed from the window');
    this.#returnedCount -= 1;
    this.#window.splice(at, 1);
  }

  #settle(batch: PendingBatch, failure: Failure, released: boolean): void {
    const stored = batch.isCertainlyNotStored ? 'no' : 'unknown';
    this.#settled.push({ kind: 'failed', batch, failure: { ...failure, stored }, released });
  }
}

const NOTHING: Settlement[] = [];

/** Why the server refuses is a better answer than that time is up. */
function refusedInTime({ refusal }: PendingBatch): Failure | null {
  if (refusal === null || ERRORS[refusal.code].retry !== 'same' || refusal.code === 'out_of_sequence') return null;
  return { ...refusal, message: `${refusal.message}; that did not change in time` };
}

const timeout = (why: string): Failure => fail('timeout', `no answer in time${why === '' ? '' : `; ${why}`}`);
