// Entries of one ledger that follow each other without a gap, whole and encoded, as they wait in memory for a flush.
// Offsets are read from the entries where they stand, so a list costs one reference an entry.

import { assert } from '#lib/types/assert.ts';
import type { Offset } from '#lib/types/brands.ts';
import { offset } from '#lib/types/brands.ts';
import { entryAppendTimeMs, entryBaseOffset, entryCount, entryCumulativeCount, entryEnd } from '#lib/wire/entry.ts';

/** What an entry in memory costs beside its bytes: its buffer object and the reference. */
export const ENTRY_OVERHEAD_BYTES = 192;

export class EntryList {
  readonly entries: Buffer[] = [];
  readonly first: Offset;
  #end: Offset;
  #bytes = 0;

  constructor(first: Offset) {
    this.first = first;
    this.#end = first;
  }

  get end(): Offset {
    return this.#end;
  }
  get bytes(): number {
    return this.#bytes;
  }
  /** What it takes of the cache's budget. */
  get cost(): number {
    return this.#bytes + this.entries.length * ENTRY_OVERHEAD_BYTES;
  }

  push(entry: Buffer): void {
    assert(entryBaseOffset(entry) === this.#end, `an entry at ${entryBaseOffset(entry)} does not follow ${this.#end}`);
    this.entries.push(entry);
    this.#end = offset(entryEnd(entry));
    this.#bytes += entry.length;
  }

  /** Drops what reaches beyond `end`; that may be all of it. */
  cut(end: Offset): void {
    while (this.#end > end) {
      const last = this.entries.pop();
      if (last === undefined) return;
      this.#end = offset(entryBaseOffset(last));
      this.#bytes -= last.length;
    }
  }

  /** The list without what reaches beyond `end`; the list itself stays as it is, for whoever is writing it. */
  before(end: Offset): EntryList {
    if (end >= this.#end) return this;
    const list = new EntryList(this.first);
    for (const entry of this.entries) {
      if (entryEnd(entry) > end) break;
      list.push(entry);
    }
    return list;
  }

  /** Index of the entry that covers `at`; -1 when none does. */
  indexOf(at: Offset): number {
    if (at < this.first || at >= this.#end) return -1;
    const index = firstIndex(this.entries, entry => entryEnd(entry) > at);
    assert(index < this.entries.length, 'a covered offset has its entry');
    return index;
  }

  /**
   * Adds whole entries from `index` on that end at or below `limit` while `bytesLeft` lasts, and at least one to an empty `out`. The bytes
   * that are left then; -1 when nothing may follow.
   */
  collect(index: number, limit: Offset, bytesLeft: number, out: Buffer[]): number {
    let left = bytesLeft;
    for (let n = index; n < this.entries.length; n++) {
      const entry = this.entries[n];
      if (entry === undefined || entryEnd(entry) > limit || (entry.length > left && out.length > 0)) return -1;
      out.push(entry);
      left = Math.max(0, left - entry.length);
    }
    return left;
  }

  /** The first entry below `limit` whose append time is ≥ `value`, or that covers the cumulative count `value`. */
  locate(by: 'time' | 'count', value: number, limit: Offset): Buffer | undefined {
    const index = firstIndex(this.entries, entry => reaches(entry, by, value));
    const found = this.entries[index];
    return found !== undefined && entryEnd(found) <= limit ? found : undefined;
  }
}

/** True from the wanted entry on: times and counts only rise within a partition. */
export function reaches(entry: Buffer, by: 'time' | 'count', value: number): boolean {
  return by === 'time' ? entryAppendTimeMs(entry) >= value : entryCumulativeCount(entry) + entryCount(entry) > value;
}

/** Index of the first element for which `holds` is true, where it is false before and true from there on; the length when never. */
export function firstIndex<T>(sorted: readonly T[], holds: (element: T) => boolean): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const element = sorted[middle];
    assert(element !== undefined, 'a binary search stays inside');
    if (holds(element)) high = middle;
    else low = middle + 1;
  }
  return low;
}
