// All ledgers of this bookie: the replicas it holds with where their entries are, tombstones of those that were deleted, and the floor of
// each partition. Nothing here does I/O; what changed since the last flush is noted for the manifest.

import type { ReplicaState } from '#lib/ledger/protocol.ts';
import { assert } from '#lib/types/assert.ts';
import type { LedgerId, Offset, PartitionId } from '#lib/types/brands.ts';
import type { EntryList } from '../../cache/core/entry-list.ts';
import { type Slice, sliceBytes } from '../../segments/core/slices.ts';
import type { Floor, Tombstone } from './records.ts';
import type { Replica } from './replica.ts';

const NO_SLICES: readonly Slice[] = [];
const NO_PATCHES: readonly EntryList[] = [];

/** A replica and its entries: on disk, being written to a segment, newest in memory; each part begins where the one before ends. */
export class HeldLedger {
  replica: Replica;
  /** The id's 16 bytes, as records have it. */
  readonly idView: Buffer;
  slices: readonly Slice[] = NO_SLICES;
  flushing: EntryList | null = null;
  active: EntryList | null = null;
  /** Entries that lie over stored ones, which are damaged; one each. */
  patches: readonly EntryList[] = NO_PATCHES;

  constructor(replica: Replica) {
    this.replica = replica;
    this.idView = Buffer.from(replica.descriptor.ledger.replaceAll('-', ''), 'hex');
  }

  get id(): LedgerId {
    return this.replica.descriptor.ledger;
  }

  get partition(): PartitionId {
    return this.replica.descriptor.partition;
  }

  bytes(): number {
    let sum = (this.flushing?.bytes ?? 0) + (this.active?.bytes ?? 0);
    for (const slice of this.slices) sum += sliceBytes(slice);
    return sum;
  }

  state(): ReplicaState {
    return { ...this.replica.state(), bytes: this.bytes() };
  }

  /** Up to where entries follow each other from `first` on without a gap. */
  covered(): Offset | null {
    let end = this.replica.first;
    if (end === null) return null;
    for (const slice of this.slices) if (slice.from <= end && slice.to > end) end = slice.to;
    for (const list of [this.flushing, this.active]) if (list && list.first <= end && list.end > end) end = list.end;
    return end;
  }
}

interface Shelf {
  floor: Floor | null;
  readonly ledgers: Set<HeldLedger>;
  readonly tombstones: Set<LedgerId>;
}

/** What the manifest does not say yet. */
export interface LedgerChanges {
  readonly dirty: Set<HeldLedger>;
  readonly tombstones: Set<Tombstone>;
  readonly forgotten: Set<LedgerId>;
  readonly floors: Set<Floor>;
}

export const noChanges = (): LedgerChanges => ({ dirty: new Set(), tombstones: new Set(), forgotten: new Set(), floors: new Set() });

export class Ledgers {
  readonly #held = new Map<LedgerId, HeldLedger>();
  readonly #tombstones = new Map<LedgerId, Tombstone>();
  readonly #shelves = new Map<PartitionId, Shelf>();
  #changes = noChanges();

  get count(): number {
    return this.#held.size;
  }
  get tombstoneCount(): number {
    return this.#tombstones.size;
  }

