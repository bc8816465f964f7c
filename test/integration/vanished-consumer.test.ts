// Consumers that are gone without a word, and topics that are gone under them.
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { connect, type Holder, type SluiceClient, SluiceError } from '#clients/typescript/index.ts';
import { startSluice } from '../../services/standalone/start.ts';
import { SLUICE } from '../support/server.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

async function start(): Promise<{ client: SluiceClient; address: string }> {
  const sluice = await startSluice();
  undo.push(() => sluice.close());
  const client = connect({ servers: sluice.address });
  undo.push(() => client.close());
  return { client, address: sluice.address };
}

/** `sluice consume t --subscription s` as a process that has received its first message and then stands still, connection and all. */
async function frozenConsumer(address: string, name: string): Promise<ChildProcess> {
  const child = spawn(SLUICE, ['consume', 't', '--subscription', 's', '--from', 'earliest', '--name', name, '--server', address]);
  undo.push(() => child.kill('SIGKILL'));
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('exit', () => reject(new Error('it ended')));
  });
  child.kill('SIGSTOP');
  return child;
}

test('a consumer whose process stands still is noticed within 10 s; who waits for its subscription is told who, where and since when, and gets it', {
  timeout: 40_000,
}, async () => {
  const { client, address } = await start();
  await (await client.producer({ topic: 't' })).send('first');
  await frozenConsumer(address, 'frozen');
  const frozenAt = Date.now();
  const holders: Holder[] = [];
  const options = { topic: 't', subscription: 's', name: 'next', onWaiting: (holder: Holder) => holders.push(holder) };
  const consumer = await client.consumer(options);
  expect(Date.now() - frozenAt).toBeLessThan(10_000);
  expect(holders[0]).toMatchObject({ topic: 't', partition: 0, name: 'frozen', address: expect.stringMatching(/^127\.0\.0\.1:\d+$/) });
  const since = Date.parse(holders[0]?.since ?? '');
  expect(since).toBeGreaterThan(frozenAt - 30_000);
  expect(since).toBeLessThanOrEqual(frozenAt);
  await (await client.producer({ topic: 't' })).send('second');
  for await (const { payload } of consumer) if (`${payload}` === 'second') break;
});

test('one that returns under the name of a process that stands still replaces it at once', { timeout: 40_000 }, async () => {
  const { client, address } = await start();
  await (await client.producer({ topic: 't' })).send('first');
  await frozenConsumer(address, 'me');
  const returnedAt = Date.now();
  await client.consumer({ topic: 't', subscription: 's', name: 'me', waitForAccess: false });
  expect(Date.now() - returnedAt).toBeLessThan(2_000);
});

test('a topic that is deleted and made again is another one to its old producer, consumer and reader', { timeout: 40_000 }, async () => {
  const { client, address } = await start();
  const producer = await client.producer({ topic: 't' });
  await producer.send('old');
  const consumer = await client.consumer({ topic: 't', subscription: 's', start: 'earliest' });
  const message = (await consumer.messages().next()).value;
  const reader = await client.reader({ topic: 't', start: 'latest' });
  const others = connect({ servers: address });
  undo.push(() => others.close());
  await others.admin.deleteTopic('t');
  await (await others.producer({ topic: 't' })).send('new');

  const codeOf = (promise: Promise<unknown>) => {
    const waited = promise.then(
      value => `no failure, but ${JSON.stringify(value)}`,
      error => (error instanceof SluiceError ? error.code : Promise.reject(error)),
    );
    return Promise.race([waited, sleep(10_000, 'nothing')]);
  };
  expect(await codeOf(consumer.messages().next())).toBe('topic_not_found');
  expect(await codeOf(reader.messages().next())).toBe('topic_not_found');
  expect(await codeOf(producer.send('into the old one'))).toBe('topic_not_found');
  if (message) expect(await codeOf(consumer.acknowledgeDurably(message))).not.toMatch(/nothing|no failure/);

  const again = await others.consumer({ topic: 't', subscription: 's', start: 'earliest' });
  expect(`${(await again.messages().next()).value?.payload}`).toBe('new');
});
