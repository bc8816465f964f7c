// The TypeScript client's producer against a server in this process.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { connect, type MessageId, type SluiceClient, SluiceError } from '#clients/typescript/index.ts';
import { murmur2, partitionOfHash } from '#lib/wire/murmur2.ts';
import { type Sluice, startSluice } from '../../services/standalone/start.ts';
import { TcpProxy } from './client-proxy.ts';

let sluice: Sluice;
const clients: SluiceClient[] = [];
const proxies: TcpProxy[] = [];
beforeAll(async () => {
  sluice = await startSluice();
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.close().catch(() => undefined);
  for (const proxy of proxies.splice(0)) proxy.close();
});
afterAll(() => sluice.close());

function client(servers: string | readonly string[] = sluice.address, requestTimeoutMs = 5_000): SluiceClient {
  const made = connect({ servers, requestTimeoutMs });
  clients.push(made);
  return made;
}

async function proxy(): Promise<TcpProxy> {
  const made = await TcpProxy.start(sluice.address);
  proxies.push(made);
  return made;
}

/** Payloads by partition, in order. */
async function stored(topic: string): Promise<string[][]> {
  const reader = await client().reader({ topic, start: 'earliest', until: 'end' });
  const all: string[][] = [];
  for await (const message of reader) {
    all[message.partition] ??= [];
    all[message.partition]?.push(`${message.payload}`);
  }
  return all;
}

const failureOf = (promise: Promise<unknown>): Promise<SluiceError> =>
  promise.then(
    () => expect.fail('it should have failed'),
    error => {
      expect(error).toBeInstanceOf(SluiceError);
      return error;
    },
  );

test('a message comes back as it was sent, and absent differs from empty', async () => {
  const producer = await client().producer({ topic: 'as-sent' });
  await producer.send({ key: 'k', payload: 'Größe', headers: [['a', Buffer.from([0, 255])], ['a', 'again']], eventTimeMs: -5 }); // biome-ignore format: one line is one message
  await producer.send({ key: '', payload: '' });
  await producer.send({});
  await producer.send(Buffer.from([1, 2, 3]));
  const id = await producer.send('text');
  expect(`${id}`).toMatch(/^as-sent:0@\d+$/);
  const reader = await client().reader({ topic: 'as-sent', until: 'end' });
  const seen: unknown[] = [];
  for await (const { key, payload, headers, eventTimeMs } of reader)
    seen.push([
      key?.toString(),
      payload?.toString('latin1'),
      headers.map(([name, value]) => [name, value.toString('latin1')]),
      eventTimeMs,
    ]);
  const latin = (text: string): string => Buffer.from(text).toString('latin1');
  expect(seen).toEqual([
    ['k', latin('Größe'), [['a', '\0\xff'], ['a', 'again']], -5], // biome-ignore format: one line is one message
    ['', '', [], null],
    [undefined, undefined, [], null],
    [undefined, '\x01\x02\x03', [], null],
    [undefined, 'text', [], null],
  ]);
});

test('offsets are answered in the order of the messages, thousands at once', async () => {
  const producer = await client().producer({ topic: 'many' });
  const ids = await Promise.all(Array.from({ length: 20_000 }, (_, n) => producer.send(`${n}`)));
  expect(ids.every((id, n) => n === 0 || id.offset > (ids[n - 1]?.offset ?? 0))).toBe(true);
  expect((await stored('many'))[0]).toEqual(Array.from({ length: 20_000 }, (_, n) => `${n}`));
  expect(producer.stats).toMatchObject({ messagesStored: 20_000, messagesPending: 0, bytesPending: 0, messagesFailed: 0 });
  expect(producer.stats.batchesSent).toBeLessThan(200);
});

test('keys go where Kafka would send them, in order; without a key all partitions get some', async () => {
  await client().admin.createTopic({ topic: 'eight', partitions: 8 });
  const producer = await client().producer({ topic: 'eight' });
  const ids: Promise<MessageId>[] = [];
  for (let n = 0; n < 2_000; n++) ids.push(producer.send({ key: `key-${n % 50}`, payload: `${n}` }));
  for (const [n, id] of (await Promise.all(ids)).entries())
    expect(id.partition).toBe(partitionOfHash(murmur2(Buffer.from(`key-${n % 50}`)), 8));
  for (const partition of await stored('eight')) {
    const byKey = new Map<number, number>();
    for (const payload of partition) {
      const number = Number(payload);
      expect(byKey.get(number % 50) ?? -1).toBeLessThan(number);
      byKey.set(number % 50, number);
    }
  }
  const keyless: number[] = [];
  for (let n = 0; n < 16; n++) keyless.push((await producer.send('x')).partition);
  expect(new Set(keyless.slice(0, 8)).size).toBe(8);
  expect(keyless.slice(8)).toEqual(keyless.slice(0, 8));
  expect((await producer.send({ key: 'key-1', payload: 'x', partition: 5 })).partition).toBe(5);
  expect((await failureOf(producer.send({ payload: 'x', partition: 8 }))).code).toBe('invalid_argument');
});

