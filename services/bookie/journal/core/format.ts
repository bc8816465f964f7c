// The bytes of a journal file. Little-endian; a group and the file's header stand on 4 KiB boundaries.
//
//   file header, block 0                         group header, at a block's start            record, right behind the one before
//    0 u32 magic "SLJ" + version 1                0 u32 magic "SLG" + version 1               0 u32 CRC-32C over [4, 40 + head)
//    4 u32 CRC-32C over [8, 96)                   4 u32 CRC-32C over [8, 64)                  4 u32 length: all bytes of its parts
//    8 8B  file id                                8 8B  file id                               8 u32 length of the last part
//   16 u64 sequence                              16 u64 sequence                             12 u32 CRC-32C of the last part
//   24 u64 sequence of the file before; 0: none  24 u32 position in the file                 16 u8  type, 3 bytes 0
//   32 8B  its id                                28 u32 bytes: header and records            20 u32 position in the file
//   40 u32 its end: what lies behind is void     32 u32 records                              24 8B  file id
//   44 u32 the end of its last record            36 u32 0                                    32 u64 sequence
//   48 u64 started, ms (for people)              40 u64 syncedTo: sequence                   40 parts: head, then the last one
//   56 u32 bytes of this file                    48 u32 syncedTo: position in that file
//   60 0 …                                       52 0 …
//
// A file id is random, new for each life of a file. So a record, a group or a header is valid only where and when it was written.

import { assert } from '#lib/types/assert.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { readU64, writeU64 } from '#lib/wire/entry.ts';

export const BLOCK_BYTES = 4096;
export const GROUP_HEADER_BYTES = 64;
export const RECORD_HEADER_BYTES = 40;
const FILE_HEADER_BYTES = 96;
const FILE_MAGIC = 0x014a4c53;
const GROUP_MAGIC = 0x01474c53;

/** A place in the journal: `file` is a sequence number, `at` a byte in that file. */
export interface JournalPosition {
  readonly file: number;
  readonly at: number;
}

/** Negative when `a` comes before `b`. */
export function compareJournalPositions(a: JournalPosition, b: JournalPosition): number {
  return a.file === b.file ? a.at - b.at : a.file - b.file;
}

/** One life of a file. `idLow` and `idHigh` are the halves of its random id. */
export interface FileIdentity {
  readonly sequence: number;
  readonly idLow: number;
  readonly idHigh: number;
}

/** Where the file before was ended: its content up to `end` is durable and valid, all behind is void. */
export interface PreviousFile {
  readonly identity: FileIdentity;
  readonly end: number;
  /** The end of its last record, not rounded up to a block: what a trim position is compared with. */
  readonly recordsEnd: number;
}

export interface FileHeader {
  readonly identity: FileIdentity;
  readonly previous: PreviousFile | null;
  readonly startedMs: number;
  readonly fileBytes: number;
}

export interface GroupHeader {
  readonly identity: FileIdentity;
  readonly at: number;
  /** Header and records, without the padding behind. */
  readonly bytes: number;
  readonly records: number;
  /** Everything below was durable when the group was written. */
  readonly syncedTo: JournalPosition;
}

export function roundUp(position: number): number {
  return Math.ceil(position / BLOCK_BYTES) * BLOCK_BYTES;
}

export function sameFile(a: FileIdentity, b: FileIdentity): boolean {
  return a.idLow === b.idLow && a.idHigh === b.idHigh && a.sequence === b.sequence;
}

/** A whole block. */
export function encodeFileHeader(header: FileHeader): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  block.writeUInt32LE(FILE_MAGIC, 0);
  writeIdentity(block, header.identity, 8);
  if (header.previous) {
    assert(header.previous.identity.sequence < header.identity.sequence, 'sequence numbers increase');
    writeU64(block, header.previous.identity.sequence, 24);
    block.writeUInt32LE(header.previous.identity.idLow, 32);
    block.writeUInt32LE(header.previous.identity.idHigh, 36);
    block.writeUInt32LE(header.previous.end, 40);
    block.writeUInt32LE(header.previous.recordsEnd, 44);
  }
  writeU64(block, header.startedMs, 48);
  block.writeUInt32LE(header.fileBytes, 56);
  block.writeUInt32LE(crc32c(block.subarray(8, FILE_HEADER_BYTES)), 4);
  return block;
}

/** Null when these bytes are no file header. */
export function decodeFileHeader(view: Buffer): FileHeader | null {
  if (view.length < FILE_HEADER_BYTES || view.readUInt32LE(0) !== FILE_MAGIC) return null;
  if (crc32c(view.subarray(8, FILE_HEADER_BYTES)) !== view.readUInt32LE(4)) return null;
  const sequence = readU64(view, 24);
  const previous: PreviousFile = {
    identity: { sequence, idLow: view.readUInt32LE(32), idHigh: view.readUInt32LE(36) },
    end: view.readUInt32LE(40),
    recordsEnd: view.readUInt32LE(44),
  };
  return {
    identity: readIdentity(view, 8),
    previous: sequence === 0 ? null : previous,
    startedMs: readU64(view, 48),
    fileBytes: view.readUInt32LE(56),
  };
}

