// A disk that fills up: clients are refused as retryable, everything that ends or frees something goes on, and with space comes service.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { type SimDisk, simDisk } from '#lib/runtime/sim/disk.ts';
import { simRandom } from '#lib/runtime/sim/random.ts';
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

const MIB = 1024 * 1024;
let disk: SimDisk;
let bookie: Bookie;
afterEach(async () => {
  disk.faults.capacityBytes = Number.MAX_SAFE_INTEGER;
  await bookie.close();
});

async function open(capacity: number, reservedDisk: number): Promise<void> {
  disk = simDisk(simRandom(5));
  disk.faults.capacityBytes = capacity;
  const config = { ...smallConfig(), journalFilesMax: 4, reservedDisk, reservedPartitionBytes: 64 * 1024 };
  bookie = await createBookie(quickWorld(disk), config);
  for (const n of [1, 2]) await ask(bookie, { kind: 'create', descriptor: testDescriptor(n, bookie.id), ballot: testBallot(1) });
}

/** Appends until it is refused for want of space; what was acknowledged. */
async function fill(n: number, from = 0): Promise<Buffer[]> {
  const entries: Buffer[] = [];
  for (let at = from; ; ) {
    const entry = testEntry(at, Buffer.alloc(4000, at));
    const reply = await ask(bookie, appendRequest(n, 1, entry, at));
    if (reply.kind === 'appended') {
      entries.push(entry);
      at++;
    } else if (reply.kind === 'busy' && reply.reason === 'space') return entries;
    else {
      expect(reply).toEqual({ kind: 'busy', reason: 'queue' });
      await sleep(1);
    }
  }
}

async function endAndDelete(n: number, end: number): Promise<void> {
  const first = offset(0);
  const ledger = testLedgerId(n);
  const value = { end: offset(end), next: null };
  expect(await ask(bookie, { kind: 'fence', descriptor: testDescriptor(n, bookie.id), ballot: testBallot(2), first })).toMatchObject({
    end,
  });
  expect(await ask(bookie, { kind: 'seal', ledger, ballot: testBallot(2), first, value })).toEqual({ kind: 'ok' });
  expect(await ask(bookie, { kind: 'decided', ledger, first, value })).toEqual({ kind: 'ok' });
  const { partition } = testDescriptor(n, bookie.id);
  expect(await ask(bookie, { kind: 'delete', ledger, partition, reason: 'trimmed', ballot: testBallot(2) })).toEqual({ kind: 'ok' });
}

async function appendsAgain(n: number, at: number): Promise<void> {
  const entry = testEntry(at, Buffer.from('again'));
  for (let tries = 0; tries < 100; tries++) {
    const reply = await ask(bookie, appendRequest(n, 1, entry, at));
    if (reply.kind === 'appended') return;
    expect(reply.kind).toBe('busy');
    await sleep(100);
  }
  throw new Error('it never takes entries again');
}

describe('past the high-water mark', () => {
  test('clients are refused, reserved entries go on up to a budget, and all recovers by itself', async () => {
    await open(8 * MIB, 400 * 1024);
    const entries = await fill(1);
    expect(entries.length).toBeGreaterThan(100);
    expect(bookie.isSpaceFull()).toBe(true);
    expect(await readAll(bookie, 1, testBallot(1))).toEqual(entries);
    // Control entries have a budget of 64 KiB here.
    let at = entries.length;
    for (;;) {
      const reply = await ask(bookie, appendRequest(1, 1, testEntry(at, Buffer.alloc(4000)), at, 0, at, true));
      if (reply.kind === 'busy' && reply.reason === 'space') break;
      if (reply.kind === 'appended') at++;
      else await sleep(1);
    }
    expect(at - entries.length).toBeGreaterThan(10);
    expect(at - entries.length).toBeLessThan(20);
    expect(await ask(bookie, { kind: 'create', descriptor: testDescriptor(3, bookie.id), ballot: testBallot(1) })).toEqual({ kind: 'ok' });
    disk.faults.capacityBytes = 20 * MIB;
    await appendsAgain(1, at);
    expect(bookie.isSpaceFull()).toBe(false);
  }, 20_000);

  test('deleting gives space back', async () => {
    await open(8 * MIB, 400 * 1024);
    const entries = await fill(1);
    await endAndDelete(1, entries.length);
    await appendsAgain(2, 0);
    for (let tries = 0; tries < 50 && bookie.usage().segmentBytes >= MIB; tries++) await sleep(50);
    expect(bookie.usage().segmentBytes).toBeLessThan(MIB);
    await appendsAgain(2, 1);
  }, 20_000);
});

describe('on a disk without any space', () => {
  test('nothing acknowledged is lost, reads and seals go on, and deleting makes room to go on', async () => {
    await open(2.5 * MIB, 0);
    const entries = await fill(1);
    expect(bookie.isSpaceFull()).toBe(true);
    expect(await readAll(bookie, 1, testBallot(1))).toEqual(entries);
    const more = await fill(2);
    await endAndDelete(1, entries.length);
    await appendsAgain(2, more.length);
    expect((await readAll(bookie, 2, testBallot(1))).slice(0, -1)).toEqual(more);
  }, 20_000);

  test('space that others give back is enough, and a restart on the full disk serves all', async () => {
    await open(2.5 * MIB, 0);
    const entries = await fill(1);
    await bookie.close();
    bookie = await createBookie(quickWorld(disk), { ...smallConfig(), journalFilesMax: 4, reservedDisk: 0 });
    expect(await readAll(bookie, 1, testBallot(1))).toEqual(entries);
    disk.faults.capacityBytes = 10 * MIB;
    await appendsAgain(1, entries.length);
    expect((await readAll(bookie, 1, testBallot(1))).slice(0, -1)).toEqual(entries);
  }, 20_000);
});
