// The manifest's file: what the bookie knows at one position of its journal, as a log of edits. Little-endian.
//
//   0    header   magic "SLMF", version u32, sequence u64, nonce 8, 0 u32, CRC of these
//   32   records  magic "SLMR", CRC u32 over the rest, nonce 8, position u64, length u32, payload: an edit
//
// Behind the last record there may be zeros: space that the file has for the next ones. A record is applied whole or not at all. It is synced before the next one is written, and after each edit an empty one (a *cover*) is
// synced too, before anything relies on it: so an invalid record with a valid one behind it was durable and is damaged, whereas an invalid
// end is the tail of a crash. The nonce and the position in each record make the search behind an invalid one trust no length.

import type { LedgerId } from '#lib/types/brands.ts';
import { ByteReader, ByteWriter } from '#lib/wire/bytes.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { type ReplicaRecord, readLedgerId, readState, writeState } from '#lib/wire/ledger-values.ts';
import { type Floor, readFloor, readTombstone, type Tombstone, writeFloor, writeTombstone } from '../../replica/core/records.ts';
import { type Run, readRun, writeRun } from '../../segments/core/format.ts';

const FILE_MAGIC = 0x464d4c53;
const RECORD_MAGIC = 0x524d4c53;
const VERSION = 1;
export const MANIFEST_HEADER_BYTES = 32;
export const RECORD_HEAD_BYTES = 28;
const NONCE_BYTES = 8;

/** Where the journal's records begin that the manifest does not cover. */
export interface JournalPosition {
  readonly file: number;
  readonly at: number;
}

export type Edit =
  | {
      readonly kind: 'segment';
      readonly segment: number;
      readonly fileBytes: number;
      readonly entryBytes: number;
      readonly runs: readonly Run[];
    }
  /** Its runs are gone with it. */
  | { readonly kind: 'segment_removed'; readonly segment: number }
  /** The ledger's state; entries of runs beyond its end are gone. */
  | { readonly kind: 'state'; readonly state: ReplicaRecord }
  | { readonly kind: 'tombstone'; readonly tombstone: Tombstone }
  | { readonly kind: 'forgotten'; readonly ledger: LedgerId }
  | { readonly kind: 'floor'; readonly floor: Floor }
  | { readonly kind: 'trim'; readonly position: JournalPosition };

export function encodeManifestHeader(sequence: number, nonce: Buffer): Buffer {
  const writer = new ByteWriter(MANIFEST_HEADER_BYTES);
  writer.u32(FILE_MAGIC);
  writer.u32(VERSION);
  writer.u64(sequence);
  writer.bytes(nonce);
  writer.u32(0);
  writer.u32(crc32c(writer.view()));
  return writer.view();
}

/** A record with all of `edits`; none: a cover. */
export function encodeRecord(edits: readonly Edit[], nonce: Buffer, position: number): Buffer {
  const writer = new ByteWriter(1024);
  writer.u32(RECORD_MAGIC);
  const crcAt = writer.reserveU32();
  writer.bytes(nonce);
  writer.u64(position);
  const lengthAt = writer.reserveU32();
  for (const edit of edits) writeEdit(writer, edit);
  writer.patchU32(lengthAt, writer.length - RECORD_HEAD_BYTES);
  writer.patchU32(crcAt, crc32c(writer.view().subarray(8)));
  return writer.view();
}

function writeEdit(writer: ByteWriter, edit: Edit): void {
  switch (edit.kind) {
    case 'segment':
      writer.u8(1);
      writer.u64(edit.segment);
      writer.u64(edit.fileBytes);
      writer.u64(edit.entryBytes);
      writer.u32(edit.runs.length);
      for (const run of edit.runs) writeRun(writer, run);
      return;
    case 'segment_removed':
      writer.u8(2);
      writer.u64(edit.segment);
      return;
    case 'state':
      writer.u8(3);
      writeState(writer, edit.state);
      return;
    case 'tombstone':
      writer.u8(4);
      writeTombstone(writer, edit.tombstone);
      return;
    case 'forgotten':
      writer.u8(5);
      writer.uuid(edit.ledger);
      return;
    case 'floor':
      writer.u8(6);
      writeFloor(writer, edit.floor);
      return;
    case 'trim':
      writer.u8(7);
      writer.u64(edit.position.file);
      writer.u64(edit.position.at);
      return;
  }
}

