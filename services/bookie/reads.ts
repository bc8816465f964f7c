// Reading a ledger's entries, wherever they are: in memory at once, from a segment in one contiguous read, across both when they follow
// each other. What is handed out was checked; what does not hold is said.

import type { World } from '#lib/runtime/ports.ts';
import { assert } from '#lib/types/assert.ts';
import { type Offset, offset } from '#lib/types/brands.ts';
import { entryBaseOffset, entryEnd } from '#lib/wire/entry.ts';
import { endProcess } from './fatal.ts';
import { endOfEntries } from './manifest/core/sayings.ts';
import type { HeldLedger } from './replica/core/ledgers.ts';
import { sliceAt } from './segments/core/slices.ts';
import type { Damage, Segments } from './segments/segments.ts';

export type ReadResult = readonly Buffer[] | Damage;

export class Reads {
  readonly #world: World;
  readonly #segments: Segments;
  readonly #countMax: number;
  readonly #bytesMax: number;
  #count = 0;
  #bytes = 0;
  readonly #waiting: (() => void)[] = [];
  damaged = 0;

  constructor(world: World, segments: Segments, countMax: number, bytesMax: number) {
    this.#world = world;
    this.#segments = segments;
    this.#countMax = countMax;
    this.#bytesMax = bytesMax;
  }

  /** Disk reads that are under way take all there is to have: try again. */
  get isFull(): boolean {
    return this.#count >= this.#countMax || this.#bytes >= this.#bytesMax;
  }

  /**
   * Whole entries from the one that covers `from`, all ending at or below `limit`, about `bytesMax` bytes and at least one. `done` is
   * called within the call when memory has them.
   */
  read(ledger: HeldLedger, from: Offset, limit: Offset, bytesMax: number, done: (result: ReadResult) => void): void {
    const here = fromMemory(ledger, from, limit, bytesMax);
    const slice = here ? undefined : sliceAt(ledger.slices, from);
    if (here) done(here);
    else if (!slice) done(this.#note(ledger, { kind: 'corrupt', offset: from, what: 'nothing is stored where an entry belongs' }));
    else {
      const to = limit < slice.to ? limit : slice.to;
      this.#track(bytesMax, this.#segments.read(slice, ledger.idView, from, to, bytesMax), result => {
        if ('kind' in result) done(this.#note(ledger, result));
        // A limit within an entry leaves nothing to hand out; a slice that ends within one has lost bytes.
        else if (result.length === 0 && limit >= slice.to)
          done(this.#note(ledger, { kind: 'corrupt', offset: from, what: 'an entry is cut' }));
        else done(this.#extended(ledger, result, limit, bytesMax));
      });
    }
  }

  /** The entry that begins at `at`. */
  entryAt(ledger: HeldLedger, at: Offset, limit: Offset, done: (result: Buffer | Damage | undefined) => void): void {
    this.read(ledger, at, limit, 1, result => {
      const entry = 'kind' in result ? result : result[0];
      done(entry && ('kind' in entry || entryBaseOffset(entry) === at) ? entry : undefined);
    });
  }

  /** Base offset of the first entry below `limit` that reaches a time or a count; null when there is none. */
  locate(ledger: HeldLedger, by: 'time' | 'count', value: number, limit: Offset, done: (result: Offset | null | Damage) => void): void {
    this.#track(0, this.#locate(ledger, by, value, limit), result => {
      done(typeof result === 'object' && result !== null ? this.#note(ledger, result) : result);
    });
  }

  async #locate(ledger: HeldLedger, by: 'time' | 'count', value: number, limit: Offset): Promise<Offset | null | Damage> {
    const { slices } = ledger;
    const lists = [ledger.flushing, ledger.active];
    let low = 0;
    let high = slices.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const slice = slices[middle];
      assert(slice !== undefined, 'a binary search stays inside');
      const begins = await this.#segments.beginsPast(slice, ledger.idView, by, value);
      if (typeof begins !== 'boolean') return begins;
      if (begins) high = middle;
      else low = middle + 1;
    }
    for (const slice of slices.slice(Math.max(0, low - 1), low + 1)) {
      const found = await this.#segments.locate(slice, ledger.idView, by, value);
      if (typeof found === 'object') return found;
      if (found !== undefined) return found < limit ? found : null;
    }
    for (const list of lists) {
      const found = list?.locate(by, value, limit);
      if (found) return offset(entryBaseOffset(found));
    }
    return null;
  }

  /** Goes on in memory where a segment's entries end and the wanted amount is not reached. */
  #extended(ledger: HeldLedger, entries: readonly Buffer[], limit: Offset, bytesMax: number): readonly Buffer[] {
    let bytes = 0;
    for (const entry of entries) bytes += entry.length;
    const next = endOfEntries(entries, limit);
    if (bytes >= bytesMax || next >= limit) return entries;
    const all = [...entries];
    takeFromMemory(ledger, next, limit, bytesMax - bytes, all);
    return all;
  }

  /** Resolves when no read is under way. */
  async drained(): Promise<void> {
    while (this.#count > 0) await new Promise<void>(resolve => this.#waiting.push(resolve));
  }

  #track<T>(bytes: number, work: Promise<T>, done: (result: T) => void): void {
    this.#count++;
    this.#bytes += bytes;
    work.then(
      result => {
        this.#count--;
        this.#bytes -= bytes;
        done(result);
        if (this.#count === 0) for (const resolve of this.#waiting.splice(0)) resolve();
      },
      error => endProcess(this.#world, 'a read failed in a way that nobody expected', error),
    );
  }

  #note(ledger: HeldLedger, damage: Damage): Damage {
    this.damaged++;
    this.#world.logger.error('stored bytes do not hold', { ledger: ledger.id, offset: damage.offset, what: damage.what });
    return damage;
  }
}

/** Undefined when memory does not have the entry that covers `from`. Entries that lie over damaged ones come first. */
function fromMemory(ledger: HeldLedger, from: Offset, limit: Offset, bytesMax: number): Buffer[] | undefined {
  const entries: Buffer[] = [];
  const patch = ledger.patches.find(list => list.indexOf(from) >= 0);
  if (patch) patch.collect(0, limit, bytesMax, entries);
  return patch || takeFromMemory(ledger, from, limit, bytesMax, entries) ? entries : undefined;
}

/** False when memory does not have the entry that covers `from`. */
function takeFromMemory(ledger: HeldLedger, from: Offset, limit: Offset, bytesMax: number, out: Buffer[]): boolean {
  let isHere = false;
  let left = bytesMax;
  let next: number = from;
  for (const list of [ledger.flushing, ledger.active]) {
    if (!list || left < 0) continue;
    const index = list.indexOf(offset(next));
    if (index < 0) continue;
    isHere = true;
    left = list.collect(index, limit, left, out);
    const last = out.at(-1);
    if (last) next = entryEnd(last);
  }
  return isHere;
}
