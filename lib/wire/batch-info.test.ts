import { describe, expect, it } from 'vitest';
import { isFailure } from '#lib/types/errors.ts';
import { batchInfo, decodeBatchInfo, decodeBatchInfoView, encodeBatchInfo, encodeBatchInfoView } from './batch-info.ts';
import { Dice } from './testing/random.ts';
import { contractType, referenceEncode } from './testing/reference.ts';
import * as samples from './testing/samples.ts';

describe('BatchInfo', () => {
  it('has the bytes that a generated stub writes, and reads back', () => {
    const type = contractType('BatchInfo');
    for (let seed = 0; seed < 300; seed++) {
      const info = samples.info(new Dice(seed));
      const bytes = encodeBatchInfo(info);
      expect(Buffer.from(type.encode(type.decode(bytes)).finish()), `seed ${seed}`).toEqual(bytes);
      expect(decodeBatchInfo(bytes), `seed ${seed}`).toEqual(info);
    }
  });

  it('has its values in the fields that the contract names', () => {
    const info = batchInfo({
      count: 2,
      codec: 3,
      uncompressedBytes: 2 ** 40,
      schemaId: 7,
      encryption: Buffer.from('e'),
      entryFormat: 4,
      transactionId: Buffer.from('t'),
      keyHashes: [1, 0xffff_ffff],
      deliverAtMs: [1700000000000],
      expireAtMs: [5, 6],
      attributes: [{ name: 'colour', values: ['red', ''] }],
    });
    const plain = {
      count: 2,
      codec: 3,
      uncompressed_bytes: 2 ** 40,
      schema_id: 7,
      encryption: Buffer.from('e'),
      entry_format: 4,
      transaction_id: Buffer.from('t'),
      key_hashes: [1, 0xffff_ffff],
      deliver_at_ms: [1700000000000],
      expire_at_ms: [5, 6],
      attributes: [{ name: 'colour', values: ['red', ''] }],
    };
    expect(encodeBatchInfo(info)).toEqual(referenceEncode('BatchInfo', plain));
  });

  it('is read by a broker without its columns: their lengths only', () => {
    expect(encodeBatchInfoView(3, [7, 8, 9])).toMatchObject({ count: 3, codec: 0, keyHashes: 3 });
    const { view } = encodeBatchInfoView(3, [7, 8, 9]);
    expect(decodeBatchInfoView(view)).toEqual({ view, count: 3, codec: 0, keyHashes: 3 });
  });

  it.each([
    ['key_hashes', { keyHashes: [1, 2] }],
    ['deliver_at_ms', { deliverAtMs: [1, 2] }],
    ['expire_at_ms', { expireAtMs: [1, 2, 3, 4] }],
    ['attributes.values', { attributes: [{ name: 'a', values: ['1', '2'] }] }],
  ])('refuses %s with neither one value nor one per message, for brokers and clients alike', (field, columns) => {
    const bytes = encodeBatchInfo(batchInfo({ count: 3, ...columns }));
    for (const answer of [decodeBatchInfo(bytes), decodeBatchInfoView(bytes)])
      expect(isFailure(answer) && answer.detail['field']).toBe(field);
  });

  it('refuses a time over 2^53', () => {
    const answer = decodeBatchInfo(Buffer.from('08014a080000000000002000', 'hex'));
    expect(isFailure(answer) && answer.detail['field']).toBe('deliver_at_ms');
  });

  it('refuses the same bytes in both ways of reading', () => {
    for (let seed = 0; seed < 40; seed++) {
      const bytes = encodeBatchInfo(samples.info(new Dice(seed)));
      for (let at = 0; at < bytes.length; at++) {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ 0x11;
        expect(isFailure(decodeBatchInfo(changed)), `seed ${seed}, byte ${at}`).toBe(isFailure(decodeBatchInfoView(changed)));
      }
    }
  });
});
