// What a broker asks a bookie, as the fields of a frame (bookie-frames.ts): kind, writer and reader of each request.

import type { BookieRequest, DeleteReason } from '#lib/ledger/protocol.ts';
import { unreachable } from '#lib/types/assert.ts';
import { type BookieId, bookieId } from '#lib/types/brands.ts';
import type { ByteReader, ByteWriter } from './bytes.ts';
import {
  readBallot,
  readDescriptor,
  readFlags,
  readLedgerId,
  readOffset,
  readPartitionId,
  readSeal,
  writeBallot,
  writeDescriptor,
  writePartitionId,
  writeSeal,
} from './ledger-values.ts';

export const BOOKIE_MAGIC = 0x4b424c53;
export const LIST_PARTITIONS_MAX = 1024;

const DELETE_REASONS: readonly DeleteReason[] = ['trimmed', 'purged', 'orphan', 'offloaded'];
const APPEND = 1;
const CREATE = 2;
const FENCE = 3;
const SEAL = 4;
const DECIDED = 5;
const READ = 6;
const LOCATE = 7;
const INSPECT = 8;
const LIST = 9;
const RESTORE = 10;
const DELETE = 11;
const FLOOR = 12;
const PING = 30;
const HELLO = 31;

const NO_TAIL: readonly Buffer[] = [];

/** `bookie` null: whichever listens there. */
export interface HelloMessage {
  readonly kind: 'hello';
  readonly versionMin: number;
  readonly versionMax: number;
  readonly clusterId: string;
  readonly bookie: BookieId | null;
  readonly client: string;
}

/** What a client may send; `ping` asks for a sign of life. */
export type ClientMessage = HelloMessage | { readonly kind: 'ping' } | BookieRequest;
export function requestKind(message: ClientMessage): number {
  switch (message.kind) {
    case 'append':
      return APPEND;
    case 'create':
      return CREATE;
    case 'fence':
      return FENCE;
    case 'seal':
      return SEAL;
    case 'decided':
      return DECIDED;
    case 'read':
      return READ;
    case 'locate':
      return LOCATE;
    case 'inspect':
      return INSPECT;
    case 'list':
      return LIST;
    case 'restore':
      return RESTORE;
    case 'delete':
      return DELETE;
    case 'floor':
      return FLOOR;
    case 'ping':
      return PING;
    case 'hello':
      return HELLO;
    default:
      return unreachable(message);
  }
}

/** Writes the fields, and returns the tail. */
export function writeRequest(writer: ByteWriter, message: ClientMessage): readonly Buffer[] {
  switch (message.kind) {
    case 'append':
      writer.uuid(message.ledger);
      writeBallot(writer, message.ballot);
      writer.u64(message.first);
      writer.u64(message.offset);
      writer.u32(message.span);
      writer.u64(message.ackedEnd);
      writer.u8(message.reserved ? 1 : 0);
      return [message.bytes];
    case 'create':
      writeDescriptor(writer, message.descriptor);
      writeBallot(writer, message.ballot);
      return NO_TAIL;
    case 'fence':
      writeDescriptor(writer, message.descriptor);
      writeBallot(writer, message.ballot);
      writer.u64(message.first);
      return NO_TAIL;
    case 'seal':
      writer.uuid(message.ledger);
      writeBallot(writer, message.ballot);
      writer.u64(message.first);
      writeSeal(writer, message.value);
      return NO_TAIL;
    case 'decided':
      writer.uuid(message.ledger);
      writer.u64(message.first);
      writeSeal(writer, message.value);
      return NO_TAIL;
    case 'read':
      writer.uuid(message.ledger);
      writer.u8(message.ballot === null ? 0 : 1);
      if (message.ballot !== null) writeBallot(writer, message.ballot);
      writer.u64(message.offset);
      writer.u32(Math.min(message.bytesMax, 0xffffffff));
      return NO_TAIL;
    case 'locate':
      writer.uuid(message.ledger);
      writer.u8(message.by === 'time' ? 0 : 1);
      writer.u64(message.value);
      return NO_TAIL;
    case 'inspect':
      writer.uuid(message.ledger);
      return NO_TAIL;
    case 'list':
      writer.u8(message.after === null ? 0 : 1);
      if (message.after !== null) writer.uuid(message.after);
      writer.u32(message.countMax);
      writer.u32(message.partitions.length);
      for (const partition of message.partitions) writePartitionId(writer, partition);
      return NO_TAIL;
    case 'restore':
      writeDescriptor(writer, message.descriptor);
      writer.u64(message.first);
      writeSeal(writer, message.decided);
      writer.u64(message.offset);
      writer.u32(message.span);
      return [message.bytes];
    case 'delete':
      writer.uuid(message.ledger);
      writePartitionId(writer, message.partition);
      writer.u8(DELETE_REASONS.indexOf(message.reason));
      writeBallot(writer, message.ballot);
      return NO_TAIL;
    case 'floor':
      writePartitionId(writer, message.partition);
      writer.u64(message.offset);
      writer.uuid(message.firstLive);
      writeBallot(writer, message.ballot);
      return NO_TAIL;
    case 'ping':
      return NO_TAIL;
    case 'hello':
      writer.u32(BOOKIE_MAGIC);
      writer.u16(message.versionMin);
      writer.u16(message.versionMax);
      writer.uuid(message.clusterId);
      writer.u8(message.bookie === null ? 0 : 1);
      if (message.bookie !== null) writer.hex(message.bookie);
      writer.text(message.client);
      return NO_TAIL;
    default:
      return unreachable(message);
  }
}

