// BatchInfo of proto/sluice/v1/messaging.proto: what a broker must know of a batch. A broker reads `BatchInfoView` and keeps the bytes as
// they came; `decodeBatchInfo` gives all of it. Both check that every column has no value, one, or `count`, and comes in one packed piece.

import type { Failure } from '#lib/types/errors.ts';
import { BATCH_COUNT_MAX } from '#lib/types/limits.ts';
import type { BatchInfoView, CodecNumber } from './frames.ts';
import { EMPTY, ProtoReader, ProtoWriter } from './protobuf.ts';

export interface AttributeColumn {
  readonly name: string;
  readonly values: readonly string[];
}

/** All of a BatchInfo. A column has `count` values, or one for all, or none. */
export interface BatchInfo {
  readonly count: number;
  readonly codec: CodecNumber;
  readonly uncompressedBytes: number;
  readonly schemaId: number;
  readonly encryption: Buffer;
  readonly entryFormat: number;
  readonly transactionId: Buffer;
  readonly keyHashes: ArrayLike<number>;
  readonly deliverAtMs: ArrayLike<number>;
  readonly expireAtMs: ArrayLike<number>;
  readonly attributes: readonly AttributeColumn[];
}

/** A BatchInfo from what is unusual in it. */
export function batchInfo(info: Partial<BatchInfo> & { readonly count: number }): BatchInfo {
  return {
    codec: 0,
    uncompressedBytes: 0,
    schemaId: 0,
    encryption: EMPTY,
    entryFormat: 0,
    transactionId: EMPTY,
    keyHashes: [],
    deliverAtMs: [],
    expireAtMs: [],
    attributes: [],
    ...info,
  };
}

export function encodeBatchInfo(info: BatchInfo): Buffer {
  const columnBytes = 4 * info.keyHashes.length + 8 * (info.deliverAtMs.length + info.expireAtMs.length);
  const writer = new ProtoWriter(64 + info.encryption.length + info.transactionId.length + columnBytes);
  for (let index = info.attributes.length - 1; index >= 0; index--) writeAttribute(writer, info.attributes[index]);
  writer.bytes(10, packU64(info.expireAtMs));
  writer.bytes(9, packU64(info.deliverAtMs));
  writer.bytes(8, packU32(info.keyHashes));
  writer.bytes(7, info.transactionId);
  writer.uint(6, info.entryFormat);
  writer.bytes(5, info.encryption);
  writer.uint(4, info.schemaId);
  writer.uint(3, info.uncompressedBytes);
  writer.uint(2, info.codec);
  writer.uint(1, info.count);
  return writer.finish();
}

/** The usual info of an uncompressed batch as a broker sees it: encoded, with its view. */
export function encodeBatchInfoView(count: number, keyHashes: ArrayLike<number> = []): BatchInfoView {
  return { view: encodeBatchInfo(batchInfo({ count, keyHashes })), count, codec: 0, keyHashes: keyHashes.length };
}

export function decodeBatchInfo(view: Buffer): BatchInfo | Failure {
  const reader = new ProtoReader(view, 16 * BATCH_COUNT_MAX);
  const info = readBatchInfo(reader);
  return reader.failure ?? info;
}

/** What a broker reads of BatchInfo bytes that stand by themselves, in a stored entry for instance. */
export function decodeBatchInfoView(view: Buffer): BatchInfoView | Failure {
  const reader = new ProtoReader(view);
  const info = readBatchInfoView(reader);
  return reader.failure ?? info;
}

/** The reader stands inside a BatchInfo. Every field is checked; whether its count is in bounds is for who knows which batch it is. */
export function readBatchInfoView(reader: ProtoReader): BatchInfoView {
  const view = reader.rest();
  let count = 0;
  let codec: CodecNumber = 0;
  let keyHashes = 0;
  let deliverAt = 0;
  let expireAt = 0;
  let attributes: number[] | null = null;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) count = reader.uint32('count');
    else if (field === 2) codec = readCodec(reader);
    else if (field === 3) reader.uint64('uncompressed_bytes');
    else if (field === 4) reader.uint32('schema_id');
    else if (field === 5) reader.bytes('encryption');
    else if (field === 6) reader.uint32('entry_format');
    else if (field === 7) reader.bytes('transaction_id');
    else if (field === 8) keyHashes = reader.packed('key_hashes', 4).length / 4;
    else if (field === 9) deliverAt = reader.packed('deliver_at_ms', 8).length / 8;
    else if (field === 10) expireAt = reader.packed('expire_at_ms', 8).length / 8;
    else if (field === 11) {
      attributes ??= [];
      attributes.push(passAttribute(reader));
    } else reader.skip();
  }
  checkColumn(reader, 'key_hashes', keyHashes, count);
  checkColumn(reader, 'deliver_at_ms', deliverAt, count);
  checkColumn(reader, 'expire_at_ms', expireAt, count);
  if (attributes !== null) for (const values of attributes) checkColumn(reader, 'attributes.values', values, count);
  return { view, count, codec, keyHashes };
}

