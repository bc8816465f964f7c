// What one server sets for all its topics together: a limit of stored bytes, past which the oldest ledger of all is freed, acknowledged or
// not, and the log says so. It also looks after partitions that nobody opens: bookies tell their sizes and ages without a take over, and
// one with something to free is opened, so that its retention does the work.

import type { PartitionListing } from '#lib/ledger/protocol.ts';
import type { LedgerId, PartitionId } from '#lib/types/brands.ts';
import { partitionId } from '#lib/types/brands.ts';
import { isFailure } from '#lib/types/errors.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { ask } from '../log/ask.ts';
import type { LogDeps } from '../log/partition-log.ts';
import type { Partitions } from './partitions.ts';

/** What bookies say of a partition that is not open. */
interface Closed {
  readonly bytes: number;
  /** When its oldest ledger with messages was begun. */
  readonly oldestMs: number;
  /** When that ledger was ended: nothing in it is newer; null while it is open. */
  readonly endedMs: number | null;
}

/** When partitions that are not open are looked after. */
export interface SweepRhythm {
  readonly firstMs: number;
  readonly everyMs: number;
}

export const SWEEP_DEFAULTS: SweepRhythm = { firstMs: 5_000, everyMs: 60_000 };
/** Partitions asked about in one request, and in one go. */
const BATCH = 200;
/** A partition that was opened for its retention is left alone for a while. */
const VISIT_AGAIN_MS = 3_600_000;
const VISITS_MAX = 8;

export class StorageLimit {
  readonly #deps: LogDeps;
  readonly #catalog: Catalog;
  readonly #partitions: Partitions;
  readonly #limitBytes: number;
  readonly #rhythm: SweepRhythm;
  #closed = new Map<PartitionId, Closed>();
  readonly #visited = new Map<PartitionId, number>();
  #visits = 0;
  #nextSweepMs = 0;
  #sweeping = false;
  #stopped = false;
  #warned = false;
  /** Bytes of all topics when last counted. */
  storedBytes = 0;
  /** Ledgers freed because of the limit. */
  trims = 0;

  constructor(deps: LogDeps, catalog: Catalog, partitions: Partitions, limitBytes: number, rhythm: SweepRhythm = SWEEP_DEFAULTS) {
    this.#deps = deps;
    this.#catalog = catalog;
    this.#partitions = partitions;
    this.#limitBytes = limitBytes;
    this.#rhythm = rhythm;
    this.#nextSweepMs = deps.world.clock.now() + rhythm.firstMs;
  }

  /** About once a second. */
  maintain(nowMs: number): void {
    if (!this.#sweeping && nowMs >= this.#nextSweepMs) {
      this.#sweeping = true;
      this.#sweep(nowMs)
        .catch(error => this.#deps.world.logger.error('looking after closed partitions failed', { error: String(error) }))
        .finally(() => {
          this.#sweeping = false;
          this.#nextSweepMs = this.#deps.world.clock.now() + this.#rhythm.everyMs;
        });
    }
    this.#count();
    if (this.#limitBytes >= 0 && this.storedBytes > this.#limitBytes) this.#free(nowMs);
    else this.#warned = false;
  }

  close(): void {
    this.#stopped = true;
  }

  #count(): void {
    let bytes = 0;
    for (const [id, partition] of this.#partitions.open()) {
      bytes += partition.status().bytes;
      this.#closed.delete(id);
    }
    for (const closed of this.#closed.values()) bytes += closed.bytes;
    this.storedBytes = bytes;
  }

  /** The oldest ledger of all partitions; one a second, because what a trim frees shows only after it. */
  #free(nowMs: number): void {
    let oldestMs = Number.POSITIVE_INFINITY;
    let found: PartitionId | null = null;
    for (const [id, partition] of this.#partitions.open()) {
      const oldest = partition.oldestLedger();
      if (!oldest || oldest.lastAppendTimeMs >= oldestMs) continue;
      oldestMs = oldest.lastAppendTimeMs;
      found = id;
    }
    for (const [id, closed] of this.#closed) {
      if (closed.bytes === 0 || closed.oldestMs >= oldestMs) continue;
      oldestMs = closed.oldestMs;
      found = id;
    }
    if (!found) return;
    if (!this.#warned)
      this.#deps.world.logger.warn('the storage limit is reached: the oldest data of all topics is trimmed', {
        storedBytes: this.storedBytes,
        limitBytes: this.#limitBytes,
      });
    this.#warned = true;
    for (const [id, partition] of this.#partitions.open()) {
      if (id !== found) continue;
      this.trims += 1;
      partition.trimOldest(`all topics together have ${this.storedBytes} bytes, over the storage limit of ${this.#limitBytes}`);
      return;
    }
    this.#visit(found, nowMs);
  }

