// Descriptors, ballots, seals and replica states as bytes: the same in bookies' frames, journal records, manifest and segment footers.
//
//   partition   topic 16, number u32
//   ballot      epoch u64, incarnation 8
//   descriptor  ledger 16, partition 20, flags u8 (1: has prev), prev 16?, A u8, R u8, ensemble R × 16, creator
//   seal        end u64, flags u8 (1: has next), descriptor?
//   state       descriptor, promised, flags u8, first u64?, end u64?, ackedEnd u64?, accepted (ballot, seal)?, decided (seal)?

import type { AcceptedSeal, LedgerDescriptor, ReplicaState, SealValue } from '#lib/ledger/protocol.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import {
  type BookieId,
  bookieId,
  type LedgerId,
  ledgerId,
  type Offset,
  offset,
  type PartitionId,
  parsePartitionId,
  partitionId,
  topicId,
} from '#lib/types/brands.ts';
import type { ByteReader, ByteWriter } from './bytes.ts';

export const ENSEMBLE_MAX = 16;
const PARTITION_NUMBER_MAX = 0x7fffffff;

export function writePartitionId(writer: ByteWriter, partition: PartitionId): void {
  const { topic, partition: number } = parsePartitionId(partition);
  writer.uuid(topic);
  writer.u32(number);
}

export function readPartitionId(reader: ByteReader): PartitionId {
  const topic = topicId(reader.uuid());
  const number = reader.u32();
  return partitionId(topic, number <= PARTITION_NUMBER_MAX ? number : reader.fail(`partition ${number}`, 0));
}

export const readLedgerId = (reader: ByteReader): LedgerId => ledgerId(reader.uuid());
export const readOffset = (reader: ByteReader): Offset => offset(reader.u64());

export function writeBallot(writer: ByteWriter, ballot: Ballot): void {
  writer.u64(ballot.epoch);
  writer.hex(ballot.incarnation);
}

export function readBallot(reader: ByteReader): Ballot {
  return { epoch: reader.u64(), incarnation: reader.hex(16) };
}

export function writeDescriptor(writer: ByteWriter, descriptor: LedgerDescriptor): void {
  writer.uuid(descriptor.ledger);
  writePartitionId(writer, descriptor.partition);
  writer.u8(descriptor.prev === null ? 0 : 1);
  if (descriptor.prev !== null) writer.uuid(descriptor.prev);
  writer.u8(descriptor.ackQuorum);
  writer.u8(descriptor.ensemble.length);
  for (const bookie of descriptor.ensemble) writer.hex(bookie);
  writeBallot(writer, descriptor.creator);
}

export function readDescriptor(reader: ByteReader): LedgerDescriptor {
  const ledger = readLedgerId(reader);
  const partition = readPartitionId(reader);
  const prev = readFlags(reader, 1) ? readLedgerId(reader) : null;
  const ackQuorum = reader.u8();
  const replicas = reader.u8();
  if (replicas < 1 || replicas > ENSEMBLE_MAX || ackQuorum < 1 || ackQuorum > replicas)
    reader.fail(`an ensemble of ${replicas} with an ack quorum of ${ackQuorum}`, undefined);
  const ensemble: BookieId[] = [];
  for (let n = 0; n < replicas && reader.problem === undefined; n++) ensemble.push(bookieId(reader.hex(32)));
  const creator = readBallot(reader);
  return { ledger, partition, topic: parsePartitionId(partition).topic, prev, ensemble, ackQuorum, creator };
}

export function writeSeal(writer: ByteWriter, seal: SealValue): void {
  writer.u64(seal.end);
  writer.u8(seal.next === null ? 0 : 1);
  if (seal.next !== null) writeDescriptor(writer, seal.next);
}

export function readSeal(reader: ByteReader): SealValue {
  const end = readOffset(reader);
  return { end, next: readFlags(reader, 1) ? readDescriptor(reader) : null };
}

const HAS_FIRST = 1;
const HAS_ACCEPTED = 2;
const HAS_DECIDED = 4;

/** What a replica keeps durably: all but the amount of bytes, which follows from what is stored. */
export type ReplicaRecord = Omit<ReplicaState, 'bytes'>;

/** `first`, `end` and `ackedEnd` are all there, or none is. */
export function writeState(writer: ByteWriter, state: ReplicaRecord): void {
  writeDescriptor(writer, state.descriptor);
  writeBallot(writer, state.promised);
  const { first, end, ackedEnd, accepted, decided } = state;
  const placed = first !== null && end !== null && ackedEnd !== null;
  writer.u8((placed ? HAS_FIRST : 0) | (accepted ? HAS_ACCEPTED : 0) | (decided ? HAS_DECIDED : 0));
  if (placed) {
    writer.u64(first);
    writer.u64(end);
    writer.u64(ackedEnd);
  }
  if (accepted) {
    writeBallot(writer, accepted.ballot);
    writeSeal(writer, accepted);
  }
  if (decided) writeSeal(writer, decided);
}

export function readState(reader: ByteReader): ReplicaRecord {
  const descriptor = readDescriptor(reader);
  const promised = readBallot(reader);
  const flags = readFlags(reader, HAS_FIRST | HAS_ACCEPTED | HAS_DECIDED);
  const placed = (flags & HAS_FIRST) !== 0;
  const first = placed ? readOffset(reader) : null;
  const end = placed ? readOffset(reader) : null;
  const ackedEnd = placed ? readOffset(reader) : null;
  if (first !== null && end !== null && end < first) reader.fail(`a ledger from ${first} to ${end}`, undefined);
  let accepted: AcceptedSeal | null = null;
  if (flags & HAS_ACCEPTED) {
    const ballot = readBallot(reader);
    accepted = { ballot, ...readSeal(reader) };
  }
  const decided = flags & HAS_DECIDED ? readSeal(reader) : null;
  return { descriptor, promised, first, end, ackedEnd, accepted, decided };
}

/** A byte of flags, of which only those in `known` may be set. */
export function readFlags(reader: ByteReader, known: number): number {
  const flags = reader.u8();
  return (flags & ~known) === 0 ? flags : reader.fail(`unknown flags ${flags}`, 0);
}
