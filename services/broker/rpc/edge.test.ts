// The edge as a plain gRPC client meets it: what is good, and every kind of bad input, over a real connection and a real broker.

import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { failureOfStatus } from '#lib/rpc/status.ts';
import { MIB } from '#lib/types/limits.ts';
import { encodeBatch } from '#lib/wire/batch.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { murmur2, partitionOfKey } from '#lib/wire/murmur2.ts';
import type { Broker } from '../broker.ts';
import { failureOf, type Message, type Stream, Stub, startBroker, testCluster, until } from '../testing/start-broker.ts';

let broker: Broker;
let stub: Stub;
const streams: Stream[] = [];
let topics = 0;

beforeAll(async () => {
  broker = await startBroker(testCluster());
  stub = new Stub(broker.address, { 'grpc.max_send_message_length': -1 });
});
afterEach(() => {
  for (const stream of streams.splice(0)) stream.call.cancel();
});
afterAll(async () => {
  stub.close();
  await broker.close(0);
});

const topicName = (): string => `topic-${++topics}`;
const batch = (...payloads: string[]): Message => ({ messages: payloads.map(payload => ({ payload: Buffer.from(payload) })) });
const keyed = (...keys: (string | null)[]): Message => ({
  messages: keys.map((key, i) => ({ ...(key === null ? {} : { key: Buffer.from(key) }), payload: Buffer.from(`${key}:${i}`) })),
});

function publishing(): Stream {
  const stream = stub.publish();
  streams.push(stream);
  return stream;
}
function subscribing(): Stream {
  const stream = stub.subscribe();
  streams.push(stream);
  return stream;
}

async function opened(stream: Stream, open: Message): Promise<Message> {
  const answer = () => [...stream.all('opened'), ...stream.all('closed')].find(({ handle }) => handle === open.handle);
  stream.write({ open: [open] });
  await until(() => answer() !== undefined || stream.failure !== null);
  return answer() ?? stream.failure;
}

async function readAll(topic: string, partition = 0): Promise<string[]> {
  const read = stub.read({ topic, partition, start: { earliest: true } });
  await until(() => read.ended || read.failure !== null);
  expect(read.failure).toBeNull();
  return read.texts();
}

async function attached(stream: Stream, attach: Message): Promise<Message> {
  const answer = () => [...stream.all('attached'), ...stream.all('detached')].find(({ handle }) => handle === attach.handle);
  stream.write({ attach: [attach] });
  await until(() => answer() !== undefined || stream.failure !== null);
  return answer() ?? stream.failure;
}

/** Names that nothing may have. */
const BAD_NAMES = ['x'.repeat(300), '../x', 'a\u0000b', 'tab\tname', 'müll', '主题', '_sluice_catalog', 'a b', '..'];

