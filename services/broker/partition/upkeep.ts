// What a partition does by itself, asked about once a second: checkpoints, retention, the backlog quota, closing an old ledger. An idle
// partition finds nothing to do here and writes nothing.

import type { PartitionId } from '#lib/types/brands.ts';
import { offset as toOffset } from '#lib/types/brands.ts';
import { isFailure } from '#lib/types/errors.ts';
import type { CatchUp } from '../cache/read-ahead.ts';
import type { EffectivePolicies } from './api.ts';
import { isDue, type PendingCheckpoint, takeSnapshot, trimLimit } from './core/checkpoint.ts';
import { bytesFrom, decideTrim, rollDue, type TrimTarget } from './core/retention.ts';
import type { Positions } from './positions.ts';
import type { Publishing } from './publish.ts';
import type { PartitionSettings } from './settings.ts';
import type { Subscriptions } from './subscriptions.ts';
import type { PartitionWriter } from './writer.ts';

export class Upkeep {
  readonly #writer: PartitionWriter;
  readonly #publishing: Publishing;
  readonly #subscriptions: Subscriptions;
  readonly #positions: Positions;
  readonly #catchUp: CatchUp;
  readonly #settings: PartitionSettings;
  policies: EffectivePolicies;
  #checkpoint: PendingCheckpoint | null = null;
  #checkpointedMs: number;
  /** Blocks below it are written again with the next checkpoint, because a trim waits for that. */
  #rewriteBelow = 0;
  #trimming = false;
  #forcedTo = 0;
  #forcedReason = '';
  /** A trim up to here would free next to nothing. */
  #notWorthTo = 0;
  #recounting = false;

  constructor(
    writer: PartitionWriter,
    publishing: Publishing,
    subscriptions: Subscriptions,
    positions: Positions,
    catchUp: CatchUp,
    settings: PartitionSettings,
    policies: EffectivePolicies,
  ) {
    this.#writer = writer;
    this.#publishing = publishing;
    this.#subscriptions = subscriptions;
    this.#positions = positions;
    this.#catchUp = catchUp;
    this.#settings = settings;
    this.policies = policies;
    this.#checkpointedMs = writer.world.clock.now();
  }

  /** Nothing is under way, and nothing is due. */
  get atRest(): boolean {
    return this.#checkpoint === null && !this.#trimming && !this.#writer.state.due;
  }

