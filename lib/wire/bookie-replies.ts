// What a bookie answers, as the fields of a frame (bookie-frames.ts): kind, writer and reader of each reply.

import type { BookieReply, PartitionListing, ReplicaState } from '#lib/ledger/protocol.ts';
import { unreachable } from '#lib/types/assert.ts';
import { type BookieId, bookieId, type Offset } from '#lib/types/brands.ts';
import { BOOKIE_MAGIC } from './bookie-requests.ts';
import type { ByteReader, ByteWriter } from './bytes.ts';
import {
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
} from './ledger-values.ts';

const REFUSALS = ['gap', 'sealed', 'no_ledger', 'not_promised', 'not_decided', 'invalid'] as const;

const R_OK = 65;
const R_APPENDED = 66;
const R_FENCED = 67;
const R_STALE = 68;
const R_REFUSED = 69;
const R_CONFLICT = 70;
const R_UNKNOWN = 71;
const R_BUSY = 72;
const R_GONE = 73;
const R_ENTRIES = 74;
const R_LOCATED = 75;
const R_STATE = 76;
const R_LIST = 77;
const R_CORRUPT = 78;
const R_UNREACHABLE = 79;
const PONG = 94;
const WELCOME = 95;

const NO_TAIL: readonly Buffer[] = [];

export type WelcomeStatus = 'ok' | 'other_cluster' | 'other_bookie' | 'version' | 'busy';
const WELCOME_STATUSES: readonly WelcomeStatus[] = ['ok', 'other_cluster', 'other_bookie', 'version', 'busy'];

export interface WelcomeMessage {
  readonly kind: 'welcome';
  readonly status: WelcomeStatus;
  readonly version: number;
  readonly clusterId: string;
  readonly bookie: BookieId;
}

/** `full`: the disk has no space for clients' entries. */
export type ServerMessage = WelcomeMessage | { readonly kind: 'pong'; readonly full: boolean } | BookieReply;

export function replyKind(message: ServerMessage): number {
  switch (message.kind) {
    case 'ok':
      return R_OK;
    case 'appended':
      return R_APPENDED;
    case 'fenced':
      return R_FENCED;
    case 'stale':
      return R_STALE;
    case 'refused':
      return R_REFUSED;
    case 'conflict':
      return R_CONFLICT;
    case 'unknown':
      return R_UNKNOWN;
    case 'busy':
      return R_BUSY;
    case 'gone':
      return R_GONE;
    case 'entries':
      return R_ENTRIES;
    case 'located':
      return R_LOCATED;
    case 'state':
      return R_STATE;
    case 'list':
      return R_LIST;
    case 'corrupt':
      return R_CORRUPT;
    case 'unreachable':
      return R_UNREACHABLE;
    case 'pong':
      return PONG;
    case 'welcome':
      return WELCOME;
    default:
      return unreachable(message);
  }
}

export function writeReply(writer: ByteWriter, message: ServerMessage): readonly Buffer[] {
  switch (message.kind) {
    case 'ok':
    case 'unknown':
    case 'unreachable':
      return NO_TAIL;
    case 'appended':
      writer.u64(message.end);
      return NO_TAIL;
    case 'fenced':
      writer.u64(message.end);
      writer.u64(message.ackedEnd);
      writer.u8((message.accepted ? 1 : 0) | (message.decided ? 2 : 0));
      if (message.accepted) {
        writeBallot(writer, message.accepted.ballot);
        writeSeal(writer, message.accepted);
      }
      if (message.decided) writeSeal(writer, message.decided);
      return NO_TAIL;
    case 'stale':
      writeBallot(writer, message.promised);
      return NO_TAIL;
    case 'refused':
      writer.u8(REFUSALS.indexOf(message.reason));
      writeOptional(writer, message.end);
      return NO_TAIL;
    case 'conflict':
      writer.text(message.what.slice(0, 1000));
      return NO_TAIL;
    case 'busy':
      writer.u8(message.reason === 'space' ? 0 : 1);
      return NO_TAIL;
    case 'gone':
      writer.u8((message.decided ? 1 : 0) | (message.floor ? 2 : 0));
      if (message.decided) writeSeal(writer, message.decided);
      if (message.floor) writeFloorOf(writer, message.floor);
      return NO_TAIL;
    case 'entries':
      writer.u64(message.end);
      writer.u32(message.entries.length);
      for (const entry of message.entries) writer.u32(entry.length);
      return message.entries;
    case 'located':
      writeOptional(writer, message.offset);
      return NO_TAIL;
    case 'state':
      writeReplica(writer, message.state);
      return NO_TAIL;
    case 'list':
      writer.u32(message.partitions.length);
      for (const listing of message.partitions) writeListing(writer, listing);
      return NO_TAIL;
    case 'corrupt':
      writer.u64(message.offset);
      writer.text(message.what.slice(0, 1000));
      return NO_TAIL;
    case 'pong':
      writer.u8(message.full ? 1 : 0);
      return NO_TAIL;
    case 'welcome':
      writer.u32(BOOKIE_MAGIC);
      writer.u8(WELCOME_STATUSES.indexOf(message.status));
      writer.u16(message.version);
      writer.uuid(message.clusterId);
      writer.hex(message.bookie);
      return NO_TAIL;
    default:
      return unreachable(message);
  }
}