function readBatchInfo(reader: ProtoReader): BatchInfo {
  let count = 0;
  let codec: CodecNumber = 0;
  let uncompressedBytes = 0;
  let schemaId = 0;
  let encryption: Buffer = EMPTY;
  let entryFormat = 0;
  let transactionId: Buffer = EMPTY;
  let keyHashes: Buffer = EMPTY;
  let deliverAtMs: Buffer = EMPTY;
  let expireAtMs: Buffer = EMPTY;
  const attributes: AttributeColumn[] = [];
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) count = reader.uint32('count');
    else if (field === 2) codec = readCodec(reader);
    else if (field === 3) uncompressedBytes = reader.uint64('uncompressed_bytes');
    else if (field === 4) schemaId = reader.uint32('schema_id');
    else if (field === 5) encryption = reader.bytes('encryption');
    else if (field === 6) entryFormat = reader.uint32('entry_format');
    else if (field === 7) transactionId = reader.bytes('transaction_id');
    else if (field === 8) keyHashes = reader.packed('key_hashes', 4);
    else if (field === 9) deliverAtMs = reader.packed('deliver_at_ms', 8);
    else if (field === 10) expireAtMs = reader.packed('expire_at_ms', 8);
    else if (field === 11) attributes.push(readAttribute(reader));
    else reader.skip();
  }
  checkColumn(reader, 'key_hashes', keyHashes.length / 4, count);
  checkColumn(reader, 'deliver_at_ms', deliverAtMs.length / 8, count);
  checkColumn(reader, 'expire_at_ms', expireAtMs.length / 8, count);
  for (const column of attributes) checkColumn(reader, 'attributes.values', column.values.length, count);
  return {
    count,
    codec,
    uncompressedBytes,
    schemaId,
    encryption,
    entryFormat,
    transactionId,
    keyHashes: unpackU32(keyHashes),
    deliverAtMs: unpackU64(deliverAtMs),
    expireAtMs: unpackU64(expireAtMs),
    attributes,
  };
}

function readCodec(reader: ProtoReader): CodecNumber {
  const value = reader.uint32('codec');
  if (value === 0 || value === 1 || value === 2 || value === 3) return value;
  reader.refuse('codec', `is ${value}, which this version does not know`);
  return 0;
}

function checkColumn(reader: ProtoReader, name: string, values: number, count: number): void {
  if (values > 1 && values !== count) reader.refuse(name, `has ${values} values for ${count} messages: give none, one, or one for each`);
}

function readAttribute(reader: ProtoReader): AttributeColumn {
  let name = '';
  const values: string[] = [];
  reader.enterItem('attributes');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) name = reader.string('name');
    else if (field === 2) values.push(reader.stringItem('values'));
    else reader.skip();
  }
  reader.leave();
  return { name, values };
}

/** Checks an attribute column without keeping it; returns how many values it has. */
function passAttribute(reader: ProtoReader): number {
  let values = 0;
  reader.enterItem('attributes');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) reader.string('name');
    else if (field === 2) {
      reader.passString('values');
      values++;
    } else reader.skip();
  }
  reader.leave();
  return values;
}

function writeAttribute(writer: ProtoWriter, column: AttributeColumn | undefined): void {
  if (column === undefined) return;
  const mark = writer.mark();
  for (let index = column.values.length - 1; index >= 0; index--) writer.stringItem(2, column.values[index] ?? '');
  writer.string(1, column.name);
  writer.message(11, mark);
}

function packU32(values: ArrayLike<number>): Buffer {
  if (values.length === 0) return EMPTY;
  const packed = Buffer.allocUnsafe(4 * values.length);
  for (let index = 0; index < values.length; index++) packed.writeUInt32LE((values[index] ?? 0) >>> 0, 4 * index);
  return packed;
}

function packU64(values: ArrayLike<number>): Buffer {
  if (values.length === 0) return EMPTY;
  const packed = Buffer.allocUnsafe(8 * values.length);
  for (let index = 0; index < values.length; index++) packed.writeBigUInt64LE(BigInt(values[index] ?? 0), 8 * index);
  return packed;
}

function unpackU32(packed: Buffer): Uint32Array {
  const values = new Uint32Array(packed.length / 4);
  for (let index = 0; index < values.length; index++) values[index] = packed.readUInt32LE(4 * index);
  return values;
}

function unpackU64(packed: Buffer): number[] {
  const values: number[] = [];
  for (let at = 0; at < packed.length; at += 8) values.push(packed.readUInt32LE(at) + packed.readUInt32LE(at + 4) * 0x1_0000_0000);
  return values;
}
