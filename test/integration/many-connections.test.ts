// Clients that misbehave: thousands of connections that send nothing, rubbish on the port, a consumer that stops reading. The server's
// memory stays bounded, and others are served meanwhile.
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { connect } from '#clients/typescript/index.ts';
import { ServerProcess, temporaryFolder } from '../support/server.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

async function start(): Promise<ServerProcess> {
  const folder = temporaryFolder();
  undo.push(() => folder.remove());
  const server = await ServerProcess.start({ dataDir: join(folder.path, 'data') });
  undo.push(() => server.kill());
  return server;
}

async function publishes(server: ServerProcess, topic: string): Promise<void> {
  const client = connect({ servers: server.address });
  const producer = await client.producer({ topic });
  await producer.send('still served');
  await client.close();
}

test('10,000 connections that send nothing', { timeout: 120_000 }, async () => {
  const server = await start();
  await publishes(server, 'before');
  const before = server.memory().resident;
  const [host = '', port = ''] = server.address.split(':');
  const sockets: Socket[] = [];
  undo.push(() => {
    for (const socket of sockets) socket.destroy();
  });
  for (let n = 0; n < 10_000; n += 500) {
    const some = Array.from({ length: 500 }, () => connectTcp(Number(port), host));
    // Refusing or closing idle connections is a legitimate answer.
    for (const socket of some) socket.on('error', () => undefined);
    await Promise.all(some.map(socket => Promise.race([once(socket, 'connect').catch(() => undefined), sleep(2_000)])));
    sockets.push(...some);
  }
  await publishes(server, 'meanwhile');
  expect(server.memory().resident - before).toBeLessThan(400 * 2 ** 20);
  for (const socket of sockets) socket.destroy();
  await publishes(server, 'after');
});

test('rubbish on the gRPC port closes that connection and nothing else', async () => {
  const server = await start();
  const [host = '', port = ''] = server.address.split(':');
  for (const bytes of [
    Buffer.alloc(65_536, 0xff),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff', 'latin1'),
  ]) {
    const socket = connectTcp(Number(port), host);
    socket.on('error', () => undefined);
    socket.write(bytes);
    await Promise.race([once(socket, 'close'), sleep(1_000)]);
    socket.destroy();
  }
  await publishes(server, 'after');
});

test('a consumer that stops reading does not grow the server, and others go on', { timeout: 120_000 }, async () => {
  const server = await start();
  const client = connect({ servers: server.address });
  undo.push(() => client.close());
  const producer = await client.producer({ topic: 'big' });
  const payload = Buffer.alloc(64 * 1024, 1);
  for (let n = 0; n < 3_000; n++) while (!producer.offer(payload)) await producer.ready();
  await producer.flush();
  const before = server.memory().resident;
  const greedy = await client.consumer({
    topic: 'big',
    subscription: 'stuck',
    start: 'earliest',
    creditMessages: 1_000_000,
    creditBytes: 2 ** 30,
  });
  const first = await greedy.messages().next();
  expect(first.value?.payload?.length).toBe(payload.length);
  await sleep(2_000);
  expect(server.memory().resident - before).toBeLessThan(150 * 2 ** 20);
  const reader = await client.reader({ topic: 'big', start: 'earliest', until: 'end' });
  let count = 0;
  for await (const batch of reader.batches()) count += batch.count;
  expect(count).toBe(3_000);
});
