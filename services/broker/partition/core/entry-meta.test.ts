import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { decodeMeta, encodeMetaHead, type ProducerMark } from './entry-meta.ts';

const MARK: ProducerMark = {
  name: 'orders',
  epoch: 300,
  sequence: 2 ** 40 + 5,
  prevSequence: 2 ** 40,
  instance: '0123456789abcdef',
  idempotencyId: 'id-ä',
};
const INFO = Buffer.from([8, 3, 16, 1]);

const encode = (mark: ProducerMark | null, info = INFO): Buffer => Buffer.concat([encodeMetaHead(mark, info.length), info]);

describe('the meta part of an entry', () => {
  test.each([
    ['a full mark', MARK],
    ['an id alone', { name: '', epoch: 0, sequence: 0, prevSequence: 0, instance: '', idempotencyId: 'x' }],
    ['a producer without an id', { ...MARK, idempotencyId: '' }],
    ['no mark', null],
  ])('comes back with %s', (_, mark) => {
    expect(decodeMeta(encode(mark))).toEqual({ mark, infoView: INFO });
  });

  test('keeps the BatchInfo byte for byte', () => {
    const info = Buffer.from([250, 1, 3, 1, 2, 3, 8, 1]);
    expect(decodeMeta(encode(MARK, info))).toMatchObject({ infoView: info });
  });

  test('is what any protobuf library reads', () => {
    const root = protobuf.parse(`syntax = "proto3";
      message BatchInfo { uint32 count = 1; uint32 codec = 2; }
      message ProducerMark { string name = 1; uint64 epoch = 2; uint64 sequence = 3; uint64 prev_sequence = 4; fixed64 instance = 5; string idempotency_id = 6; }
      message EntryMeta { ProducerMark producer = 1; BatchInfo info = 2; }`).root;
    const type = root.lookupType('EntryMeta');
    const read = type.toObject(type.decode(encode(MARK)), { longs: String });
    expect(read).toEqual({
      producer: {
        name: 'orders',
        epoch: '300',
        sequence: String(2 ** 40 + 5),
        prevSequence: String(2 ** 40),
        instance: BigInt('0x0123456789abcdef').toString(),
        idempotencyId: 'id-ä',
      },
      info: { count: 3, codec: 1 },
    });
    const written = Buffer.from(type.encode(type.fromObject(read)).finish());
    expect(decodeMeta(written)).toEqual({ mark: MARK, infoView: INFO });
  });

  test('that is cut short is refused or reads as less, never past its end', () => {
    const whole = encode(MARK);
    for (let end = 0; end < whole.length; end++) {
      const read = decodeMeta(whole.subarray(0, end));
      if (typeof read !== 'string') expect(read.infoView.length).toBe(0);
    }
  });
});
