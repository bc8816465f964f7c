import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { offset } from '#lib/types/brands.ts';
import { isFailure } from '#lib/types/errors.ts';
import { KIB, MIB } from '#lib/types/limits.ts';
import { type BatchInfo, batchInfo, decodeBatchInfo, encodeBatch, encodeBatchInfo, messagesOf } from '#lib/wire/batch.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { encodeEntry } from '#lib/wire/entry.ts';
import { encodeEntryMeta, encodeProducerMark } from '#lib/wire/entry-meta.ts';
import type { CodecNumber, DeliveryFrame } from '#lib/wire/frames.ts';
import { encodeSubscribeResponse } from '#lib/wire/messaging-codec.ts';
import { type Appetite, rangesWithin, responseLimit, toDeliveries } from './deliveries.ts';

const BASE = 1000;
const appetite = (some: Partial<Appetite> = {}): Appetite => ({ handle: 3, responseBytesMax: 3 * MIB, codecs: [], ...some });
const mark = encodeProducerMark({ name: 'p', epoch: 1, sequence: 5, prevSequence: 4, instance: '00000000000000aa', idempotencyId: '' });

function entryOf(payload: Buffer, info: Partial<BatchInfo> & { count: number }): Buffer {
  const meta = encodeEntryMeta(mark, encodeBatchInfo(batchInfo(info)));
  const header = {
    kind: 'batch',
    baseOffset: BASE,
    count: info.count,
    cumulativeCount: 0,
    appendTimeMs: 77,
    checkpointOffset: -1,
  } as const;
  return encodeEntry(header, meta, payload, crc32c(payload));
}

function batchOf(count: number, bytes: number): Buffer {
  return encodeBatch(Array.from({ length: count }, (_, i) => ({ key: `k${i}`, payload: Buffer.alloc(bytes, 97 + (i % 26)) })));
}

async function deliver(
  entry: Buffer,
  to: Appetite,
  ranges: readonly (readonly [number, number])[] = [],
): Promise<readonly DeliveryFrame[]> {
  const made = await toDeliveries(entry, ranges, offset(9), 2, to);
  if (isFailure(made)) throw new Error(`${made.code}: ${made.message}`);
  return made;
}

/** The offsets that a client would take for messages, with their payloads. */
function seen(deliveries: readonly DeliveryFrame[]): [number, string][] {
  return deliveries.flatMap(delivery => {
    expect(crc32c(delivery.batchView)).toBe(delivery.crc);
    const all = messagesOf(delivery.batchView).map((message, i): [number, string] => [
      delivery.baseOffset + i,
      message.payload?.toString('latin1') ?? '',
    ]);
    const info = decodeBatchInfo(delivery.infoView);
    if (isFailure(info)) throw new Error(info.message);
    expect(info.count).toBe(all.length);
    expect([0, 1, all.length]).toContain(info.keyHashes.length);
    if (delivery.ranges.length === 0) return all;
    return delivery.ranges.flatMap(([first, count]) => all.slice(first, first + count));
  });
}

