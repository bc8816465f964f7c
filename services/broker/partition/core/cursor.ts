// What a subscription has acknowledged: `markDelete` (all below is acknowledged, or no consumer ever sees it) and the ranges above it.
// markDelete steps over control entries, which is no change: it makes neither a write to metadata nor a checkpoint due.

import { assert } from '#lib/types/assert.ts';
import type { Counts } from './counts.ts';
import { AckedRanges } from './ranges.ts';

/** No ranges listed: the whole entry. */
const ALL: readonly (readonly [number, number])[] = [];

export class Cursor {
  readonly ranges = new AckedRanges();
  #markDelete: number;
  #count: number;
  #exact = true;
  /** `markDelete` differs from what the last checkpoint, or metadata, has. */
  logDirty = true;
  metadataDirty = true;

  /** `count`: messages of the partition below `markDelete`. */
  constructor(markDelete: number, count: number) {
    this.#markDelete = markDelete;
    this.#count = count;
  }

  get markDelete(): number {
    return this.#markDelete;
  }

  /** Messages below markDelete; an estimate while `exact` is false. */
  get count(): number {
    return this.#count;
  }

  get exact(): boolean {
    return this.#exact;
  }

  /** What was read from the log at markDelete. */
  setCount(count: number, exact: boolean): void {
    this.#count = count;
    this.#exact = exact;
  }

  /** [first, end) is acknowledged; false: it was. */
  acknowledge(first: number, end: number, counts: Counts): boolean {
    assert(first >= 0 && end <= counts.end, 'what is acknowledged lies in the log');
    if (end <= this.#markDelete) return false;
    if (first > this.#markDelete) {
      if (first >= end || !this.ranges.add(first, end)) return false;
    } else {
      this.#advance(end, counts);
    }
    this.settle(counts);
    return true;
  }

  /** All below `to` is acknowledged. */
  moveUp(to: number, counts: Counts): boolean {
    return to > this.#markDelete && this.acknowledge(this.#markDelete, to, counts);
  }

  /** The log now begins at `start`, below which there were `count` messages. */
  raise(start: number, count: number, counts: Counts): void {
    if (start <= this.#markDelete) return;
    this.#advance(start, counts);
    this.setCount(count, true);
    this.settle(counts);
  }

  /** A seek: another life of the cursor, at `to`. */
  reset(to: number, count: number): void {
    this.ranges.clear();
    this.#markDelete = to;
    this.setCount(count, true);
    this.logDirty = true;
    this.metadataDirty = true;
  }

  /** Steps over what is acknowledged and over what is known to be control entries. */
  settle(counts: Counts): void {
    for (;;) {
      const range = this.ranges.first();
      if (range !== undefined && range[0] <= this.#markDelete) {
        this.#advance(range[1], counts);
        continue;
      }
      if (!this.#exact) this.#recount(counts);
      const next = counts.next(this.#markDelete);
      if (next === undefined || !this.#exact || next.count !== this.#count) return;
      this.#markDelete = next.offset;
    }
  }

  /** Messages that are not acknowledged. */
  backlog(counts: Counts): number {
    let acknowledged = 0;
    for (const { flat } of this.ranges.chunks)
      for (let at = 0; at < flat.length; at += 2) acknowledged += counts.at(flat[at + 1] ?? 0).count - counts.at(flat[at] ?? 0).count;
    return Math.max(0, counts.total - this.#count - acknowledged);
  }

  /** Which messages of the entry [base, end) are not acknowledged, as (first, count) by index: [] all of them, undefined none. */
  open(base: number, end: number): readonly (readonly [number, number])[] | undefined {
    if (end <= this.#markDelete) return undefined;
    const from = Math.max(base, this.#markDelete);
    if (this.ranges.count === 0) return from === base ? ALL : [[from - base, end - from]];
    const free = this.ranges.gaps(from, end);
    if (free === undefined) return from === base ? ALL : [[from - base, end - from]];
    if (free.length === 0) return undefined;
    const open: (readonly [number, number])[] = [];
    for (let at = 0; at < free.length; at += 2) {
      const first = free[at] ?? 0;
      open.push([first - base, (free[at + 1] ?? first) - first]);
    }
    return open;
  }

  #advance(to: number, counts: Counts): void {
    assert(to > this.#markDelete, 'markDelete only grows within a life of the cursor');
    const from = this.#markDelete;
    const below = this.#count;
    const wasExact = this.#exact;
    const next = counts.next(to - 1);
    this.#markDelete = to;
    this.ranges.removeBelow(to);
    this.logDirty = true;
    this.metadataDirty = true;
    const known = counts.at(to);
    if (known.exact || next === undefined) this.setCount(known.count, known.exact);
    else if (wasExact && next.count - below === next.offset - from) this.setCount(below + (to - from), true);
    else this.setCount(Math.max(below, Math.min(below + (to - from), known.count)), false);
  }

  #recount(counts: Counts): void {
    const known = counts.at(this.#markDelete);
    if (known.exact) this.setCount(known.count, true);
  }
}
