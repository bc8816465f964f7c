// The TypeScript client's consumer and reader against a server in this process.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Consumer, connect, type Holder, type ReceivedBatch, type SluiceClient, SluiceError } from '#clients/typescript/index.ts';
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

function client(servers: string = sluice.address, requestTimeoutMs = 5_000): SluiceClient {
  const made = connect({ servers, requestTimeoutMs });
  clients.push(made);
  return made;
}

async function proxy(): Promise<TcpProxy> {
  const made = await TcpProxy.start(sluice.address);
  proxies.push(made);
  return made;
}

async function fill(topic: string, count: number, options: { partitions?: number; batching?: boolean } = {}): Promise<void> {
  const made = client();
  if (options.partitions) await made.admin.createTopic({ topic, partitions: options.partitions });
  const producer = await made.producer({ topic, ...(options.batching === false ? { batching: false } : {}) });
  for (let n = 0; n < count; n++) while (!producer.offer({ key: `${n % 17}`, payload: `${n}` })) await producer.ready();
  await producer.flush();
}

/** The next `count` payloads, as numbers. */
async function take(consumer: Consumer, count: number, acknowledge = true): Promise<number[]> {
  const taken: number[] = [];
  if (count === 0) return taken;
  for await (const message of consumer) {
    taken.push(Number(message.payload));
    if (acknowledge) consumer.acknowledge(message);
    if (taken.length === count) break;
  }
  return taken;
}

/** Nothing more comes within a moment. */
async function nothing(consumer: Consumer): Promise<void> {
  const next = consumer.batches().next();
  expect(await Promise.race([next.then(result => `${result.value?.id}`), sleep(150, 'nothing')])).toBe('nothing');
}

const failureOf = (promise: Promise<unknown>): Promise<SluiceError> =>
  promise.then(
    () => expect.fail('it should have failed'),
    error => {
      expect(error).toBeInstanceOf(SluiceError);
      return error;
    },
  );

const upTo = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, n) => from + n);

test('a subscription goes on where it was, and an iteration where the one before was left', async () => {
  await fill('goes-on', 100);
  const options = { topic: 'goes-on', subscription: 's', start: 'earliest' } as const;
  const consumer = await client().consumer(options);
  expect(await take(consumer, 10)).toEqual(upTo(0, 10));
  expect(await take(consumer, 5)).toEqual(upTo(10, 15));
  await consumer.close();
  const next = await client().consumer(options);
  expect(next.attachments).toMatchObject([{ topic: 'goes-on', partition: 0, backlog: 85 }]);
  expect(await take(next, 85)).toEqual(upTo(15, 100));
});

test('what is not acknowledged comes again to the next consumer, and holes are not', async () => {
  await fill('holes', 20);
  const options = { topic: 'holes', subscription: 's', start: 'earliest' } as const;
  const consumer = await client().consumer(options);
  let n = 0;
  for await (const message of consumer) {
    if (n % 3 !== 0) consumer.acknowledge(message.id);
    if (++n === 20) break;
  }
  await consumer.close();
  const next = await client().consumer(options);
  const batch: ReceivedBatch | undefined = (await next.batches().next()).value;
  expect(batch?.count).toBe(7);
  expect(batch?.messages().map(message => Number(message.payload))).toEqual([0, 3, 6, 9, 12, 15, 18]);
  if (batch) await next.acknowledgeDurably(batch);
  await next.close();
  const last = await client().consumer(options);
  expect(last.attachments[0]?.backlog).toBe(0);
});

test('cumulative and durable acknowledgements', async () => {
  await fill('cumulative', 30);
  const options = { topic: 'cumulative', subscription: 's', start: 'earliest' } as const;
  const consumer = await client().consumer(options);
  const messages = (await consumer.batches().next()).value?.messages() ?? [];
  if (messages[9]) consumer.acknowledgeCumulative(messages[9]);
  if (messages[20]) await consumer.acknowledgeDurably(messages[20]);
  const backlog = async () => (await client().admin.describeSubscription(options)).backlog;
  expect(await backlog()).toBe(19);
  if (messages[29]) await consumer.acknowledgeDurably(messages[29], { cumulative: true });
  expect(await backlog()).toBe(0);
});

test('credit bounds what waits here, in messages and in bytes, and all of it comes', async () => {
  await fill('credit', 3_000, { batching: false });
  for (const credit of [{ creditMessages: 7 }, { creditBytes: 300 }]) {
    const consumer = await client().consumer({ topic: 'credit', subscription: `s${Object.keys(credit)}`, start: 'earliest', ...credit });
    await sleep(100);
    expect(await take(consumer, 3_000)).toEqual(upTo(0, 3_000));
    await consumer.close();
  }
});