  maintain(nowMs: number): void {
    const writer = this.#writer;
    if (writer.over !== null) return;
    this.#checkpointedMs = Math.min(this.#checkpointedMs, nowMs);
    const ledgers = writer.log.ledgers();
    const open = ledgers.at(-1);
    if (open !== undefined) {
      const { state } = writer;
      writer.openLedger(open.first, state.counts.total > state.counts.at(open.first).count);
      if (rollDue(writer.firstMessageMs, nowMs, this.#settings.rollAgeMs, this.policies.retentionMs)) writer.log.roll();
    }
    this.#measureQuota();
    this.#planTrim(nowMs);
    this.#checkpointIfDue(nowMs);
    this.#recount();
    this.#subscriptions.touch();
    // What is not acknowledged yet cannot be read from the log either: its counts must stay.
    writer.state.counts.forgetBelow(Math.min(writer.state.lowestCursor(), writer.acked));
  }

  /** More of a checkpoint may be appended. */
  onAcked(): void {
    if (this.#checkpoint !== null) this.#step();
  }

  /** A checkpoint now, if anything has changed; for a clean end. */
  checkpointNow(): void {
    if (this.#checkpoint === null && this.#writer.state.due) this.#begin(this.#writer.world.clock.now());
  }

  get checkpointing(): boolean {
    return this.#checkpoint !== null;
  }

  /** The oldest ledger that could be freed, for who must find space over all partitions. */
  oldestLedger(): { readonly bytes: number; readonly lastAppendTimeMs: number } | null {
    const from = Math.max(this.#forcedTo, this.#writer.state.start);
    for (const ledger of this.#writer.log.ledgers()) {
      if (ledger.end !== null && ledger.end <= from) continue;
      if (ledger.bytes === 0) continue;
      if (ledger.end === null && this.#writer.firstMessageMs === null) return null;
      return { bytes: ledger.bytes, lastAppendTimeMs: ledger.lastAppendTimeMs ?? this.#writer.state.appendTimeMs };
    }
    return null;
  }

  /** Frees it, whether its messages are acknowledged or not, as soon as that is safe; says so in the log. */
  trimOldest(reason: string): void {
    const from = Math.max(this.#forcedTo, this.#writer.state.start);
    for (const ledger of this.#writer.log.ledgers()) {
      if (ledger.end !== null && ledger.end <= from) continue;
      if (ledger.bytes === 0) continue;
      this.#forcedTo = ledger.end ?? this.#writer.state.end;
      this.#forcedReason = reason;
      if (ledger.end === null) this.#writer.log.roll();
      break;
    }
    this.maintain(this.#writer.world.clock.now());
  }

  #measureQuota(): void {
    const { state, log } = this.#writer;
    const { backlogBytesMax } = this.policies;
    const limited = backlogBytesMax >= 0 && state.subscriptions.size > 0;
    this.#publishing.overQuota = limited && bytesFrom(log.ledgers(), state.lowestCursor(), log.end) > backlogBytesMax;
  }

  #planTrim(nowMs: number): void {
    const { state, log } = this.#writer;
    if (this.#trimming) return;
    const target = decideTrim({
      ledgers: log.ledgers(),
      nowMs,
      retentionMs: this.policies.retentionMs,
      lowestCursor: state.lowestCursor(),
      overQuota: this.#publishing.overQuota,
      forcedTo: this.#forcedTo,
    });
    if (target === undefined || target.to <= state.start || target.to <= this.#notWorthTo) return;
    this.#trimming = true;
    background(this.#writer, this.#trim(target));
  }

  async #trim(target: TrimTarget): Promise<void> {
    const { state } = this.#writer;
    const count = await this.#positions.countAt(target.to);
    this.#trimming = false;
    if (isFailure(count) || this.#writer.over !== null || target.to <= state.start) return;
    // A cursor may have been sought back meanwhile.
    if (!target.passesCursors && state.lowestCursor() < target.to) return;
    if (count === state.startCount && target.bytes < this.#settings.trimBytesMin) {
      this.#notWorthTo = target.to;
      return;
    }
    if (target.to > trimLimit(state)) {
      this.#rewriteBelow = Math.max(this.#rewriteBelow, target.to);
      this.#checkpointIfDue(this.#writer.world.clock.now());
      return;
    }
    this.#appendTrim(target, count);
  }

  /** The point of no return is in the log, and acknowledged, before anything is deleted. */
  #appendTrim(target: TrimTarget, count: number): void {
    const writer = this.#writer;
    const { to, ledger } = target;
    this.#trimming = true;
    this.#tellTrim(target, count);
    writer.appendControl({ kind: 'trim', to, count, ledger }, lost => {
      this.#trimming = false;
      if (lost !== null) return;
      writer.tail.dropBelow(to);
      this.#catchUp.dropBelow(to);
      background(writer, writer.log.trim(toOffset(to)));
    });
  }

  #tellTrim(target: TrimTarget, count: number): void {
    const { state, world, log } = this.#writer;
    const partition: PartitionId = log.partition;
    const fields = { partition, from: state.start, to: target.to, messages: count - state.startCount, bytes: target.bytes };
    const forced = target.to <= this.#forcedTo;
    if (!forced && !target.passesCursors) {
      world.logger.info('trimmed by retention', fields);
      return;
    }
    const reason = forced ? this.#forcedReason : 'backlog quota';
    const subscriptions: Record<string, number> = {};
    for (const { name, cursor } of state.subscriptions.values())
      if (cursor.markDelete < target.to) subscriptions[name] = Math.max(0, count - cursor.count);
    world.logger.warn('trimmed messages before their time', { ...fields, reason, unacknowledged: subscriptions });
  }

  #checkpointIfDue(nowMs: number): void {
    const { state } = this.#writer;
    if (this.#checkpoint !== null) {
      this.#step();
      return;
    }
    const rules = { intervalMs: this.#settings.checkpointIntervalMs, replayBytesMax: this.#settings.checkpointBytes };
    const forTrim = this.#rewriteBelow > trimLimit(state);
    const forProducers =
      state.producers.size >= this.#settings.producersMax && state.producers.countIdle(this.#publishing.expireTimes(nowMs)) > 0;
    if (forTrim || forProducers || isDue(state, nowMs - this.#checkpointedMs, rules)) this.#begin(nowMs);
  }

  #begin(nowMs: number): void {
    this.#checkpointedMs = nowMs;
    this.#checkpoint = takeSnapshot(this.#writer.state, this.#publishing.expireTimes(nowMs), this.#rewriteBelow);
    this.#rewriteBelow = 0;
    this.#step();
  }

  /** Appends chunks as far as the log keeps up, and the commit after the last. */
  #step(): void {
    const writer = this.#writer;
    for (let left = this.#settings.checkpointInFlightBytes; this.#checkpoint !== null && left > 0; left -= 128 * 1024) {
      if (writer.over !== null) return;
      const at = writer.appendControl(this.#checkpoint.next(), null);
      if (this.#checkpoint.appended(at)) this.#checkpoint = null;
    }
  }

  /** A cursor whose count is an estimate gets it from the log, one at a time. */
  #recount(): void {
    if (this.#recounting) return;
    for (const subscription of this.#writer.state.subscriptions.values()) {
      const { cursor } = subscription;
      if (cursor.exact) continue;
      this.#recounting = true;
      const at = cursor.markDelete;
      background(
        this.#writer,
        this.#positions.countAt(at).then(count => {
          this.#recounting = false;
          if (isFailure(count) || cursor.markDelete !== at) return;
          cursor.setCount(count, true);
          this.#writer.state.counts.learn(at, count);
          cursor.settle(this.#writer.state.counts);
        }),
      );
      return;
    }
  }
}

/** Work that nobody waits for: it answers with values, so a rejection is a bug. */
export function background(writer: PartitionWriter, work: Promise<unknown>): void {
  work.catch((error: unknown) => writer.world.fatal(`upkeep of ${writer.log.partition} failed`, error));
}
