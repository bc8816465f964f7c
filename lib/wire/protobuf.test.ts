import { describe, expect, it } from 'vitest';
import { isFailure } from '#lib/types/errors.ts';
import type { SubscribeRequestFrame } from './frames.ts';
import {
  decodePublishRequest,
  decodePublishResponse,
  decodeReadRequest,
  decodeSendRequest,
  decodeSubscribeRequest,
  decodeSubscribeResponse,
  encodeSubscribeRequest,
} from './messaging-codec.ts';
import { ProtoReader, ProtoWriter, putVarint, REQUEST_ITEMS_MAX, STRING_BYTES_MAX, varintBytes } from './protobuf.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** The refusal as `code field`. */
function refusal(answer: unknown): string {
  return isFailure(answer) ? `${answer.code} ${answer.detail['field']}` : 'accepted';
}

describe('numbers', () => {
  it('have the same varint whichever way they are written', () => {
    const buffer = Buffer.alloc(16);
    for (const value of [0, 1, 127, 128, 16383, 16384, 2 ** 21, 2 ** 28 - 1, 2 ** 28, 2 ** 31, 2 ** 32, 2 ** 35, 2 ** 49, 2 ** 53 - 1]) {
      const end = putVarint(buffer, value, 3);
      expect(end - 3).toBe(varintBytes(value));
      const writer = new ProtoWriter(1);
      writer.optionalUint(1, value);
      expect(writer.finish().subarray(1)).toEqual(buffer.subarray(3, end));
      const reader = new ProtoReader(Buffer.concat([hex('08'), buffer.subarray(3, end)]));
      expect(reader.next()).toBe(1);
      expect(reader.uint64('n')).toBe(value);
      expect(reader.next()).toBe(0);
      expect(reader.failure).toBeNull();
    }
  });

  it('may be written longer than they must be, up to ten bytes', () => {
    const reader = new ProtoReader(hex('08 81808080808080808000'));
    reader.next();
    expect(reader.uint64('n')).toBe(1);
    expect(reader.failure).toBeNull();
  });

  it('are refused beyond ten bytes, beyond 2^53, cut off', () => {
    const read = (bytes: string) => {
      const reader = new ProtoReader(hex(bytes));
      reader.next();
      reader.uint64('n');
      return reader.failure?.message;
    };
    expect(read('08 8180808080808080808000')).toBe('n is a number of more than 10 bytes');
    expect(read('08 8080808080808010')).toBe('n is over 2^53 - 1');
    expect(read('08 ffffffffffffffffff01')).toBe('n is over 2^53 - 1');
    expect(read('08 80')).toBe('n is cut off');
    expect(read('08')).toBe('n is cut off');
  });

  it('with a sign are read within 2^53 on both sides', () => {
    const read = (bytes: string) => {
      const reader = new ProtoReader(hex(bytes));
      reader.next();
      const value = reader.int64('n');
      return reader.failure?.message ?? value;
    };
    expect(read('08 ffffffffffffffffff01')).toBe(-1);
    expect(read('08 8180808080808 0f0ff01')).toBe(-Number.MAX_SAFE_INTEGER);
    expect(read('08 8080808080808080 8001')).toBe('n is beyond 2^53 - 1');
    expect(read('08 05')).toBe(5);
  });
});

