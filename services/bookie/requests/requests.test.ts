// What each request does beside appending and voting: locating, listing, deleting, floors, repair; in memory and out of segments.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { BookieReply, ListRequest } from '#lib/ledger/protocol.ts';
import { memoryLogger } from '#lib/runtime/loggers.ts';
import { memoryDisk } from '#lib/runtime/memory-disk.ts';
import type { Disk } from '#lib/runtime/ports.ts';
import { offset, partitionId } from '#lib/types/brands.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { encodeEntry } from '#lib/wire/entry.ts';
import type { Bookie } from '../bookie.ts';
import { createBookie } from '../open.ts';
import {
  appendRequest,
  ask,
  PARTITION,
  quickWorld,
  readAll,
  smallConfig,
  TOPIC,
  testBallot,
  testDescriptor,
  testEntry,
  testLedgerId,
} from '../testing/support.ts';

let disk: Disk;
let bookie: Bookie;
const logger = memoryLogger();
const reopen = async () => {
  bookie = await createBookie(quickWorld(disk, logger), smallConfig());
};
beforeEach(async () => {
  disk = memoryDisk();
  await reopen();
});
afterEach(() => bookie.close());

const first = offset(0);
const create = (n: number, partition = PARTITION) =>
  ask(bookie, { kind: 'create', descriptor: testDescriptor(n, bookie.id, partition), ballot: testBallot(1) });

async function ledgerWith(n: number, entries: readonly Buffer[], partition = PARTITION): Promise<void> {
  expect(await create(n, partition)).toEqual({ kind: 'ok' });
  for (const entry of entries) {
    const at = entry.readUInt32LE(24);
    for (let reply: BookieReply = { kind: 'unknown' }; reply.kind !== 'appended'; ) {
      reply = await ask(bookie, appendRequest(n, 1, entry, at));
      if (reply.kind === 'busy') await new Promise(setImmediate);
      else expect(reply.kind).toBe('appended');
    }
  }
}
const plain = (count: number, bytes = 10) => Array.from({ length: count }, (_, n) => testEntry(n, Buffer.alloc(bytes, n)));
const decide = (n: number, end: number, next: number | null = null) =>
  ask(bookie, {
    kind: 'decided',
    ledger: testLedgerId(n),
    first,
    value: { end: offset(end), next: next === null ? null : testDescriptor(next, bookie.id) },
  });
const remove = (n: number, reason: 'trimmed' | 'purged' | 'orphan' = 'trimmed', epoch = 1) =>
  ask(bookie, { kind: 'delete', ledger: testLedgerId(n), partition: PARTITION, reason, ballot: testBallot(epoch) });
const floor = (at: number, live: number, epoch = 1) =>
  ask(bookie, { kind: 'floor', partition: PARTITION, offset: offset(at), firstLive: testLedgerId(live), ballot: testBallot(epoch) });