/** Writes 64 bytes at `offset` of `target`. */
export function writeGroupHeader(target: Buffer, offset: number, header: GroupHeader): void {
  target.fill(0, offset, offset + GROUP_HEADER_BYTES);
  target.writeUInt32LE(GROUP_MAGIC, offset);
  writeIdentity(target, header.identity, offset + 8);
  target.writeUInt32LE(header.at, offset + 24);
  target.writeUInt32LE(header.bytes, offset + 28);
  target.writeUInt32LE(header.records, offset + 32);
  writeU64(target, header.syncedTo.file, offset + 40);
  target.writeUInt32LE(header.syncedTo.at, offset + 48);
  target.writeUInt32LE(crc32c(target.subarray(offset + 8, offset + GROUP_HEADER_BYTES)), offset + 4);
}

/** The group header that stands at `at` of a file's bytes, of whichever life; null when there is none that is valid. */
export function readGroupHeader(file: Buffer, at: number): GroupHeader | null {
  if (at + GROUP_HEADER_BYTES > file.length || file.readUInt32LE(at) !== GROUP_MAGIC) return null;
  if (crc32c(file.subarray(at + 8, at + GROUP_HEADER_BYTES)) !== file.readUInt32LE(at + 4)) return null;
  if (file.readUInt32LE(at + 24) !== at) return null;
  return {
    identity: readIdentity(file, at + 8),
    at,
    bytes: file.readUInt32LE(at + 28),
    records: file.readUInt32LE(at + 32),
    syncedTo: { file: readU64(file, at + 40), at: file.readUInt32LE(at + 48) },
  };
}

export interface RecordFields {
  readonly type: number;
  /** All parts. */
  readonly length: number;
  readonly lastLength: number;
  readonly lastCrc: number;
  readonly at: number;
  readonly identity: FileIdentity;
}

/** Writes 40 bytes at `offset`, all but the checksum, of which the return value is the part over these bytes. */
export function writeRecordHeader(target: Buffer, offset: number, fields: RecordFields): number {
  target.writeUInt32LE(fields.length, offset + 4);
  target.writeUInt32LE(fields.lastLength, offset + 8);
  target.writeUInt32LE(fields.lastCrc, offset + 12);
  target.writeUInt32LE(fields.type, offset + 16);
  target.writeUInt32LE(fields.at, offset + 20);
  writeIdentity(target, fields.identity, offset + 24);
  return crc32c(target.subarray(offset + 4, offset + RECORD_HEADER_BYTES));
}

export interface RecordView {
  readonly type: number;
  /** The parts, one behind the other, where they stand in the file's bytes. */
  readonly bytes: Buffer;
  readonly end: number;
}

/** The record of this life at `at`, which must end by `limit`; null when it is not valid. No length is believed before it is bounded. */
export function readRecord(file: Buffer, at: number, identity: FileIdentity, limit: number): RecordView | null {
  const start = at + RECORD_HEADER_BYTES;
  if (start > limit || limit > file.length) return null;
  const length = file.readUInt32LE(at + 4);
  const lastLength = file.readUInt32LE(at + 8);
  const end = start + length;
  if (end > limit || lastLength > length) return null;
  if (file.readUInt32LE(at + 20) !== at || !sameFile(readIdentity(file, at + 24), identity)) return null;
  if (crc32c(file.subarray(at + 4, end - lastLength)) !== file.readUInt32LE(at)) return null;
  if (crc32c(file.subarray(end - lastLength, end)) !== file.readUInt32LE(at + 12)) return null;
  return { type: file.readUInt32LE(at + 16), bytes: file.subarray(start, end), end };
}

/** Where the record at `at` would end if its length, which nothing vouches for, were true. */
export function claimedRecordEnd(file: Buffer, at: number): number {
  return at + RECORD_HEADER_BYTES > file.length ? file.length : at + RECORD_HEADER_BYTES + file.readUInt32LE(at + 4);
}

function writeIdentity(target: Buffer, identity: FileIdentity, offset: number): void {
  target.writeUInt32LE(identity.idLow, offset);
  target.writeUInt32LE(identity.idHigh, offset + 4);
  writeU64(target, identity.sequence, offset + 8);
}

function readIdentity(view: Buffer, offset: number): FileIdentity {
  return { idLow: view.readUInt32LE(offset), idHigh: view.readUInt32LE(offset + 4), sequence: readU64(view, offset + 8) };
}
