// What the journal and the manifest say about ledgers, as bytes. An entry's record is a short head and the entry itself; every other
// change is recorded as the whole new state, so that replaying it needs no rules and may be repeated.

import type { DeleteReason, SealValue } from '#lib/ledger/protocol.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import type { LedgerId, Offset, PartitionId } from '#lib/types/brands.ts';
import { ByteReader, ByteWriter } from '#lib/wire/bytes.ts';
import { readU64, writeU64 } from '#lib/wire/entry.ts';
import {
  type ReplicaRecord,
  readBallot,
  readFlags,
  readLedgerId,
  readOffset,
  readPartitionId,
  readSeal,
  readState,
  writeBallot,
  writePartitionId,
  writeSeal,
  writeState,
} from '#lib/wire/ledger-values.ts';

/** Types of journal records. */
export const RECORD_ENTRY = 1;
export const RECORD_STATE = 2;
export const RECORD_TOMBSTONE = 3;
export const RECORD_FLOOR = 4;

/** What is left of a deleted ledger: it refuses all that would make it again, and keeps the seal that leads to the next one. */
export interface Tombstone {
  readonly ledger: LedgerId;
  readonly partition: PartitionId;
  readonly first: Offset | null;
  readonly decided: SealValue | null;
  readonly reason: DeleteReason;
}

/** All of a partition below `offset` is gone; tombstones below it are folded into this. */
export interface Floor {
  readonly partition: PartitionId;
  readonly offset: Offset;
  readonly firstLive: LedgerId;
  readonly ballot: Ballot;
}

const REASONS: readonly DeleteReason[] = ['trimmed', 'purged', 'orphan', 'offloaded'];
const HAS_FIRST = 1;
const HAS_DECIDED = 2;

//   entry record   ledger 16, first u64, ackedEnd u64, entry
export const ENTRY_HEAD_BYTES = 32;

export function encodeEntryHead(ledgerView: Uint8Array, first: Offset, ackedEnd: Offset): Buffer {
  const head = Buffer.allocUnsafe(ENTRY_HEAD_BYTES);
  head.set(ledgerView, 0);
  writeU64(head, first, 16);
  writeU64(head, ackedEnd, 24);
  return head;
}

export const entryRecordFirst = (view: Buffer): number => readU64(view, 16);
export const entryRecordAckedEnd = (view: Buffer): number => readU64(view, 24);

export function encodeState(state: ReplicaRecord): Buffer {
  const writer = new ByteWriter();
  writeState(writer, state);
  return writer.view();
}

export function writeTombstone(writer: ByteWriter, { ledger, partition, first, decided, reason }: Tombstone): void {
  writer.uuid(ledger);
  writePartitionId(writer, partition);
  writer.u8((first === null ? 0 : HAS_FIRST) | (decided === null ? 0 : HAS_DECIDED));
  if (first !== null) writer.u64(first);
  if (decided !== null) writeSeal(writer, decided);
  writer.u8(REASONS.indexOf(reason));
}

export function readTombstone(reader: ByteReader): Tombstone {
  const ledger = readLedgerId(reader);
  const partition = readPartitionId(reader);
  const flags = readFlags(reader, HAS_FIRST | HAS_DECIDED);
  const first = flags & HAS_FIRST ? readOffset(reader) : null;
  const decided = flags & HAS_DECIDED ? readSeal(reader) : null;
  const reason = readReason(reader);
  return { ledger, partition, first, decided, reason };
}

export function readReason(reader: ByteReader): DeleteReason {
  const number = reader.u8();
  return REASONS[number] ?? reader.fail(`reason ${number} to delete a ledger`, 'orphan');
}

export function encodeTombstone(tombstone: Tombstone): Buffer {
  const writer = new ByteWriter();
  writeTombstone(writer, tombstone);
  return writer.view();
}

export function writeFloor(writer: ByteWriter, floor: Floor): void {
  writePartitionId(writer, floor.partition);
  writer.u64(floor.offset);
  writer.uuid(floor.firstLive);
  writeBallot(writer, floor.ballot);
}

export function readFloor(reader: ByteReader): Floor {
  return { partition: readPartitionId(reader), offset: readOffset(reader), firstLive: readLedgerId(reader), ballot: readBallot(reader) };
}

export function encodeFloor(floor: Floor): Buffer {
  const writer = new ByteWriter();
  writeFloor(writer, floor);
  return writer.view();
}

/** Reads a whole record; a problem is a text, because what the checksum covers may still be of another version. */
export function decodeWhole<T>(view: Buffer, read: (reader: ByteReader) => T): T | string {
  const reader = new ByteReader(view);
  const value = read(reader);
  reader.end();
  return reader.problem ?? value;
}

export const decodeState = (view: Buffer): ReplicaRecord | string => decodeWhole(view, readState);
export const decodeTombstone = (view: Buffer): Tombstone | string => decodeWhole(view, readTombstone);
export const decodeFloor = (view: Buffer): Floor | string => decodeWhole(view, readFloor);