describe('deliveries', () => {
  it('are the stored bytes themselves where they fit', async () => {
    const entry = entryOf(batchOf(10, 10), { count: 10, keyHashes: Array.from({ length: 10 }, (_, i) => i) });
    const [delivery, ...rest] = await deliver(entry, appetite());
    expect(rest).toEqual([]);
    expect(delivery?.batchView.buffer).toBe(entry.buffer);
    expect(delivery).toMatchObject({ handle: 3, resetEpoch: 9, baseOffset: BASE, attempt: 2, appendTimeMs: 77 });
    expect(delivery?.producerView).toEqual(mark);
  });

  it('are cut at message boundaries where a response would be too large, with the columns that belong to them', async () => {
    const count = 500;
    const hashes = Array.from({ length: count }, (_, i) => i * 7);
    const attributes = [{ name: 'a', values: Array.from({ length: count }, (_, i) => `v${i}`) }];
    const entry = entryOf(batchOf(count, 1000), { count, keyHashes: hashes, attributes });
    for (const responseBytesMax of [16 * KIB, 64 * KIB, 100_000, 300_000]) {
      const deliveries = await deliver(entry, appetite({ responseBytesMax }));
      expect(deliveries.length).toBeGreaterThan(1);
      expect(seen(deliveries)).toEqual(seen(await deliver(entry, appetite())));
      for (const delivery of deliveries) {
        const response = { hello: null, attached: [], deliveries: [delivery], acknowledged: [], sought: [], detached: [] };
        expect(encodeSubscribeResponse(response).length).toBeLessThanOrEqual(responseBytesMax);
        const info = decodeBatchInfo(delivery.infoView);
        if (isFailure(info)) throw new Error(info.message);
        const first = delivery.baseOffset - BASE;
        expect([...Array.from(info.keyHashes)]).toEqual(hashes.slice(first, first + info.count));
        expect(info.attributes[0]?.values).toEqual(attributes[0]?.values.slice(first, first + info.count));
      }
    }
  });

  it('keep a column with one value for all, and the ranges that are meant', async () => {
    const entry = entryOf(batchOf(100, 1000), { count: 100, keyHashes: [42] });
    const ranges = [
      [3, 2],
      [50, 40],
    ] as const;
    const deliveries = await deliver(entry, appetite({ responseBytesMax: 20_000 }), ranges);
    const wanted = seen(await deliver(entry, appetite(), ranges));
    expect(wanted.map(([at]) => at)).toEqual([3, 4, ...Array.from({ length: 40 }, (_, i) => 50 + i)].map(i => BASE + i));
    expect(seen(deliveries)).toEqual(wanted);
    for (const delivery of deliveries) {
      const info = decodeBatchInfo(delivery.infoView);
      expect(isFailure(info) ? [] : [...Array.from(info.keyHashes)]).toEqual([42]);
    }
  });

  it('name the option to raise when a single message is too large', async () => {
    const entry = entryOf(batchOf(2, 3_900_000), { count: 2 });
    const made = await toDeliveries(entry, [], offset(9), 1, appetite());
    expect(made).toMatchObject({
      kind: 'failure',
      code: 'response_too_large',
      detail: { option: 'grpc.max_receive_message_length', offset: '1000' },
    });
    expect(seen(await deliver(entry, appetite({ responseBytesMax: responseLimit(5 * MIB) })))).toHaveLength(2);
  });

  it('are unpacked for a client without the codec, and left alone for one with it', async () => {
    const batch = batchOf(50, 300);
    const packed: [CodecNumber, Buffer][] = [
      [3, gzipSync(batch)],
      [2, zstdCompressSync(batch)],
      [1, lz4Stored(batch)],
    ];
    for (const [codec, bytes] of packed) {
      const entry = entryOf(bytes, { count: 50, codec, uncompressedBytes: batch.length, keyHashes: Array(50).fill(5) });
      const [as] = await deliver(entry, appetite({ codecs: [codec] }));
      expect(as?.batchView).toEqual(bytes);
      const deliveries = await deliver(entry, appetite());
      expect(Buffer.concat(deliveries.map(delivery => delivery.batchView))).toEqual(batch);
      const info = decodeBatchInfo(deliveries[0]?.infoView ?? Buffer.alloc(0));
      expect(info).toMatchObject({ codec: 0, uncompressedBytes: 0, count: 50 });
      expect(seen(await deliver(entry, appetite({ responseBytesMax: 16 * KIB, codecs: [] })))).toHaveLength(50);
    }
  });

  it('never give out more than a batch, nor another count than the entry says', async () => {
    const bomb = gzipSync(Buffer.alloc(20 * MIB));
    const refused = (entry: Buffer) => toDeliveries(entry, [], offset(9), 1, appetite());
    expect(await refused(entryOf(bomb, { count: 1, codec: 3 }))).toMatchObject({ code: 'corrupt_batch' });
    expect(await refused(entryOf(gzipSync(batchOf(3, 5)), { count: 4, codec: 3 }))).toMatchObject({ code: 'corrupt_batch' });
    expect(await refused(entryOf(gzipSync(batchOf(3, 5)), { count: 3, codec: 3, uncompressedBytes: 1 }))).toMatchObject({
      code: 'corrupt_batch',
    });
    expect(await refused(entryOf(Buffer.from('no gzip'), { count: 3, codec: 3 }))).toMatchObject({ code: 'corrupt_batch' });
    expect(await refused(entryOf(Buffer.from('no lz4 frame'), { count: 3, codec: 1 }))).toMatchObject({ code: 'corrupt_batch' });
    expect(await refused(entryOf(Buffer.from('no zstd'), { count: 3, codec: 2 }))).toMatchObject({ code: 'corrupt_batch' });
  });

  it('go encrypted as they are, or not at all', async () => {
    const secret = Buffer.alloc(100_000, 1);
    const entry = entryOf(secret, { count: 7, encryption: Buffer.from('key 1') });
    expect((await deliver(entry, appetite()))[0]?.batchView).toEqual(secret);
    expect(await toDeliveries(entry, [], offset(9), 1, appetite({ responseBytesMax: 20_000 }))).toMatchObject({
      code: 'response_too_large',
    });
  });

  it('cut ranges to a slice', () => {
    expect(rangesWithin([], 5, 10)).toEqual([]);
    expect(rangesWithin([[0, 5]], 5, 10)).toBeNull();
    expect(rangesWithin([[0, 20]], 5, 10)).toEqual([]);
    expect(
      rangesWithin(
        [
          [4, 3],
          [9, 5],
        ],
        5,
        10,
      ),
    ).toEqual([
      [0, 2],
      [4, 1],
    ]);
  });
});

/** A frame with one stored block, as an LZ4 encoder writes incompressible data. */
function lz4Stored(bytes: Buffer): Buffer {
  const head = Buffer.alloc(7 + 4);
  head.writeUInt32LE(0x184d2204, 0);
  head[4] = 0x60;
  head[5] = 0x70;
  head.writeUInt32LE((bytes.length | 0x8000_0000) >>> 0, 7);
  return Buffer.concat([head, bytes, Buffer.alloc(4)]);
}
