// One partition of one producer: packs messages into batches and decides when a batch goes out. With nothing under way what a turn of the
// loop brought goes out at its end; with batches under way the next one waits until it is full, until nothing is under way, or for
// `lingerMs`, whichever comes first. Pure: time comes in, batches and settlements go out.

import { assert } from '#lib/types/assert.ts';
import type { Failure } from '#lib/types/errors.ts';
import { BatchBuilder, type MessageInput } from '#lib/wire/batch-builder.ts';
import type { OnResult } from '../types.ts';
import type { BufferPool } from './buffer-pool.ts';
import { PendingBatch } from './pending-batch.ts';
import { SendWindow, type Settlement, type Verdict } from './send-window.ts';

export interface LaneOptions {
  readonly batchBytesMax: number;
  readonly batchCountMax: number;
  readonly lingerMs: number;
  readonly window: number;
  readonly sendTimeoutMs: number;
  /** At most once: a batch is settled when it is handed to the connection. */
  readonly ackNone: boolean;
}

const CAPACITY_MIN = 256;

export class Lane {
  readonly partition: number;
  readonly #options: LaneOptions;
  readonly #window: SendWindow;
  readonly #pool: BufferPool;
  readonly #builder: BatchBuilder;
  #listeners: (OnResult | undefined)[] | null = null;
  #firstAtMs = 0;
  /** What the last message added; read after `add`. */
  addedBytes = 0;
  /** The last message did not fit and began another batch: `beginAt` says when. */
  beganBatch = false;
  /** A batch was closed; reset by whoever asks. */
  closedBatch = false;
  batchesSent = 0;
  batchesResent = 0;

  constructor(partition: number, options: LaneOptions, pool: BufferPool) {
    this.partition = partition;
    this.#pool = pool;
    this.#options = options;
    this.#window = new SendWindow(options.window);
    this.#builder = new BatchBuilder(CAPACITY_MIN, options.batchBytesMax);
  }

  get inFlight(): number {
    return this.#window.inFlight;
  }

  /** The next message begins a batch: `beginAt` comes before it. */
  get isBetweenBatches(): boolean {
    return this.#builder.count === 0;
  }

  get isEmpty(): boolean {
    return this.#builder.count === 0 && this.#window.isEmpty;
  }

  /**
   * Takes a message; undefined, or why it cannot be one. `addedBytes` says what it costs, `beganBatch` that `beginAt` must follow. A message
   * that `mayGoElsewhere` is not taken when the batch is full: the batch is closed, and the message is better begun with in another lane.
   */
  add(message: MessageInput, keyHash: number, listener: OnResult | undefined, mayGoElsewhere = false): Failure | 'full' | undefined {
    const builder = this.#builder;
    let before = builder.bytes;
    let appended = builder.append(message, keyHash);
    if (appended === 'full') {
      this.#closeBatch();
      if (mayGoElsewhere) return 'full';
      before = 0;
      appended = builder.append(message, keyHash);
    }
    assert(appended !== 'full', 'an empty batch takes any message');
    if (appended !== 'appended') return appended;
    this.addedBytes = builder.bytes - before;
    this.beganBatch = this.closedBatch && builder.count === 1;
    if (listener !== undefined) {
      this.#listeners ??= [];
      this.#listeners[builder.count - 1] = listener;
    }
    if (builder.count >= this.#options.batchCountMax) this.#closeBatch();
    return undefined;
  }

  beginAt(nowMs: number): void {
    this.#firstAtMs = nowMs;
  }

  /** The next batch to put on the connection; null: none now. */
  take(nowMs: number): PendingBatch | null {
    const waiting = this.#window.take(nowMs);
    if (waiting) return this.#taken(waiting);
    if (this.#builder.count === 0 || !this.#window.canSendFresh) return null;
    if (this.#window.inFlight > 0 && nowMs < this.#firstAtMs + this.#options.lingerMs) return null;
    this.#closeBatch();
    const fresh = this.#window.take(nowMs);
    return fresh && this.#taken(fresh);
  }

  /** When `take` should be asked again although nothing happens: for a lingering batch or after a refusal; 0: no need. */
  wakeAtMs(): number {
    if (this.#window.pausedUntilMs > 0) return this.#window.pausedUntilMs;
    return this.#builder.count > 0 && this.#window.canSendFresh ? this.#firstAtMs + this.#options.lingerMs : 0;
  }

  onOpened(lastSequence: number, size: number): void {
    this.#window.onOpened(lastSequence, size);
  }

  onClosed(): void {
    this.#window.onClosed();
  }

  onStored(sequence: number, offset: number): void {
    this.#window.onStored(sequence, offset);
  }

  onRefused(sequence: number, failure: Failure, nowMs: number): Verdict {
    return this.#window.onRefused(sequence, failure, nowMs);
  }

  /** Fails what is past its time; `why` is the last thing that went wrong. */
  expire(nowMs: number, why: string): void {
    if (this.#builder.count > 0 && this.#firstAtMs + this.#options.sendTimeoutMs <= nowMs) this.#closeBatch();
    this.#window.expire(nowMs, why);
  }

  failAll(failure: Failure): void {
    if (this.#builder.count > 0) this.#closeBatch();
    this.#window.failAll(failure);
  }

  takeSettled(): readonly Settlement[] {
    return this.#window.takeSettled();
  }

  /** A settled batch is done with: nothing of it will be sent again. */
  release(batch: PendingBatch): void {
    if (batch.buffer) this.#pool.give(batch.buffer);
  }

  #taken(batch: PendingBatch): PendingBatch {
    if (batch.attempts === 1) this.batchesSent += 1;
    else this.batchesResent += 1;
    if (this.#options.ackNone) this.#window.onStored(batch.sequence, -1);
    return batch;
  }

  #closeBatch(): void {
    // The next batch will hardly be much larger than this one, and one that is pinned for long should not pin an empty buffer.
    const bytes = this.#builder.bytes;
    const capacity = Math.min(this.#options.batchBytesMax, Math.max(CAPACITY_MIN, bytes + (bytes >> 2)));
    const { batchView, info, buffer } = this.#builder.take(this.#pool.take(capacity));
    const deadlineMs = this.#firstAtMs + this.#options.sendTimeoutMs;
    this.#window.enqueue(new PendingBatch(batchView, info, this.#listeners, deadlineMs, buffer));
    this.#listeners = null;
    this.closedBatch = true;
  }
}
