// The newest entries of all partitions of a broker, within one budget of bytes. Whatever is oldest anywhere goes first, so a busy partition
// takes its share from the others and gives it back. Finding an entry is a binary search in its partition's own tail.

import { RingQueue } from '#lib/runtime/ring-queue.ts';
import { assert } from '#lib/types/assert.ts';
import { entryBaseOffset, entryEnd } from '#lib/wire/entry.ts';

/** What an entry costs besides its bytes: the buffer object, its place in two queues. */
const ENTRY_OVERHEAD_BYTES = 256;

/** More references than this cannot be: the budget would be larger than any machine's memory. */
const REFERENCES_MAX = 2 ** 30;
/** Fewer stale references than this are not worth a sweep. */
const STALE_MIN = 4096;

export class TailCache {
  readonly budgetBytes: number;
  #usedBytes = 0;
  /** One reference per entry that was added, in order; those of entries that left earlier are skipped. */
  #order = new RingQueue<PartitionTail>(REFERENCES_MAX);
  /** How many of them stand for entries that left by themselves. */
  #stale = 0;

  constructor(budgetBytes: number) {
    assert(budgetBytes >= 0, 'a budget is 0 or more');
    this.budgetBytes = budgetBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** The tail of one partition; closed by its owner. */
  open(): PartitionTail {
    return new PartitionTail(this);
  }

  /** For PartitionTail only. */
  added(tail: PartitionTail, bytes: number): void {
    this.#order.push(tail);
    this.#usedBytes += bytes;
    while (this.#usedBytes > this.budgetBytes) {
      const oldest = this.#order.shift();
      assert(oldest !== undefined, 'every byte in use has an entry in the queue');
      if (oldest.skipGone()) this.#stale--;
      else oldest.evict();
    }
  }

  /** For PartitionTail only. */
  freed(bytes: number): void {
    this.#usedBytes -= bytes;
    assert(this.#usedBytes >= 0, 'no entry is freed twice');
  }

  /** For PartitionTail only: an entry left by itself, and its reference is still here. */
  left(): void {
    this.#stale++;
    if (this.#stale >= STALE_MIN && this.#stale * 2 > this.#order.length) this.#sweep();
  }

  #sweep(): void {
    const kept = new RingQueue<PartitionTail>(REFERENCES_MAX);
    for (let tail = this.#order.shift(); tail !== undefined; tail = this.#order.shift()) if (!tail.skipGone()) kept.push(tail);
    this.#order = kept;
    this.#stale = 0;
  }
}

export class PartitionTail {
  readonly #cache: TailCache;
  #bases: number[] = [];
  #entries: (Buffer | undefined)[] = [];
  #head = 0;
  #end = 0;
  /** Entries that left by themselves and still have a reference in the cache's order. */
  #gone = 0;

  constructor(cache: TailCache) {
    this.#cache = cache;
  }

  /** How many entries are here. */
  get size(): number {
    return this.#entries.length - this.#head;
  }

  /** Base offset of the oldest entry here; Infinity when there is none. */
  get first(): number {
    return this.#bases[this.#head] ?? Number.POSITIVE_INFINITY;
  }

  /** Adds the entry that follows the newest one here. */
  add(entry: Buffer): void {
    const base = entryBaseOffset(entry);
    assert(this.size === 0 || base >= this.#end, 'entries are added in the order of the log');
    this.#bases.push(base);
    this.#entries.push(entry);
    this.#end = entryEnd(entry);
    this.#cache.added(this, entry.length + ENTRY_OVERHEAD_BYTES);
  }

  /** The entry that covers `offset`, if it is here. */
  get(offset: number): Buffer | undefined {
    if (offset >= this.#end || this.size === 0) return undefined;
    let low = this.#head;
    let high = this.#bases.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#bases[middle] ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    const entry = low > this.#head ? this.#entries[low - 1] : undefined;
    return entry !== undefined && offset < entryEnd(entry) ? entry : undefined;
  }

  /** The oldest reference to this tail in the cache's order: is it of an entry that left by itself? The oldest entries left first. */
  skipGone(): boolean {
    if (this.#gone === 0) return false;
    this.#gone--;
    return true;
  }

  /** The cache needs space: the oldest entry goes. */
  evict(): void {
    this.#removeOldest();
  }

  /** Nothing below `offset` can be read any more. */
  dropBelow(offset: number): void {
    for (let oldest = this.#entries[this.#head]; oldest !== undefined && entryEnd(oldest) <= offset; oldest = this.#entries[this.#head]) {
      this.#leave();
    }
  }

  close(): void {
    while (this.size > 0) {
      this.#leave();
    }
  }

  #leave(): void {
    this.#removeOldest();
    this.#gone++;
    this.#cache.left();
  }

  #removeOldest(): void {
    const entry = this.#entries[this.#head];
    assert(entry !== undefined, 'there is an entry to remove');
    this.#entries[this.#head++] = undefined;
    this.#cache.freed(entry.length + ENTRY_OVERHEAD_BYTES);
    if (this.#head === this.#entries.length) {
      this.#entries = [];
      this.#bases = [];
      this.#head = 0;
    } else if (this.#head >= 256 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#bases = this.#bases.slice(this.#head);
      this.#head = 0;
    }
  }
}
