// A segment file: what one flush (or one rewrite) wrote, grouped by ledger, in the order of offsets. Little-endian.
//
//   0          header      magic "SLSG", version u32, segment id u64, cluster id 36, CRC of these
//   64         entries     of ledger A, of ledger B … : whole entries as they came (lib/wire/entry.ts)
//   then       marks       of A, of B …: CRC u32, count u32, count × { offset u64, cumulative count u64, append time u64, position u64, check u32 }
//   then       directory   count u32, count × { run, the ledger's state }: enough to know the segment without the manifest
//   last 48    trailer     magic "SLSE", version u32, segment id u64, directory position u64, directory bytes u64, directory CRC u32, 0, CRC
//
// A *run* is the contiguous entries of one ledger in one segment. A *mark* stands for a block of its entries, about 64 KiB: readers find
// the block by the mark, and read whole blocks. `check` is the CRC of the block's entry-header checksums, seeded with the ledger's id: it
// binds each entry (whose own checksums do not know the ledger) to its ledger and place.

import { assert } from '#lib/types/assert.ts';
import { type LedgerId, type Offset, offset } from '#lib/types/brands.ts';
import { ByteReader, ByteWriter } from '#lib/wire/bytes.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { checkEntry, ENTRY_HEADER_BYTES, entryAppendTimeMs, entryBaseOffset, entryCumulativeCount, entryEnd } from '#lib/wire/entry.ts';
import { type ReplicaRecord, readLedgerId, readOffset, readState, writeState } from '#lib/wire/ledger-values.ts';

const HEADER_MAGIC = 0x47534c53;
const TRAILER_MAGIC = 0x45534c53;
const VERSION = 1;
export const SEGMENT_HEADER_BYTES = 64;
export const TRAILER_BYTES = 48;
/** A block of entries ends with the entry that reaches it. */
export const BLOCK_BYTES = 64 * 1024;
const MARK_BYTES = 36;

/** Where a ledger's contiguous entries stand in a segment. */
export interface Run {
  readonly ledger: LedgerId;
  readonly segment: number;
  readonly first: Offset;
  readonly end: Offset;
  /** Of its first entry's first byte. */
  readonly position: number;
  readonly bytes: number;
  readonly entries: number;
  readonly marksPosition: number;
  readonly marks: number;
}

export interface SegmentInfo {
  readonly segment: number;
  readonly fileBytes: number;
  /** Of all entries that were written to it. */
  readonly entryBytes: number;
}

export interface Mark {
  readonly offset: Offset;
  readonly cumulativeCount: number;
  readonly appendTimeMs: number;
  readonly position: number;
  readonly check: number;
}

export const marksBytes = (marks: number): number => 8 + marks * MARK_BYTES;

export function encodeSegmentHeader(segment: number, clusterId: string): Buffer {
  const writer = new ByteWriter(SEGMENT_HEADER_BYTES);
  writer.u32(HEADER_MAGIC);
  writer.u32(VERSION);
  writer.u64(segment);
  writer.uuid(clusterId);
  writer.bytes(Buffer.alloc(SEGMENT_HEADER_BYTES - 4 - writer.length));
  writer.u32(crc32c(writer.view()));
  return writer.view();
}

/** What is wrong with a header; undefined when nothing is. */
export function checkSegmentHeader(view: Buffer, segment: number, clusterId: string): string | undefined {
  return view.equals(encodeSegmentHeader(segment, clusterId)) ? undefined : 'the header of the segment is damaged or of another one';
}

/** The seed of a ledger's block checks. */
export const ledgerSeed = (ledgerView: Uint8Array): number => crc32c(ledgerView);

/** Continues a block's check by one entry: over its own first 8 bytes, magic and header checksum. */
export const continueCheck = (check: number, entry: Buffer): number => crc32c(entry.subarray(0, 8), check);

/** Builds the marks of one run while its entries go by. */
export class MarkBuilder {
  readonly #seed: number;
  readonly #marks: Mark[] = [];
  #open: { offset: Offset; cumulativeCount: number; appendTimeMs: number; position: number } | undefined;
  #check = 0;
  #blockEnd = 0;

  constructor(seed: number) {
    this.#seed = seed;
  }

  add(entry: Buffer, position: number): void {
    if (this.#open && position >= this.#blockEnd) this.#close();
    if (!this.#open) {
      this.#open = {
        offset: offset(entryBaseOffset(entry)),
        cumulativeCount: entryCumulativeCount(entry),
        appendTimeMs: entryAppendTimeMs(entry),
        position,
      };
      this.#check = this.#seed;
      this.#blockEnd = position + BLOCK_BYTES;
    }
    this.#check = continueCheck(this.#check, entry);
  }

  finish(): readonly Mark[] {
    this.#close();
    return this.#marks;
  }

  #close(): void {
    if (this.#open) this.#marks.push({ ...this.#open, check: this.#check });
    this.#open = undefined;
  }
}

export function encodeMarks(marks: readonly Mark[]): Buffer {
  const writer = new ByteWriter(marksBytes(marks.length));
  const crcAt = writer.reserveU32();
  writer.u32(marks.length);
  for (const mark of marks) {
    writer.u64(mark.offset);
    writer.u64(mark.cumulativeCount);
    writer.u64(mark.appendTimeMs);
    writer.u64(mark.position);
    writer.u32(mark.check);
  }
  writer.patchU32(crcAt, crc32c(writer.view().subarray(4)));
  return writer.view();
}