describe('Send', () => {
  it('refuses bad names and unknown partitions, and says which field', async () => {
    for (const topic of ['', ...BAD_NAMES]) {
      const failure = await failureOf(stub.send({ topic, batch: batch('x') }));
      expect(failure, JSON.stringify(topic)).toMatchObject({ code: 'invalid_argument', stored: 'no', detail: { field: 'topic' } });
    }
    const failure = await failureOf(stub.send({ topic: topicName(), partition: 1, batch: batch('x') }));
    expect(failure).toMatchObject({ code: 'invalid_argument', detail: { field: 'partition' } });
    expect(await failureOf(stub.send({ topic: 'no/such/tenant', batch: batch('x') }))).toMatchObject({ code: 'tenant_not_found' });
  });

  it('refuses batches that are empty, lie, or are too large', async () => {
    const topic = topicName();
    await stub.admin('CreateTopic', { name: topic });
    const refused = async (request: Message) => failureOf(stub.send({ topic, ...request }));
    expect(await refused({ batch: batch() })).toMatchObject({ code: 'invalid_argument', detail: { field: 'batch' } });
    expect(await refused({})).toMatchObject({ code: 'invalid_argument' });
    expect(await refused({ info: { count: 3 }, batch: batch('a', 'b') })).toMatchObject({ code: 'corrupt_batch' });
    expect(await refused({ info: { count: 0 }, batch: batch('a') })).toMatchObject({ code: 'invalid_argument' });
    expect(await refused({ info: { count: 100_001 }, batch: batch('a') })).toMatchObject({ code: 'invalid_argument' });
    expect(await refused({ info: { count: 1, codec: 3 }, batch: batch('a') })).toMatchObject({ code: 'invalid_argument' });
    expect(await refused({ info: { count: 2, key_hashes: [1, 2, 3] }, batch: batch('a', 'b') })).toMatchObject({
      code: 'invalid_argument',
    });
    expect(await refused({ info: { count: 1, deliver_at_ms: [5] }, batch: batch('a') })).toMatchObject({ code: 'unsupported' });
    expect(await refused({ info: { count: 1, transaction_id: Buffer.from('t') }, batch: batch('a') })).toMatchObject({
      code: 'unsupported',
    });
    expect(await refused({ batch: batch('a'), idempotency_id: 'i'.repeat(201) })).toMatchObject({ detail: { field: 'idempotency_id' } });
    const large = await refused({ batch: { messages: [{ payload: Buffer.alloc(5 * MIB + 1) }] } });
    expect(large).toMatchObject({ code: 'message_too_large', stored: 'no' });
    const many = { messages: Array.from({ length: 9 }, () => ({ payload: Buffer.alloc(MIB) })) };
    expect(await refused({ batch: many })).toMatchObject({ code: 'message_too_large', stored: 'no' });
    expect(await readAll(topic)).toEqual([]);
  });

  it('takes a message and a batch of exactly the largest size', async () => {
    const topic = topicName();
    // 5 MiB with its framing: tag and length of the message, tag and length of the payload.
    const payload = Buffer.alloc(5 * MIB - 10, 1);
    await stub.send({ topic, batch: { messages: [{ payload }] } });
    const read = new Stub(broker.address, { 'grpc.max_receive_message_length': 12 * MIB });
    const stream = read.read({ topic, start: { earliest: true }, response_bytes_max: 12 * MIB });
    await until(() => stream.ended);
    expect(stream.all('deliveries')[0].batch.messages[0].payload).toHaveLength(payload.length);
    read.close();
    const small = stub.read({ topic, start: { earliest: true } });
    await until(() => small.failure !== null);
    expect(small.failure).toMatchObject({ code: 'response_too_large', detail: { option: 'grpc.max_receive_message_length' } });
  });

  it('sends keys to their partitions, in order, and answers by runs', async () => {
    const topic = topicName();
    await stub.admin('CreateTopic', { name: topic, partitions: 4 });
    const keys = ['a', 'a', 'b', 'c', 'd', 'a', 'e', 'e', 'b'];
    const { results } = await stub.send({ topic, batch: keyed(...keys) });
    const places = keys.map(key => partitionOfKey(Buffer.from(key), 4));
    const offsets = [0, 0, 0, 0];
    const wanted: Message[] = [];
    places.forEach((partition, index) => {
      const last = wanted.at(-1);
      const offset = offsets[partition] ?? 0;
      offsets[partition] = offset + 1;
      if (last?.partition === partition) last.count += 1;
      else wanted.push({ index, partition, offset, count: 1 });
    });
    expect(
      results.map((result: Message) => ({
        index: result.index,
        partition: result.stored.partition,
        offset: result.stored.offset,
        count: result.stored.count,
      })),
    ).toEqual(wanted);
    for (let partition = 0; partition < 4; partition++)
      expect(await readAll(topic, partition)).toEqual(keys.map((key, i) => `${key}:${i}`).filter((_, i) => places[i] === partition));
  });

  it('spreads messages without a key over the partitions in turn', async () => {
    const topic = topicName();
    await stub.admin('CreateTopic', { name: topic, partitions: 3 });
    for (let i = 0; i < 6; i++) await stub.send({ topic, batch: batch(`m${i}`) });
    const counts = await Promise.all([0, 1, 2].map(partition => readAll(topic, partition)));
    expect(counts.map(texts => texts.length)).toEqual([2, 2, 2]);
  });

  it('stores a repeat with the same idempotency id once, also over several partitions', async () => {
    const topic = topicName();
    await stub.admin('CreateTopic', { name: topic, partitions: 3 });
    const request = { topic, batch: keyed('a', 'b', null, 'c'), idempotency_id: 'once' };
    const first = await stub.send(request);
    const second = await stub.send(request);
    const offsets = (reply: Message) => reply.results.map((result: Message) => [result.stored.partition, result.stored.offset]);
    expect(offsets(second)).toEqual(offsets(first));
    expect(second.results.every((result: Message) => result.stored.duplicate)).toBe(true);
    const all = await Promise.all([0, 1, 2].map(partition => readAll(topic, partition)));
    expect(all.flat().sort()).toEqual(['a:0', 'b:1', 'c:3', 'null:2']);
  });

  it('makes the index that a simple client left out', async () => {
    const topic = topicName();
    await stub.send({ topic, batch: keyed('k', null, 'l') });
    const read = stub.read({ topic, start: { earliest: true } });
    await until(() => read.ended);
    const [delivery] = read.all('deliveries');
    expect(delivery.info).toMatchObject({ count: 3, key_hashes: [murmur2(Buffer.from('k')), 0, murmur2(Buffer.from('l'))] });
    expect(delivery.batch.messages[1].key).toBeUndefined();
    expect(delivery.crc32c).toBe(crc32c(encodeBatch([{ key: 'k', payload: 'k:0' }, { payload: 'null:1' }, { key: 'l', payload: 'l:2' }])));
  });
});

