import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from 'vitest';
import { isFailure } from '#lib/types/errors.ts';
import { BATCH_BYTES_MAX, BATCH_COUNT_MAX, MESSAGE_BYTES_MAX } from '#lib/types/limits.ts';
import {
  BatchBuilder,
  BatchCursor,
  checkBatch,
  countMessages,
  decodeBatchInfo,
  encodeBatch,
  iterateMessages,
  type MessageInput,
  messagesOf,
  sliceBatch,
} from './batch.ts';
import { murmur2 } from './murmur2.ts';
import { Dice } from './testing/random.ts';
import { contractType, referenceDecode } from './testing/reference.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const bytesOf = (part: Uint8Array | string): Buffer => (typeof part === 'string' ? Buffer.from(part) : Buffer.from(part));

function randomMessages(dice: Dice): MessageInput[] {
  return dice.list(6, () => ({
    key: dice.maybe(() => (dice.flip() ? dice.bytes() : dice.text())),
    payload: dice.maybe(() => (dice.flip() ? dice.bytes(300) : dice.text(150))),
    headers: dice.list(3, () => [dice.text(), dice.flip() ? dice.bytes() : dice.text()] as const),
    eventTimeMs: dice.maybe(() => dice.int64()),
  }));
}

describe('building', () => {
  it('makes the bytes that a generated stub reads, and reads the messages back', () => {
    const type = contractType('Batch');
    for (let seed = 0; seed < 300; seed++) {
      const messages = randomMessages(new Dice(seed));
      const view = encodeBatch(messages);
      expect(Buffer.from(type.encode(type.decode(view)).finish()), `seed ${seed}`).toEqual(view);
      expect(checkBatch(view, messages.length)).toBeNull();
      const expected = messages.map(message => ({
        key: message.key === null || message.key === undefined ? null : bytesOf(message.key),
        payload: message.payload === null || message.payload === undefined ? null : bytesOf(message.payload),
        headers: (message.headers ?? []).map(([name, value]) => [name, bytesOf(value)]),
        eventTimeMs: message.eventTimeMs,
      }));
      expect(messagesOf(view), `seed ${seed}`).toEqual(expected);
      expect([...iterateMessages(view)]).toEqual(expected);
    }
  });

  it('has its values in the fields that the contract names', () => {
    const view = encodeBatch([{ key: 'k', payload: '', headers: [['n', 'v']], eventTimeMs: -1 }, {}]);
    const { messages } = referenceDecode('Batch', view);
    expect(messages).toEqual([
      { key: Buffer.from('k'), payload: Buffer.from(''), headers: [{ name: 'n', value: Buffer.from('v') }], event_time_ms: -1 },
      {},
    ]);
  });

  it('leaves out what proto3 leaves out, and keeps what is optional', () => {
    expect(encodeBatch([{ key: '', payload: '', headers: [['', '']], eventTimeMs: 0 }]).toString('hex')).toBe(
      '0a08' + '0a00' + '1200' + '1a00' + '2000',
    );
  });

  it('gives an index of key hashes: none without keys, one for equal keys, else one a message', () => {
    const hashesOf = (...keys: (string | null)[]) => {
      const builder = new BatchBuilder();
      for (const key of keys) builder.append({ key, payload: 'p' });
      const { info } = builder.take();
      const decoded = decodeBatchInfo(info.view);
      if (isFailure(decoded)) throw new Error(decoded.message);
      expect(info).toMatchObject({ count: keys.length, codec: 0, keyHashes: decoded.keyHashes.length });
      return Array.from(decoded.keyHashes);
    };
    const [a, b] = [murmur2(Buffer.from('a')), murmur2(Buffer.from('b'))];
    expect(hashesOf(null, null)).toEqual([]);
    expect(hashesOf('a', 'a', 'a')).toEqual([a]);
    expect(hashesOf('a', 'b', 'a')).toEqual([a, b, a]);
    expect(hashesOf(null, 'b')).toEqual([0, b]);
    expect(hashesOf('a', null)).toEqual([a, 0]);
    expect(hashesOf(...Array.from({ length: 1000 }, (_, index) => (index % 2 ? 'a' : 'b')))).toHaveLength(1000);
  });

  it('takes a hash that is known already', () => {
    const builder = new BatchBuilder();
    builder.append({ key: 'a' }, 12345);
    const decoded = decodeBatchInfo(builder.take().info.view);
    expect(isFailure(decoded) ? [] : Array.from(decoded.keyHashes)).toEqual([12345]);
  });

  it('grows past its first capacity, and is empty after take and reset', () => {
    const builder = new BatchBuilder(8);
    const payload = Buffer.alloc(100_000, 7);
    builder.append({ payload: 'first' });
    expect(builder.append({ payload })).toBe('appended');
    const taken = builder.take().batchView;
    expect(messagesOf(taken)[1]?.payload).toEqual(payload);
    builder.append({ payload: 'dropped' });
    builder.reset();
    builder.append({ payload: 'kept' });
    expect(builder.count).toBe(1);
    expect(messagesOf(taken)[0]?.payload).toEqual(Buffer.from('first'));
    expect(messagesOf(builder.take().batchView).map(message => String(message.payload))).toEqual(['kept']);
  });

  it('is full at its size and at 100,000 messages, but takes any first message within the limit', () => {
    const builder = new BatchBuilder(64, 100);
    expect(builder.append({ payload: Buffer.alloc(500) })).toBe('appended');
    expect(builder.append({ payload: '' })).toBe('full');
    expect(builder.count).toBe(1);
    const many = new BatchBuilder();
    for (let index = 0; index < BATCH_COUNT_MAX; index++) many.append({});
    expect(many.append({})).toBe('full');
    expect(checkBatch(many.take().batchView, BATCH_COUNT_MAX)).toBeNull();
  });

  it('refuses a message of 5 MiB + 1 with its framing, and takes one of 5 MiB', () => {
    const framing = 10;
    const builder = new BatchBuilder();
    const refusal = builder.append({ payload: Buffer.alloc(MESSAGE_BYTES_MAX - framing + 1) });
    expect(isFailure(refusal) && refusal.code).toBe('message_too_large');
    expect(builder.append({ payload: Buffer.alloc(MESSAGE_BYTES_MAX - framing) })).toBe('appended');
    expect(builder.bytes).toBe(MESSAGE_BYTES_MAX);
    expect(checkBatch(builder.take().batchView, 1)).toBeNull();
  });
});

