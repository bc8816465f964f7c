// The segment files of a bookie: which there are, and reading from them. What is read is checked (both
// checksums of each entry, its place, its ledger) before it is handed out; a mismatch is said, and never looks like "no entry".
//
// Open files and marks are kept for reuse, both bounded. A file that is dropped while somebody reads from it is removed afterwards.

import { basename, join } from 'node:path';
import { DiskError, type DiskFile, type World } from '#lib/runtime/ports.ts';
import { assert } from '#lib/types/assert.ts';
import type { Offset } from '#lib/types/brands.ts';
import { entryBaseOffset, entryEnd } from '#lib/wire/entry.ts';
import { firstIndex, reaches } from '../cache/core/entry-list.ts';
import {
  type DirectoryLine,
  decodeDirectory,
  decodeMarks,
  decodeTrailer,
  ledgerSeed,
  type Mark,
  MarkBuilder,
  marksBytes,
  type Run,
  readBlock,
  type SegmentInfo,
  sliceEntry,
  TRAILER_BYTES,
} from './core/format.ts';
import type { Slice } from './core/slices.ts';

const OPEN_FILES_MAX = 64;
/** About 8 MiB of memory, for 8 GiB of entries. */
const MARKS_KEPT_MAX = 128 * 1024;
const SCAN_BYTES = 4 * 1024 * 1024;
const NAME = /^segment-([0-9a-f]{12})$/;

/** What a read finds wrong: from `offset` on the stored bytes do not hold. */
export interface Damage {
  readonly kind: 'corrupt';
  readonly offset: Offset;
  readonly what: string;
}

const damage = (offset: Offset, what: string): Damage => ({ kind: 'corrupt', offset, what });

interface OpenFile {
  readonly file: Promise<DiskFile>;
  users: number;
}

export class Segments {
  readonly #world: World;
  readonly #folder: string;
  readonly #known = new Map<number, SegmentInfo>();
  readonly #files = new Map<number, OpenFile>();
  readonly #dropped = new Set<number>();
  readonly #marks = new Map<Run, readonly Mark[]>();
  #marksKept = 0;
  #next = 1;

  constructor(world: World, folder: string) {
    this.#world = world;
    this.#folder = folder;
  }

  get count(): number {
    return this.#known.size;
  }

  all(): IterableIterator<SegmentInfo> {
    return this.#known.values();
  }

  path(segment: number): string {
    return join(this.#folder, `segment-${segment.toString(16).padStart(12, '0')}`);
  }

  /** Numbers of the files that are there, known or not. */
  async filesThere(): Promise<number[]> {
    const names = await this.#world.disk.list(this.#folder);
    return names.flatMap(name => NAME.exec(name)?.[1] ?? []).map(hex => Number.parseInt(hex, 16));
  }

  /** The number for a file that is about to be written; never given twice. */
  nextNumber(): number {
    return this.#next++;
  }

  /** Numbers up to here are taken, by files that are known or that just lie there. */
  reserveNumbers(upTo: number): void {
    this.#next = Math.max(this.#next, upTo + 1);
  }

  add(info: SegmentInfo): void {
    assert(!this.#known.has(info.segment), `segment ${info.segment} is added once`);
    this.#known.set(info.segment, info);
    this.reserveNumbers(info.segment);
  }

  /** Forgets a segment and removes its file as soon as nobody reads from it. Only after the manifest says so. */
  async drop(segment: number): Promise<void> {
    this.#known.delete(segment);
    for (const run of [...this.#marks.keys()]) if (run.segment === segment) this.#forgetMarks(run);
    if (this.#files.has(segment)) this.#dropped.add(segment);
    else await this.#world.disk.remove(this.path(segment));
    if (this.#files.get(segment)?.users === 0) await this.#close(segment);
  }

  /** Whole entries from the one that covers `from` on, at most to `to`, about `bytesMax` bytes and at least one. */
  async read(slice: Slice, idView: Buffer, from: Offset, to: Offset, bytesMax: number): Promise<readonly Buffer[] | Damage> {
    assert(slice.from <= from && from < slice.to, `${from} lies in the slice`);
    return this.#withFile(slice.run, from, async file => {
      const { run } = slice;
      const marks = await this.#marksOf(file, run, idView);
      if (typeof marks === 'string') return damage(from, marks);
      const start = firstIndex(marks, mark => mark.offset > from) - 1;
      const startMark = marks[start];
      assert(startMark !== undefined, 'the first mark stands at the beginning of the run');
      let stop = start + 1;
      while (stop < marks.length && (marks[stop]?.offset ?? to) < to && blockStart(run, marks, stop) - startMark.position < bytesMax)
        stop++;
      const bytes = blockStart(run, marks, stop) - startMark.position;
      const view = Buffer.allocUnsafeSlow(bytes);
      if ((await file.read(view, startMark.position)) < bytes) return damage(from, 'the segment is cut');
      return takeEntries(view, run, marks, start, stop, ledgerSeed(idView), from, to, bytesMax);
    });
  }

  /** Where the block ends that holds `at`; the slice's end when its index cannot be read. */
  async blockEnd(slice: Slice, idView: Buffer, at: Offset): Promise<Offset> {
    const end = await this.#withFile<Offset>(slice.run, at, async file => {
      const marks = await this.#marksOf(file, slice.run, idView);
      if (typeof marks === 'string') return slice.to;
      return marks[firstIndex(marks, mark => mark.offset > at)]?.offset ?? slice.to;
    });
    return typeof end === 'object' || end > slice.to ? slice.to : end;
  }

  /** The first entry of the slice that `reaches` what is wanted; undefined when it lies behind. */
  async locate(slice: Slice, idView: Buffer, by: 'time' | 'count', value: number): Promise<Offset | undefined | Damage> {
    return this.#withFile(slice.run, slice.from, async file => {
      const { run } = slice;
      const marks = await this.#marksOf(file, run, idView);
      if (typeof marks === 'string') return damage(slice.from, marks);
      // The block before the first one that begins at or past the value holds the entry, or the one that begins there is it.
      const past = firstIndex(marks, mark => isPast(mark, by, value));
      for (let n = Math.max(0, past - 1); n < Math.min(marks.length, past + 1); n++) {
        const mark = marks[n];
        if (!mark || mark.offset >= slice.to) break;
        const bytes = blockStart(run, marks, n + 1) - mark.position;
        const view = Buffer.allocUnsafeSlow(bytes);
        if ((await file.read(view, mark.position)) < bytes) return damage(mark.offset, 'the segment is cut');
        const entries = readBlock(view, mark.offset, marks[n + 1]?.offset ?? run.end, ledgerSeed(idView), mark.check);
        if (typeof entries === 'string') return damage(mark.offset, entries);
        const found = entries.find(entry => entryBaseOffset(entry) >= slice.from && reaches(entry, by, value));
        if (found) return entryEnd(found) <= slice.to ? (entryBaseOffset(found) as Offset) : undefined;
      }
      return undefined;
    });
  }