  /** Sizes and ages of all partitions that are not open. */
  async #sweep(nowMs: number): Promise<void> {
    const closed = new Map<PartitionId, Closed>();
    let ids: PartitionId[] = [];
    for (const topic of [...this.#catalog.state.topics()]) {
      for (let index = 0; index < topic.partitions; index++) {
        const id = partitionId(topic.id, index);
        if (!this.#partitions.has(id)) ids.push(id);
        if (ids.length < BATCH) continue;
        await this.#look(ids, closed);
        if (this.#stopped) return;
        ids = [];
      }
    }
    await this.#look(ids, closed);
    this.#closed = closed;
    for (const [id, found] of closed) if (this.#isExpired(id, found, nowMs)) this.#visit(id, nowMs);
    for (const [id, visitedMs] of this.#visited) if (nowMs - visitedMs > VISIT_AGAIN_MS) this.#visited.delete(id);
  }

  async #look(ids: readonly PartitionId[], into: Map<PartitionId, Closed>): Promise<void> {
    if (ids.length === 0) return;
    const { transport } = this.#deps;
    const byPartition = new Map<PartitionId, PartitionListing[]>();
    for (const bookie of transport.bookies()) {
      if (!bookie.alive) continue;
      const reply = await ask(transport, bookie.id, { kind: 'list', partitions: ids, countMax: LEDGERS_SEEN, after: null });
      if (reply.kind !== 'list') continue;
      for (const listing of reply.partitions) byPartition.set(listing.partition, [...(byPartition.get(listing.partition) ?? []), listing]);
    }
    for (const [id, listings] of byPartition) {
      const summary = summarize(listings);
      if (summary) into.set(id, summary);
    }
  }

  #isExpired(id: PartitionId, closed: Closed, nowMs: number): boolean {
    if (closed.bytes === 0) return false;
    const topic = this.#catalog.state.topicById(id.slice(0, id.indexOf('/')));
    if (!topic) return false;
    const { retentionMs } = this.#catalog.state.topicSettings(topic);
    return retentionMs >= 0 && (closed.endedMs ?? closed.oldestMs) < nowMs - retentionMs;
  }

  /** Opens it, so that it trims by itself; it is closed again when nobody uses it. */
  #visit(id: PartitionId, nowMs: number): void {
    if (this.#visits >= VISITS_MAX || this.#visited.has(id)) return;
    this.#visited.set(id, nowMs);
    this.#visits += 1;
    this.#partitions
      .lease(id, () => {})
      .then(lease => {
        if (!isFailure(lease)) lease.release();
      })
      .catch(error => this.#deps.world.logger.error('visiting a partition failed', { partition: id, error: String(error) }))
      .finally(() => {
        this.#visits -= 1;
      });
  }
}

/** Ledgers of one partition that one answer tells about. */
const LEDGERS_SEEN = 64;

/** Every ledger once, however many bookies hold it. */
function summarize(listings: readonly PartitionListing[]): Closed | null {
  const ledgers = new Map<LedgerId, { first: number; bytes: number; endedBy: LedgerId | null }>();
  for (const listing of listings)
    for (const state of listing.ledgers) {
      const known = ledgers.get(state.descriptor.ledger);
      const bytes = Math.max(known?.bytes ?? 0, state.bytes);
      const endedBy = state.decided?.next?.ledger ?? known?.endedBy ?? null;
      ledgers.set(state.descriptor.ledger, { first: state.first ?? known?.first ?? 0, bytes, endedBy });
    }
  let bytes = 0;
  let oldest: { id: LedgerId; first: number; endedBy: LedgerId | null } | null = null;
  for (const [id, ledger] of ledgers) {
    bytes += ledger.bytes;
    if (ledger.bytes > 0 && (!oldest || ledger.first < oldest.first)) oldest = { id, ...ledger };
  }
  // What is not told here is older.
  if (listings.some(listing => listing.more)) return { bytes, oldestMs: 0, endedMs: 0 };
  if (!oldest) return ledgers.size === 0 ? null : { bytes: 0, oldestMs: 0, endedMs: null };
  return { bytes, oldestMs: madeMs(oldest.id), endedMs: oldest.endedBy === null ? null : madeMs(oldest.endedBy) };
}

/** A ledger's id begins with the time at which it was made (UUIDv7). */
function madeMs(id: LedgerId): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}