test('without batching each message is an entry of its own', async () => {
  const producer = await client().producer({ topic: 'single', batching: false });
  await Promise.all(Array.from({ length: 500 }, (_, n) => producer.send(`${n}`)));
  const reader = await client().reader({ topic: 'single', until: 'end' });
  let batches = 0;
  for await (const batch of reader.batches()) {
    expect(batch.count).toBe(1);
    batches += 1;
  }
  expect(batches).toBe(500);
});

test('offer says no when memory is full, and ready when there is room', async () => {
  const producer = await client().producer({ topic: 'bounded', memoryBytesMax: 64 * 1024 });
  const payload = Buffer.alloc(1000);
  let taken = 0;
  while (producer.offer(payload)) taken += 1;
  expect(taken).toBeGreaterThanOrEqual(60);
  expect(taken).toBeLessThanOrEqual(70);
  expect(producer.stats.bytesPending).toBeLessThanOrEqual(66 * 1024);
  for (; taken < 1000; taken++) while (!producer.offer(payload)) await producer.ready();
  await producer.flush();
  expect(producer.stats).toMatchObject({ messagesStored: 1000, bytesPending: 0 });
});

test('producers of one client share its memory, and each is told when there is room', async () => {
  const link = await proxy();
  const held = connect({ servers: link.address, memoryBytesMax: 100_000 });
  clients.push(held);
  const [one, two] = await Promise.all([held.producer({ topic: 'share-1' }), held.producer({ topic: 'share-2' })]);
  link.refuse(true);
  while (one.offer(Buffer.alloc(1_000))) {}
  expect(two.offer('x')).toBe(false);
  const room = two.ready();
  const waiting = two.send('waits');
  link.refuse(false);
  await Promise.all([room, waiting]);
  expect(two.offer('x')).toBe(true);
  await Promise.all([one.flush(), two.flush()]);
});

test('sends that nobody awaits are refused before they fill the process', async () => {
  const producer = await client().producer({ topic: 'unbounded', memoryBytesMax: 10_000, sendTimeoutMs: 20_000 });
  const sends: Promise<unknown>[] = [];
  for (let n = 0; n < 103_000; n++) sends.push(producer.send('x'.repeat(10)).catch(error => error));
  const results = await Promise.all(sends);
  const refused = results.filter(result => result instanceof SluiceError);
  expect(refused.length).toBeGreaterThan(1_000);
  expect(refused.length).toBeLessThan(3_000);
  expect(refused[0]).toMatchObject({ code: 'overloaded', stored: 'no' });
});

test('send waits for memory, in order', async () => {
  const producer = await client().producer({ topic: 'waits', memoryBytesMax: 10_000 });
  await Promise.all(Array.from({ length: 300 }, (_, n) => producer.send(`${n}`.padEnd(500, '.'))));
  expect((await stored('waits'))[0]?.map(payload => Number.parseInt(payload, 10))).toEqual(Array.from({ length: 300 }, (_, n) => n));
});

test('a message that is too large is refused by itself, and nothing else', async () => {
  const producer = await client().producer({ topic: 'large' });
  const after = producer.send('before');
  const error = await failureOf(producer.send(Buffer.alloc(5 * 1024 * 1024)));
  expect([error.code, error.stored]).toEqual(['message_too_large', 'no']);
  expect(() => producer.offer(Buffer.alloc(5 * 1024 * 1024 + 1))).toThrow(SluiceError);
  await after;
  await producer.send(Buffer.alloc(5 * 1024 * 1024 - 100));
  expect((await stored('large'))[0]?.map(payload => payload.length)).toEqual([6, 5 * 1024 * 1024 - 100]);
});

test('closing flushes, and then nothing is taken', async () => {
  const producer = await client().producer({ topic: 'closing' });
  const ids = Array.from({ length: 100 }, (_, n) => producer.send(`${n}`));
  await producer.close();
  await Promise.all(ids);
  expect((await failureOf(producer.send('late'))).code).toBe('cancelled');
  const again = connect({ servers: sluice.address });
  const other = await again.producer({ topic: 'closing' });
  const last = other.send('by the client');
  await again.close();
  await last;
  expect((await stored('closing'))[0]).toHaveLength(101);
});

test('a failure that nobody hears is told by flush', async () => {
  const made = client();
  await made.admin.createTopic({ topic: 'doomed' });
  const producer = await made.producer({ topic: 'doomed' });
  await producer.send('a');
  await made.admin.deleteTopic('doomed');
  producer.offer('b');
  expect((await failureOf(producer.flush())).code).toBe('topic_not_found');
  expect((await failureOf(producer.send('c'))).code).toBe('topic_not_found');
});

test('a newer producer of the same name fences the older one, and goes on behind it', async () => {
  const old = await client().producer({ topic: 'fenced', name: 'writer' });
  await old.send('1');
  const next = await client().producer({ topic: 'fenced', name: 'writer' });
  await next.send('2');
  const error = await failureOf(old.send('3'));
  expect(error.code).toBe('fenced');
  await next.send('4');
  expect((await stored('fenced'))[0]).toEqual(['1', '2', '4']);
});