  /** True when the run begins past the wanted entry, or with it. */
  async beginsPast(slice: Slice, idView: Buffer, by: 'time' | 'count', value: number): Promise<boolean | Damage> {
    return this.#withFile<boolean>(slice.run, slice.from, async file => {
      const marks = await this.#marksOf(file, slice.run, idView);
      if (typeof marks === 'string') return damage(slice.from, marks);
      const first = marks[0];
      return first !== undefined && isPast(first, by, value);
    });
  }

  /** What a segment's own footer says; for a manifest that cannot be read, and for the scrubber. */
  async directory(segment: number): Promise<{ fileBytes: number; lines: readonly DirectoryLine[] } | string> {
    const file = await this.#world.disk.open(this.path(segment), { readOnly: true });
    try {
      const fileBytes = await file.size();
      if (fileBytes < TRAILER_BYTES) return 'the segment is cut';
      const tail = Buffer.allocUnsafe(TRAILER_BYTES);
      const trailer = decodeTrailer(tail.subarray(0, await file.read(tail, fileBytes - TRAILER_BYTES)), segment, fileBytes);
      if (typeof trailer === 'string') return trailer;
      const view = Buffer.allocUnsafeSlow(trailer.directoryBytes);
      const lines = decodeDirectory(view.subarray(0, await file.read(view, trailer.directoryPosition)), trailer);
      return typeof lines === 'string' ? lines : { fileBytes, lines };
    } finally {
      await file.close();
    }
  }

  /** A file that nobody can read is kept, under a name that says so. */
  async putAside(segment: number): Promise<void> {
    this.#known.delete(segment);
    await this.#world.disk.rename(this.path(segment), join(this.#folder, `damaged-${basename(this.path(segment))}`));
    await this.#world.disk.syncFolder(this.#folder);
  }

  async close(): Promise<void> {
    for (const segment of [...this.#files.keys()]) await this.#close(segment);
  }

  /** Runs `use` with the run's file; a failure to read is a damage as well, with the offset that was wanted. */
  async #withFile<T>(run: Run, from: Offset, use: (file: DiskFile) => Promise<T | Damage>): Promise<T | Damage> {
    const open = this.#acquire(run.segment);
    try {
      return await use(await open.file);
    } catch (error) {
      if (error instanceof DiskError) return damage(from, error.message);
      throw error;
    } finally {
      await this.#release(run.segment, open);
    }
  }

  #acquire(segment: number): OpenFile {
    let open = this.#files.get(segment);
    if (open) this.#files.delete(segment);
    else open = { file: this.#world.disk.open(this.path(segment), { readOnly: true }), users: 0 };
    this.#files.set(segment, open);
    open.users++;
    return open;
  }

  async #release(segment: number, open: OpenFile): Promise<void> {
    open.users--;
    if (open.users > 0) return;
    if (this.#dropped.has(segment)) await this.#close(segment);
    if (this.#files.size <= OPEN_FILES_MAX) return;
    for (const [number, other] of this.#files) if (other.users === 0) return this.#close(number);
  }

  async #close(segment: number): Promise<void> {
    const open = this.#files.get(segment);
    this.#files.delete(segment);
    if (open) {
      try {
        await (await open.file).close();
      } catch (error) {
        if (!(error instanceof DiskError)) throw error;
        this.#world.logger.warn('a segment could not be closed', { segment, reason: error.reason });
      }
    }
    if (this.#dropped.delete(segment)) await this.#world.disk.remove(this.path(segment));
  }

  async #marksOf(file: DiskFile, run: Run, idView: Buffer): Promise<readonly Mark[] | string> {
    const kept = this.#marks.get(run);
    if (kept) {
      this.#marks.delete(run);
      this.#marks.set(run, kept);
      return kept;
    }
    const view = Buffer.allocUnsafe(marksBytes(run.marks));
    let marks = decodeMarks(view.subarray(0, await file.read(view, run.marksPosition)), run);
    if (typeof marks === 'string') {
      this.#world.logger.warn('the index of a run is damaged and is made again from its entries', {
        segment: run.segment,
        ledger: run.ledger,
      });
      marks = await rebuildMarks(file, run, ledgerSeed(idView));
      if (typeof marks === 'string') return marks;
    }
    this.#marks.set(run, marks);
    this.#marksKept += marks.length;
    for (const old of this.#marks.keys()) {
      if (this.#marksKept <= MARKS_KEPT_MAX || old === run) break;
      this.#forgetMarks(old);
    }
    return marks;
  }

  #forgetMarks(run: Run): void {
    this.#marksKept -= this.#marks.get(run)?.length ?? 0;
    this.#marks.delete(run);
  }
}