export function readRequest(kind: number, reader: ByteReader, tail: Buffer): ClientMessage {
  if (tail.length > 0 && kind !== APPEND && kind !== RESTORE) reader.fail(`${tail.length} bytes too many`, undefined);
  switch (kind) {
    case APPEND: {
      const ledger = readLedgerId(reader);
      const ballot = readBallot(reader);
      const [first, offset] = [readOffset(reader), readOffset(reader)];
      const span = reader.u32();
      const ackedEnd = readOffset(reader);
      if ((span === 0) !== (tail.length === 0)) reader.fail(`${tail.length} bytes for ${span} offsets`, undefined);
      return { kind: 'append', ledger, ballot, first, offset, span, ackedEnd, reserved: readFlags(reader, 1) === 1, bytes: tail };
    }
    case CREATE:
      return { kind: 'create', descriptor: readDescriptor(reader), ballot: readBallot(reader) };
    case FENCE:
      return { kind: 'fence', descriptor: readDescriptor(reader), ballot: readBallot(reader), first: readOffset(reader) };
    case SEAL: {
      const ledger = readLedgerId(reader);
      const ballot = readBallot(reader);
      const first = readOffset(reader);
      return { kind: 'seal', ledger, ballot, first, value: readSeal(reader) };
    }
    case DECIDED:
      return { kind: 'decided', ledger: readLedgerId(reader), first: readOffset(reader), value: readSeal(reader) };
    case READ: {
      const ledger = readLedgerId(reader);
      const ballot = readFlags(reader, 1) === 1 ? readBallot(reader) : null;
      return { kind: 'read', ledger, ballot, offset: readOffset(reader), bytesMax: reader.u32() };
    }
    case LOCATE:
      return { kind: 'locate', ledger: readLedgerId(reader), by: readFlags(reader, 1) === 0 ? 'time' : 'count', value: reader.u64() };
    case INSPECT:
      return { kind: 'inspect', ledger: readLedgerId(reader) };
    case LIST:
      return readList(reader);
    case RESTORE: {
      const descriptor = readDescriptor(reader);
      const first = readOffset(reader);
      const decided = readSeal(reader);
      return { kind: 'restore', descriptor, first, decided, offset: readOffset(reader), span: reader.u32(), bytes: tail };
    }
    case DELETE: {
      const ledger = readLedgerId(reader);
      const partition = readPartitionId(reader);
      const number = reader.u8();
      const reason = DELETE_REASONS[number] ?? reader.fail<DeleteReason>(`reason ${number} to delete`, 'orphan');
      return { kind: 'delete', ledger, partition, reason, ballot: readBallot(reader) };
    }
    case FLOOR: {
      const partition = readPartitionId(reader);
      const offset = readOffset(reader);
      return { kind: 'floor', partition, offset, firstLive: readLedgerId(reader), ballot: readBallot(reader) };
    }
    case PING:
      return { kind: 'ping' };
    case HELLO:
      return readHello(reader);
    default:
      return reader.fail<ClientMessage>(`a request of kind ${kind}`, { kind: 'ping' });
  }
}

function readList(reader: ByteReader): ClientMessage {
  const after = readFlags(reader, 1) === 1 ? readLedgerId(reader) : null;
  const countMax = reader.u32();
  const count = reader.u32();
  if (count > LIST_PARTITIONS_MAX) reader.fail(`${count} partitions at once`, undefined);
  const partitions = [];
  for (let n = 0; n < count && reader.problem === undefined; n++) partitions.push(readPartitionId(reader));
  return { kind: 'list', partitions, countMax, after };
}

function readHello(reader: ByteReader): HelloMessage {
  if (reader.u32() !== BOOKIE_MAGIC) reader.fail('another protocol', undefined);
  const versionMin = reader.u16();
  const versionMax = reader.u16();
  const clusterId = reader.uuid();
  const bookie = readFlags(reader, 1) === 1 ? bookieId(reader.hex(32)) : null;
  return { kind: 'hello', versionMin, versionMax, clusterId, bookie, client: reader.text() };
}