describe('Publish', () => {
  it('refuses what cannot be opened, with a frame, and goes on', async () => {
    const stream = publishing();
    const multi = topicName();
    await stub.admin('CreateTopic', { name: multi, partitions: 2 });
    const bad: [Message, string, string][] = [
      [{ topic: '' }, 'invalid_argument', 'topic'],
      ...BAD_NAMES.map((topic): [Message, string, string] => [{ topic }, 'invalid_argument', 'topic']),
      [{ topic: multi, name: 'p' }, 'invalid_argument', 'open.partition'],
      [{ topic: multi, partition: 2 }, 'invalid_argument', 'open.partition'],
      [{ topic: 't', name: 'ä' }, 'invalid_argument', 'open.name'],
      [{ topic: 't', window: 65 }, 'invalid_argument', 'open.window'],
    ];
    stream.write({ open: bad.map(([open], i) => ({ handle: i + 1, ...open })) });
    await until(() => stream.all('closed').length === bad.length);
    const byHandle = new Map(stream.all('closed').map(closed => [closed.handle, closed.error]));
    for (const [i, [, reason, field]] of bad.entries()) expect(byHandle.get(i + 1)).toMatchObject({ reason, detail: { field } });
    expect(await opened(stream, { handle: 99, topic: topicName(), topic_id: '' })).toMatchObject({ handle: 99 });
    const gone = await opened(publishing(), { handle: 1, topic: 'never-made', topic_id: '01890000-0000-7000-8000-000000000001' });
    expect(gone).toMatchObject({ error: { reason: 'topic_not_found' } });
    expect(stream.failure).toBeNull();
  });

  it('refuses batches one by one and stores the good ones', async () => {
    const topic = topicName();
    const stream = publishing();
    await opened(stream, { handle: 1, topic });
    const good = encodeBatch([{ payload: 'x' }]);
    stream.write({
      batches: [
        { handle: 1, sequence: 1, info: { count: 1 }, batch: batch('a'), crc32c: crc32c(encodeBatch([{ payload: 'a' }])) },
        { handle: 1, sequence: 2, info: { count: 2 }, batch: batch('b') },
        { handle: 1, sequence: 3, info: { count: 1 }, batch: batch('c'), crc32c: crc32c(good) },
        { handle: 7, sequence: 4, info: { count: 1 }, batch: batch('d') },
        { handle: 1, sequence: 5, info: { count: 1, codec: 3, uncompressed_bytes: 9 * MIB }, batch: batch('e') },
        { handle: 1, sequence: 6, info: { count: 1 }, batch: batch('f') },
        { handle: 1, sequence: 7, info: { count: 1 }, batch: batch('silent'), ack: 1 },
        { handle: 1, sequence: 8, info: { count: 1 }, batch: batch('g') },
      ],
    });
    await until(() => stream.all('results').length === 7);
    const outcomes = new Map(stream.all('results').map(result => [result.sequence, result.error?.reason ?? result.stored.offset]));
    expect([...outcomes].sort(([a], [b]) => a - b)).toEqual([
      [1, 0],
      [2, 'corrupt_batch'],
      [3, 'corrupt_batch'],
      [4, 'producer_unknown'],
      [5, 'message_too_large'],
      [6, 1],
      [8, 3],
    ]);
    expect(stream.all('results').every(result => result.stored || result.error.stored === 0)).toBe(true);
    expect(await readAll(topic)).toEqual(['a', 'f', 'silent', 'g']);
  });

  it('takes batches that follow their opening at once, in order', async () => {
    const topic = topicName();
    const stream = publishing();
    stream.write({
      open: [{ handle: 1, topic }],
      batches: [1, 2, 3].map(sequence => ({ handle: 1, sequence, info: { count: 1 }, batch: batch(`m${sequence}`) })),
    });
    for (let i = 4; i <= 9; i++) stream.write({ batches: [{ handle: 1, sequence: i, info: { count: 1 }, batch: batch(`m${i}`) }] });
    await until(() => stream.all('results').length === 9);
    expect(await readAll(topic)).toEqual(Array.from({ length: 9 }, (_, i) => `m${i + 1}`));
    expect(stream.responses[0].opened).toHaveLength(1);
  });

  it('sends batches of a topic with several partitions by their first key, or in turn', async () => {
    const topic = topicName();
    await stub.admin('CreateTopic', { name: topic, partitions: 3 });
    const stream = publishing();
    expect(await opened(stream, { handle: 1, topic })).toMatchObject({ partitions: 3 });
    const [a, other] = ['a', ...'bcdefgh'].filter(
      (key, _, all) => key === all[0] || partitionOfKey(Buffer.from(key), 3) !== partitionOfKey(Buffer.from('a'), 3),
    );
    stream.write({
      batches: [
        { handle: 1, sequence: 1, info: { count: 2 }, batch: keyed(a ?? '', a ?? '') },
        { handle: 1, sequence: 2, info: { count: 2 }, batch: keyed(a ?? '', other ?? '') },
        ...[3, 4, 5].map(sequence => ({ handle: 1, sequence, info: { count: 1 }, batch: batch(`turn${sequence}`) })),
      ],
    });
    await until(() => stream.all('results').length === 5);
    const results = new Map(stream.all('results').map(result => [result.sequence, result]));
    expect(results.get(1).stored.partition).toBe(partitionOfKey(Buffer.from(a ?? ''), 3));
    expect(results.get(2).error).toMatchObject({ reason: 'invalid_argument' });
    expect([3, 4, 5].map(sequence => results.get(sequence).stored.partition).sort()).toEqual([0, 1, 2]);
  });

  it('fences an older epoch and answers a repeat with its first offset', async () => {
    const topic = topicName();
    const old = publishing();
    expect(await opened(old, { handle: 1, topic, name: 'p', instance: 1 })).toMatchObject({ epoch: 1, last_sequence: 0 });
    const first = { handle: 1, sequence: 1, info: { count: 1 }, batch: batch('a') };
    old.write({ batches: [first] });
    await until(() => old.all('results').length === 1);
    const again = publishing();
    expect(await opened(again, { handle: 1, topic, name: 'p', instance: 2 })).toMatchObject({ epoch: 2, last_sequence: 1 });
    old.write({ batches: [{ handle: 1, sequence: 2, prev_sequence: 1, info: { count: 1 }, batch: batch('b') }] });
    await until(() => old.all('results').length === 2 || old.all('closed').length === 1);
    expect(old.all('results')[1]?.error?.reason ?? old.all('closed')[0]?.error?.reason).toBe('fenced');
    again.write({ batches: [{ handle: 1, sequence: 3, prev_sequence: 2, info: { count: 1 }, batch: batch('c') }] });
    await until(() => again.all('results').length === 1);
    expect(again.all('results')[0].error).toMatchObject({ reason: 'out_of_sequence', stored: 0 });
    const reconnected = publishing();
    await opened(reconnected, { handle: 1, topic, name: 'q', instance: 5 });
    reconnected.write({ batches: [first, first] });
    await until(() => reconnected.all('results').length === 2);
    expect(reconnected.all('results').map(result => [result.stored.offset, result.stored.duplicate])).toEqual([
      [expect.any(Number), false],
      [reconnected.all('results')[0].stored.offset, true],
    ]);
  });

  it('ends the call for what breaks the protocol: rubbish, a duplicate field, a handle that is taken', async () => {
    const raw = new Client(broker.address, credentials.createInsecure());
    const pass = (bytes: Buffer) => bytes;
    const end = (bytes: Buffer) =>
      new Promise<string>(resolve => {
        const stream = raw.makeBidiStreamRequest('/sluice.v1.Messaging/Publish', pass, pass);
        stream.on('data', () => {});
        stream.on('error', error => resolve(`${failureOfStatus(error as ServiceError)?.code}`));
        stream.write(bytes);
      });
    expect(await end(Buffer.from([0xff, 0xff, 0xff]))).toBe('invalid_argument');
    expect(await end(Buffer.from([0x12, 0x7f, 0x08]))).toBe('invalid_argument');
    // An OpenProducer whose handle comes twice: one reader would see 1, another 2.
    expect(await end(Buffer.from([0x12, 0x04, 0x08, 0x01, 0x08, 0x02]))).toBe('invalid_argument');
    raw.close();
    const stream = publishing();
    stream.write({
      open: [
        { handle: 1, topic: topicName() },
        { handle: 1, topic: topicName() },
      ],
    });
    await until(() => stream.failure !== null);
    expect(stream.failure).toMatchObject({ code: 'invalid_argument', detail: { field: 'open.handle' } });
  });

  it('answers a batch with a duplicate field in a message as corrupt', async () => {
    const topic = topicName();
    const raw = new Client(broker.address, credentials.createInsecure());
    const pass = (bytes: Buffer) => bytes;
    const failure = await new Promise(resolve => {
      const name = Buffer.from(topic);
      // topic, batch { messages { payload "x" payload "y" } }
      const bytes = Buffer.concat([
        Buffer.from([0x0a, name.length]),
        name,
        Buffer.from([0x22, 0x08, 0x0a, 0x06, 0x12, 0x01, 0x78, 0x12, 0x01, 0x79]),
      ]);
      raw.makeUnaryRequest('/sluice.v1.Messaging/Send', pass, pass, bytes, error => resolve(error && failureOfStatus(error)));
    });
    expect(failure).toMatchObject({ code: 'corrupt_batch', stored: 'no' });
    raw.close();
  });

  it('closes a producer on request, answers what was under way, and ends when the client has no more to say', async () => {
    const stream = publishing();
    await opened(stream, { handle: 1, topic: topicName() });
    stream.write({ batches: [{ handle: 1, sequence: 1, info: { count: 1 }, batch: batch('a') }], close: [{ handle: 1 }] });
    stream.call.end();
    await until(() => stream.ended);
    expect(stream.all('results')[0].stored.offset).toBe(0);
    expect(stream.all('closed')).toMatchObject([{ handle: 1, error: null }]);
    expect(stream.failure).toBeNull();
  });
});