/** True when a block's first entry has reached the value for sure. */
const isPast = (mark: Mark, by: 'time' | 'count', value: number): boolean =>
  by === 'time' ? mark.appendTimeMs >= value : mark.cumulativeCount > value;

/** Where block `n` begins; behind the last one, where the run ends. */
function blockStart(run: Run, marks: readonly Mark[], n: number): number {
  return marks[n]?.position ?? run.position + run.bytes;
}

/** Checks blocks [start, stop), which `view` holds, and takes what was asked for out of them. */
function takeEntries(
  view: Buffer,
  run: Run,
  marks: readonly Mark[],
  start: number,
  stop: number,
  seed: number,
  from: Offset,
  to: Offset,
  bytesMax: number,
): readonly Buffer[] | Damage {
  const origin = blockStart(run, marks, start);
  const taken: Buffer[] = [];
  let left = bytesMax;
  for (let n = start; n < stop; n++) {
    const mark = marks[n];
    assert(mark !== undefined, 'a block has its mark');
    const block = view.subarray(mark.position - origin, blockStart(run, marks, n + 1) - origin);
    const entries = readBlock(block, mark.offset, marks[n + 1]?.offset ?? run.end, seed, mark.check);
    // What was read before the damage is good; the next read begins at it and says so.
    if (typeof entries === 'string') return taken.length > 0 ? taken : damage(from, entries);
    for (const entry of entries) {
      if (entryEnd(entry) <= from) continue;
      if (entryEnd(entry) > to || (entry.length > left && taken.length > 0)) return taken;
      taken.push(entry);
      left -= entry.length;
    }
  }
  return taken;
}

/** Marks of a run whose stored ones are damaged, from its entries, which must be all there. */
async function rebuildMarks(file: DiskFile, run: Run, seed: number): Promise<readonly Mark[] | string> {
  const builder = new MarkBuilder(seed);
  const end = run.position + run.bytes;
  let next: number = run.first;
  let chunk = SCAN_BYTES;
  for (let position = run.position; position < end; ) {
    const view = Buffer.allocUnsafeSlow(Math.min(chunk, end - position));
    if ((await file.read(view, position)) < view.length) return 'the segment is cut';
    let at = 0;
    for (;;) {
      const entry = sliceEntry(view, at);
      if (typeof entry === 'string') {
        if (at > 0 && position + at < end) break;
        if (view.length === end - position) return entry;
        chunk *= 4;
        break;
      }
      if (entryBaseOffset(entry) !== next) return `an entry at ${entryBaseOffset(entry)} stands where ${next} belongs`;
      builder.add(entry, position + at);
      next = entryEnd(entry);
      at += entry.length;
      if (position + at === end) break;
    }
    position += at;
  }
  return next === run.end ? builder.finish() : `a run ends at ${next} instead of ${run.end}`;
}
