// What a partition knows, as its log gives it: one `apply` for the living owner and for replay, so that a take over arrives at the same
// state. Only plain acknowledgements change it from outside the log; they are in metadata and in the next checkpoint.

import { assert, unreachable } from '#lib/types/assert.ts';
import type { ProducerMark } from '#lib/wire/entry-meta.ts';
import type { SubscriptionTypeNumber } from '#lib/wire/frames.ts';
import type { AcknowledgedRecord, CommitRecord, ControlRecord } from './control.ts';
import { isUpkeep } from './control.ts';
import { Counts } from './counts.ts';
import { Cursor } from './cursor.ts';
import { Producers } from './dedup.ts';
import { IdempotencyIds } from './ids.ts';

export interface Subscription {
  readonly name: string;
  readonly type: SubscriptionTypeNumber;
  readonly createdMs: number;
  /** Offset of the control entry that created or last sought it: never the same twice. */
  resetEpoch: number;
  readonly cursor: Cursor;
  /** The last control entry that touched the cursor: metadata must not have it before that is acknowledged. */
  reflects: number;
}

/** The newest complete checkpoint: where a take over would begin, and which entries it needs. */
export interface Checkpoint {
  readonly at: number;
  readonly snapshot: number;
  readonly blocks: ReadonlyMap<string, number>;
}

export class PartitionState {
  readonly producers = new Producers();
  readonly ids: IdempotencyIds;
  readonly subscriptions = new Map<string, Subscription>();
  readonly counts: Counts;
  start: number;
  startCount: number;
  appendTimeMs: number;
  checkpoint: Checkpoint | null = null;
  /** Something has changed that a checkpoint would save. Chunks, commits and trims are no such change. */
  due = false;
  /** Bytes of entries since the last snapshot: what a take over would replay. */
  replayBytes = 0;

  constructor(start: number, startCount: number, appendTimeMs: number, idsMax: number, end = start, count = startCount) {
    this.start = start;
    this.startCount = startCount;
    this.appendTimeMs = appendTimeMs;
    this.ids = new IdempotencyIds(idsMax);
    this.counts = new Counts(end, count);
  }

  get end(): number {
    return this.counts.end;
  }

  /** Offset for the next entry's header: its newest complete checkpoint. */
  get checkpointOffset(): number {
    return this.checkpoint?.at ?? -1;
  }

  /** A batch entry at `end`. */
  applyBatch(count: number, mark: ProducerMark | null, crc: number, appendTimeMs: number, bytes: number): void {
    const offset = this.end;
    this.#applyTime(appendTimeMs, bytes);
    this.counts.append(count, count);
    this.due = true;
    if (mark === null) return;
    if (mark.idempotencyId !== '') this.ids.apply(mark.idempotencyId, offset, count, appendTimeMs);
    if (mark.name !== '') this.producers.applyBatch(mark, offset, count, crc, appendTimeMs);
  }

  /** A control entry at `end`. */
  applyControl(record: ControlRecord, appendTimeMs: number, bytes: number): void {
    const offset = this.end;
    this.#applyTime(appendTimeMs, bytes);
    this.counts.append(1, 0);
    if (!isUpkeep(record.kind)) this.due = true;
    switch (record.kind) {
      case 'producer':
        this.producers.applyOpening(record, appendTimeMs);
        return;
      case 'subscribed':
        this.subscriptions.set(record.name, {
          name: record.name,
          type: record.type,
          createdMs: appendTimeMs,
          resetEpoch: offset,
          cursor: new Cursor(record.from, record.count),
          reflects: offset,
        });
        return;
      case 'sought':
        this.#applySought(record.name, record.from, record.count, offset);
        return;
      case 'unsubscribed':
        this.subscriptions.delete(record.name);
        return;
      case 'acknowledged':
        this.#applyAcknowledged(record, offset);
        return;
      case 'chunk':
        return;
      case 'commit':
        this.#applyCommit(record, offset);
        return;
      case 'trim':
        this.#applyTrim(record.to, record.count, offset);
        return;
      case 'gap':
        this.#applyGap(record.from, record.to, offset);
        return;
      default:
        unreachable(record);
        return;
    }
  }

  /** A gap's entry stands behind the offsets that were lost; nothing was there before it. */
  skipGap(to: number): void {
    this.counts.skip(to);
  }

  /** A plain acknowledgement; false: nothing new. */
  acknowledge(subscription: Subscription, upTo: number, spans: readonly number[]): boolean {
    const { cursor } = subscription;
    let changed = cursor.moveUp(Math.min(upTo, this.end), this.counts);
    for (let at = 0; at < spans.length; at += 2) {
      const end = Math.min(spans[at + 1] ?? 0, this.end);
      const first = Math.max(spans[at] ?? 0, this.start);
      if (first < end) changed = cursor.acknowledge(first, end, this.counts) || changed;
    }
    if (changed) this.due = true;
    return changed;
  }

  /** All cursors step over what lies behind what they have acknowledged. */
  settle(): void {
    for (const subscription of this.subscriptions.values()) subscription.cursor.settle(this.counts);
  }

  /** The lowest markDelete; the end when there is no subscription. */
  lowestCursor(): number {
    let lowest = this.end;
    for (const { cursor } of this.subscriptions.values()) lowest = Math.min(lowest, cursor.markDelete);
    return lowest;
  }

  /**
   * No cursor is below the start: what was there is acknowledged, or was given up by the trim. Plain acknowledgements may have been all that
   * allowed the trim, and a block of a checkpoint may be older than it. `reflects`: the entry that says so.
   */
  raiseCursors(reflects: number): void {
    for (const subscription of this.subscriptions.values()) {
      const { cursor } = subscription;
      if (cursor.markDelete >= this.start) continue;
      cursor.raise(this.start, this.startCount, this.counts);
      subscription.reflects = Math.max(subscription.reflects, reflects);
    }
  }

  #applyTime(appendTimeMs: number, bytes: number): void {
    assert(appendTimeMs >= this.appendTimeMs, 'append times do not go back');
    this.appendTimeMs = appendTimeMs;
    this.replayBytes += bytes;
  }

  #applySought(name: string, from: number, count: number, offset: number): void {
    const subscription = this.subscriptions.get(name);
    assert(subscription !== undefined, 'what is sought exists');
    subscription.resetEpoch = offset;
    subscription.reflects = offset;
    subscription.cursor.reset(from, count);
  }

  #applyAcknowledged(record: AcknowledgedRecord, offset: number): void {
    const subscription = this.subscriptions.get(record.name);
    if (subscription?.resetEpoch !== record.resetEpoch) return;
    subscription.reflects = offset;
    this.acknowledge(subscription, record.upTo, record.spans);
  }

  #applyCommit(record: CommitRecord, offset: number): void {
    this.checkpoint = { at: offset, snapshot: record.snapshot, blocks: record.blocks };
    this.producers.expire(record.expire);
    this.ids.expire(record.expire.idsMs);
  }

  #applyTrim(to: number, count: number, offset: number): void {
    assert(to >= this.start, 'a trim goes forward');
    this.start = to;
    this.startCount = count;
    this.raiseCursors(offset);
  }

  #applyGap(from: number, to: number, offset: number): void {
    for (const subscription of this.subscriptions.values()) {
      subscription.cursor.acknowledge(from, Math.min(to, this.end), this.counts);
      subscription.reflects = offset;
    }
  }
}