describe('Subscribe', () => {
  it('refuses what cannot be attached, with a frame, and goes on', async () => {
    const topic = topicName();
    await stub.send({ topic, batch: batch('x') });
    const bad: [Message, string, string?][] = [
      ...['', ...BAD_NAMES].map((name): [Message, string, string] => [{ topic: name, subscription: 's' }, 'invalid_argument', 'topic']),
      ...['', ...BAD_NAMES].map((name): [Message, string, string] => [
        { topic, subscription: name },
        'invalid_argument',
        'attach.subscription',
      ]),
      [{ topic: 'unknown-topic', subscription: 's' }, 'topic_not_found'],
      [{ topic, subscription: 's', partition: 1 }, 'invalid_argument', 'attach.partition'],
      [{ topic, subscription: 's', must_exist: true }, 'subscription_not_found'],
      [{ topic, subscription: 's', type: 3 }, 'unsupported', 'attach.type'],
      [{ topic, subscription: 's', topic_id: '01890000-0000-7000-8000-000000000001' }, 'topic_not_found'],
    ];
    const stream = subscribing();
    stream.write({ attach: bad.map(([attach], i) => ({ handle: i + 1, ...attach })) });
    await until(() => stream.all('detached').length === bad.length);
    const byHandle = new Map(stream.all('detached').map(detached => [detached.handle, detached.error]));
    for (const [i, [, reason, field]] of bad.entries())
      expect(byHandle.get(i + 1)).toMatchObject(field === undefined ? { reason } : { reason, detail: { field } });
    expect(await stub.admin('ListTopics').then(reply => reply.topics.map((found: Message) => found.name))).not.toContain(
      'public/default/unknown-topic',
    );
    expect(await attached(stream, { handle: 99, topic, subscription: 's' })).toMatchObject({ handle: 99 });
  });

  it('begins at latest unless told otherwise, and at offset or time where told', async () => {
    const topic = topicName();
    await stub.send({ topic, batch: batch('a', 'b', 'c') });
    const between = Date.now() + 1;
    await until(() => Date.now() > between);
    await stub.send({ topic, batch: batch('d') });
    const starts: [Message | undefined, string[]][] = [
      [undefined, ['e']],
      [{ earliest: true }, ['a', 'b', 'c', 'd', 'e']],
      [{ latest: true }, ['e']],
      [{ offset: 1 }, ['b', 'c', 'd', 'e']],
      [{ offset: 10_000 }, ['e']],
      [{ time_ms: between }, ['d', 'e']],
      [{ time_ms: -5 }, ['a', 'b', 'c', 'd', 'e']],
      [{ time_ms: Date.now() + 3_600_000 }, ['e']],
    ];
    const stream = subscribing();
    for (const [i, [start]] of starts.entries()) {
      await attached(stream, { handle: i + 1, topic, subscription: `s${i}`, ...(start ? { start } : {}) });
      stream.write({ credit: [{ handle: i + 1, messages: 100, bytes: 100_000 }] });
    }
    await stub.send({ topic, batch: batch('e') });
    const total = starts.reduce((sum, [, texts]) => sum + texts.length, 0);
    await until(() => stream.texts().length >= total);
    for (const [i, [, texts]] of starts.entries()) {
      const mine = stream.all('deliveries').filter(delivery => delivery.handle === i + 1);
      const payloads = mine.flatMap(delivery => {
        const all = delivery.batch.messages.map((message: Message) => message.payload.toString());
        return delivery.ranges.length === 0
          ? all
          : delivery.ranges.flatMap((range: Message) => all.slice(range.first, range.first + range.count));
      });
      expect(payloads, `start ${i}`).toEqual(texts);
    }
  });

  it('gives no more than its credit, in messages or bytes, overdrawn by one entry at most', async () => {
    const topic = topicName();
    for (let i = 0; i < 10; i++) await stub.send({ topic, batch: batch('x'.repeat(1000)) });
    const stream = subscribing();
    await attached(stream, { handle: 1, topic, subscription: 's', start: { earliest: true } });
    stream.write({ credit: [{ handle: 1, messages: 3, bytes: 1_000_000 }] });
    await until(() => stream.texts().length === 3);
    await new Promise(resolve => setTimeout(resolve, 50));
    expect(stream.texts()).toHaveLength(3);
    stream.write({ credit: [{ handle: 1, messages: 3 }] });
    await until(() => stream.texts().length === 6);
    const bytes = subscribing();
    await attached(bytes, { handle: 1, topic, subscription: 's2', start: { earliest: true } });
    bytes.write({ credit: [{ handle: 1, messages: 100, bytes: 2_500 }] });
    await until(() => bytes.texts().length === 3);
    await new Promise(resolve => setTimeout(resolve, 50));
    expect(bytes.texts()).toHaveLength(3);
  });

  it('says who holds an exclusive subscription, from where, since when; a ghost of the same name is replaced', async () => {
    const topic = topicName();
    await stub.send({ topic, batch: batch('x') });
    const holder = subscribing();
    holder.write({ hello: { protocol_version: 1, client: 'test-client/1' } });
    await attached(holder, { handle: 1, topic, subscription: 's', consumer: 'alice', instance: 1, epoch: 1 });
    const other = subscribing();
    const refused = await attached(other, { handle: 1, topic, subscription: 's', consumer: 'bob', instance: 2, epoch: 1 });
    expect(refused.error).toMatchObject({ reason: 'subscription_busy' });
    expect(refused.error.message).toContain('alice');
    expect(refused.error.message).toContain('127.0.0.1');
    const back = subscribing();
    expect(await attached(back, { handle: 1, topic, subscription: 's', consumer: 'alice', instance: 3, epoch: 1 })).toMatchObject({
      consumer: 'alice',
    });
    await until(() => holder.all('detached').length === 1);
    expect(holder.all('detached')[0].error).toMatchObject({ reason: 'consumer_replaced' });
    back.call.cancel();
    await until(() => back.failure !== null);
    const next = subscribing();
    expect(await attached(next, { handle: 1, topic, subscription: 's', consumer: 'bob', instance: 2, epoch: 2 })).toMatchObject({
      consumer: 'bob',
    });
  });

  it('refuses acknowledgements of what was never delivered, or to another topic, and ignores those of an old epoch', async () => {
    const topic = topicName();
    await stub.send({ topic, batch: batch('a', 'b', 'c') });
    const stream = subscribing();
    const { reset_epoch, topic_id } = await attached(stream, { handle: 1, topic, subscription: 's', start: { earliest: true } });
    const answer = async (acknowledge: Message): Promise<Message> => {
      const before = stream.all('acknowledged').length;
      stream.write({ acknowledge: [{ handle: 1, request_id: before + 1, ...acknowledge }] });
      await until(() => stream.all('acknowledged').length > before || stream.failure !== null);
      return stream.all('acknowledged').at(-1)?.error;
    };
    expect(await answer({ reset_epoch, up_to: 1_000_000 })).toMatchObject({ reason: 'invalid_argument' });
    expect(await answer({ reset_epoch, spans: [{ first: 5_000, end: 5_001 }] })).toMatchObject({ reason: 'invalid_argument' });
    expect(await answer({ reset_epoch, up_to: 1, topic_id: '01890000-0000-7000-8000-000000000001' })).toMatchObject({
      reason: 'topic_not_found',
    });
    expect(await answer({ handle: 9, reset_epoch, up_to: 1 })).toMatchObject({ reason: 'invalid_argument' });
    expect(await answer({ reset_epoch: reset_epoch + 1, up_to: 3 })).not.toBeNull();
    expect(await stub.admin('DescribeSubscription', { topic, name: 's' })).toMatchObject({ backlog: 3 });
    stream.write({ credit: [{ handle: 1, messages: 10, bytes: 10_000 }] });
    await until(() => stream.texts().length === 3);
    expect(await answer({ reset_epoch, spans: [{ first: 1, end: 2 }], topic_id })).toBeNull();
    expect(await stub.admin('DescribeSubscription', { topic, name: 's' })).toMatchObject({ backlog: 2 });
  });

  it('seeks, also beyond the end, and refuses a seek that knows an old state', async () => {
    const topic = topicName();
    await stub.send({ topic, batch: batch('a', 'b', 'c') });
    const stream = subscribing();
    const { reset_epoch } = await attached(stream, { handle: 1, topic, subscription: 's', start: { earliest: true } });
    stream.write({ credit: [{ handle: 1, messages: 100, bytes: 100_000 }] });
    await until(() => stream.texts().length === 3);
    const sought = async (seek: Message): Promise<Message> => {
      const before = stream.all('sought').length;
      stream.write({ seek: [{ handle: 1, request_id: before + 1, ...seek }] });
      await until(() => stream.all('sought').length > before);
      return stream.all('sought').at(-1);
    };
    const beyond = await sought({ to: { offset: 9_999_999 }, reset_epoch });
    expect(beyond).toMatchObject({ error: null });
    expect(await sought({ to: { earliest: true }, reset_epoch })).toMatchObject({ error: { reason: 'changed' } });
    const back = await sought({ to: { offset: 1 }, reset_epoch: beyond.reset_epoch });
    expect(back).toMatchObject({ error: null, mark_delete: 1 });
    await until(() => stream.texts().length === 5);
    expect(stream.texts().slice(3)).toEqual(['b', 'c']);
    expect(stream.all('deliveries').at(-1).reset_epoch).toBe(back.reset_epoch);
  });

  it('ends the call at rubbish and at a handle that is taken, and after the last consumer of a client that has no more to say', async () => {
    const topic = topicName();
    await stub.send({ topic, batch: batch('x') });
    const twice = subscribing();
    twice.write({
      attach: [
        { handle: 1, topic, subscription: 's' },
        { handle: 1, topic, subscription: 't' },
      ],
    });
    await until(() => twice.failure !== null);
    expect(twice.failure).toMatchObject({ code: 'invalid_argument', detail: { field: 'attach.handle' } });
    const stream = subscribing();
    await attached(stream, { handle: 1, topic, subscription: 'u' });
    stream.write({ detach: [{ handle: 1 }] });
    stream.call.end();
    await until(() => stream.ended);
    expect(stream.all('detached')).toMatchObject([{ handle: 1, error: null }]);
  });
});