test('all partitions of several topics come to one consumer, each in order', async () => {
  await fill('wide-a', 500, { partitions: 4 });
  await fill('wide-b', 500);
  const consumer = await client().consumer({ topic: ['wide-a', 'wide-b'], subscription: 's', start: 'earliest' });
  const seen = new Map<string, number[]>();
  let count = 0;
  for await (const batch of consumer.batches()) {
    const list = seen.get(`${batch.topic}:${batch.partition}`) ?? [];
    seen.set(`${batch.topic}:${batch.partition}`, list);
    list.push(...batch.messages().map(message => Number(message.payload)));
    consumer.acknowledge(batch);
    count += batch.count;
    if (count === 1000) break;
  }
  expect([...seen.values()].every(list => list.every((value, at) => at === 0 || value > (list[at - 1] ?? 0)))).toBe(true);
  expect(seen.size).toBe(5);
});

test('a seek moves the subscription, and nothing from before comes after it', async () => {
  await fill('seek', 5_000, { batching: false });
  const consumer = await client().consumer({ topic: 'seek', subscription: 's', start: 'earliest' });
  const first = await take(consumer, 100);
  expect(first).toEqual(upTo(0, 100));
  const stale = (await consumer.messages().next()).value;
  await consumer.seek('earliest');
  expect(await take(consumer, 50)).toEqual(upTo(0, 50));
  if (stale) {
    consumer.acknowledge(stale);
    expect((await failureOf(consumer.acknowledgeDurably(stale))).code).toBe('changed');
  }
  await consumer.seek({ offset: 2_000 });
  const id = (await consumer.messages().next()).value?.offset ?? 0;
  expect(id).toBeGreaterThanOrEqual(2_000);
  expect(id).toBeLessThan(2_010);
  await consumer.seek({ time: 0 });
  expect(await take(consumer, 1)).toEqual([0]);
  await consumer.seek('latest');
  await nothing(consumer);
  expect((await failureOf(consumer.seek('earliest', 3))).code).toBe('invalid_argument');
});

test('a seek by somebody else reaches the consumer too', async () => {
  await fill('seek-else', 10);
  const consumer = await client().consumer({ topic: 'seek-else', subscription: 's', start: 'earliest' });
  expect(await take(consumer, 10)).toEqual(upTo(0, 10));
  await client().admin.seekSubscription({ topic: 'seek-else', subscription: 's', to: 'earliest' });
  expect(await take(consumer, 10)).toEqual(upTo(0, 10));
});

test('an exclusive subscription is held by one: a second one is told by whom, waits, and follows', async () => {
  await fill('held', 10);
  const options = { topic: 'held', subscription: 's', start: 'earliest' } as const;
  const first = await client().consumer({ ...options, name: 'first' });
  const refused = await failureOf(client().consumer({ ...options, name: 'second', waitForAccess: false }));
  expect(refused.code).toBe('subscription_busy');
  const told: Holder[] = [];
  const second = client().consumer({ ...options, name: 'second', onWaiting: holder => told.push(holder) });
  for (let n = 0; n < 100 && told.length === 0; n++) await sleep(10);
  expect(told[0]).toMatchObject({ topic: 'held', partition: 0, name: 'first' });
  expect(told[0]?.address).toMatch(/^127\.0\.0\.1:\d+$/);
  await first.close();
  expect(await take(await second, 10)).toEqual(upTo(0, 10));
});

test('one that returns under its name replaces its ghost at once', async () => {
  await fill('ghost', 10);
  const options = { topic: 'ghost', subscription: 's', start: 'earliest', name: 'me' } as const;
  const ghost = await client().consumer(options);
  expect(await take(ghost, 10, false)).toEqual(upTo(0, 10));
  const replaced = failureOf(ghost.batches().next());
  const returned = await client().consumer(options);
  expect(await take(returned, 10)).toEqual(upTo(0, 10));
  expect((await replaced).code).toBe('consumer_replaced');
});

test('connections that are cut: everything comes, in order, and little of what was acknowledged comes again', {
  timeout: 60_000,
}, async () => {
  await fill('cut', 20_000, { batching: false });
  const link = await proxy();
  const consumer = await client(link.address).consumer({ topic: 'cut', subscription: 's', start: 'earliest', creditMessages: 500 });
  const seen = new Set<number>();
  let repeats = 0;
  let last: ReceivedBatch | undefined;
  for await (const batch of consumer.batches()) {
    for (const message of batch.messages()) {
      const value = Number(message.payload);
      if (seen.has(value)) repeats += 1;
      else expect(value).toBe(seen.size);
      seen.add(value);
    }
    consumer.acknowledge(batch);
    last = batch;
    if (seen.size % 1500 === 0) link.cut();
    if (seen.size === 20_000) break;
  }
  expect(link.connections).toBeGreaterThan(8);
  expect(repeats).toBeLessThan(50);
  if (last) await consumer.acknowledgeDurably(last);
  expect((await client().admin.describeSubscription({ topic: 'cut', subscription: 's' })).backlog).toBe(0);
});