describe('checking', () => {
  it.each([
    ['a count that lies', '0a 00 0a 00', 3, 'corrupt_batch'],
    ['another field', '12 00', 1, 'corrupt_batch'],
    ['messages as numbers', '08 01', 1, 'corrupt_batch'],
    ['a message that is cut off', '0a 05 1203', 1, 'corrupt_batch'],
    ['a length without end', '0a ffffffffffffffffffff01', 1, 'corrupt_batch'],
    ['a length of 2^63', '0a ffffffffffffffff7f', 1, 'corrupt_batch'],
    ['a tag and nothing more', '0a', 1, 'corrupt_batch'],
    ['a payload longer than its message', '0a 02 1205', 1, 'corrupt_batch'],
    ['a key longer than its message', '0a 02 0a05 0a 05 0102030405', 2, 'corrupt_batch'],
    ['two payloads', '0a 04 1200 1200', 1, 'corrupt_batch'],
    ['two keys', '0a 04 0a00 0a00', 1, 'corrupt_batch'],
    ['two event times', '0a 04 2001 2002', 1, 'corrupt_batch'],
    ['a payload as a number', '0a 02 1001', 1, 'corrupt_batch'],
    ['an event time as bytes', '0a 02 2200', 1, 'corrupt_batch'],
    ['an event time cut off', '0a 02 2080', 1, 'corrupt_batch'],
    ['an event time over 2^53', '0a 0a 20 808080808080808001', 1, 'corrupt_batch'],
    ['an event time below -2^53', '0a 0b 20 80808080808080808001', 1, 'corrupt_batch'],
    ['a header longer than its message', '0a 04 1a05 0a00', 1, 'corrupt_batch'],
    ['a header name longer than its header', '0a 04 1a02 0a05', 1, 'corrupt_batch'],
    ['a header with two names', '0a 06 1a04 0a00 0a00', 1, 'corrupt_batch'],
    ['a header name that is not UTF-8', '0a 05 1a03 0a01ff', 1, 'corrupt_batch'],
    ['field number 0', '0a 02 0200', 1, 'corrupt_batch'],
    ['a group', '0a 02 2b2c', 1, 'corrupt_batch'],
    ['a payload tag in two bytes', '0a 03 920000', 1, 'corrupt_batch'],
    ['an unknown field that is cut off', '0a 03 790000', 1, 'corrupt_batch'],
    ['an unknown text that is cut off', '0a 02 7a05', 1, 'corrupt_batch'],
    ['a tag of six bytes', '0a 07 f8808080800101', 1, 'corrupt_batch'],
  ])('refuses %s', (_what, bytes, count, code) => {
    const answer = checkBatch(hex(bytes), count);
    expect(answer?.code).toBe(code);
  });

  it('accepts fields of a later version, in messages and in headers', () => {
    const view = hex('0a 0d 1200 7805 7a0161 7d01020304 1a 06 0a0161 1a0162'.replace('0d', '14'));
    expect(checkBatch(view, 1)).toBeNull();
    expect(messagesOf(view)).toEqual([{ key: null, payload: Buffer.alloc(0), headers: [['a', Buffer.alloc(0)]], eventTimeMs: null }]);
  });

  it('names the message that is wrong', () => {
    expect(checkBatch(hex('0a00 0a00 0a02 1001'), 3)).toMatchObject({ code: 'corrupt_batch', detail: { message: '2' } });
  });

  it('holds a message to 5 MiB and a batch to 8 MiB', () => {
    const payload = (bytes: number) =>
      contractType('Batch')
        .encode({ messages: [{ payload: Buffer.alloc(bytes) }] })
        .finish();
    expect(checkBatch(Buffer.from(payload(MESSAGE_BYTES_MAX - 10)), 1)).toBeNull();
    expect(checkBatch(Buffer.from(payload(MESSAGE_BYTES_MAX - 9)), 1)?.code).toBe('message_too_large');
    const half = Buffer.from(payload(MESSAGE_BYTES_MAX - 10));
    expect(checkBatch(Buffer.concat([half, half]), 2)?.code).toBe('message_too_large');
    const small = encodeBatch([{ payload: Buffer.alloc(BATCH_BYTES_MAX - MESSAGE_BYTES_MAX - 10) }]);
    expect(checkBatch(Buffer.concat([half, small]), 2)).toBeNull();
  });

  it('holds a batch to 100,000 messages', () => {
    expect(checkBatch(Buffer.alloc(2 * BATCH_COUNT_MAX, hex('0a00')), BATCH_COUNT_MAX)).toBeNull();
    expect(countMessages(Buffer.alloc(2 * BATCH_COUNT_MAX + 2, hex('0a00')))).toMatchObject({ code: 'corrupt_batch' });
  });

  it('agrees with a generated stub about everything that it accepts, and never reads outside', () => {
    const type = contractType('Batch');
    let accepted = 0;
    for (let seed = 0; seed < 15; seed++) {
      const bytes = encodeBatch(randomMessages(new Dice(seed)));
      for (let at = 0; at < bytes.length; at++)
        for (const mask of [0x01, 0x02, 0x08, 0x10, 0x80]) {
          const changed = Buffer.concat([Buffer.alloc(16, 0x0a), bytes, Buffer.alloc(16, 0x0a)]).subarray(16, 16 + bytes.length);
          changed[at] = (changed[at] ?? 0) ^ mask;
          const count = countMessages(changed);
          if (isFailure(count)) continue;
          accepted++;
          const reference = type.toObject(type.decode(changed), { longs: Number, arrays: true });
          const ours = messagesOf(changed).map(message => [message.key, message.payload, message.headers, message.eventTimeMs]);
          const theirs = reference['messages'].map((message: Record<string, unknown>) => [
            message['key'] ?? null,
            message['payload'] ?? null,
            headersOf(message['headers']),
            message['event_time_ms'] ?? null,
          ]);
          if (!isDeepStrictEqual(ours, theirs)) expect(ours, `seed ${seed}, byte ${at}, ${changed.toString('hex')}`).toEqual(theirs);
        }
    }
    expect(accepted).toBeGreaterThan(500);
  });
});

