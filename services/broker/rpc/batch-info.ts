// What the edge must know of a BatchInfo beyond what its decoder has checked, and the index of a slice: the part of each column that
// belongs to it.

import { assert } from '#lib/types/assert.ts';
import { type Failure, isFailure } from '#lib/types/errors.ts';
import { type BatchInfo, decodeBatchInfo, encodeBatchInfo } from '#lib/wire/batch-info.ts';
import type { CodecNumber } from '#lib/wire/frames.ts';
import { LENGTH, ProtoReader, putVarint, varintBytes } from '#lib/wire/protobuf.ts';

export interface InfoFacts {
  readonly uncompressedBytes: number;
  readonly encrypted: boolean;
  readonly entryFormat: number;
  readonly hasTransaction: boolean;
  readonly hasDelay: boolean;
  readonly hasExpiry: boolean;
  /** The column as it stands, four bytes a value: one value per message, or one for all; null: no column. */
  readonly keyHashes: Buffer | null;
}

/** `view` has been accepted by the frame's decoder: it is a well-formed message. */
export function infoFacts(view: Buffer): InfoFacts {
  let uncompressedBytes = 0;
  let encrypted = false;
  let entryFormat = 0;
  let hasTransaction = false;
  let hasDelay = false;
  let hasExpiry = false;
  let keyHashes: Buffer | null = null;
  const reader = new ProtoReader(view);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 3) uncompressedBytes = reader.uint64('uncompressed_bytes');
    else if (field === 5) encrypted = reader.bytes('encryption').length > 0;
    else if (field === 6) entryFormat = reader.uint32('entry_format');
    else if (field === 7) hasTransaction = reader.bytes('transaction_id').length > 0;
    else if (field === 8) keyHashes = reader.packed('key_hashes', 4);
    else if (field === 9) hasDelay = reader.packed('deliver_at_ms', 8).length > 0;
    else if (field === 10) hasExpiry = reader.packed('expire_at_ms', 8).length > 0;
    else reader.skip();
  }
  if (keyHashes?.length === 0) keyHashes = null;
  return { uncompressedBytes, encrypted, entryFormat, hasTransaction, hasDelay, hasExpiry, keyHashes };
}

/** The count alone. */
export function infoCount(view: Buffer): number {
  const reader = new ProtoReader(view);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) return reader.uint32('count');
    reader.skip();
  }
  return 0;
}

/** The codec alone, for every delivery: columns are passed over, not read. */
export function infoCodec(view: Buffer): CodecNumber {
  const reader = new ProtoReader(view);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field !== 2) {
      reader.skip();
      continue;
    }
    const codec = reader.uint32('codec');
    assert(codec === 1 || codec === 2 || codec === 3 || codec === 0, `a stored info has codec ${codec}`);
    return codec;
  }
  return 0;
}

/** The index of messages [first, first + count); `unpacked`: they are not compressed any more. */
export function sliceInfo(info: BatchInfo, first: number, count: number, unpacked: boolean): Buffer {
  assert(count >= 1 && first + count <= info.count, 'a slice lies within its batch');
  const plain = unpacked ? { ...info, codec: 0 as const, uncompressedBytes: 0 } : info;
  return withColumns(plain, count, column => column.slice(first, first + count));
}

/** The index of the messages that `indexes` lists. */
export function pickInfo(info: BatchInfo, indexes: readonly number[]): Buffer {
  return withColumns(info, indexes.length, column => indexes.flatMap(index => column.slice(index, index + 1)));
}

/** A column with one value for all stays as it is. */
function withColumns(info: BatchInfo, count: number, pick: <T>(column: readonly T[]) => readonly T[]): Buffer {
  const cut = <T>(column: ArrayLike<T>): readonly T[] => {
    const values = Array.from(column);
    return values.length === info.count && values.length > 1 ? pick(values) : values;
  };
  return encodeBatchInfo({
    ...info,
    count,
    keyHashes: cut(info.keyHashes),
    deliverAtMs: cut(info.deliverAtMs),
    expireAtMs: cut(info.expireAtMs),
    attributes: info.attributes.map(({ name, values }) => ({ name, values: cut(values) })),
  });
}

/** A stored info, which the edge accepted once. */
export function storedInfo(view: Buffer): BatchInfo {
  const info: BatchInfo | Failure = decodeBatchInfo(view);
  assert(!isFailure(info), `a stored info cannot be read: ${isFailure(info) ? info.message : ''}`);
  return info;
}

/** A column of key hashes as it stands in an info. */
export function hashColumn(hashes: Uint32Array): Buffer {
  const column = Buffer.allocUnsafe(hashes.length * 4);
  for (let i = 0; i < hashes.length; i++) column.writeUInt32LE(hashes[i] ?? 0, i * 4);
  return column;
}

/** One length-delimited field; `field` is below 16. */
export function bytesField(field: number, value: Buffer): Buffer {
  const head = Buffer.allocUnsafe(1 + varintBytes(value.length));
  head[0] = field * 8 + LENGTH;
  putVarint(head, value.length, 1);
  return Buffer.concat([head, value]);
}