describe('locate', () => {
  /** Entries of 1 to 3 messages, some control entries, times with steps and equal ones; over many blocks, segments and memory. */
  const entries: Buffer[] = [];
  const facts: { at: number; time: number; count: number; messages: number }[] = [];
  for (let n = 0, at = 0, count = 0, time = 5000; n < 120; n++) {
    const isControl = n % 7 === 3;
    const messages = isControl ? 0 : 1 + (n % 3);
    const payload = Buffer.alloc(n % 10 === 0 ? 9000 : 900, n);
    const kind = isControl ? 'control' : 'batch';
    entries.push(
      encodeEntry(
        { kind, baseOffset: at, count: messages, cumulativeCount: count, appendTimeMs: time, checkpointOffset: -1 },
        [],
        payload,
        crc32c(payload),
      ),
    );
    facts.push({ at, time, count, messages });
    at += isControl ? 1 : messages;
    count += messages;
    time += n % 4 === 0 ? 50 : 0;
  }
  const last = facts.at(-1) ?? { at: 0, time: 0, count: 0, messages: 0 };

  test('finds what a search through all entries finds, wherever they are', async () => {
    await ledgerWith(1, entries);
    await decide(1, last.at + (last.messages || 1));
    expect(bookie.usage().segments).toBeGreaterThan(2);
    for (const stage of ['mixed', 'flushed', 'reopened'] as const) {
      if (stage === 'flushed') await bookie.flush();
      if (stage === 'reopened') {
        await bookie.close();
        await reopen();
      }
      const locate = (by: 'time' | 'count', value: number) => ask(bookie, { kind: 'locate', ledger: testLedgerId(1), by, value });
      for (let time = 4950; time <= last.time + 60; time += 25) {
        const wanted = facts.find(fact => fact.time >= time)?.at ?? null;
        expect(await locate('time', time), `${stage}: time ${time}`).toEqual({ kind: 'located', offset: wanted });
      }
      for (let count = 0; count <= last.count + 4; count++) {
        const wanted = facts.find(fact => fact.count + fact.messages > count)?.at ?? null;
        expect(await locate('count', count), `${stage}: count ${count}`).toEqual({ kind: 'located', offset: wanted });
      }
    }
  }, 20_000);

  test('finds nothing beyond what anybody may read', async () => {
    await ledgerWith(1, plain(3));
    expect(await ask(bookie, { kind: 'locate', ledger: testLedgerId(1), by: 'time', value: 1001 })).toEqual({ kind: 'located', offset: 1 });
    expect(await ask(bookie, { kind: 'locate', ledger: testLedgerId(1), by: 'time', value: 1002 })).toEqual({
      kind: 'located',
      offset: null,
    });
  });
});

describe('list', () => {
  const list = async (request: Partial<ListRequest>) => {
    const reply = await ask(bookie, { kind: 'list', partitions: [PARTITION], countMax: 2, after: null, ...request });
    if (reply.kind !== 'list') throw new Error(reply.kind);
    return reply.partitions.map(({ partition, floor, ledgers, more }) => ({
      partition,
      floor: floor?.offset ?? null,
      ledgers: ledgers.map(({ descriptor }) => descriptor.ledger),
      more,
    }));
  };

  test('gives the newest ledgers of each partition, and pages on to older ones', async () => {
    for (const n of [1, 2, 3]) await create(n);
    const other = partitionId(TOPIC, 9);
    await create(7, other);
    expect(await list({ partitions: [PARTITION, other, partitionId(TOPIC, 11)] })).toEqual([
      { partition: PARTITION, floor: null, ledgers: [testLedgerId(3), testLedgerId(2)], more: true },
      { partition: other, floor: null, ledgers: [testLedgerId(7)], more: false },
      { partition: partitionId(TOPIC, 11), floor: null, ledgers: [], more: false },
    ]);
    expect(await list({ after: testLedgerId(2) })).toEqual([
      { partition: PARTITION, floor: null, ledgers: [testLedgerId(1)], more: false },
    ]);
  });

  test('says the floor, and no more what lies below it', async () => {
    await ledgerWith(1, plain(2));
    await decide(1, 2, 2);
    await create(2);
    await remove(1);
    await floor(2, 2);
    expect(await list({})).toEqual([{ partition: PARTITION, floor: 2, ledgers: [testLedgerId(2)], more: false }]);
  });
});