/** The marks of `run`, or what is wrong with them. */
export function decodeMarks(view: Buffer, run: Run): readonly Mark[] | string {
  if (view.length !== marksBytes(run.marks) || crc32c(view.subarray(4)) !== view.readUInt32LE(0)) return 'the index of a run is damaged';
  const reader = new ByteReader(view, 4);
  if (reader.u32() !== run.marks) return 'the index of a run has another length';
  const marks: Mark[] = [];
  for (let n = 0; n < run.marks; n++)
    marks.push({
      offset: readOffset(reader),
      cumulativeCount: reader.u64(),
      appendTimeMs: reader.u64(),
      position: reader.u64(),
      check: reader.u32(),
    });
  const first = marks[0];
  if (reader.problem !== undefined || first?.offset !== run.first || first.position !== run.position)
    return 'the index of a run is of another one';
  return marks;
}

export function writeRun(writer: ByteWriter, run: Run): void {
  writer.uuid(run.ledger);
  writer.u64(run.segment);
  writer.u64(run.first);
  writer.u64(run.end);
  writer.u64(run.position);
  writer.u64(run.bytes);
  writer.u32(run.entries);
  writer.u64(run.marksPosition);
  writer.u32(run.marks);
}

export function readRun(reader: ByteReader): Run {
  const run: Run = {
    ledger: readLedgerId(reader),
    segment: reader.u64(),
    first: readOffset(reader),
    end: readOffset(reader),
    position: reader.u64(),
    bytes: reader.u64(),
    entries: reader.u32(),
    marksPosition: reader.u64(),
    marks: reader.u32(),
  };
  if (run.end <= run.first || run.entries < 1 || run.marks < 1 || run.bytes < run.entries * ENTRY_HEADER_BYTES)
    reader.fail(`a run from ${run.first} to ${run.end} with ${run.entries} entries`, undefined);
  return run;
}

export interface DirectoryLine {
  readonly run: Run;
  readonly state: ReplicaRecord;
}

/** Directory and trailer; `position` is where they will stand. */
export function encodeDirectory(segment: number, lines: readonly DirectoryLine[], position: number): Buffer {
  const writer = new ByteWriter(4096);
  writer.u32(lines.length);
  for (const { run, state } of lines) {
    writeRun(writer, run);
    writeState(writer, state);
  }
  const directoryBytes = writer.length;
  const directoryCrc = crc32c(writer.view());
  writer.u32(TRAILER_MAGIC);
  writer.u32(VERSION);
  writer.u64(segment);
  writer.u64(position);
  writer.u64(directoryBytes);
  writer.u32(directoryCrc);
  writer.u64(0);
  writer.u32(crc32c(writer.view().subarray(directoryBytes)));
  assert(writer.length === directoryBytes + TRAILER_BYTES, 'the trailer has its size');
  return writer.view();
}

export interface Trailer {
  readonly directoryPosition: number;
  readonly directoryBytes: number;
  readonly directoryCrc: number;
}

/** What the last bytes of segment `segment` say, or what is wrong with them. `fileBytes` bounds what they may claim. */
export function decodeTrailer(view: Buffer, segment: number, fileBytes: number): Trailer | string {
  if (view.length !== TRAILER_BYTES || crc32c(view.subarray(0, TRAILER_BYTES - 4)) !== view.readUInt32LE(TRAILER_BYTES - 4))
    return 'the footer of the segment is damaged';
  const reader = new ByteReader(view);
  if (reader.u32() !== TRAILER_MAGIC || reader.u32() !== VERSION) return 'the footer of the segment is of another version';
  if (reader.u64() !== segment) return 'the footer is of another segment';
  const trailer = { directoryPosition: reader.u64(), directoryBytes: reader.u64(), directoryCrc: reader.u32() };
  if (trailer.directoryPosition + trailer.directoryBytes + TRAILER_BYTES !== fileBytes) return 'the footer does not fit the file';
  return reader.problem ?? trailer;
}

export function decodeDirectory(view: Buffer, trailer: Trailer): readonly DirectoryLine[] | string {
  if (view.length !== trailer.directoryBytes || crc32c(view) !== trailer.directoryCrc) return 'the directory of the segment is damaged';
  const reader = new ByteReader(view);
  const count = reader.u32();
  const lines: DirectoryLine[] = [];
  for (let n = 0; n < count && reader.problem === undefined; n++) lines.push({ run: readRun(reader), state: readState(reader) });
  reader.end();
  return reader.problem ?? lines;
}

/**
 * Checks the entries of one block, `view` being all of it: whole entries from `from` to `to` without a gap, each with both checksums, all
 * of the ledger that `seed` stands for. The entries, or what is wrong.
 */
export function readBlock(view: Buffer, from: Offset, to: Offset, seed: number, check: number): readonly Buffer[] | string {
  const entries: Buffer[] = [];
  let sum = seed;
  let next: number = from;
  for (let at = 0; at < view.length; ) {
    const entry = sliceEntry(view, at);
    if (typeof entry === 'string') return entry;
    if (entryBaseOffset(entry) !== next) return `an entry at ${entryBaseOffset(entry)} stands where ${next} belongs`;
    sum = continueCheck(sum, entry);
    next = entryEnd(entry);
    at += entry.length;
    entries.push(entry);
  }
  if (next !== to) return `a block ends at ${next} instead of ${to}`;
  return sum === check ? entries : 'these are entries of another ledger';
}

/** The entry that begins at byte `at`, checked, or what is wrong with it. */
export function sliceEntry(view: Buffer, at: number): Buffer | string {
  if (at + ENTRY_HEADER_BYTES > view.length) return 'the entry is cut';
  const bytes = view.readUInt32LE(at + 8);
  if (bytes < ENTRY_HEADER_BYTES || at + bytes > view.length) return `an entry of ${bytes} bytes does not fit`;
  const entry = view.subarray(at, at + bytes);
  return checkEntry(entry) ?? entry;
}
