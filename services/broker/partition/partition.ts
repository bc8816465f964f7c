// One partition in its owner: recovers what its log says, then publishes, delivers, acknowledges, checkpoints and trims. No timers of its own
// and nothing preallocated, so that thousands of idle ones cost little. Once another broker has it, everything is refused.

import { MetadataError, type MetadataStore } from '#lib/metadata/store.ts';
import type { World } from '#lib/runtime/ports.ts';
import { type Offset, type PartitionId, offset as toOffset } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import { entryEnd, entryKind } from '#lib/wire/entry.ts';
import type { PositionFrame, SubscriptionTypeNumber } from '#lib/wire/frames.ts';
import { type CatchUp, entryIn, type ReadAhead } from '../cache/read-ahead.ts';
import type { TailCache } from '../cache/tail-cache.ts';
import type { LogEvents, PartitionLog } from '../log/api.ts';
import type {
  BatchInput,
  ConsumerAttach,
  ConsumerSession,
  ConsumerSink,
  EffectivePolicies,
  Partition,
  PartitionStatusView,
  ProducerOpened,
  ProducerOpening,
  StoredBatch,
  SubscriptionStatus,
} from './api.ts';
import type { PartitionState } from './core/state.ts';
import type { CursorWriter } from './cursor-writer.ts';
import { Positions } from './positions.ts';
import { Publishing } from './publish.ts';
import { mergeCursors, recoverState } from './recover.ts';
import type { PartitionSettings } from './settings.ts';
import { Subscriptions } from './subscriptions.ts';
import { background, Upkeep } from './upkeep.ts';
import { PartitionWriter } from './writer.ts';

export interface PartitionDeps {
  readonly world: World;
  readonly partition: PartitionId;
  /** Takes the partition over; the events are of the log that it resolves to. */
  readonly openLog: (events: LogEvents) => Promise<PartitionLog | Failure>;
  readonly metadata: MetadataStore;
  /** One of each per broker. */
  readonly tailCache: TailCache;
  readonly readAhead: ReadAhead;
  readonly cursorWriter: CursorWriter;
  readonly policies: EffectivePolicies;
  readonly settings: PartitionSettings;
  /** The partition has ended by itself: another broker has it, or its storage is gone. */
  readonly onEnded?: (reason: Failure) => void;
}

/** What the broker itself may ask beyond what the edge may. */
export interface OwnedPartition extends Partition {
  /** The oldest ledger that could be freed and is not yet going; null: none. */
  oldestLedger(): { readonly bytes: number; readonly lastAppendTimeMs: number } | null;
  /** Frees it, acknowledged or not, and says so in the log: standalone's cap over all partitions. */
  trimOldest(reason: string): void;
  /** The topic has been purged in the catalog: nothing of it stays. */
  purge(): Promise<void>;
}

/** A clean end waits so long for its checkpoint; without it the next owner replays a little more. */
const CLOSE_WAIT_MS = 2000;

export async function openPartition(deps: PartitionDeps): Promise<OpenPartition | Failure> {
  const { world, partition, metadata, settings } = deps;
  const early: { lost: Failure | null; partition: OpenPartition | null } = { lost: null, partition: null };
  const log = await deps.openLog({
    onAcked: ackedEnd => early.partition?.onAcked(ackedEnd),
    onLost: reason => {
      early.lost = reason;
      early.partition?.onLost(reason);
    },
  });
  if (isFailure(log)) return log;
  const state = await recoverState(log, settings.idempotencyIdsMax);
  if (isFailure(state)) {
    world.logger.error('partition not recovered', { partition, reason: state.message });
    await log.close();
    return state;
  }
  await mergeCursors(world, metadata, log, state);
  if (early.lost !== null) return early.lost;
  const writer = new PartitionWriter(world, log, state, deps.tailCache.open());
  early.partition = new OpenPartition(deps, writer);
  return early.partition;
}

export class OpenPartition implements OwnedPartition {
  readonly #deps: PartitionDeps;
  readonly #writer: PartitionWriter;
  readonly #catchUp: CatchUp;
  readonly #positions: Positions;
  readonly #publishing: Publishing;
  readonly #subscriptions: Subscriptions;
  readonly #upkeep: Upkeep;
  /** Readers that wait for something new. */
  readonly #waiting = new Set<{ readonly offset: number; readonly wake: () => void }>();

