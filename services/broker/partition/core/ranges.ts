// Acknowledged ranges above a cursor's markDelete: sorted, never touching, at a cost by their number and not by their length. They lie in
// chunks of a bounded size, so that a change in the middle of very many moves little memory, and only changed chunks are written.

import { assert } from '#lib/types/assert.ts';

/** Ranges in one chunk; a full one is split in two. */
const CHUNK_RANGES_MAX = 128;

/** One block of a cursor in the log's checkpoints and in metadata. `flat`: first, end, first, end, … */
export interface RangeChunk {
  readonly id: number;
  flat: number[];
  /** Changed since the last snapshot for a checkpoint; since the last write to metadata. */
  logDirty: boolean;
  metadataDirty: boolean;
}

export class AckedRanges {
  #chunks: RangeChunk[] = [];
  #nextId = 0;
  #count = 0;
  /** Ids of chunks that metadata may still have. */
  #removed: number[] = [];

  /** How many ranges there are. */
  get count(): number {
    return this.#count;
  }

  get chunks(): readonly RangeChunk[] {
    return this.#chunks;
  }

  /** The lowest range; undefined when there is none. */
  first(): readonly [number, number] | undefined {
    const flat = this.#chunks[0]?.flat;
    return flat === undefined ? undefined : [flat[0] ?? 0, flat[1] ?? 0];
  }

  /** The end of the highest range; 0 when there is none. */
  get end(): number {
    return this.#chunks.at(-1)?.flat.at(-1) ?? 0;
  }

