// Entries in memory until a flush has put them into a segment. Two halves: `active` takes new ones while `flushing` is being written.
// The journal holds all of it meanwhile; what does not fit is push-back.

import { assert } from '#lib/types/assert.ts';
import type { Offset } from '#lib/types/brands.ts';
import type { HeldLedger } from '../../replica/core/ledgers.ts';
import { cutSlices } from '../../segments/core/slices.ts';
import { ENTRY_OVERHEAD_BYTES, EntryList } from './entry-list.ts';

/** One ledger's part of a flush. `list` is not changed any more. */
export interface FlushPart {
  readonly ledger: HeldLedger;
  readonly list: EntryList;
}

export class WriteCache {
  readonly #halfBytes: number;
  readonly #activeLedgers = new Set<HeldLedger>();
  #activeCost = 0;
  #flushing: readonly FlushPart[] | undefined;
  #flushingCost = 0;

  constructor(bytesMax: number) {
    this.#halfBytes = Math.floor(bytesMax / 2);
  }

  /** What both halves take, with the overhead of entries. */
  get cost(): number {
    return this.#activeCost + this.#flushingCost;
  }
  get isEmpty(): boolean {
    return this.#activeLedgers.size === 0 && this.#flushing === undefined;
  }
  /** Time to flush. */
  get isHalfFull(): boolean {
    return this.#activeCost >= this.#halfBytes;
  }
  /** No room until the flush that is under way ends. Reserved entries get a quarter on top. */
  isFull(reserved: boolean): boolean {
    return this.#activeCost >= this.#halfBytes * (reserved ? 1.25 : 1) && this.#flushing !== undefined;
  }

  put(ledger: HeldLedger, at: Offset, entry: Buffer): void {
    if (ledger.active === null) {
      ledger.active = new EntryList(at);
      this.#activeLedgers.add(ledger);
    }
    ledger.active.push(entry);
    this.#activeCost += entry.length + ENTRY_OVERHEAD_BYTES;
  }

  /** Takes an entry that lies over a stored one, which is damaged. */
  patch(ledger: HeldLedger, at: Offset, entry: Buffer): void {
    const list = new EntryList(at);
    list.push(entry);
    ledger.patches = [...ledger.patches, list];
    this.#activeLedgers.add(ledger);
    this.#activeCost += list.cost;
  }

  /** Drops all of a ledger beyond `end`, in memory and of its slices. */
  cut(ledger: HeldLedger, end: Offset): void {
    if (ledger.active) {
      this.#activeCost -= ledger.active.cost;
      ledger.active.cut(end);
      this.#activeCost += ledger.active.cost;
      if (ledger.active.entries.length === 0) this.#forgetActive(ledger);
    }
    if (ledger.flushing) ledger.flushing = ledger.flushing.before(end);
    ledger.slices = cutSlices(ledger.slices, end);
  }

  /** The ledger is deleted. */
  drop(ledger: HeldLedger): void {
    if (ledger.active) this.#activeCost -= ledger.active.cost;
    for (const patch of ledger.patches) if (!this.#isFlushing(patch)) this.#activeCost -= patch.cost;
    ledger.active = null;
    ledger.flushing = null;
    ledger.patches = [];
    ledger.slices = [];
    this.#activeLedgers.delete(ledger);
  }

  /** Makes the active half the flushing one. Ledgers come in the order of their first entry. */
  swap(): readonly FlushPart[] {
    assert(this.#flushing === undefined, 'one flush at a time');
    const parts: FlushPart[] = [];
    for (const ledger of this.#activeLedgers) {
      for (const list of ledger.patches) parts.push({ ledger, list });
      if (!ledger.active) continue;
      parts.push({ ledger, list: ledger.active });
      ledger.flushing = ledger.active;
      ledger.active = null;
    }
    this.#activeLedgers.clear();
    this.#flushing = parts;
    this.#flushingCost = this.#activeCost;
    this.#activeCost = 0;
    return parts;
  }

  /** The flush is durable, and slices have taken the place of its entries. */
  flushed(): void {
    for (const { ledger, list } of this.#flushing ?? []) {
      if (ledger.patches.includes(list)) ledger.patches = ledger.patches.filter(patch => patch !== list);
      else ledger.flushing = null;
    }
    this.#flushing = undefined;
    this.#flushingCost = 0;
  }

  #isFlushing(list: EntryList): boolean {
    return this.#flushing?.some(part => part.list === list) ?? false;
  }

  #forgetActive(ledger: HeldLedger): void {
    ledger.active = null;
    if (ledger.patches.length === 0) this.#activeLedgers.delete(ledger);
  }
}
