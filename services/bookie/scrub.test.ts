import { expect, test } from 'vitest';
import { memoryLogger } from '#lib/runtime/loggers.ts';
import { simWorld } from '#lib/runtime/sim/world.ts';
import { offset } from '#lib/types/brands.ts';
import type { Bookie } from './bookie.ts';
import { createBookie } from './open.ts';
import { appendRequest, smallConfig, testBallot, testDescriptor, testEntry, testLedgerId } from './testing/support.ts';

test('rot in old segments is found within an interval, said once, and forgotten when it was replaced', async () => {
  const logger = memoryLogger();
  const world = simWorld(4, { logger });
  const settle = async <T>(promise: Promise<T>): Promise<T> => {
    let done = false;
    const finished = promise.finally(() => {
      done = true;
    });
    while (!done) await world.clock.advanceSettled(1);
    return finished;
  };
  const config = { ...smallConfig(), scrubBytesPerSecond: 64 * 1024, scrubInterval: 60_000 };
  const bookie: Bookie = await settle(createBookie(world, config));
  const ask = (request: Parameters<Bookie['handle']>[0]) => settle(new Promise(resolve => bookie.handle(request, resolve)));
  await ask({ kind: 'create', descriptor: testDescriptor(1, bookie.id), ballot: testBallot(1) });
  const entries = Array.from({ length: 20 }, (_, n) => testEntry(n, Buffer.alloc(1000, n)));
  for (const [at, entry] of entries.entries()) await ask(appendRequest(1, 1, entry, at));
  await settle(bookie.flush());
  const decided = { end: offset(20), next: null };
  await ask({ kind: 'decided', ledger: testLedgerId(1), first: offset(0), value: decided });
  await world.clock.advanceSettled(61_000);
  expect(bookie.usage().scrubbedBytes).toBe(20 * 1064);
  expect(bookie.usage().damagedRanges).toBe(0);
  world.disk.flipBit('/data/segments/segment-000000000001', 8 * 5000);
  for (let round = 0; round < 2; round++) await world.clock.advanceSettled(62_000);
  expect(bookie.usage().damagedRanges).toBe(1);
  expect(logger.lines.filter(({ message }) => message === 'stored entries are damaged')).toMatchObject([
    { fields: { ledger: testLedgerId(1), from: 0, to: 20, segment: 1 } },
  ]);
  for (const [at, bytes] of entries.entries()) {
    const descriptor = testDescriptor(1, bookie.id);
    expect(await ask({ kind: 'restore', descriptor, first: offset(0), decided, offset: offset(at), span: 1, bytes })).toMatchObject({
      kind: 'appended',
    });
  }
  await settle(bookie.flush());
  for (let round = 0; round < 2; round++) await world.clock.advanceSettled(62_000);
  expect(bookie.usage().damagedRanges).toBe(0);
  await settle(bookie.close());
  // Nothing is left that would wake up again.
  const before = bookie.usage().scrubbedBytes;
  await world.clock.advanceSettled(300_000);
  expect(bookie.usage().scrubbedBytes).toBe(before);
}, 20_000);
