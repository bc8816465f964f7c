// The one place where a partition appends: it gives every entry its offset, count and time, changes the state by it, and answers when it is
// acknowledged. Answers go out in the order of the log, in a later turn than the call that asked.

import type { World } from '#lib/runtime/ports.ts';
import { assert } from '#lib/types/assert.ts';
import { type Offset, offset as toOffset } from '#lib/types/brands.ts';
import { type Failure, fail, unknownFate } from '#lib/types/errors.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { encodeEntry } from '#lib/wire/entry.ts';
import { encodeEntryMeta, encodeProducerMark, type ProducerMark } from '#lib/wire/entry-meta.ts';
import type { PartitionTail } from '../cache/tail-cache.ts';
import type { PartitionLog } from '../log/api.ts';
import type { StoredBatch } from './api.ts';
import { Answers } from './core/answers.ts';
import { type ControlRecord, encodeControl } from './core/control.ts';
import type { PartitionState } from './core/state.ts';

const NO_META: readonly Uint8Array[] = [];

export class PartitionWriter {
  readonly world: World;
  readonly log: PartitionLog;
  readonly state: PartitionState;
  readonly tail: PartitionTail;
  readonly #answers = new Answers();
  #acked: number;
  #pendingBytes = 0;
  #over: Failure | null = null;
  #closing: Failure | null = null;
  #later: (() => void)[] = [];
  /** Append time of the first message in the open ledger; null: it has none. */
  firstMessageMs: number | null = null;
  #openLedgerFirst = -1;

  constructor(world: World, log: PartitionLog, state: PartitionState, tail: PartitionTail) {
    assert(state.end === log.end, 'the state has been brought to the end of the log');
    this.world = world;
    this.log = log;
    this.state = state;
    this.tail = tail;
    this.#acked = log.ackedEnd;
  }

  /** Everything below is acknowledged, and may be delivered and told. */
  get acked(): Offset {
    return toOffset(this.#acked);
  }

  /** Why nothing is taken any more; null while the partition is open. */
  get over(): Failure | null {
    return this.#over;
  }

  /** Why no new work is taken: it is over, or about to be. */
  get refusal(): Failure | null {
    return this.#over ?? this.#closing;
  }

  /** A clean end begins: what is pending is still answered. */
  beginClose(reason: Failure): void {
    this.#closing ??= reason;
  }

  get pendingEntries(): number {
    return this.#answers.size;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Runs in a later turn, after those that were asked for before. */
  later(run: () => void): void {
    this.#later.push(run);
    if (this.#later.length === 1) this.world.clock.soon(this.#runLater);
  }

  /** One batch; `reply` comes when it is acknowledged. The views are copied now. */
  appendBatch(
    count: number,
    mark: ProducerMark | null,
    infoView: Buffer,
    batchView: Buffer,
    crc: number,
    reply: (result: StoredBatch | Failure) => void,
  ): void {
    const { state } = this;
    const offset = toOffset(state.end);
    const appendTimeMs = this.#stamp();
    const header = {
      kind: 'batch' as const,
      baseOffset: offset,
      count,
      cumulativeCount: state.counts.total,
      appendTimeMs,
      checkpointOffset: state.checkpointOffset,
    };
    const entry = encodeEntry(header, encodeEntryMeta(mark && encodeProducerMark(mark), infoView), batchView, crc);
    state.applyBatch(count, mark, crc, appendTimeMs, entry.length);
    this.#noteMessage(appendTimeMs);
    this.#pendingBytes += entry.length;
    this.#answers.push({
      kind: 'batch',
      upTo: state.end,
      bytes: entry.length,
      reply,
      result: { kind: 'stored', offset, count, duplicate: false },
    });
    this.#append(entry, count, false);
  }

  /** One control entry; `done` comes when it is acknowledged, or with why it may never be. */
  appendControl(record: ControlRecord, done: ((lost: Failure | null) => void) | null): Offset {
    const { state } = this;
    const offset = toOffset(state.end);
    const appendTimeMs = this.#stamp();
    const payload = encodeControl(record);
    const header = {
      kind: 'control' as const,
      baseOffset: offset,
      count: 0,
      cumulativeCount: state.counts.total,
      appendTimeMs,
      // A commit names itself: whatever carries its offset stands behind it or is it, so the checkpoint is complete when that is durable.
      checkpointOffset: record.kind === 'commit' ? offset : state.checkpointOffset,
    };
    const entry = encodeEntry(header, NO_META, payload, crc32c(payload));
    state.applyControl(record, appendTimeMs, entry.length);
    if (done !== null) this.#answers.push({ kind: 'call', upTo: state.end, done });
    this.#append(entry, 1, true);
    return offset;
  }

  /** `done` comes when everything that has been appended so far is acknowledged: never what is only pending is told. */
  whenAllAcked(done: (lost: Failure | null) => void): void {
    const over = this.#over;
    if (over !== null) {
      this.later(() => done(over));
      return;
    }
    if (this.state.end <= this.#acked && this.#answers.size === 0) {
      this.later(() => done(this.#over));
      return;
    }
    this.#answers.push({ kind: 'call', upTo: this.state.end, done });
  }

  /** The log tells: once a turn at most, never within `append`. Returns false when nothing is new. */
  onAcked(ackedEnd: number): boolean {
    if (this.#over !== null || ackedEnd <= this.#acked) return false;
    assert(ackedEnd <= this.state.end, 'only what was appended is acknowledged');
    this.#acked = ackedEnd;
    for (let answer = this.#answers.take(ackedEnd); answer !== undefined; answer = this.#answers.take(ackedEnd)) {
      if (answer.kind === 'call') {
        answer.done(null);
        continue;
      }
      this.#pendingBytes -= answer.bytes;
      answer.reply(answer.result);
    }
    return true;
  }

  /** Nothing more is taken; what waits ended unknown. */
  end(reason: Failure): void {
    if (this.#over !== null) return;
    this.#over = fail(reason.code, reason.message, reason.detail, reason.retryAfterMs);
    const lost = unknownFate(reason.code, reason.message, reason.detail);
    this.later(() => {
      for (let answer = this.#answers.take(Infinity); answer !== undefined; answer = this.#answers.take(Infinity))
        if (answer.kind === 'call') answer.done(lost);
        else answer.reply(lost);
      this.#pendingBytes = 0;
    });
  }

  #append(entry: Buffer, span: number, reserved: boolean): void {
    this.tail.add(entry);
    this.log.append(entry, span, reserved);
    // Behind: the log has ended and takes nothing more; `onLost` is on its way.
    assert(this.log.end <= this.state.end, 'the log has nothing that the state does not know');
  }

  #stamp(): number {
    return Math.max(Math.floor(this.world.clock.now()), this.state.appendTimeMs);
  }

  #noteMessage(appendTimeMs: number): void {
    this.firstMessageMs ??= appendTimeMs;
  }

  /** The open ledger begins at `first`: what was noted of the one before it is forgotten. */
  openLedger(first: number, hasMessages: boolean): void {
    if (first === this.#openLedgerFirst) return;
    this.#openLedgerFirst = first;
    this.firstMessageMs = hasMessages ? this.state.appendTimeMs : null;
  }

  readonly #runLater = (): void => {
    const runs = this.#later;
    this.#later = [];
    for (const run of runs) run();
  };
}
