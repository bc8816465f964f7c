import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { memoryDisk } from '#lib/runtime/memory-disk.ts';
import { offset } from '#lib/types/brands.ts';
import type { Bookie } from '../bookie.ts';
import { createBookie } from '../open.ts';
import { appendRequest, ask, quickWorld, smallConfig, testBallot, testDescriptor, testEntry, testLedgerId } from '../testing/support.ts';

let bookie: Bookie;
beforeEach(async () => {
  bookie = await createBookie(quickWorld(memoryDisk()), smallConfig());
});
afterEach(() => bookie.close());

const OK = { kind: 'ok' };
const create = (ledger: number, epoch: number) =>
  ask(bookie, { kind: 'create', descriptor: testDescriptor(ledger, bookie.id), ballot: testBallot(epoch) });

describe('an owner that slept through a trim', () => {
  test('cannot create a deleted ledger anew, and cannot fence it: a floor remembers who raised it', async () => {
    expect(await create(1, 1)).toEqual(OK);
    const { partition } = testDescriptor(1, bookie.id);
    expect(await ask(bookie, appendRequest(1, 1, testEntry(0, Buffer.from('x')), 0))).toEqual({ kind: 'appended', end: 1 });
    const next = { end: offset(1), next: testDescriptor(2, bookie.id) };
    expect(
      await ask(bookie, { kind: 'fence', descriptor: testDescriptor(1, bookie.id), ballot: testBallot(5), first: offset(0) }),
    ).toMatchObject({ end: 1 });
    expect(await ask(bookie, { kind: 'decided', ledger: testLedgerId(1), first: offset(0), value: next })).toEqual(OK);
    expect(await create(2, 5)).toEqual(OK);
    expect(await ask(bookie, { kind: 'delete', ledger: testLedgerId(1), partition, reason: 'trimmed', ballot: testBallot(5) })).toEqual(OK);
    expect(await ask(bookie, { kind: 'floor', partition, offset: offset(1), firstLive: testLedgerId(2), ballot: testBallot(5) })).toEqual(
      OK,
    );

    expect(await create(1, 1)).toEqual({ kind: 'stale', promised: testBallot(5) });
    expect(await create(3, 4)).toEqual({ kind: 'stale', promised: testBallot(5) });
    const late = await ask(bookie, { kind: 'fence', descriptor: testDescriptor(3, bookie.id), ballot: testBallot(4), first: offset(9) });
    expect(late).toEqual({ kind: 'stale', promised: testBallot(5) });
    expect(await create(3, 6)).toEqual(OK);
  });
});

test('a seal that comes after another was decided is refused, and is no conflict', async () => {
  expect(await create(1, 1)).toEqual(OK);
  const decided = { end: offset(0), next: testDescriptor(2, bookie.id) };
  expect(await ask(bookie, { kind: 'decided', ledger: testLedgerId(1), first: offset(0), value: decided })).toEqual(OK);
  const other = { end: offset(0), next: testDescriptor(3, bookie.id) };
  const reply = await ask(bookie, { kind: 'seal', ledger: testLedgerId(1), ballot: testBallot(2), first: offset(0), value: other });
  expect(reply).toMatchObject({ kind: 'refused', reason: 'sealed' });
});
