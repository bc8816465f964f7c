// A journal that lost something: what the bookie still does, what it refuses, and how the loss is accepted.
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { memoryDisk } from '#lib/runtime/memory-disk.ts';
import type { Disk } from '#lib/runtime/ports.ts';
import { type BookieId, offset } from '#lib/types/brands.ts';
import type { Bookie } from './bookie.ts';
import { inProcessTransport } from './in-process.ts';
import { createBookie } from './open.ts';
import { salvage } from './salvage.ts';
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

const DECIDED = { end: offset(3), next: null };

/** Ledger 1 is decided and in a segment; ledger 2 has three entries in a segment, and two in the journal, of which the first rots. */
async function damagedDisk(): Promise<{ disk: Disk; id: BookieId; entries: Buffer[] }> {
  const disk = memoryDisk();
  const bookie = await createBookie(quickWorld(disk), smallConfig());
  const entries = Array.from({ length: 5 }, (_, n) => testEntry(n, Buffer.from(`entry ${n}`)));
  for (const n of [1, 2]) {
    await ask(bookie, { kind: 'create', descriptor: testDescriptor(n, bookie.id), ballot: testBallot(1) });
    for (const at of [0, 1, 2]) await ask(bookie, appendRequest(n, 1, entries[at] ?? Buffer.alloc(0), at));
  }
  await ask(bookie, { kind: 'decided', ledger: testLedgerId(1), first: offset(0), value: DECIDED });
  await bookie.flush();
  for (const at of [3, 4]) await ask(bookie, appendRequest(2, 1, entries[at] ?? Buffer.alloc(0), at));
  await sleep(50);
  await rot(disk, Buffer.from('entry 3'));
  return { disk: await copyOf(disk), id: bookie.id, entries };
}

/** Changes a byte of `needle`, wherever the journal has it. */
async function rot(disk: Disk, needle: Buffer): Promise<void> {
  for (const name of await disk.list('/data/journal')) {
    const file = await disk.open(`/data/journal/${name}`);
    const bytes = Buffer.alloc(await file.size());
    await file.read(bytes, 0);
    const at = bytes.indexOf(needle);
    if (at >= 0) await file.write([Buffer.from('X')], at);
    await file.close();
  }
}

/** As after a kill: the lock is free. */
async function copyOf(disk: Disk): Promise<Disk> {
  const copy = memoryDisk();
  for (const folder of ['/data', '/data/journal', '/data/segments', '/data/manifest']) {
    await copy.makeFolder(folder);
    for (const name of await disk.list(folder)) {
      if (['journal', 'segments', 'manifest', 'lock'].includes(name)) continue;
      const from = await disk.open(`${folder}/${name}`, { readOnly: true });
      const bytes = Buffer.alloc(await from.size());
      await from.read(bytes, 0);
      const to = await copy.open(`${folder}/${name}`, { create: true });
      await to.write([bytes], 0);
    }
  }
  return copy;
}

const fence = (bookie: Bookie, n: number, id: BookieId, epoch: number) =>
  ask(bookie, { kind: 'fence', descriptor: testDescriptor(n, id), ballot: testBallot(epoch), first: offset(0) });