test('acks none: the message arrives, and its offset is not known', async () => {
  const producer = await client().producer({ topic: 'no-acks', acks: 'none' });
  expect((await producer.send('a')).offset).toBe(-1);
  for (let n = 0; n < 1000; n++) while (!producer.offer(`${n}`)) await producer.ready();
  await producer.flush();
  expect(producer.stats.bytesPending).toBe(0);
  await producer.close();
  for (let n = 0; n < 100 && (await stored('no-acks'))[0]?.length !== 1001; n++) await sleep(20);
  expect((await stored('no-acks'))[0]).toHaveLength(1001);
});

test('connections that are cut lose, repeat and reorder nothing', { timeout: 60_000 }, async () => {
  const link = await proxy();
  const producer = await client(link.address).producer({ topic: 'cut', batchBytesMax: 2_000 });
  const ids: Promise<MessageId>[] = [];
  for (let round = 0; round < 12; round++) {
    for (let n = 0; n < 500; n++) ids.push(producer.send(`${round * 500 + n}`));
    await sleep(round % 3 === 0 ? 0 : 3);
    link.cut();
    await sleep(round % 4 === 0 ? 0 : 30);
  }
  const offsets = (await Promise.all(ids)).map(id => id.offset);
  expect(new Set(offsets).size).toBe(6_000);
  expect((await stored('cut'))[0]).toEqual(Array.from({ length: 6_000 }, (_, n) => `${n}`));
  expect(producer.stats.batchesResent).toBeGreaterThan(0);
  expect(link.connections).toBeGreaterThan(5);
});

test('an answer that does not come is "unknown", what never left is "not stored", and later both are seen to be true', async () => {
  const link = await proxy();
  const producer = await client(link.address).producer({ topic: 'truth', sendTimeoutMs: 600, window: 1 });
  await producer.send('known');
  link.holdAnswers();
  const sent = failureOf(producer.send('in doubt'));
  await sleep(50);
  const waiting = failureOf(producer.send('never left'));
  expect(await sent).toMatchObject({ code: 'timeout', stored: 'unknown' });
  expect(await waiting).toMatchObject({ code: 'timeout', stored: 'no' });
  link.cut();
  expect(await producer.send('after')).toBeTruthy();
  expect((await stored('truth'))[0]).toEqual(['known', 'in doubt', 'after']);
});

test('a server that is away for a while costs only time; one that stays away costs the messages, which are not stored', async () => {
  const link = await proxy();
  const producer = await client(link.address).producer({ topic: 'away', sendTimeoutMs: 1_500 });
  link.refuse(true);
  await sleep(100);
  const early = producer.send('early');
  await sleep(300);
  link.refuse(false);
  await early;
  link.refuse(true);
  await sleep(100);
  const error = await failureOf(producer.send('late'));
  expect([error.code, error.stored]).toEqual(['timeout', 'no']);
  expect(error.message).toContain(link.address);
  link.refuse(false);
  await producer.send('back');
  expect((await stored('away'))[0]).toEqual(['early', 'back']);
});

test('a connection that went silent is left for another within seconds', { timeout: 40_000 }, async () => {
  const link = await proxy();
  const made = client(link.address);
  const producer = await made.producer({ topic: 'silent' });
  const consumer = await made.consumer({ topic: 'silent', subscription: 's', start: 'earliest' });
  await producer.send('before');
  link.holdAnswers();
  const started = performance.now();
  await producer.send('after');
  expect(performance.now() - started).toBeLessThan(14_000);
  const seen = new Set<string>();
  for await (const message of consumer) if (seen.add(`${message.payload}`).size === 2) break;
  expect([...seen]).toEqual(['before', 'after']);
});

test('of several servers the one that answers is used', async () => {
  const producer = await client(`127.0.0.1:1, ${sluice.address}`).producer({ topic: 'several' });
  expect((await producer.send('x')).partition).toBe(0);
});

test('without any server the error names them', async () => {
  const error = await failureOf(client('127.0.0.1:1,127.0.0.1:2', 300).producer({ topic: 'x' }));
  expect(error).toMatchObject({ code: 'unavailable', stored: 'no' });
  expect(error.message).toContain('127.0.0.1:1, 127.0.0.1:2');
});

test('wrong options and names are told at once, by field', async () => {
  const good = client();
  expect((await failureOf(good.producer({ topic: '../x' }))).detail).toEqual({ field: 'topic' });
  expect((await failureOf(good.producer({ topic: '' }))).code).toBe('invalid_argument');
  expect((await failureOf(good.producer({ topic: 'x', name: 'a b' }))).detail).toEqual({ field: 'name' });
  expect((await failureOf(good.producer({ topic: 'x', window: 65 }))).detail).toEqual({ field: 'window' });
  expect((await failureOf(good.producer({ topic: 'x', lingerMs: 5 }))).detail).toEqual({ field: 'lingerMs' });
  expect(() => connect({ servers: 'localhost' })).toThrow(/HOST:PORT/);
  expect(() => connect({ servers: [] })).toThrow(/no server/);
});