test('receipts and seeks survive a cut', async () => {
  await fill('survive', 10);
  const link = await proxy();
  const consumer = await client(link.address).consumer({ topic: 'survive', subscription: 's', start: 'earliest' });
  const batch = (await consumer.batches().next()).value;
  link.refuse(true);
  await sleep(50);
  const receipt = batch && consumer.acknowledgeDurably(batch);
  await sleep(100);
  link.refuse(false);
  await receipt;
  link.refuse(true);
  await sleep(50);
  const sought = consumer.seek('earliest');
  await sleep(100);
  link.refuse(false);
  await sought;
  expect(await take(consumer, 10)).toEqual(upTo(0, 10));
});

test('a subscription that is deleted under its consumer is not made again', async () => {
  await fill('deleted', 5);
  const made = client();
  const consumer = await made.consumer({ topic: 'deleted', subscription: 's', start: 'earliest' });
  const waiting = failureOf(take(consumer, 6));
  await sleep(20);
  await made.admin.deleteSubscription({ topic: 'deleted', subscription: 's' });
  expect((await waiting).code).toBe('subscription_not_found');
  expect((await failureOf(made.consumer({ topic: 'deleted', subscription: 's', mustExist: true }))).code).toBe('subscription_not_found');
  expect((await failureOf(made.consumer({ topic: 'no-such-topic', subscription: 's' }))).code).toBe('topic_not_found');
});

test('closing ends iterations, and the client closes what it made', async () => {
  await fill('ends', 5);
  const made = client();
  const consumer = await made.consumer({ topic: 'ends', subscription: 's' });
  const waiting = consumer.messages().next();
  await made.close();
  expect(await waiting).toEqual({ value: undefined, done: true });
  expect((await failureOf(made.consumer({ topic: 'ends', subscription: 's' }))).code).toBe('cancelled');
});

test('a reader reads to the end and stops, or follows', async () => {
  await fill('read', 3_000, { partitions: 3 });
  const made = client();
  const reader = await made.reader({ topic: 'read', until: 'end' });
  let count = 0;
  for await (const batch of reader.batches()) count += batch.count;
  expect(count).toBe(3_000);
  const one = await made.reader({ topic: 'read', partition: 1, start: 'latest' });
  const next = one.messages().next();
  await sleep(50);
  await (await made.producer({ topic: 'read' })).send({ payload: 'new', partition: 1 });
  expect(`${(await next).value?.payload}`).toBe('new');
  await one.close();
  expect((await one.messages().next()).done).toBe(true);
  expect((await failureOf(made.reader({ topic: 'read', partition: 3 }))).code).toBe('invalid_argument');
});

test('a reader goes on where it was when its connection is cut, and holds no more than it may', { timeout: 60_000 }, async () => {
  await fill('read-cut', 30_000, { batching: false });
  const link = await proxy();
  const reader = await client(link.address).reader({ topic: 'read-cut', until: 'end', bufferBytes: 2_000 });
  let expected = 0;
  for await (const message of reader) {
    expect(Number(message.payload)).toBe(expected++);
    if (expected % 5_000 === 0) link.cut();
  }
  expect(expected).toBe(30_000);
});

test('admin pages through long lists, and says what is wrong', async () => {
  const { admin } = client();
  await admin.createTenant('acme');
  await admin.createNamespace('acme/prod', { defaultPartitions: 2, retentionMs: 60_000 });
  await Promise.all(Array.from({ length: 30 }, (_, n) => admin.createTopic({ topic: `acme/prod/t${n}` })));
  const names: string[] = [];
  for await (const topic of admin.listTopics('acme/prod')) {
    expect(topic.partitions).toBe(2);
    names.push(topic.name);
  }
  expect(names).toHaveLength(30);
  const described = await admin.describeTopic('acme/prod/t3');
  expect(described.policies).toEqual({});
  expect(described.effective.retentionMs).toBe(60_000);
  const updated = await admin.updateTopic({ topic: 'acme/prod/t3', policies: { retentionMs: -1 }, etag: described.etag });
  expect(updated.policies).toEqual({ retentionMs: -1 });
  expect((await failureOf(admin.updateTopic({ topic: 'acme/prod/t3', policies: {}, etag: described.etag }))).code).toBe('changed');
  expect((await failureOf(admin.createTopic({ topic: 'acme/prod/t3', partitions: 5 }))).code).toBe('already_exists');
  expect((await failureOf(admin.deleteTenant('acme'))).code).toBe('not_empty');
  await admin.createSubscription({ topic: 'acme/prod/t3', subscription: 's', start: 'earliest' });
  const subscriptions = [];
  for await (const subscription of admin.listSubscriptions('acme/prod/t3')) subscriptions.push(subscription);
  expect(subscriptions).toMatchObject([
    { name: 's', type: 'exclusive', topic: 'acme/prod/t3', partitions: [{ partition: 0 }, { partition: 1 }] },
  ]);
});
