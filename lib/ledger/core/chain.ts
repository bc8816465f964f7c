// A partition's chain of ledgers as its owner knows it: put together from what bookies list, extended at every roll, cut by trims. It
// only ever holds ledgers that are linked: walking back from the open ledger by `prev` passes through nothing else.

import { assert } from '#lib/types/assert.ts';
import { type BookieId, type LedgerId, type Offset, offset } from '#lib/types/brands.ts';
import type { LedgerDescriptor, PartitionListing, ReplicaState, SealValue } from '../protocol.ts';

/** `end` null: open. */
export interface ChainLedger {
  readonly descriptor: LedgerDescriptor;
  readonly first: Offset;
  end: Offset | null;
  bytes: number;
  /** Append time of its newest entry; null: not known, or empty. */
  lastAppendTimeMs: number | null;
  /** Bookies known to hold all of it; [] means that its ensemble must be tried. */
  holders: readonly BookieId[];
}

export interface Floor {
  readonly offset: Offset;
  readonly firstLive: LedgerId;
}

/** What all bookies that answered hold of one partition. */
export class Listings {
  readonly replicas = new Map<LedgerId, { readonly bookie: BookieId; readonly state: ReplicaState }[]>();
  floor: Floor | null = null;

  add(bookie: BookieId, listing: PartitionListing): void {
    if (listing.floor && (!this.floor || listing.floor.offset > this.floor.offset)) this.floor = listing.floor;
    for (const state of listing.ledgers) {
      const known = this.replicas.get(state.descriptor.ledger);
      if (known) known.push({ bookie, state });
      else this.replicas.set(state.descriptor.ledger, [{ bookie, state }]);
    }
  }
}

/**
 * Where a take over may begin without an index: the ledger with the highest first offset that is proven linked, by the catalog
 * (`genesis`), by its predecessor's decided seal, by the floor, or because something in it is acknowledged. Null: nothing is proven.
 */
export function findStart(
  listings: Listings,
  genesis: LedgerDescriptor | null,
): { readonly descriptor: LedgerDescriptor; readonly first: Offset } | null {
  let best: { descriptor: LedgerDescriptor; first: Offset; open: boolean } | null = null;
  const sealed = new Set<LedgerId>();
  for (const [id, replicas] of listings.replicas) if (replicas.some(replica => replica.state.decided)) sealed.add(id);
  const offer = (descriptor: LedgerDescriptor, first: Offset): void => {
    const open = !sealed.has(descriptor.ledger);
    if (!best || first > best.first || (first === best.first && open && !best.open)) best = { descriptor, first, open };
  };
  if (genesis && !listings.floor) offer(genesis, offset(0));
  for (const replicas of listings.replicas.values()) {
    for (const { state } of replicas) {
      const { descriptor, decided, first, ackedEnd } = state;
      if (decided?.next) offer(decided.next, decided.end);
      if (descriptor.ledger === listings.floor?.firstLive) offer(descriptor, listings.floor.offset);
      if (first !== null && ackedEnd !== null && ackedEnd > first) offer(descriptor, first);
    }
  }
  return best;
}

export class Chain {
  /** Oldest first; the last one is open. Never empty. */
  readonly #ledgers: ChainLedger[];

  constructor(ledgers: readonly ChainLedger[]) {
    assert(ledgers.length > 0, 'a chain has a ledger');
    this.#ledgers = ledgers.slice();
  }

  get ledgers(): readonly ChainLedger[] {
    return this.#ledgers;
  }
  get start(): Offset {
    return this.oldest.first;
  }
  get oldest(): ChainLedger {
    const oldest = this.#ledgers[0];
    assert(oldest !== undefined, 'a chain has a ledger');
    return oldest;
  }
  get open(): ChainLedger {
    const open = this.#ledgers[this.#ledgers.length - 1];
    assert(open !== undefined, 'a chain has a ledger');
    return open;
  }