  constructor(deps: PartitionDeps, writer: PartitionWriter) {
    const { settings, policies, cursorWriter } = deps;
    this.#deps = deps;
    this.#writer = writer;
    this.#catchUp = deps.readAhead.open((offset, bytesMax) => writer.log.read(toOffset(offset), bytesMax));
    this.#positions = new Positions(writer);
    this.#publishing = new Publishing(writer, settings, policies.dedupWindowMs);
    this.#subscriptions = new Subscriptions(writer, this.#catchUp, this.#positions, cursorWriter, settings);
    this.#upkeep = new Upkeep(writer, this.#publishing, this.#subscriptions, this.#positions, this.#catchUp, settings, policies);
    // A trim that was decided and not carried out.
    const { log, state } = writer;
    if (state.start > log.start) background(writer, log.trim(toOffset(state.start)));
    this.#subscriptions.touch();
  }

  /** What the log has given so far: for looking at, not for changing. */
  get state(): PartitionState {
    return this.#writer.state;
  }

  onAcked(ackedEnd: number): void {
    if (!this.#writer.onAcked(ackedEnd)) return;
    this.#upkeep.onAcked();
    this.#subscriptions.wake();
    this.#wakeReaders();
  }

  onLost(reason: Failure): void {
    if (this.#writer.over !== null) return;
    this.#deps.world.logger.warn('partition lost', { partition: this.#deps.partition, reason: reason.message });
    this.#end(reason);
    this.#deps.onEnded?.(reason);
  }

  openProducer(opening: ProducerOpening, reply: (result: ProducerOpened | Failure) => void): void {
    this.#publishing.open(opening, reply);
  }

  publish(batch: BatchInput, reply: (result: StoredBatch | Failure) => void): void {
    this.#publishing.publish(batch, reply);
  }

  attach(attach: ConsumerAttach, sink: ConsumerSink): Promise<ConsumerSession | Failure> {
    return this.#subscriptions.attach(attach, sink);
  }

  async createSubscription(name: string, type: SubscriptionTypeNumber, start: PositionFrame | null): Promise<SubscriptionStatus | Failure> {
    const subscription = await this.#subscriptions.create(name, type, start);
    return isFailure(subscription) ? subscription : this.#subscriptions.status(subscription);
  }

  async seekSubscription(name: string, to: PositionFrame, known: number | null = null): Promise<SubscriptionStatus | Failure> {
    const sought = await this.#subscriptions.seek(name, to, known);
    if (isFailure(sought)) return sought;
    const subscription = this.#writer.state.subscriptions.get(name);
    if (subscription === undefined) return fail('subscription_not_found', `there is no subscription ${name}`, { subscription: name });
    const { resetEpoch, markDelete } = sought;
    const status = this.#subscriptions.status(subscription);
    return status.resetEpoch === resetEpoch ? status : { ...status, resetEpoch, markDelete };
  }

  deleteSubscription(name: string, known: number | null = null): Promise<{ kind: 'deleted' } | Failure> {
    return this.#subscriptions.delete(name, known);
  }

  subscriptions(): readonly SubscriptionStatus[] {
    return [...this.#writer.state.subscriptions.values()].map(subscription => this.#subscriptions.status(subscription));
  }

  status(): PartitionStatusView {
    const { state, log, acked } = this.#writer;
    const ledgers = log.ledgers();
    let bytes = 0;
    for (const ledger of ledgers) bytes += ledger.bytes;
    return {
      startOffset: toOffset(state.start),
      endOffset: acked,
      messages: state.counts.total - state.startCount,
      bytes,
      ledgers: ledgers.length,
      producers: state.producers.size,
      subscriptions: state.subscriptions.size,
    };
  }

  resolve(position: PositionFrame): Promise<Offset | Failure> {
    return this.#positions.resolve(position);
  }

  async read(offset: Offset, bytesMax: number): Promise<{ readonly entries: readonly Buffer[]; readonly next: Offset } | Failure> {
    const writer = this.#writer;
    if (writer.over !== null) return writer.over;
    const { start } = writer.state;
    if (offset < start)
      return fail('invalid_argument', `@${offset} has been trimmed: the log begins at ${start}`, { start: String(start) });
    const entries: Buffer[] = [];
    let loaded: readonly Buffer[] = [];
    let next: number = offset;
    let bytes = 0;
    while (next < writer.acked && bytes < bytesMax) {
      const entry = this.#cached(next) ?? entryIn(loaded, next);
      if (entry !== undefined) {
        next = entryEnd(entry);
        if (entryKind(entry) === 'control') continue;
        entries.push(entry);
        bytes += entry.length;
        continue;
      }
      if (entries.length > 0) break;
      const block = await this.#catchUp.load(next);
      if (isFailure(block)) return block;
      if (writer.over !== null) return writer.over;
      loaded = block;
    }
    return { entries, next: toOffset(next) };
  }

  #cached(offset: number): Buffer | undefined {
    const { tail, acked } = this.#writer;
    return tail.get(offset) ?? this.#catchUp.get(offset, Math.min(tail.first, acked));
  }

  whenReadable(offset: Offset, wake: () => void): () => void {
    const waiting = { offset, wake };
    this.#waiting.add(waiting);
    if (offset < this.#writer.acked || this.#writer.over !== null) this.#writer.later(() => this.#wakeReaders());
    return () => this.#waiting.delete(waiting);
  }

  setPolicies(policies: EffectivePolicies): void {
    this.#upkeep.policies = policies;
    this.#publishing.dedupWindowMs = policies.dedupWindowMs;
  }

  maintain(nowMs: number): void {
    this.#upkeep.maintain(nowMs);
  }

  isIdle(): boolean {
    const writer = this.#writer;
    const unused = this.#subscriptions.attached === 0 && this.#waiting.size === 0 && !this.#publishing.holds;
    return (
      unused && writer.pendingEntries === 0 && writer.state.end <= writer.acked && this.#upkeep.atRest && !this.#subscriptions.hasUnwritten
    );
  }

  oldestLedger(): { readonly bytes: number; readonly lastAppendTimeMs: number } | null {
    return this.#upkeep.oldestLedger();
  }

  trimOldest(reason: string): void {
    this.#upkeep.trimOldest(reason);
  }

  async purge(): Promise<void> {
    const { partition, metadata, world } = this.#deps;
    this.#end(fail('topic_not_found', 'the topic has been deleted'));
    await this.#writer.log.purge();
    try {
      await metadata.dropPartition(partition);
    } catch (error) {
      if (!(error instanceof MetadataError)) throw error;
      world.logger.warn('purged partition not removed from metadata', { partition, error: error.message });
    }
  }

  async close(): Promise<void> {
    const writer = this.#writer;
    if (writer.over === null) {
      const reason = fail('not_owner', 'the partition is handed over');
      writer.beginClose(reason);
      this.#subscriptions.endAll(reason);
      this.#publishing.end();
      await this.#deps.cursorWriter.flush();
      this.#upkeep.checkpointNow();
      await this.#settled();
    }
    this.#end(fail('not_owner', 'this broker has given the partition up'));
    await writer.log.close();
  }

  /** Resolves when all that is pending is acknowledged and the checkpoint is complete, or after a while. */
  #settled(): Promise<void> {
    const writer = this.#writer;
    return new Promise(resolve => {
      const timer = writer.world.clock.after(CLOSE_WAIT_MS, resolve);
      const look = (lost: Failure | null): void => {
        if (lost === null && this.#upkeep.checkpointing) {
          writer.whenAllAcked(look);
          return;
        }
        timer.cancel();
        resolve();
      };
      writer.whenAllAcked(look);
    });
  }

  #end(reason: Failure): void {
    this.#publishing.end();
    this.#writer.end(reason);
    this.#subscriptions.endAll(reason);
    this.#deps.cursorWriter.forget(this.#subscriptions);
    this.#writer.tail.close();
    this.#catchUp.close();
    this.#writer.later(() => this.#wakeReaders());
  }

  #wakeReaders(): void {
    const writer = this.#writer;
    for (const waiting of this.#waiting) {
      if (waiting.offset >= writer.acked && writer.over === null) continue;
      this.#waiting.delete(waiting);
      waiting.wake();
    }
  }
}