  held(): IterableIterator<HeldLedger> {
    return this.#held.values();
  }
  tombstones(): IterableIterator<Tombstone> {
    return this.#tombstones.values();
  }
  *floors(): Generator<Floor> {
    for (const { floor } of this.#shelves.values()) if (floor) yield floor;
  }

  get(ledger: LedgerId): HeldLedger | undefined {
    return this.#held.get(ledger);
  }
  tombstone(ledger: LedgerId): Tombstone | undefined {
    return this.#tombstones.get(ledger);
  }
  floor(partition: PartitionId): Floor | null {
    return this.#shelves.get(partition)?.floor ?? null;
  }

  /** Ledgers of a partition, the newest id first. */
  ofPartition(partition: PartitionId): readonly HeldLedger[] {
    const shelf = this.#shelves.get(partition);
    return shelf ? [...shelf.ledgers].sort((a, b) => (a.id < b.id ? 1 : -1)) : [];
  }

  add(replica: Replica): HeldLedger {
    const ledger = new HeldLedger(replica);
    assert(!this.#held.has(ledger.id) && !this.#tombstones.has(ledger.id), `ledger ${ledger.id} is added once`);
    this.#held.set(ledger.id, ledger);
    this.#shelf(ledger.partition).ledgers.add(ledger);
    this.#changes.dirty.add(ledger);
    return ledger;
  }

  changed(ledger: HeldLedger): void {
    this.#changes.dirty.add(ledger);
  }

  /** The ledger (where there is one) is deleted; its tombstone stays. */
  bury(tombstone: Tombstone): void {
    const ledger = this.#held.get(tombstone.ledger);
    if (ledger) this.remove(ledger);
    const older = this.#tombstones.get(tombstone.ledger);
    if (older) this.#changes.tombstones.delete(older);
    this.#tombstones.set(tombstone.ledger, tombstone);
    this.#shelf(tombstone.partition).tombstones.add(tombstone.ledger);
    this.#changes.tombstones.add(tombstone);
  }

  /** Raises a partition's floor, folds the tombstones below it, and forgets ledgers that are still there: they are returned. */
  raise(floor: Floor): readonly HeldLedger[] {
    const shelf = this.#shelf(floor.partition);
    assert(shelf.floor === null || floor.offset >= shelf.floor.offset, 'a floor only rises');
    shelf.floor = floor;
    this.#changes.floors.add(floor);
    for (const id of shelf.tombstones) {
      const tombstone = this.#tombstones.get(id);
      if (tombstone && tombstone.first !== null && tombstone.first < floor.offset) this.forget(tombstone);
    }
    const below = [...shelf.ledgers].filter(({ replica }) => replica.first !== null && replica.first < floor.offset);
    for (const ledger of below) {
      this.remove(ledger);
      this.#changes.forgotten.add(ledger.id);
    }
    return below;
  }

  forget(tombstone: Tombstone): void {
    this.#tombstones.delete(tombstone.ledger);
    this.#shelf(tombstone.partition).tombstones.delete(tombstone.ledger);
    this.#changes.tombstones.delete(tombstone);
    this.#changes.forgotten.add(tombstone.ledger);
  }

  get hasChanges(): boolean {
    const { dirty, tombstones, forgotten, floors } = this.#changes;
    return dirty.size + tombstones.size + forgotten.size + floors.size > 0;
  }

  /** Hands over what changed since the last call. */
  takeChanges(): LedgerChanges {
    const changes = this.#changes;
    this.#changes = noChanges();
    return changes;
  }

  /** Hands over only what was deleted: it may be said early, changed states only together with their entries. */
  takeDeletions(): LedgerChanges {
    const changes = this.#changes;
    this.#changes = { ...noChanges(), dirty: changes.dirty };
    return { ...changes, dirty: new Set() };
  }

  /** Takes back what `takeDeletions` gave, because it could not be said. */
  returnDeletions({ tombstones, forgotten, floors }: LedgerChanges): void {
    for (const tombstone of tombstones) if (this.#tombstones.get(tombstone.ledger) === tombstone) this.#changes.tombstones.add(tombstone);
    for (const id of forgotten) this.#changes.forgotten.add(id);
    for (const floor of floors) if (this.floor(floor.partition) === floor) this.#changes.floors.add(floor);
  }

  /** Without a tombstone: only what lies below a floor. */
  remove(ledger: HeldLedger): void {
    this.#held.delete(ledger.id);
    this.#shelf(ledger.partition).ledgers.delete(ledger);
    this.#changes.dirty.delete(ledger);
  }

  #shelf(partition: PartitionId): Shelf {
    let shelf = this.#shelves.get(partition);
    if (!shelf) {
      shelf = { floor: null, ledgers: new Set(), tombstones: new Set() };
      this.#shelves.set(partition, shelf);
    }
    return shelf;
  }
}