  /** Puts back a chunk that a checkpoint kept. */
  restore(id: number, flat: number[]): void {
    assert((flat[0] ?? 0) > this.end || this.#chunks.length === 0, 'chunks are restored in order and do not touch');
    if (flat.length === 0) return;
    this.#chunks.push({ id, flat, logDirty: false, metadataDirty: false });
    this.#nextId = Math.max(this.#nextId, id + 1);
    this.#count += flat.length / 2;
  }

  /** Adds [first, end); false: all of it was there. */
  add(first: number, end: number): boolean {
    assert(first < end, 'a range has a first and an end above it');
    const at = this.#chunkFor(first);
    const chunk = this.#chunks[at];
    if (chunk === undefined) {
      this.#append(first, end);
      return true;
    }
    const from = lowerBound(chunk.flat, first);
    if ((chunk.flat[from] ?? end) <= first && (chunk.flat[from + 1] ?? 0) >= end) return false;
    let low = first;
    let high = end;
    let drop = from;
    for (; drop < chunk.flat.length && (chunk.flat[drop] ?? 0) <= high; drop += 2) {
      low = Math.min(low, chunk.flat[drop] ?? low);
      high = Math.max(high, chunk.flat[drop + 1] ?? high);
    }
    const reachedEnd = drop >= chunk.flat.length;
    chunk.flat.splice(from, drop - from, low, high);
    this.#count += 1 - (drop - from) / 2;
    touch(chunk);
    if (reachedEnd) this.#absorbFollowing(at, high);
    if (chunk.flat.length > CHUNK_RANGES_MAX * 2) this.#split(at);
    return true;
  }

  /** Forgets all below `offset`; true: something was there. */
  removeBelow(offset: number): boolean {
    let whole = 0;
    while ((this.#chunks[whole]?.flat.at(-1) ?? Infinity) <= offset) whole++;
    if (whole > 0) this.#drop(0, whole);
    const chunk = this.#chunks[0];
    if (chunk === undefined || (chunk.flat[0] ?? 0) >= offset) return whole > 0;
    let drop = 0;
    while ((chunk.flat[drop + 1] ?? Infinity) <= offset) drop += 2;
    chunk.flat.splice(0, drop);
    this.#count -= drop / 2;
    if ((chunk.flat[0] ?? offset) < offset) chunk.flat[0] = offset;
    touch(chunk);
    return true;
  }

  clear(): void {
    this.#drop(0, this.#chunks.length);
  }

  /** What of [from, end) is in no range, flat; undefined: no range meets it. */
  gaps(from: number, end: number): number[] | undefined {
    let at = this.#chunkFor(from + 1);
    let chunk = this.#chunks[at];
    if (chunk === undefined) return undefined;
    let index = lowerBound(chunk.flat, from + 1);
    if ((chunk.flat[index] ?? Infinity) >= end) return undefined;
    const free: number[] = [];
    let below = from;
    for (;;) {
      const first = chunk.flat[index] ?? Infinity;
      if (first >= end) break;
      if (first > below) free.push(below, first);
      below = Math.max(below, chunk.flat[index + 1] ?? below);
      index += 2;
      if (index < chunk.flat.length) continue;
      chunk = this.#chunks[++at];
      index = 0;
      if (chunk === undefined) break;
    }
    if (below < end) free.push(below, end);
    return free;
  }

  /** Ids of chunks that are gone, for metadata to forget; asked once. */
  takeRemoved(): readonly number[] {
    const removed = this.#removed;
    this.#removed = [];
    return removed;
  }

  get hasRemoved(): boolean {
    return this.#removed.length > 0;
  }

  /** These ids are not ours and may be removed from metadata, or their removal failed. */
  putRemoved(ids: readonly number[]): void {
    for (const id of ids) {
      this.#nextId = Math.max(this.#nextId, id + 1);
      if (!this.#chunks.some(chunk => chunk.id === id)) this.#removed.push(id);
    }
  }

  /** The first chunk whose last range ends at or above `offset`; the number of chunks when there is none. */
  #chunkFor(offset: number): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#chunks[middle]?.flat.at(-1) ?? 0) < offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** A range above all others. */
  #append(first: number, end: number): void {
    const last = this.#chunks.at(-1);
    this.#count++;
    if (last !== undefined && last.flat.length < CHUNK_RANGES_MAX * 2) {
      last.flat.push(first, end);
      touch(last);
      return;
    }
    this.#chunks.push({ id: this.#nextId++, flat: [first, end], logDirty: true, metadataDirty: true });
  }

  /** The last range of chunk `at` has grown to `high`: what it now covers or touches in later chunks becomes part of it. */
  #absorbFollowing(at: number, high: number): void {
    const chunk = this.#chunks[at];
    let end = high;
    let whole = at + 1;
    while ((this.#chunks[whole]?.flat.at(-1) ?? Infinity) <= end) whole++;
    this.#drop(at + 1, whole);
    const next = this.#chunks[at + 1];
    if (next !== undefined && (next.flat[0] ?? Infinity) <= end) {
      let drop = 0;
      for (; (next.flat[drop] ?? Infinity) <= end; drop += 2) end = Math.max(end, next.flat[drop + 1] ?? end);
      next.flat.splice(0, drop);
      this.#count -= drop / 2;
      touch(next);
      if (next.flat.length === 0) this.#drop(at + 1, at + 2);
    }
    if (chunk !== undefined) chunk.flat[chunk.flat.length - 1] = end;
  }

  #drop(from: number, to: number): void {
    for (const chunk of this.#chunks.splice(from, to - from)) {
      this.#count -= chunk.flat.length / 2;
      this.#removed.push(chunk.id);
    }
  }

  #split(at: number): void {
    const chunk = this.#chunks[at];
    if (chunk === undefined) return;
    const upper = chunk.flat.splice((chunk.flat.length >>> 2) * 2);
    this.#chunks.splice(at + 1, 0, { id: this.#nextId++, flat: upper, logDirty: true, metadataDirty: true });
  }
}

function touch(chunk: RangeChunk): void {
  chunk.logDirty = true;
  chunk.metadataDirty = true;
}

/** Index in `flat` of the first range that ends at or above `offset`. */
function lowerBound(flat: readonly number[], offset: number): number {
  let low = 0;
  let high = flat.length >>> 1;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((flat[middle * 2 + 1] ?? 0) < offset) low = middle + 1;
    else high = middle;
  }
  return low * 2;
}
