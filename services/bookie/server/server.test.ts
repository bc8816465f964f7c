import { connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { type BookieClient, bookieClient, CLIENT_DEFAULTS } from '#lib/ledger/bookie-client.ts';
import type { BookieReply, BookieRequest } from '#lib/ledger/protocol.ts';
import { memoryLogger } from '#lib/runtime/loggers.ts';
import { memoryDisk } from '#lib/runtime/memory-disk.ts';
import { nodeClock } from '#lib/runtime/node/clock.ts';
import { type BookieId, offset } from '#lib/types/brands.ts';
import { encodeRequest } from '#lib/wire/bookie-frames.ts';
import { entryBaseOffset } from '#lib/wire/entry.ts';
import type { Bookie } from '../bookie.ts';
import { createBookie } from '../open.ts';
import {
  appendRequest,
  CLUSTER,
  quickWorld,
  smallConfig,
  testBallot,
  testDescriptor,
  testEntry,
  testLedgerId,
} from '../testing/support.ts';
import { BookieServer, type BookieServerOptions, SERVER_DEFAULTS } from './server.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const run of undo.splice(0).reverse()) await run();
});

interface Setup {
  readonly bookie: Bookie;
  readonly server: BookieServer;
  readonly logger: ReturnType<typeof memoryLogger>;
}

async function setUp(options: Partial<BookieServerOptions> = {}, cacheBytes = 4 * 1024 * 1024): Promise<Setup> {
  const logger = memoryLogger();
  const world = quickWorld(memoryDisk(), logger);
  const bookie = await createBookie(world, { ...smallConfig(), writeCacheBytes: cacheBytes, journalFileBytes: 4 * 1024 * 1024 });
  const server = await BookieServer.start(world, bookie, { ...SERVER_DEFAULTS, host: '127.0.0.1', port: 0, ...options });
  undo.push(
    () => bookie.close(),
    () => server.close(),
  );
  return { bookie, server, logger };
}

function clientOf(port: () => number, id: BookieId, clusterId = CLUSTER): BookieClient {
  const client = bookieClient({
    ...CLIENT_DEFAULTS,
    clock: nodeClock(),
    logger: memoryLogger(),
    clusterId,
    name: 'test',
    registered: () => [id],
    dial: () => connect(port(), '127.0.0.1'),
  });
  undo.push(() => client.close());
  return client;
}

const ask = (client: BookieClient, to: BookieId, request: BookieRequest) =>
  new Promise<BookieReply>(resolve => client.send(to, request, resolve));

async function rawSocket(server: BookieServer): Promise<Socket & { ended: Promise<void> }> {
  const socket = connect(server.port, '127.0.0.1');
  const ended = new Promise<void>(resolve => socket.once('close', () => resolve()));
  socket.on('error', () => {});
  undo.push(() => socket.destroy());
  await new Promise(resolve => socket.once('connect', resolve));
  return Object.assign(socket, { ended });
}

const hello = (bookie: BookieId | null = null) =>
  Buffer.concat(encodeRequest(0, { kind: 'hello', versionMin: 1, versionMax: 1, clusterId: CLUSTER, bookie, client: 'raw' }));

test('serves pipelined requests, byte for byte', async () => {
  const { bookie, server } = await setUp();
  const client = clientOf(() => server.port, bookie.id);
  expect(await ask(client, bookie.id, { kind: 'create', descriptor: testDescriptor(1, bookie.id), ballot: testBallot(1) })).toEqual({
    kind: 'ok',
  });
  const sizes = [0, 1, 100, 65_000, 70_000, 300_000, 5, 5, 5];
  const entries = sizes.map((size, n) => testEntry(n, Buffer.alloc(size, n)));
  const replies = await Promise.all(entries.map((entry, n) => ask(client, bookie.id, appendRequest(1, 1, entry, n))));
  expect(replies).toEqual(sizes.map((_, n) => ({ kind: 'appended', end: n + 1 })));
  const read = { kind: 'read', ledger: testLedgerId(1), ballot: testBallot(1), offset: offset(0), bytesMax: 10 ** 6 } as const;
  expect(await ask(client, bookie.id, read)).toEqual({ kind: 'entries', entries, end: sizes.length });
  expect(client.bookies()).toEqual([{ id: bookie.id, alive: true, full: false }]);
});