function headersOf(headers: unknown): unknown[] {
  return Array.isArray(headers) ? headers.map(header => [header.name ?? '', header.value ?? Buffer.alloc(0)]) : [];
}

describe('slicing', () => {
  it('gives any run of messages as a batch, without copying', () => {
    const view = encodeBatch(Array.from({ length: 20 }, (_, index) => ({ payload: `message ${index}` })));
    for (let first = 0; first <= 20; first++)
      for (let count = 0; first + count <= 20; count++) {
        const slice = sliceBatch(view, first, count);
        expect(slice.buffer).toBe(view.buffer);
        expect(messagesOf(slice).map(message => String(message.payload))).toEqual(
          Array.from({ length: count }, (_, index) => `message ${first + index}`),
        );
      }
  });

  it('is a bug beyond the end', () => {
    expect(() => sliceBatch(encodeBatch([{}, {}]), 1, 2)).toThrow('a slice [1, 3) of a batch with 2 messages');
  });
});

describe('the cursor', () => {
  it('tells where messages and their fields stand', () => {
    const view = encodeBatch([{ key: 'k', payload: 'first' }, { payload: 'second' }]);
    const cursor = new BatchCursor(view);
    expect(cursor.next()).toBe(true);
    expect(String(cursor.key())).toBe('k');
    expect(cursor.keyHash()).toBe(murmur2(Buffer.from('k')));
    expect(String(view.subarray(cursor.payloadStart, cursor.payloadEnd))).toBe('first');
    expect([cursor.start, cursor.end]).toEqual([0, 12]);
    expect(cursor.next()).toBe(true);
    expect(cursor.key()).toBeNull();
    expect(cursor.keyHash()).toBe(0);
    expect(cursor.next()).toBe(false);
    expect(cursor.failure).toBeNull();
  });
});
