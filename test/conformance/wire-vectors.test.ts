// The published vectors of the wire (docs/protocol.md, "Test vectors"), against our codec and against a generated stub.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Failure, isFailure } from '#lib/types/errors.ts';
import { checkBatch, encodeBatch, messagesOf } from '#lib/wire/batch.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import {
  checkEntry,
  type EntryKind,
  encodeEntry,
  entryAppendTimeMs,
  entryBaseOffset,
  entryCheckpointOffset,
  entryCount,
  entryCumulativeCount,
  entryKind,
  entryMeta,
  entryPayload,
} from '#lib/wire/entry.ts';
import * as codec from '#lib/wire/messaging-codec.ts';
import { murmur2, partitionOfHash } from '#lib/wire/murmur2.ts';
import { contractType } from '#lib/wire/testing/reference.ts';

function vectors<T>(file: string): readonly T[] {
  const { vectors } = JSON.parse(readFileSync(new URL(`vectors/${file}`, import.meta.url), 'utf8')) as { vectors: readonly T[] };
  return vectors;
}

const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const hexOrNull = (text: string | null): Buffer | null => (text === null ? null : hex(text));

interface BatchVector {
  readonly name: string;
  readonly bytes: string;
  readonly canonical: boolean;
  readonly crc32c: number;
  readonly key_hashes: readonly number[];
  readonly messages: readonly {
    readonly key: string | null;
    readonly payload: string | null;
    readonly headers: readonly (readonly [string, string])[];
    readonly event_time_ms: number | null;
  }[];
}

interface EntryVector {
  readonly name: string;
  readonly bytes: string;
  readonly kind: EntryKind;
  readonly base_offset: number;
  readonly count: number;
  readonly cumulative_count: number;
  readonly append_time_ms: number;
  readonly checkpoint_offset: number;
  readonly meta: string;
  readonly payload: string;
  readonly payload_crc32c: number;
  readonly header_crc32c: number;
}

type Recoder = (view: Buffer) => Buffer | Failure;

/** Decodes a frame with our codec and encodes it again. */
function recoder<T>(decode: (view: Buffer) => T | Failure, encode: (frame: T) => Buffer): Recoder {
  return view => {
    const frame = decode(view);
    return isFailure(frame) ? frame : encode(frame);
  };
}

const RECODERS: Readonly<Record<string, Recoder>> = {
  PublishRequest: recoder(codec.decodePublishRequest, codec.encodePublishRequest),
  PublishResponse: recoder(codec.decodePublishResponse, codec.encodePublishResponse),
  SendRequest: recoder(codec.decodeSendRequest, codec.encodeSendRequest),
  SendResponse: recoder(codec.decodeSendResponse, codec.encodeSendResponse),
  SubscribeRequest: recoder(codec.decodeSubscribeRequest, codec.encodeSubscribeRequest),
  SubscribeResponse: recoder(codec.decodeSubscribeResponse, codec.encodeSubscribeResponse),
  ReadRequest: recoder(codec.decodeReadRequest, codec.encodeReadRequest),
  ReadResponse: recoder(codec.decodeReadResponse, codec.encodeReadResponse),
};

function recode(message: string, view: Buffer): Buffer | Failure {
  const found = RECODERS[message];
  if (found === undefined) throw new Error(`no codec for ${message}`);
  return found(view);
}

describe('vectors of the wire', () => {
  it.each(vectors<{ name: string; bytes: string; crc32c: number }>('crc32c.json'))('crc32c: $name', vector => {
    expect(crc32c(hex(vector.bytes))).toBe(vector.crc32c);
  });

  it.each(
    vectors<{ name: string; key: string; murmur2: number; partition_of_3: number; partition_of_8: number; partition_of_1000: number }>(
      'key-hash.json',
    ),
  )('key hash: $name', vector => {
    const hash = murmur2(hex(vector.key));
    expect(hash).toBe(vector.murmur2);
    expect([3, 8, 1000].map(partitions => partitionOfHash(hash, partitions))).toEqual([
      vector.partition_of_3,
      vector.partition_of_8,
      vector.partition_of_1000,
    ]);
  });

  it.each(vectors<BatchVector>('batches.json'))('batch: $name', vector => {
    const view = hex(vector.bytes);
    const messages = vector.messages.map(message => ({
      key: hexOrNull(message.key),
      payload: hexOrNull(message.payload),
      headers: message.headers.map(([name, value]) => [name, hex(value)] as const),
      eventTimeMs: message.event_time_ms,
    }));
    expect(checkBatch(view, messages.length)).toBeNull();
    expect(messagesOf(view)).toEqual(messages);
    expect(crc32c(view)).toBe(vector.crc32c);
    expect(messages.map(({ key }) => (key === null ? 0 : murmur2(key)))).toEqual(vector.key_hashes);
    if (vector.canonical) expect(encodeBatch(messages).toString('hex')).toBe(vector.bytes);
  });

  it.each(vectors<{ name: string; bytes: string; count: number; reason: string }>('batches-refused.json'))(
    'no batch: $name',
    ({ bytes, count, reason }) => {
      expect(checkBatch(hex(bytes), count)?.code).toBe(reason);
    },
  );

  it.each(vectors<EntryVector>('entries.json'))('entry: $name', vector => {
    const view = hex(vector.bytes);
    expect(checkEntry(view)).toBeUndefined();
    expect({
      kind: entryKind(view),
      base_offset: entryBaseOffset(view),
      count: entryCount(view),
      cumulative_count: entryCumulativeCount(view),
      append_time_ms: entryAppendTimeMs(view),
      checkpoint_offset: entryCheckpointOffset(view),
      meta: entryMeta(view).toString('hex'),
      payload: entryPayload(view).toString('hex'),
      header_crc32c: view.readUInt32LE(4),
      payload_crc32c: view.readUInt32LE(16),
    }).toEqual({ ...vector, name: undefined, bytes: undefined });
    const header = {
      kind: vector.kind,
      baseOffset: vector.base_offset,
      count: vector.count,
      cumulativeCount: vector.cumulative_count,
      appendTimeMs: vector.append_time_ms,
      checkpointOffset: vector.checkpoint_offset,
    };
    const payload = hex(vector.payload);
    expect(encodeEntry(header, [hex(vector.meta)], payload, crc32c(payload)).toString('hex')).toBe(vector.bytes);
  });

  it.each(vectors<{ name: string; bytes: string }>('entries-refused.json'))('no entry: $name', ({ bytes }) => {
    expect(checkEntry(hex(bytes))).toBeDefined();
  });

  it.each(vectors<{ message: string; name: string; bytes: string; value: object }>('frames.json'))(
    'frame: $message, $name',
    ({ message, bytes, value }) => {
      const type = contractType(message);
      expect(Buffer.from(type.encode(type.fromObject(value)).finish()).toString('hex')).toBe(bytes);
      const ours = recode(message, hex(bytes));
      expect(isFailure(ours) ? ours : ours.toString('hex')).toBe(bytes);
    },
  );

  it.each(vectors<{ message: string; name: string; bytes: string; reason: string; field: string }>('frames-refused.json'))(
    'no frame: $message, $name',
    ({ message, bytes, reason, field }) => {
      expect(recode(message, hex(bytes))).toMatchObject({ kind: 'failure', code: reason, stored: 'no', detail: { field } });
    },
  );
});