test('an entry that arrives damaged is refused, and certainly not stored', async () => {
  const { bookie, server } = await setUp();
  const client = clientOf(() => server.port, bookie.id);
  await ask(client, bookie.id, { kind: 'create', descriptor: testDescriptor(1, bookie.id), ballot: testBallot(1) });
  for (const at of [5, 20, 70]) {
    const entry = testEntry(0, Buffer.from('0123456789'));
    entry[at] = (entry[at] ?? 0) ^ 1;
    expect(await ask(client, bookie.id, appendRequest(1, 1, entry, 0))).toMatchObject({ kind: 'refused', reason: 'invalid' });
  }
  expect(await ask(client, bookie.id, { kind: 'inspect', ledger: testLedgerId(1) })).toMatchObject({ state: { end: null } });
});

test('a small entry does not hold the chunk that it came in', async () => {
  const { bookie, server } = await setUp();
  const client = clientOf(() => server.port, bookie.id);
  await ask(client, bookie.id, { kind: 'create', descriptor: testDescriptor(1, bookie.id), ballot: testBallot(1) });
  await Promise.all(Array.from({ length: 50 }, (_, n) => ask(client, bookie.id, appendRequest(1, 1, testEntry(n, Buffer.alloc(100)), n))));
  const held = await new Promise<BookieReply>(resolve =>
    bookie.handle({ kind: 'read', ledger: testLedgerId(1), ballot: testBallot(1), offset: offset(0), bytesMax: 100_000 }, resolve),
  );
  if (held.kind !== 'entries') throw new Error(held.kind);
  expect(held.entries.length).toBe(50);
  for (const entry of held.entries) expect(entry.buffer.byteLength).toBe(entry.length);
  expect(entryBaseOffset(held.entries[49] ?? Buffer.alloc(0))).toBe(49);
});

test('another cluster, another bookie and another version are refused with the reason', async () => {
  const { bookie, server, logger } = await setUp();
  const other = clientOf(() => server.port, bookie.id, '0192f000-0000-4000-8000-00000000000d');
  expect(await ask(other, bookie.id, { kind: 'inspect', ledger: testLedgerId(1) })).toEqual({ kind: 'unreachable' });
  const wrongId = 'f'.repeat(32) as BookieId;
  const wrong = clientOf(() => server.port, wrongId);
  expect(await ask(wrong, wrongId, { kind: 'inspect', ledger: testLedgerId(1) })).toEqual({ kind: 'unreachable' });
  expect(wrong.bookies()).toEqual([{ id: wrongId, alive: false, full: false }]);
  const newer = await rawSocket(server);
  newer.resume();
  newer.write(
    Buffer.concat(encodeRequest(0, { kind: 'hello', versionMin: 2, versionMax: 9, clusterId: CLUSTER, bookie: null, client: 'new' })),
  );
  await newer.ended;
  const refused = logger.lines.filter(line => line.message === 'a broker is refused').map(line => line.fields['status']);
  expect([...new Set(refused)].sort()).toEqual(['other_bookie', 'other_cluster', 'version']);
});

test('rubbish, a length of 2^32 - 1, a frame before the hello and a second hello end the connection; others go on', async () => {
  const { bookie, server } = await setUp();
  const client = clientOf(() => server.port, bookie.id);
  await ask(client, bookie.id, { kind: 'inspect', ledger: testLedgerId(1) });
  const huge = Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3]);
  const early = Buffer.concat(encodeRequest(1, { kind: 'inspect', ledger: testLedgerId(1) }));
  const cases = [Buffer.from('GET / HTTP/1.1\r\n\r\n'), huge, early, Buffer.concat([hello(), hello()]), Buffer.concat([hello(), huge])];
  for (const bytes of cases) {
    const socket = await rawSocket(server);
    socket.resume();
    socket.write(bytes);
    await socket.ended;
  }
  expect(await ask(client, bookie.id, { kind: 'inspect', ledger: testLedgerId(1) })).toMatchObject({ kind: 'refused' });
  expect(server.connections).toBe(1);
});

test('who says nothing, or stops within a frame, is closed after a while', async () => {
  const { server } = await setUp({ stallMs: 300, idleMs: 900 });
  const silent = await rawSocket(server);
  const slow = await rawSocket(server);
  slow.write(hello().subarray(0, 10));
  const within = await rawSocket(server);
  within.resume();
  within.write(hello());
  within.write(Buffer.concat(encodeRequest(1, { kind: 'ping' })).subarray(0, 9));
  const idle = await rawSocket(server);
  idle.resume();
  idle.write(hello());
  const drip = setInterval(() => slow.write('x'), 50);
  undo.push(() => clearInterval(drip));
  await Promise.all([silent.ended, slow.ended, within.ended, idle.ended]);
  expect(server.connections).toBe(0);
}, 10_000);