export function readReply(kind: number, reader: ByteReader, tail: Buffer): ServerMessage {
  if (tail.length > 0 && kind !== R_ENTRIES) reader.fail(`${tail.length} bytes too many`, undefined);
  switch (kind) {
    case R_OK:
      return { kind: 'ok' };
    case R_UNKNOWN:
      return { kind: 'unknown' };
    case R_UNREACHABLE:
      return { kind: 'unreachable' };
    case R_APPENDED:
      return { kind: 'appended', end: readOffset(reader) };
    case R_FENCED:
      return readFenced(reader);
    case R_STALE:
      return { kind: 'stale', promised: readBallot(reader) };
    case R_REFUSED: {
      const number = reader.u8();
      const reason = REFUSALS[number] ?? reader.fail<'invalid'>(`refusal ${number}`, 'invalid');
      return { kind: 'refused', reason, end: readOptional(reader) };
    }
    case R_CONFLICT:
      return { kind: 'conflict', what: reader.text() };
    case R_BUSY:
      return { kind: 'busy', reason: readFlags(reader, 1) === 0 ? 'space' : 'queue' };
    case R_GONE: {
      const flags = readFlags(reader, 3);
      const decided = flags & 1 ? readSeal(reader) : null;
      return { kind: 'gone', decided, floor: flags & 2 ? readFloorOf(reader) : null };
    }
    case R_ENTRIES:
      return readEntries(reader, tail);
    case R_LOCATED:
      return { kind: 'located', offset: readOptional(reader) };
    case R_STATE:
      return { kind: 'state', state: readReplica(reader) };
    case R_LIST: {
      const count = reader.u32();
      const partitions: PartitionListing[] = [];
      for (let n = 0; n < count && reader.problem === undefined; n++) partitions.push(readListing(reader));
      return { kind: 'list', partitions };
    }
    case R_CORRUPT:
      return { kind: 'corrupt', offset: readOffset(reader), what: reader.text() };
    case PONG:
      return { kind: 'pong', full: readFlags(reader, 1) === 1 };
    case WELCOME:
      return readWelcome(reader);
    default:
      return reader.fail<ServerMessage>(`a reply of kind ${kind}`, { kind: 'unknown' });
  }
}

function readFenced(reader: ByteReader): ServerMessage {
  const end = readOffset(reader);
  const ackedEnd = readOffset(reader);
  const flags = readFlags(reader, 3);
  const ballot = flags & 1 ? readBallot(reader) : null;
  const accepted = ballot && { ballot, ...readSeal(reader) };
  return { kind: 'fenced', end, ackedEnd, accepted, decided: flags & 2 ? readSeal(reader) : null };
}

function readEntries(reader: ByteReader, tail: Buffer): ServerMessage {
  const end = readOffset(reader);
  const count = reader.u32();
  const entries: Buffer[] = [];
  let at = 0;
  for (let n = 0; n < count && reader.problem === undefined; n++) {
    const next = at + reader.u32();
    if (next > tail.length) reader.fail('entries are cut', undefined);
    else entries.push(tail.subarray(at, next));
    at = next;
  }
  if (at !== tail.length) reader.fail('entries do not fill the frame', undefined);
  return { kind: 'entries', entries, end };
}

function readWelcome(reader: ByteReader): WelcomeMessage {
  if (reader.u32() !== BOOKIE_MAGIC) reader.fail('another protocol', undefined);
  const number = reader.u8();
  const status = WELCOME_STATUSES[number] ?? reader.fail<WelcomeStatus>(`status ${number}`, 'version');
  return { kind: 'welcome', status, version: reader.u16(), clusterId: reader.uuid(), bookie: bookieId(reader.hex(32)) };
}

function writeOptional(writer: ByteWriter, value: Offset | null): void {
  writer.u8(value === null ? 0 : 1);
  if (value !== null) writer.u64(value);
}

const readOptional = (reader: ByteReader): Offset | null => (readFlags(reader, 1) === 1 ? readOffset(reader) : null);

type FloorOf = NonNullable<PartitionListing['floor']>;

function writeFloorOf(writer: ByteWriter, { offset, firstLive }: FloorOf): void {
  writer.u64(offset);
  writer.uuid(firstLive);
}

const readFloorOf = (reader: ByteReader): FloorOf => ({ offset: readOffset(reader), firstLive: readLedgerId(reader) });

function writeReplica(writer: ByteWriter, state: ReplicaState): void {
  writeState(writer, state);
  writer.u64(state.bytes);
}

const readReplica = (reader: ByteReader): ReplicaState => ({ ...readState(reader), bytes: reader.u64() });

function writeListing(writer: ByteWriter, { partition, floor, ledgers, more }: PartitionListing): void {
  writePartitionId(writer, partition);
  writer.u8((floor ? 1 : 0) | (more ? 2 : 0));
  if (floor) writeFloorOf(writer, floor);
  writer.u32(ledgers.length);
  for (const state of ledgers) writeReplica(writer, state);
}

function readListing(reader: ByteReader): PartitionListing {
  const partition = readPartitionId(reader);
  const flags = readFlags(reader, 3);
  const floor = flags & 1 ? readFloorOf(reader) : null;
  const count = reader.u32();
  const ledgers: ReplicaState[] = [];
  for (let n = 0; n < count && reader.problem === undefined; n++) ledgers.push(readReplica(reader));
  return { partition, floor, ledgers, more: (flags & 2) !== 0 };
}
