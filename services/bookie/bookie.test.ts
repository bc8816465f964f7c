import { describe, expect, test } from 'vitest';
import { memoryDisk } from '#lib/runtime/memory-disk.ts';
import { offset } from '#lib/types/brands.ts';
import type { Bookie } from './bookie.ts';
import { createBookie } from './open.ts';
import {
  appendRequest,
  ask,
  quickWorld,
  readAll,
  smallConfig,
  testBallot,
  testDescriptor,
  testEntry,
  testLedgerId,
} from './testing/support.ts';

async function created(disk = memoryDisk()): Promise<Bookie> {
  const bookie = await createBookie(quickWorld(disk), smallConfig());
  expect(await ask(bookie, { kind: 'create', descriptor: testDescriptor(1, bookie.id), ballot: testBallot(1) })).toEqual({ kind: 'ok' });
  return bookie;
}

async function fill(bookie: Bookie, count: number, bytes: number, from = 0): Promise<Buffer[]> {
  const entries = Array.from({ length: count }, (_, n) => testEntry(from + n, Buffer.alloc(bytes, from + n)));
  for (const [n, entry] of entries.entries()) {
    let reply = await ask(bookie, appendRequest(1, 1, entry, from + n));
    for (; reply.kind === 'busy'; reply = await ask(bookie, appendRequest(1, 1, entry, from + n))) await new Promise(setImmediate);
    expect(reply).toEqual({ kind: 'appended', end: from + n + 1 });
  }
  return entries;
}

describe('a bookie', () => {
  test('serves what it acknowledged, also after a restart', async () => {
    const disk = memoryDisk();
    const bookie = await created(disk);
    const entries = await fill(bookie, 50, 100);
    expect(await readAll(bookie, 1, testBallot(1))).toEqual(entries);
    await bookie.close();
    const again = await createBookie(quickWorld(disk), smallConfig());
    expect(again.id).toBe(bookie.id);
    expect(await readAll(again, 1, testBallot(1))).toEqual(entries);
    await again.close();
  });

  test('serves entries that went to segments, and those in memory behind them', async () => {
    const disk = memoryDisk();
    const bookie = await created(disk);
    const entries = await fill(bookie, 300, 1000);
    expect(bookie.usage().segments).toBeGreaterThan(2);
    expect(await readAll(bookie, 1, testBallot(1))).toEqual(entries);
    expect((await readAll(bookie, 1, testBallot(1), 123))[0]).toEqual(entries[123]);
    await bookie.close();
    const again = await createBookie(quickWorld(disk), smallConfig());
    expect(await readAll(again, 1, testBallot(1))).toEqual(entries);
    await again.close();
  });

  test('reads a segment that is written in blocks, from any offset', async () => {
    const bookie = await created();
    const entries = await fill(bookie, 40, 9000);
    await bookie.flush();
    for (const from of [0, 1, 7, 8, 20, 38, 39]) expect(await readAll(bookie, 1, testBallot(1), from, 30_000)).toEqual(entries.slice(from));
    await bookie.close();
  });

  test('a fence ends the older ballot, a seal ends the ledger, and the decided end is what everybody reads', async () => {
    const bookie = await created();
    const entries = await fill(bookie, 5, 10);
    const first = offset(0);
    expect(await readAll(bookie, 1, null)).toEqual(entries.slice(0, 4));
    const descriptor = testDescriptor(1, bookie.id);
    expect(await ask(bookie, { kind: 'fence', descriptor, ballot: testBallot(2), first })).toEqual({
      kind: 'fenced',
      end: 5,
      ackedEnd: 4,
      accepted: null,
      decided: null,
    });
    expect(await ask(bookie, appendRequest(1, 1, testEntry(5, Buffer.alloc(1)), 5))).toEqual({ kind: 'stale', promised: testBallot(2) });
    const value = { end: offset(5), next: testDescriptor(2, bookie.id, undefined, testBallot(2)) };
    const ledger = testLedgerId(1);
    expect(await ask(bookie, { kind: 'seal', ledger, ballot: testBallot(2), first, value })).toEqual({ kind: 'ok' });
    expect(await ask(bookie, { kind: 'decided', ledger, first, value })).toEqual({ kind: 'ok' });
    expect(await readAll(bookie, 1, null)).toEqual(entries);
    expect(await ask(bookie, { kind: 'inspect', ledger })).toMatchObject({
      kind: 'state',
      state: { end: 5, decided: value, bytes: 5 * 74 },
    });
    await bookie.close();
  });

  test('the same bytes again are fine, other bytes at a held offset are a conflict; in memory and in a segment', async () => {
    const bookie = await created();
    const entries = await fill(bookie, 3, 10);
    for (let round = 0; round < 2; round++) {
      expect(await ask(bookie, appendRequest(1, 1, entries[1] ?? Buffer.alloc(0), 1))).toEqual({ kind: 'appended', end: 3 });
      expect(await ask(bookie, appendRequest(1, 1, testEntry(1, Buffer.from('other')), 1))).toMatchObject({ kind: 'conflict' });
      expect(await ask(bookie, appendRequest(1, 1, testEntry(9, Buffer.from('gap')), 9))).toEqual({
        kind: 'refused',
        reason: 'gap',
        end: 3,
      });
      await bookie.flush();
    }
    await bookie.close();
  });
});