  /** The ledger in which `at` lies, or would. */
  find(at: Offset): ChainLedger {
    assert(at >= this.start, 'what is below the start is gone');
    let low = 0;
    let high = this.#ledgers.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((this.#ledgers[middle]?.first ?? 0) <= at) low = middle;
      else high = middle - 1;
    }
    const found = this.#ledgers[low];
    assert(found !== undefined && found.first <= at, 'every offset from the start on lies in a ledger');
    return found;
  }

  /** The open ledger was sealed at `end`, and `next` is linked. */
  link(end: Offset, bytes: number, next: LedgerDescriptor): void {
    const sealed = this.open;
    assert(next.prev === sealed.descriptor.ledger, 'a ledger is linked behind its predecessor');
    sealed.end = end;
    sealed.bytes = bytes;
    this.#ledgers.push({ descriptor: next, first: end, end: null, bytes: 0, lastAppendTimeMs: null, holders: [] });
  }

  /** The partition has ended: nothing is open any more. */
  end(end: Offset, bytes: number): void {
    this.open.bytes = bytes;
    this.open.end = end;
  }

  /** The value that sealed a ledger of this chain. */
  sealOf(ledger: ChainLedger): SealValue | null {
    const at = this.#ledgers.indexOf(ledger);
    return ledger.end === null || at < 0 ? null : { end: ledger.end, next: this.#ledgers[at + 1]?.descriptor ?? null };
  }

  /** Takes whole sealed ledgers below `to` off the chain, with the values that sealed them. */
  trim(to: Offset): readonly { readonly ledger: ChainLedger; readonly seal: SealValue }[] {
    const trimmed: { ledger: ChainLedger; seal: SealValue }[] = [];
    for (;;) {
      const ledger = this.oldest;
      const seal = this.sealOf(ledger);
      if (!seal?.next || seal.end > to) return trimmed;
      trimmed.push({ ledger, seal });
      this.#ledgers.shift();
    }
  }
}

export interface FoundChain {
  readonly chain: Chain;
  /** A ledger that should be there and that no bookie lists: older ones may be hidden behind it. */
  readonly missing: LedgerId | null;
  /** Outcomes that some bookies have not been told. */
  readonly untold: readonly {
    readonly descriptor: LedgerDescriptor;
    readonly first: Offset;
    readonly value: SealValue;
    readonly to: BookieId[];
  }[];
  /** Ledgers that are not in the chain and cannot come into it: the seal that would name them names another, or is gone. */
  readonly orphans: readonly { readonly descriptor: LedgerDescriptor; readonly on: BookieId[] }[];
}

/** Walks back by `prev` from the open ledger, which is linked. */
export function findChain(listings: Listings, open: { readonly descriptor: LedgerDescriptor; readonly first: Offset }): FoundChain {
  const ledgers: ChainLedger[] = [{ ...open, end: null, bytes: 0, lastAppendTimeMs: null, holders: [] }];
  const untold: FoundChain['untold'][number][] = [];
  let missing: LedgerId | null = null;
  for (let next: ChainLedger | undefined = ledgers[0]; next; ) {
    const prev = next.descriptor.prev;
    const { floor } = listings;
    if (prev === null || next.descriptor.ledger === floor?.firstLive) break;
    const replicas = listings.replicas.get(prev) ?? [];
    const state = replicas.find(replica => replica.state.first !== null)?.state;
    if (!state || state.first === null || (floor && next.first < floor.offset)) {
      if (!floor || next.first > floor.offset) missing = prev;
      break;
    }
    const end = next.first;
    const holders = replicas.filter(replica => replica.state.end === end);
    const found: ChainLedger = {
      descriptor: state.descriptor,
      first: state.first,
      end,
      bytes: Math.max(0, ...(holders.length > 0 ? holders : replicas).map(replica => replica.state.bytes)),
      lastAppendTimeMs: null,
      holders: holders.map(replica => replica.bookie),
    };
    const to = replicas.filter(replica => !replica.state.decided).map(replica => replica.bookie);
    if (to.length > 0) untold.push({ ...found, value: { end, next: next.descriptor }, to });
    ledgers.unshift(found);
    next = found;
  }
  const chain = new Chain(ledgers);
  return { chain, missing, untold, orphans: missing === null ? findOrphans(listings, chain) : [] };
}

/** With the whole chain known: only what follows the open ledger can still be linked. */
function findOrphans(listings: Listings, chain: Chain): FoundChain['orphans'] {
  const linked = new Set(chain.ledgers.map(ledger => ledger.descriptor.ledger));
  const orphans: FoundChain['orphans'][number][] = [];
  for (const [id, replicas] of listings.replicas) {
    const descriptor = replicas[0]?.state.descriptor;
    if (!descriptor || linked.has(id) || descriptor.prev === chain.open.descriptor.ledger) continue;
    orphans.push({ descriptor, on: replicas.map(replica => replica.bookie) });
  }
  return orphans;
}