test('more connections than allowed are closed at once, and idle ones cost little', async () => {
  const { bookie, server } = await setUp({ connectionsMax: 1500 });
  const client = clientOf(() => server.port, bookie.id);
  await ask(client, bookie.id, { kind: 'inspect', ledger: testLedgerId(1) });
  const sockets: Socket[] = [];
  let closed = 0;
  undo.push(() => {
    for (const socket of sockets) socket.destroy();
  });
  for (let n = 0; n < 2000; n++) {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.on('close', () => closed++);
    socket.once('connect', () => socket.write(Buffer.from([0, 1, 0, 0, 7])));
    sockets.push(socket);
    if (n % 200 === 199) await sleep(20);
  }
  for (let n = 0; n < 200 && closed < 501; n++) await sleep(20);
  expect(closed).toBe(501);
  expect(server.connections).toBe(1500);
  expect(server.heldBytes).toBeLessThan(1500 * 8192);
  expect(await ask(client, bookie.id, { kind: 'inspect', ledger: testLedgerId(1) })).toMatchObject({ kind: 'refused' });
}, 30_000);

test('a peer that does not read its replies is read from no more, and closed in the end', async () => {
  const { bookie, server } = await setUp({ replyBytesMax: 1024 * 1024, stallMs: 1500 });
  const client = clientOf(() => server.port, bookie.id);
  await ask(client, bookie.id, { kind: 'create', descriptor: testDescriptor(1, bookie.id), ballot: testBallot(1) });
  await ask(client, bookie.id, appendRequest(1, 1, testEntry(0, Buffer.alloc(500_000)), 0));
  const socket = await rawSocket(server);
  socket.pause();
  socket.write(hello());
  const read = { kind: 'read', ledger: testLedgerId(1), ballot: testBallot(1), offset: offset(0), bytesMax: 10 ** 6 } as const;
  for (let n = 1; n <= 2000; n++) socket.write(Buffer.concat(encodeRequest(n, read)));
  await sleep(300);
  // What one chunk of requests asked for, and no more: entries are not copied, so this is what the kernel has not taken.
  const early = server.heldBytes;
  await sleep(300);
  expect(server.heldBytes).toBeLessThanOrEqual(early);
  for (let n = 0; n < 100 && server.connections > 1; n++) await sleep(100);
  expect(server.connections).toBe(1);
  expect(await ask(client, bookie.id, { kind: 'inspect', ledger: testLedgerId(1) })).toMatchObject({ kind: 'state' });
}, 20_000);

test('requests under way end unreachable when the connection breaks, and the client calls again', async () => {
  const { bookie, server } = await setUp();
  // A wire in between that can be cut.
  const links = new Set<Socket>();
  const relay = createServer(socket => {
    const onward = connect(server.port, '127.0.0.1');
    for (const end of [socket, onward]) {
      links.add(end);
      end.on('error', () => {});
    }
    socket.pipe(onward).pipe(socket);
  });
  await new Promise<void>(resolve => relay.listen(0, '127.0.0.1', resolve));
  undo.push(() => relay.close());
  const address = relay.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const client = clientOf(() => port, bookie.id);
  await ask(client, bookie.id, { kind: 'create', descriptor: testDescriptor(1, bookie.id), ballot: testBallot(1) });
  const pending = Array.from({ length: 20 }, (_, n) => ask(client, bookie.id, appendRequest(1, 1, testEntry(n, Buffer.alloc(50_000)), n)));
  for (const link of links) link.destroy();
  const replies = await Promise.all(pending);
  expect(replies.some(reply => reply.kind === 'unreachable')).toBe(true);
  for (let n = 0; n < 100 && !client.bookies()[0]?.alive; n++) await sleep(20);
  expect(await ask(client, bookie.id, { kind: 'inspect', ledger: testLedgerId(1) })).toMatchObject({ kind: 'state' });
  await server.close();
  expect(await ask(client, bookie.id, { kind: 'inspect', ledger: testLedgerId(1) })).toEqual({ kind: 'unreachable' });
});