describe('delete', () => {
  test('leaves a tombstone that keeps the seal and refuses all that would bring the ledger back, restarts included', async () => {
    const entries = plain(3);
    await ledgerWith(1, entries);
    await decide(1, 3, 2);
    await bookie.flush();
    expect(await remove(1)).toEqual({ kind: 'ok' });
    expect(await remove(1)).toEqual({ kind: 'ok' });
    for (const restart of [false, true]) {
      if (restart) {
        await bookie.close();
        await reopen();
      }
      const gone = { kind: 'gone', decided: { end: 3, next: testDescriptor(2, bookie.id) }, floor: null };
      const descriptor = testDescriptor(1, bookie.id);
      const value = { end: offset(3), next: null };
      const bytes = entries[0] ?? Buffer.alloc(0);
      expect(await create(1)).toEqual(gone);
      expect(await ask(bookie, { kind: 'fence', descriptor, ballot: testBallot(9), first })).toEqual(gone);
      expect(await ask(bookie, appendRequest(1, 1, bytes, 0))).toEqual(gone);
      expect(await ask(bookie, { kind: 'seal', ledger: testLedgerId(1), ballot: testBallot(9), first, value })).toEqual(gone);
      expect(await ask(bookie, { kind: 'decided', ledger: testLedgerId(1), first, value })).toEqual(gone);
      expect(await ask(bookie, { kind: 'restore', descriptor, first, decided: value, offset: first, span: 1, bytes })).toEqual(gone);
      expect(await ask(bookie, { kind: 'read', ledger: testLedgerId(1), ballot: null, offset: first, bytesMax: 9 })).toEqual(gone);
      expect(await ask(bookie, { kind: 'inspect', ledger: testLedgerId(1) })).toEqual(gone);
    }
    expect(await disk.list('/data/segments')).toEqual([]);
  });

  test('needs a decided seal to trim, and at least the promised ballot', async () => {
    await ledgerWith(1, plain(2));
    expect(await remove(1)).toEqual({ kind: 'refused', reason: 'not_decided', end: 2 });
    await ask(bookie, { kind: 'fence', descriptor: testDescriptor(1, bookie.id), ballot: testBallot(4), first });
    expect(await remove(1, 'orphan', 3)).toEqual({ kind: 'stale', promised: testBallot(4) });
    expect(await remove(1, 'orphan', 4)).toEqual({ kind: 'ok' });
  });

  test('of a ledger that was never here keeps it away', async () => {
    expect(await remove(5, 'purged')).toEqual({ kind: 'ok' });
    expect(await create(5)).toMatchObject({ kind: 'gone', decided: null });
  });

  test('a segment that nothing uses goes, and a mostly dead one is rewritten', async () => {
    await bookie.close();
    bookie = await createBookie(quickWorld(disk, logger), {
      ...smallConfig(),
      writeCacheBytes: 2 * 1024 * 1024,
      journalFileBytes: 1024 * 1024,
    });
    const large = plain(80, 1500);
    const small = plain(80, 20);
    await ledgerWith(1, large);
    await ledgerWith(2, small);
    await bookie.flush();
    await ledgerWith(3, large);
    await bookie.flush();
    const [mixed, alone, ...rest] = await disk.list('/data/segments');
    expect(rest).toEqual([]);
    for (const n of [1, 3]) {
      await decide(n, 80);
      await remove(n);
    }
    const settled = async () => (await disk.list('/data/segments')).length === 1 && bookie.usage().segments === 1;
    for (let n = 0; n < 200 && !(await settled()); n++) await new Promise(resolve => setTimeout(resolve, 20));
    const [left, ...others] = await disk.list('/data/segments');
    expect(others).toEqual([]);
    expect([mixed, alone]).not.toContain(left);
    expect(bookie.usage().segmentBytes).toBeLessThan(16 * 1024);
    expect(await readAll(bookie, 2, testBallot(1))).toEqual(small);
    await bookie.close();
    await reopen();
    expect(await readAll(bookie, 2, testBallot(1))).toEqual(small);
  });
});

describe('floor', () => {
  test('folds tombstones, deletes what is still there below it, and answers for both; restarts included', async () => {
    for (const n of [1, 2]) {
      await ledgerWith(n, plain(2));
      await decide(n, 2);
    }
    await ledgerWith(3, [testEntry(2, Buffer.from('x')), testEntry(3, Buffer.from('y'))].slice(0, 0));
    await remove(1);
    expect(await floor(2, 3)).toEqual({ kind: 'ok' });
    expect(await floor(1, 3)).toEqual({ kind: 'ok' });
    for (const restart of [false, true]) {
      if (restart) {
        await bookie.close();
        await reopen();
      }
      expect(bookie.usage()).toMatchObject({ tombstones: 0, ledgers: 1 });
      const gone = { kind: 'gone', decided: null, floor: { offset: 2, firstLive: testLedgerId(3) } };
      for (const n of [1, 2])
        expect(await ask(bookie, { kind: 'fence', descriptor: testDescriptor(n, bookie.id), ballot: testBallot(9), first })).toEqual(gone);
      expect(await ask(bookie, { kind: 'inspect', ledger: testLedgerId(1) })).toMatchObject({ kind: 'refused', reason: 'no_ledger' });
    }
    expect(await floor(5, 3, 0)).toMatchObject({ kind: 'stale' });
  });
});

