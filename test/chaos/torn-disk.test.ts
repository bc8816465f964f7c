// Power cuts instead of kills: the whole server over a disk that keeps, drops or tears whatever was not synced, in any order, and without
// its index. Every message whose acknowledgement reached the client is there, in order, and once. Judged from the client's own record.
import { afterAll, expect, test } from 'vitest';
import { connect, type MessageId, type SluiceError } from '#clients/typescript/index.ts';
import { defaultsOf } from '#lib/config/schema.ts';
import { nullLogger } from '#lib/runtime/loggers.ts';
import { nodeClock } from '#lib/runtime/node/clock.ts';
import { createNodeWorld } from '#lib/runtime/node/world.ts';
import { simDisk } from '#lib/runtime/sim/disk.ts';
import { simRandom } from '#lib/runtime/sim/random.ts';
import { standaloneSchema } from '../../services/standalone/config.ts';
import { type Sluice, startStandalone } from '../../services/standalone/start.ts';
import { TcpProxy } from '../integration/client-proxy.ts';

const SEED = Number(process.env['SLUICE_SEED'] ?? 1);
const CUTS = 20;
const MESSAGES_MAX = 400_000;
const config = {
  ...defaultsOf(standaloneSchema),
  journalFileBytes: 2 ** 20,
  writeCacheBytes: 2 ** 21,
  journalFilesMax: 8,
  ledgerBytes: 2 ** 20,
};

const proxies: TcpProxy[] = [];
afterAll(() => {
  for (const proxy of proxies) proxy.close();
});

test('twenty power cuts under load lose no acknowledged message, keep the order, and store each once', { timeout: 240_000 }, async () => {
  const random = simRandom(SEED);
  const disk = simDisk(random, { clock: nodeClock(), delayMsMax: 1 });
  // A machine's life: what was started in one before does nothing any more once the power is cut.
  const start = (): Promise<Sluice> => {
    const node = createNodeWorld({ logger: nullLogger(), onFatal: () => undefined });
    return startStandalone({
      world: { ...node, disk: disk.forLife() },
      config,
      folder: null,
      listen: '127.0.0.1:0',
      httpListen: null,
      isOwnProcess: false,
    });
  };
  let server = await start();
  const proxy = await TcpProxy.start(server.address);
  proxies.push(proxy);
  const client = connect({ servers: proxy.address });
  const producer = await client.producer({ topic: 'orders', sendTimeoutMs: 60_000, batchBytesMax: 8 * 1024 });
  const acknowledged: number[] = [];
  const failures: unknown[] = [];
  let sent = 0;
  let isOver = false;
  const publishing = (async () => {
    while (!isOver && sent < MESSAGES_MAX) {
      const number = sent++;
      const told = (result: MessageId | SluiceError) => {
        if ('offset' in result) acknowledged[number] = result.offset;
        else failures.push(result);
      };
      while (!producer.offer(`message ${number} ${'x'.repeat(number % 300)}`, told)) await producer.ready();
      if (number % 50 === 0) await new Promise(resolve => setTimeout(resolve, 1));
    }
  })();
  for (let cut = 0; cut < CUTS; cut++) {
    const before = acknowledged.length;
    const until = performance.now() + 50 + random.next() * 300;
    while (performance.now() < until || acknowledged.length === before)
      await new Promise(resolve => setTimeout(resolve, 1 + random.next() * 5));
    // What has not come through the proxy by now is not acknowledged; what is not synced by now is the disk's to lose.
    proxy.refuse(true);
    disk.crash();
    server = await start();
    proxy.pointTo(server.address);
    proxy.refuse(false);
  }
  isOver = true;
  await publishing;
  await producer.flush();
  expect(failures).toEqual([]);
  const reader = await client.reader({ topic: 'orders', start: 'earliest', until: 'end' });
  let next = 0;
  for await (const message of reader) {
    const number = Number(String(message.payload).split(' ')[1]);
    if (number !== next || message.offset !== acknowledged[number]) {
      throw new Error(`@${message.offset} is message ${number}; expected ${next}, acknowledged @${acknowledged[next]} (seed ${SEED})`);
    }
    next++;
  }
  expect(next).toBe(sent);
  expect(sent).toBeGreaterThan(1_000);
  await client.close();
  await server.close();
});
