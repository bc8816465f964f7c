// A closed batch on its way: its bytes, who waits for each of its messages, and what is known of its fate.

import type { Failure } from '#lib/types/errors.ts';
import type { BatchInfoView } from '#lib/wire/frames.ts';
import type { OnResult } from '../types.ts';

/**
 * queued:   never sent; dropping it leaves no trace
 * sent:     on a connection, not answered
 * returned: to be sent again: refused for now, or its connection was lost
 * stored:   answered; it stays in the window until all before it are answered
 */
export type BatchState = 'queued' | 'sent' | 'returned' | 'stored';

export class PendingBatch {
  readonly batchView: Buffer;
  /** Where `batchView` lies; goes back to the pool when the batch is done with. */
  readonly buffer: Buffer | null;
  readonly info: BatchInfoView;
  /** By index; null: nobody waits for any of them. */
  readonly listeners: readonly (OnResult | undefined)[] | null;
  /** By then it is answered or fails. */
  readonly deadlineMs: number;
  state: BatchState = 'queued';
  /** 0: none yet. Given when it is first sent, so that what never left can be dropped without a gap. */
  sequence = 0;
  /** The sequence that its last attempt named as the one before it. */
  previous = 0;
  crc = -1;
  /** An attempt of it was never answered, so it may be stored whatever a later refusal says. */
  inDoubt = false;
  /** Its callers were told that its fate is unknown; it is still sent until it is known, so that what follows keeps its order. */
  abandoned = false;
  attempts = 0;
  /** Why its last answered attempt was refused for now. */
  refusal: Failure | null = null;

  constructor(
    batchView: Buffer,
    info: BatchInfoView,
    listeners: readonly (OnResult | undefined)[] | null,
    deadlineMs: number,
    buffer: Buffer | null = null,
  ) {
    this.batchView = batchView;
    this.buffer = buffer;
    this.info = info;
    this.listeners = listeners;
    this.deadlineMs = deadlineMs;
  }

  get count(): number {
    return this.info.count;
  }

  /** What it costs of the producer's memory. */
  get bytes(): number {
    return this.batchView.length;
  }

  /** Whether it can be said that it is not stored. */
  get isCertainlyNotStored(): boolean {
    return !this.inDoubt && this.state !== 'sent';
  }
}
