// The table of defaults in README.md, line by line, against a whole server in this process.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { connect, type SluiceClient, SluiceError } from '#clients/typescript/index.ts';
import { defaultsOf } from '#lib/config/schema.ts';
import { memoryLogger } from '#lib/runtime/loggers.ts';
import { memoryDisk } from '#lib/runtime/memory-disk.ts';
import { createNodeWorld } from '#lib/runtime/node/world.ts';
import { MIB } from '#lib/types/limits.ts';
import { type StandaloneConfig, standaloneSchema } from '../../services/standalone/config.ts';
import { startSluice, startStandalone } from '../../services/standalone/start.ts';

const DAY_MS = 86_400_000;
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

async function start(config: Partial<StandaloneConfig> = {}): Promise<SluiceClient> {
  const sluice = await startSluice({ config });
  undo.push(() => sluice.close());
  const client = connect({ servers: sluice.address });
  undo.push(() => client.close());
  return client;
}

async function publish(client: SluiceClient, topic: string, ...payloads: (string | Buffer)[]): Promise<void> {
  const producer = await client.producer({ topic });
  for (const payload of payloads) await producer.send(payload);
  await producer.close();
}

async function read(client: SluiceClient, topic: string): Promise<string[]> {
  const reader = await client.reader({ topic, start: 'earliest', until: 'end' });
  const texts: string[] = [];
  for await (const message of reader) texts.push(`${message.payload}`);
  return texts;
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'done',
    error => (error instanceof SluiceError ? error.code : Promise.reject(error)),
  );

async function within(ms: number, isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await isTrue())) {
    expect(Date.now(), 'it did not become true in time').toBeLessThan(deadline);
    await sleep(100);
  }
}

test('the values themselves', async () => {
  const client = await start();
  await publish(client, 'orders', 'one');
  const { name, effective, partitionStatus } = await client.admin.describeTopic('orders');
  expect(name).toBe('public/default/orders');
  expect(partitionStatus).toHaveLength(1);
  expect(effective).toMatchObject({ retentionMs: 7 * DAY_MS, autoCreateTopics: true });
  expect(effective.backlogBytesMax ?? -1).toBe(-1);
  expect(defaultsOf(standaloneSchema).storageLimit).toBe(10 * 1024 ** 3);
});

test('messages go when their retention is over, acknowledged or not needed; what a subscription has not acknowledged stays', {
  timeout: 40_000,
}, async () => {
  const client = await start({ retention: 1_000, ledgerAge: 1_000 });
  const topics = ['without-subscription', 'acknowledged', 'unacknowledged'] as const;
  for (const topic of topics) {
    await publish(client, topic, 'old');
    if (topic !== 'without-subscription') await client.admin.createSubscription({ topic, subscription: 's', start: 'earliest' });
  }
  const consumer = await client.consumer({ topic: 'acknowledged', subscription: 's' });
  const message = (await consumer.messages().next()).value;
  if (message) await consumer.acknowledgeDurably(message);
  await within(30_000, async () => (await read(client, topics[0])).length + (await read(client, topics[1])).length === 0);
  expect(await read(client, 'unacknowledged')).toEqual(['old']);
  expect((await client.admin.describeSubscription({ topic: 'unacknowledged', subscription: 's' })).backlog).toBe(1);
  const late = await client.consumer({ topic: 'unacknowledged', subscription: 's' });
  expect(`${(await late.messages().next()).value?.payload}`).toBe('old');
});

test('what is younger than its retention stays, also with everything acknowledged', async () => {
  const client = await start({ ledgerAge: 1_000 });
  await publish(client, 'kept', 'a', 'b');
  const consumer = await client.consumer({ topic: 'kept', subscription: 's', start: 'earliest' });
  for (let n = 0; n < 2; n++) {
    const message = (await consumer.messages().next()).value;
    if (message) await consumer.acknowledgeDurably(message);
  }
  await sleep(3_000);
  expect(await read(client, 'kept')).toEqual(['a', 'b']);
});

test('a standalone server trims the oldest data at its limit, and says so', { timeout: 30_000 }, async () => {
  const logger = memoryLogger();
  const node = createNodeWorld({
    logger,
    onFatal: (reason, cause) => {
      throw new Error(reason, { cause });
    },
  });
  const sluice = await startStandalone({
    world: { ...node, disk: memoryDisk() },
    config: { ...defaultsOf(standaloneSchema), storageLimit: 4 * MIB, ledgerBytes: MIB },
    folder: null,
    listen: '127.0.0.1:0',
    httpListen: null,
    isOwnProcess: false,
  });
  undo.push(() => sluice.close());
  const client = connect({ servers: sluice.address });
  undo.push(() => client.close());
  await client.admin.createTopic({ topic: 'filling' });
  await client.admin.createSubscription({ topic: 'filling', subscription: 'behind', start: 'earliest' });
  const payload = Buffer.alloc(256 * 1024, 1);
  await publish(client, 'filling', ...Array.from({ length: 40 }, () => payload));
  await within(20_000, async () => ((await client.admin.describeTopic('filling')).partitionStatus[0]?.bytes ?? Infinity) < 5 * MIB);
  expect(logger.lines.filter(line => line.level === 'warn' && line.message.includes('storage limit')).length).toBeGreaterThan(0);
  const left = (await read(client, 'filling')).length;
  expect(left).toBeGreaterThan(0);
  expect(left).toBeLessThan(40);
});

test('a new subscription starts at latest', async () => {
  const client = await start();
  await publish(client, 'news', 'before');
  const consumer = await client.consumer({ topic: 'news', subscription: 's' });
  await client.admin.createSubscription({ topic: 'news', subscription: 'made' });
  await publish(client, 'news', 'after');
  expect(`${(await consumer.messages().next()).value?.payload}`).toBe('after');
  const made = await client.consumer({ topic: 'news', subscription: 'made' });
  expect(`${(await made.messages().next()).value?.payload}`).toBe('after');
});

test('producing creates the topic, unless the server, or the namespace, says otherwise', async () => {
  const open = await start();
  expect(await codeOf(publish(open, 'made', 'x'))).toBe('done');
  await open.admin.createNamespace('public/closed', { autoCreateTopics: false });
  expect(await codeOf(publish(open, 'public/closed/t', 'x'))).toBe('topic_not_found');

  const shut = await start({ autoCreateTopics: false });
  expect(await codeOf(publish(shut, 'not-made', 'x'))).toBe('topic_not_found');
  await shut.admin.createNamespace('public/open', { autoCreateTopics: true });
  expect(await codeOf(publish(shut, 'public/open/t', 'x'))).toBe('done');
});

test('consuming and reading never create a topic', async () => {
  const client = await start();
  expect(await codeOf(client.consumer({ topic: 'nowhere', subscription: 's' }))).toBe('topic_not_found');
  expect(await codeOf(read(client, 'nowhere'))).toBe('topic_not_found');
  expect(await codeOf(client.admin.describeTopic('nowhere'))).toBe('topic_not_found');
});

test('consuming creates its subscription, unless told not to', async () => {
  const client = await start();
  await client.admin.createTopic({ topic: 't' });
  expect(await codeOf(client.consumer({ topic: 't', subscription: 'none', mustExist: true }))).toBe('subscription_not_found');
  expect(await codeOf(client.admin.describeSubscription({ topic: 't', subscription: 'none' }))).toBe('subscription_not_found');
  expect(await codeOf(client.consumer({ topic: 't', subscription: 'made' }))).toBe('done');
  expect((await client.admin.describeSubscription({ topic: 't', subscription: 'made' })).backlog).toBe(0);
});