describe('a frame that breaks the contract is refused by the name of its field', () => {
  it.each([
    ['a handle over 2^32', decodePublishRequest(hex('1a 08 0880808080 10 2200')), 'invalid_argument batches.handle'],
    ['another wire type', decodePublishRequest(hex('1a 05 0d01000000')), 'invalid_argument batches.handle'],
    ['a field twice', decodePublishRequest(hex('1a 06 0801 0801 2200')), 'invalid_argument batches.handle'],
    ['a batch twice', decodePublishRequest(hex('1a 08 2200 32 02 0a00 3200')), 'corrupt_batch batches.batch'],
    ['a batch that is longer than its frame', decodePublishRequest(hex('1a 04 2200 32 7f')), 'corrupt_batch batches.batch'],
    ['a batch without info', decodePublishRequest(hex('1a 02 0801')), 'invalid_argument batches.info'],
    ['two hellos', decodePublishRequest(hex('0a 02 0801 0a 02 0801')), 'invalid_argument hello'],
    ['text that is not UTF-8', decodePublishRequest(hex('12 03 1201 ff')), 'invalid_argument open.topic'],
    ['text cut inside a character', decodePublishRequest(hex('12 04 1202 c3c3')), 'invalid_argument open.topic'],
    ['a nested message longer than the frame', decodePublishRequest(hex('1a ffffffff0f')), 'invalid_argument batches'],
    ['a length of 2^53', decodePublishRequest(hex('1a 80808080808080 10')), 'invalid_argument batches'],
    ['field number 0', decodePublishRequest(hex('02 00')), 'invalid_argument '],
    ['a group', decodePublishRequest(hex('0b 0c')), 'invalid_argument hello'],
    ['an unknown group', decodePublishRequest(hex('7b 7c')), 'invalid_argument '],
    ['an unknown field that is cut off', decodePublishRequest(hex('79 00')), 'invalid_argument '],
    ['an unknown codec', decodePublishRequest(hex('1a 08 22 04 0801 1009 3200')), 'invalid_argument batches.info.codec'],
    [
      'a column of two values for three',
      decodePublishRequest(hex('1a 0e 22 0c 0803 42 08 0102030401020304')),
      'invalid_argument batches.info.key_hashes',
    ],
    [
      'a column in pieces',
      decodePublishRequest(hex('1a 10 22 0e 0802 42 04 01020304 42 04 01020304')),
      'invalid_argument batches.info.key_hashes',
    ],
    ['a column of 5 bytes', decodePublishRequest(hex('1a 0b 22 09 0801 42 05 0102030405')), 'invalid_argument batches.info.key_hashes'],
    ['a column that is not packed', decodePublishRequest(hex('1a 09 22 07 0801 45 01020304')), 'invalid_argument batches.info.key_hashes'],
    [
      'attribute values that are not UTF-8',
      decodePublishRequest(hex('1a 09 22 07 0801 5a 03 1201 ff')),
      'invalid_argument batches.info.attributes.values',
    ],
    [
      'two attribute values for three',
      decodePublishRequest(hex('1a 0e 22 0c 0803 5a 08 0a0161 12 00 120161')),
      'invalid_argument batches.info.attributes.values',
    ],
    ['an acknowledge mode of tomorrow', decodePublishRequest(hex('1a 04 2200 3802')), 'invalid_argument batches.ack'],
    ['two batches in a Send', decodeSendRequest(hex('22 02 0a00 22 02 0a00')), 'corrupt_batch batch'],
    ['a position twice', decodeReadRequest(hex('1a 04 0801 1801')), 'invalid_argument start.at'],
    ['no position', decodeReadRequest(hex('1a 00')), 'invalid_argument start.at'],
    ['a position that is false', decodeReadRequest(hex('1a 02 0800')), 'invalid_argument start.earliest'],
    ['no start', decodeReadRequest(hex('0a 01 61')), 'invalid_argument start'],
    ['an unknown subscription type', decodeSubscribeRequest(hex('12 02 2809')), 'invalid_argument attach.type'],
    ['an empty span', decodeSubscribeRequest(hex('22 06 22 04 0805 1005')), 'invalid_argument acknowledge.spans'],
    ['a transaction', decodeSubscribeRequest(hex('22 03 3a01 aa')), 'unsupported acknowledge.transaction_id'],
    ['a seek to nowhere', decodeSubscribeRequest(hex('2a 02 0801')), 'invalid_argument seek.to'],
    ['a result without outcome', decodePublishResponse(hex('1a 02 0801')), 'invalid_argument results.outcome'],
    ['a result with two outcomes', decodePublishResponse(hex('1a 04 1a00 2a00')), 'invalid_argument results.outcome'],
    ['two batches in a delivery', decodeSubscribeResponse(hex('1a 04 3200 3200')), 'corrupt_batch deliveries.batch'],
  ])('%s', (_what, answer, expected) => {
    expect(refusal(answer)).toBe(expected);
  });
});

describe('what is bounded', () => {
  it('is the length of a text', () => {
    const topic = (bytes: number) => {
      const writer = new ProtoWriter();
      writer.string(1, 'a'.repeat(bytes));
      return decodeSendRequest(writer.finish());
    };
    expect(refusal(topic(STRING_BYTES_MAX))).toBe('accepted');
    expect(refusal(topic(STRING_BYTES_MAX + 1))).toBe('invalid_argument topic');
  });

  it('is the number of elements in one request, over all fields', () => {
    const credit = { handle: 1, messages: 0, bytes: 0 };
    const request = (elements: number): SubscribeRequestFrame => ({
      hello: null,
      attach: [],
      credit: Array.from({ length: elements - 10 }, () => credit),
      acknowledge: [],
      seek: [],
      detach: Array.from({ length: 10 }, () => 1),
    });
    expect(refusal(decodeSubscribeRequest(encodeSubscribeRequest(request(REQUEST_ITEMS_MAX))))).toBe('accepted');
    expect(refusal(decodeSubscribeRequest(encodeSubscribeRequest(request(REQUEST_ITEMS_MAX + 1))))).toBe('invalid_argument detach');
  });
});

describe('the client', () => {
  it('takes a reason that only a newer server knows as internal, and keeps its name', () => {
    const writer = new ProtoWriter();
    const result = writer.mark();
    const error = writer.mark();
    writer.uint(3, 1);
    writer.string(1, 'gone_fishing');
    writer.message(5, error);
    writer.message(3, result);
    const response = decodePublishResponse(writer.finish());
    if (isFailure(response)) expect.fail(response.message);
    expect(response.results[0]?.outcome).toEqual({
      kind: 'error',
      error: { reason: 'internal', message: '', stored: 'unknown', retryAfterMs: 0, detail: { reason: 'gone_fishing' } },
    });
  });

  it('may name codecs that this server does not know, packed or not', () => {
    const ask = (codecs: string) => {
      const request = decodeReadRequest(hex(`1a 02 0801 ${codecs}`));
      return isFailure(request) ? request.message : request.codecs;
    };
    expect(ask('42 04 00010963')).toEqual([0, 1]);
    expect(ask('4002 4007 4001')).toEqual([2, 1]);
  });
});

describe('the writer', () => {
  it('grows as often as it must', () => {
    const small = new ProtoWriter(0);
    const large = new ProtoWriter(100_000);
    for (const writer of [small, large])
      for (let index = 0; index < 500; index++) {
        const mark = writer.mark();
        writer.string(2, 'é'.repeat(index % 40));
        writer.uint(1, index * 1000);
        writer.message(3, mark);
      }
    expect(small.finish()).toEqual(large.finish());
  });
});