describe('Read', () => {
  it('reads from any position, as much as is asked, and follows', async () => {
    const topic = topicName();
    for (const texts of [['a', 'b', 'c'], ['d'], ['e', 'f']]) await stub.send({ topic, batch: batch(...texts) });
    const texts = async (request: Message): Promise<string[]> => {
      const read = stub.read({ topic, ...request });
      await until(() => read.ended || read.failure !== null);
      expect(read.failure).toBeNull();
      return read.texts();
    };
    expect(await texts({ start: { offset: 1 }, messages_max: 3 })).toEqual(['b', 'c', 'd']);
    expect(await texts({ start: { offset: 4 } })).toEqual(['e', 'f']);
    expect(await texts({ start: { offset: 5_000 } })).toEqual([]);
    expect(await texts({ start: { latest: true } })).toEqual([]);
    const empty = stub.read({ topic, start: { latest: true } });
    await until(() => empty.ended);
    expect(empty.responses).toMatchObject([{ next_offset: 6, end_offset: 6 }]);
    const follow = stub.read({ topic, start: { latest: true }, follow: true });
    await until(() => broker.edge.metrics.readStreams > 0);
    for (const text of ['g', 'h']) await stub.send({ topic, batch: batch(text) });
    await until(() => follow.texts().length === 2);
    expect(follow.texts()).toEqual(['g', 'h']);
    follow.call.cancel();
    await until(() => broker.edge.metrics.readStreams === 0);
  });

  it('refuses bad names, unknown topics and partitions, and a request without a start', async () => {
    const topic = topicName();
    await stub.send({ topic, batch: batch('x') });
    const refused = async (request: Message) => {
      const read = stub.read(request);
      await until(() => read.failure !== null || read.ended);
      return read.failure;
    };
    for (const name of ['', ...BAD_NAMES])
      expect(await refused({ topic: name, start: { earliest: true } })).toMatchObject({ code: 'invalid_argument' });
    expect(await refused({ topic: 'unknown-topic', start: { earliest: true } })).toMatchObject({ code: 'topic_not_found' });
    expect(await refused({ topic, partition: 7, start: { earliest: true } })).toMatchObject({ detail: { field: 'partition' } });
    expect(await refused({ topic })).toMatchObject({ code: 'invalid_argument' });
    expect(await refused({ topic, start: { earliest: true }, topic_id: 'other' })).toMatchObject({ code: 'topic_not_found' });
  });

  it('packs many small entries into few responses', async () => {
    const topic = topicName();
    const stream = publishing();
    await opened(stream, { handle: 1, topic });
    for (let i = 0; i < 500; i++) stream.write({ batches: [{ handle: 1, sequence: i + 1, info: { count: 1 }, batch: batch(`m${i}`) }] });
    await until(() => stream.all('results').length === 500);
    const read = stub.read({ topic, start: { earliest: true } });
    await until(() => read.ended);
    expect(read.texts()).toHaveLength(500);
    expect(read.responses.length).toBeLessThan(5);
  });
});