describe('restore', () => {
  const decided = { end: offset(4), next: null };
  const restore = (n: number, entry: Buffer, at: number, value = decided) =>
    ask(bookie, {
      kind: 'restore',
      descriptor: testDescriptor(n, bookie.id),
      first,
      decided: value,
      offset: offset(at),
      span: 1,
      bytes: entry,
    });

  test('fills a bookie that never had the ledger, in order', async () => {
    const entries = plain(4);
    expect(await restore(1, entries[1] ?? Buffer.alloc(0), 1)).toEqual({ kind: 'refused', reason: 'gap', end: 0 });
    for (const [at, entry] of entries.entries()) expect(await restore(1, entry, at)).toEqual({ kind: 'appended', end: at + 1 });
    expect(await restore(1, entries[2] ?? Buffer.alloc(0), 2)).toEqual({ kind: 'appended', end: 4 });
    expect(await restore(1, testEntry(2, Buffer.from('other')), 2)).toMatchObject({ kind: 'conflict' });
    expect(await restore(1, entries[0] ?? Buffer.alloc(0), 0, { end: offset(3), next: null })).toMatchObject({ kind: 'conflict' });
    expect(await readAll(bookie, 1, null)).toEqual(entries);
    await bookie.close();
    await reopen();
    expect(await readAll(bookie, 1, null)).toEqual(entries);
  });

  test('replaces entries that rotted, for good', async () => {
    const entries = plain(4, 500);
    await ledgerWith(1, entries);
    await decide(1, 4);
    await bookie.flush();
    const [name = ''] = await disk.list('/data/segments');
    const file = await disk.open(`/data/segments/${name}`);
    await file.write([Buffer.from([0xff])], 64 + 2 * 564 + 200);
    const read = { kind: 'read', ledger: testLedgerId(1), ballot: null, offset: first, bytesMax: 9999 } as const;
    expect(await ask(bookie, read)).toMatchObject({ kind: 'corrupt' });
    // Nobody but repair may put another in its place.
    expect(await ask(bookie, appendRequest(1, 1, entries[2] ?? Buffer.alloc(0), 2))).toMatchObject({ kind: 'refused', reason: 'sealed' });
    for (const [at, entry] of entries.entries()) expect(await restore(1, entry, at)).toEqual({ kind: 'appended', end: 4 });
    expect(await readAll(bookie, 1, null, 0, 700)).toEqual(entries);
    await bookie.flush();
    expect(await readAll(bookie, 1, null)).toEqual(entries);
    await bookie.close();
    await reopen();
    expect(await readAll(bookie, 1, null)).toEqual(entries);
    expect(bookie.usage().damagedReads).toBe(0);
  });
});

test('ten thousand ledgers are cheap to hold and quick to open again', async () => {
  const count = 10_000;
  const before = process.memoryUsage().heapUsed;
  const replies = Array.from({ length: count }, (_, n) => create(n + 1, partitionId(TOPIC, n)));
  for (const reply of await Promise.all(replies)) expect(reply.kind === 'ok' || reply.kind === 'busy').toBe(true);
  for (let n = 0; n < count; n++)
    if ((await replies[n])?.kind === 'busy') while ((await create(n + 1, partitionId(TOPIC, n))).kind !== 'ok') {}
  const entry = testEntry(0, Buffer.from('x'));
  for (let n = 0; n < count; n += 100) while ((await ask(bookie, appendRequest(n + 1, 1, entry, 0))).kind !== 'appended') {}
  expect(bookie.usage().ledgers).toBe(count);
  await bookie.flush();
  expect((process.memoryUsage().heapUsed - before) / count).toBeLessThan(8000);
  await bookie.close();
  const began = performance.now();
  await reopen();
  expect(performance.now() - began).toBeLessThan(2000);
  expect(bookie.usage().ledgers).toBe(count);
  expect(await readAll(bookie, 901, testBallot(1))).toHaveLength(1);
}, 30_000);
