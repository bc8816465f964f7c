// What readers that catch up have read, and will read next, apart from the tail cache: one replay of an old topic does not push out what
// everybody else is reading. Blocks of contiguous entries, within one budget for the broker; the block that was loaded first goes first.
// Readers of the same stretch share blocks and loads. Who loads a block gets it in hand, so that it gets on however soon the block goes.

import { assert } from '#lib/types/assert.ts';
import { type Failure, isFailure } from '#lib/types/errors.ts';
import { entryBaseOffset, entryEnd } from '#lib/wire/entry.ts';

const BLOCK_BYTES_MIN = 128 * 1024;
const BLOCK_BYTES_MAX = 1024 * 1024;

/** Where blocks come from: `PartitionLog.read`. */
export type ReadEntries = (offset: number, bytesMax: number) => Promise<readonly Buffer[] | Failure>;

interface Block {
  readonly owner: CatchUp;
  readonly first: number;
  readonly end: number;
  readonly bases: readonly number[];
  readonly entries: readonly Buffer[];
  readonly bytes: number;
  /** The block after it has been asked for. */
  followed: boolean;
}

export class ReadAhead {
  readonly budgetBytes: number;
  /** So that many readers have room side by side. */
  readonly blockBytesMax: number;
  #usedBytes = 0;
  readonly #blocks = new Set<Block>();

  constructor(budgetBytes: number) {
    assert(budgetBytes >= 0, 'a budget is 0 or more');
    this.budgetBytes = budgetBytes;
    this.blockBytesMax = Math.max(BLOCK_BYTES_MIN, Math.min(BLOCK_BYTES_MAX, budgetBytes / 16));
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** The read-ahead of one partition. */
  open(read: ReadEntries): CatchUp {
    return new CatchUp(this, read);
  }

  /** For CatchUp only. */
  add(block: Block): void {
    this.#blocks.add(block);
    this.#usedBytes += block.bytes;
    for (const oldest of this.#blocks) {
      if (this.#usedBytes <= this.budgetBytes || oldest === block) break;
      oldest.owner.drop(oldest);
    }
  }

  /** For CatchUp only. */
  remove(block: Block): void {
    if (this.#blocks.delete(block)) this.#usedBytes -= block.bytes;
  }
}

/** The stretches of one partition that were read from its log lately. */
export class CatchUp {
  readonly #cache: ReadAhead;
  readonly #read: ReadEntries;
  /** By first offset, ascending. */
  #blocks: Block[] = [];
  /** Loads under way, by the offset that they begin with. */
  readonly #loads = new Map<number, Promise<readonly Buffer[] | Failure>>();
  #closed = false;

  constructor(cache: ReadAhead, read: ReadEntries) {
    this.#cache = cache;
    this.#read = read;
  }

  /** The entry that covers `offset`, if it is here. Asks for the block after it when a reader gets to the block's second half. */
  get(offset: number, limit: number): Buffer | undefined {
    const block = this.#find(offset);
    if (block === undefined) return undefined;
    const index = upperBound(block.bases, offset) - 1;
    const entry = block.entries[index];
    if (entry === undefined || offset >= entryEnd(entry)) return undefined;
    if (!block.followed && index * 2 >= block.entries.length) {
      block.followed = true;
      if (block.end < limit && this.#find(block.end) === undefined)
        this.#start(block.end, Math.min(block.bytes * 2, this.#cache.blockBytesMax));
    }
    return entry;
  }

  /** Loads the block that begins with the entry that covers `offset`; resolves to its entries when it is here, or to why not. */
  load(offset: number): Promise<readonly Buffer[] | Failure> {
    return this.#loads.get(offset) ?? this.#start(offset, BLOCK_BYTES_MIN);
  }

  /** Nothing below `offset` can be read any more. */
  dropBelow(offset: number): void {
    for (const block of this.#blocks.filter(block => block.end <= offset)) this.drop(block);
  }

  close(): void {
    this.#closed = true;
    for (const block of this.#blocks.slice()) this.drop(block);
  }

  /** Called by the cache for space, and by this partition. */
  drop(block: Block): void {
    this.#cache.remove(block);
    this.#blocks = this.#blocks.filter(other => other !== block);
  }

  #start(offset: number, bytesMax: number): Promise<readonly Buffer[] | Failure> {
    const underWay = this.#loads.get(offset);
    if (underWay !== undefined) return underWay;
    const load = this.#load(offset, Math.max(BLOCK_BYTES_MIN, bytesMax)).finally(() => this.#loads.delete(offset));
    this.#loads.set(offset, load);
    return load;
  }

  async #load(offset: number, bytesMax: number): Promise<readonly Buffer[] | Failure> {
    const entries = await this.#read(offset, bytesMax);
    if (isFailure(entries) || this.#closed || entries.length === 0) return entries;
    const bases = entries.map(entryBaseOffset);
    const last = entries.at(-1);
    const first = bases[0];
    assert(last !== undefined && first !== undefined, 'a block has entries');
    let bytes = 0;
    for (const entry of entries) bytes += entry.length;
    const block: Block = { owner: this, first, end: entryEnd(last), bases, entries, bytes, followed: false };
    this.#blocks.splice(upperBoundBlock(this.#blocks, first), 0, block);
    this.#cache.add(block);
    return entries;
  }

  /** A block that covers `offset`; the nearest from below may not be the only one that does. */
  #find(offset: number): Block | undefined {
    for (let at = upperBoundBlock(this.#blocks, offset) - 1; at >= 0; at--) {
      const block = this.#blocks[at];
      if (block !== undefined && offset < block.end) return block;
      if (block === undefined || block.first < offset - 1_000_000) return undefined;
    }
    return undefined;
  }
}

/** The entry of a block that covers `offset`. */
export function entryIn(entries: readonly Buffer[], offset: number): Buffer | undefined {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const entry = entries[middle];
    if (entry !== undefined && entryEnd(entry) <= offset) low = middle + 1;
    else high = middle;
  }
  const entry = entries[low];
  return entry !== undefined && entryBaseOffset(entry) <= offset ? entry : undefined;
}

function upperBound(bases: readonly number[], offset: number): number {
  let low = 0;
  let high = bases.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((bases[middle] ?? 0) <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

function upperBoundBlock(blocks: readonly Block[], offset: number): number {
  let low = 0;
  let high = blocks.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((blocks[middle]?.first ?? 0) <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}