describe('after a damage of the journal', () => {
  test('the bookie has a new id; it serves what it has, votes on nothing that it may have forgotten, and works for new ledgers', async () => {
    const { disk, id, entries } = await damagedDisk();
    const bookie = await createBookie(quickWorld(disk), smallConfig());
    expect(bookie.id).not.toBe(id);
    expect(bookie.answersTo(id)).toBe(true);
    expect(await fence(bookie, 2, id, 2)).toEqual({ kind: 'unknown' });
    expect(await fence(bookie, 7, id, 2)).toEqual({ kind: 'unknown' });
    expect(await ask(bookie, { kind: 'create', descriptor: testDescriptor(8, id), ballot: testBallot(2) })).toEqual({ kind: 'unknown' });
    expect(await ask(bookie, appendRequest(2, 1, entries[3] ?? Buffer.alloc(0), 3))).toEqual({ kind: 'unknown' });
    expect(await ask(bookie, appendRequest(9, 1, entries[3] ?? Buffer.alloc(0), 3))).toEqual({ kind: 'unknown' });
    expect(await ask(bookie, { kind: 'inspect', ledger: testLedgerId(9) })).toEqual({ kind: 'unknown' });
    const seal = { kind: 'seal', ledger: testLedgerId(2), ballot: testBallot(1), first: offset(0), value: DECIDED } as const;
    expect(await ask(bookie, seal)).toEqual({ kind: 'unknown' });
    // Decided ledgers are as good as ever.
    expect(await readAll(bookie, 1, null)).toEqual(entries.slice(0, 3));
    expect(await fence(bookie, 1, id, 5)).toMatchObject({ kind: 'fenced', decided: DECIDED });
    // Verified entries of the others are served, for a take over to copy.
    expect((await readAll(bookie, 2, testBallot(1))).slice(0, 3)).toEqual(entries.slice(0, 3));
    // New ledgers name the new id.
    expect(await ask(bookie, { kind: 'create', descriptor: testDescriptor(5, bookie.id), ballot: testBallot(3) })).toEqual({ kind: 'ok' });
    expect(await ask(bookie, appendRequest(5, 3, entries[0] ?? Buffer.alloc(0), 0))).toEqual({ kind: 'appended', end: 1 });
    // Whoever knows the outcome may tell: then the ledger counts again.
    expect(await ask(bookie, { kind: 'decided', ledger: testLedgerId(2), first: offset(0), value: DECIDED })).toEqual({ kind: 'ok' });
    expect(await fence(bookie, 2, id, 2)).toMatchObject({ kind: 'fenced', end: 3, decided: DECIDED });
    const transport = inProcessTransport(bookie);
    expect(transport.bookies()).toEqual([{ id: bookie.id, alive: true, full: false }]);
    await bookie.close();
    // The doubt is durable, and the next start is a clean one.
    const again = await createBookie(quickWorld(disk), smallConfig());
    expect(again.id).toBe(bookie.id);
    expect(await fence(again, 7, id, 2)).toEqual({ kind: 'unknown' });
    expect(await fence(again, 5, again.id, 4)).toMatchObject({ kind: 'fenced', end: 1 });
    await again.close();
  });

  test('repair fills up a decided ledger that lost its end', async () => {
    const { disk, id, entries } = await damagedDisk();
    const bookie = await createBookie(quickWorld(disk), smallConfig());
    const decided = { end: offset(5), next: null };
    for (const at of [0, 3, 4]) {
      const bytes = entries[at] ?? Buffer.alloc(0);
      const descriptor = testDescriptor(2, id);
      const reply = await ask(bookie, { kind: 'restore', descriptor, first: offset(0), decided, offset: offset(at), span: 1, bytes });
      expect(reply).toMatchObject({ kind: 'appended' });
    }
    expect(await readAll(bookie, 2, null)).toEqual(entries);
    await bookie.close();
  });

  test('salvage lists what may be lost and changes nothing; accepting it makes the bookie vote again, for good', async () => {
    const { disk, id, entries } = await damagedDisk();
    const world = quickWorld(disk);
    const looked = await salvage(world, smallConfig(), false);
    expect(looked).toMatchObject({ doubtfulIds: [id], accepted: false, damaged: [] });
    expect(looked.ledgers).toMatchObject([{ ledger: testLedgerId(2), first: 0, end: 3, otherCopies: 0 }]);
    const accepted = await salvage(world, smallConfig(), true);
    expect(accepted).toMatchObject({ doubtfulIds: [id], accepted: true });
    expect(await salvage(world, smallConfig(), true)).toMatchObject({ doubtfulIds: [], ledgers: [], accepted: false });
    const bookie = await createBookie(quickWorld(disk), smallConfig());
    const fenced = await fence(bookie, 2, id, 2);
    expect(fenced).toMatchObject({ kind: 'fenced', end: 3, decided: null });
    expect(fenced.kind === 'fenced' && fenced.ackedEnd).toBeLessThanOrEqual(3);
    expect(await readAll(bookie, 2, testBallot(2))).toEqual(entries.slice(0, 3));
    expect(await fence(bookie, 7, id, 2)).toMatchObject({ kind: 'fenced', end: 0 });
    await bookie.close();
  });
});