function readEdit(reader: ByteReader): Edit | undefined {
  const kind = reader.u8();
  switch (kind) {
    case 1:
      return { kind: 'segment', segment: reader.u64(), fileBytes: reader.u64(), entryBytes: reader.u64(), runs: readRuns(reader) };
    case 2:
      return { kind: 'segment_removed', segment: reader.u64() };
    case 3:
      return { kind: 'state', state: readState(reader) };
    case 4:
      return { kind: 'tombstone', tombstone: readTombstone(reader) };
    case 5:
      return { kind: 'forgotten', ledger: readLedgerId(reader) };
    case 6:
      return { kind: 'floor', floor: readFloor(reader) };
    case 7:
      return { kind: 'trim', position: { file: reader.u64(), at: reader.u64() } };
    default:
      return reader.fail(`an edit of kind ${kind}`, undefined);
  }
}

function readRuns(reader: ByteReader): Run[] {
  const count = reader.u32();
  const runs: Run[] = [];
  for (let n = 0; n < count && reader.problem === undefined; n++) runs.push(readRun(reader));
  return runs;
}

export type ManifestContent =
  | {
      readonly kind: 'clean' | 'tail_cut';
      readonly edits: readonly Edit[];
      readonly nonce: Buffer;
      /** Where the next record goes. */
      readonly end: number;
    }
  /** The valid records, in order, before and behind what is damaged. */
  | { readonly kind: 'corrupt'; readonly edits: readonly Edit[]; readonly what: string }
  | { readonly kind: 'newer'; readonly version: number };

/** Reads a whole manifest file. */
export function readManifest(view: Buffer): ManifestContent {
  const edits: Edit[] = [];
  const header = readHeader(view);
  if (typeof header === 'number') return { kind: 'newer', version: header };
  let at = MANIFEST_HEADER_BYTES;
  for (;;) {
    const end = header ? readRecord(view, at, header, edits) : undefined;
    if (end === undefined) break;
    at = end;
  }
  if (header && isZero(view, at)) return { kind: 'clean', edits, nonce: header, end: at };
  const valid = at;
  let found = false;
  for (let from = header ? at : 0; ; ) {
    const next = findRecord(view, from, header, edits);
    if (next === undefined) break;
    found = true;
    from = next;
  }
  if (header && !found) return { kind: 'tail_cut', edits, nonce: header, end: valid };
  return {
    kind: 'corrupt',
    edits,
    what: header ? `a damaged record at byte ${valid} of the manifest` : "the manifest's header is damaged",
  };
}

/** True when nothing but zeros follows. */
function isZero(view: Buffer, from: number): boolean {
  for (let at = from; at < view.length; at++) if (view[at] !== 0) return false;
  return true;
}

/** The nonce; a version number when it is a newer one; undefined when the header does not hold. */
function readHeader(view: Buffer): Buffer | number | undefined {
  if (view.length < MANIFEST_HEADER_BYTES) return undefined;
  const head = view.subarray(0, MANIFEST_HEADER_BYTES);
  if (head.readUInt32LE(0) !== FILE_MAGIC || crc32c(head.subarray(0, 28)) !== head.readUInt32LE(28)) return undefined;
  return head.readUInt32LE(4) === VERSION ? head.subarray(16, 16 + NONCE_BYTES) : head.readUInt32LE(4);
}

/** Adds the edits of the valid record at `at` and returns where it ends; undefined when there is none. A missing nonce fits any. */
function readRecord(view: Buffer, at: number, nonce: Buffer | undefined, edits: Edit[]): number | undefined {
  if (at + RECORD_HEAD_BYTES > view.length || view.readUInt32LE(at) !== RECORD_MAGIC) return undefined;
  const end = at + RECORD_HEAD_BYTES + view.readUInt32LE(at + 24);
  if (end > view.length || crc32c(view.subarray(at + 8, end)) !== view.readUInt32LE(at + 4)) return undefined;
  const reader = new ByteReader(view.subarray(0, end), at + 8);
  const own = reader.bytes(NONCE_BYTES);
  if ((nonce && !own.equals(nonce)) || reader.u64() !== at) return undefined;
  reader.u32();
  const read: Edit[] = [];
  while (reader.left > 0 && reader.problem === undefined) {
    const edit = readEdit(reader);
    if (edit) read.push(edit);
  }
  if (reader.problem !== undefined) return undefined;
  for (const edit of read) edits.push(edit);
  return end;
}

/** Searches byte by byte for a valid record behind a damaged one; returns where it ends. */
function findRecord(view: Buffer, from: number, nonce: Buffer | undefined, edits: Edit[]): number | undefined {
  const magic = Buffer.alloc(4);
  magic.writeUInt32LE(RECORD_MAGIC, 0);
  for (let at = view.indexOf(magic, from); at >= 0; at = view.indexOf(magic, at + 1)) {
    const end = readRecord(view, at, nonce, edits);
    if (end !== undefined) return end;
  }
  return undefined;
}
