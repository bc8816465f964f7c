import { describe, expect, test } from 'vitest';
import type { Failure } from '#lib/types/errors.ts';
import type { ProducerOpened, StoredBatch } from './api.ts';
import { batchOf, type Harness, INSTANCE, inOrder, openHarness, publish } from './testing/harness.ts';

async function open(harness: Harness, name: string, epoch = 0, instance = INSTANCE, window = 3): Promise<ProducerOpened | Failure> {
  const results: (ProducerOpened | Failure)[] = [];
  harness.partition.openProducer({ name, epoch, instance, window, ephemeral: false }, result => results.push(result));
  expect(results).toEqual([]);
  await harness.flush();
  return results[0] ?? expect.fail('an opening is answered');
}

/** Publishes without waiting; the answers come into `into`. */
function start(harness: Harness, batch: ReturnType<typeof batchOf>, into: (StoredBatch | Failure)[]): void {
  harness.partition.publish(batch, result => into.push(result));
}

const codes = (results: readonly (StoredBatch | Failure | ProducerOpened)[]): string[] =>
  results.map(result => (result.kind === 'failure' ? `${result.code} ${result.stored}` : result.kind));

describe('publishing', () => {
  test('answers in order, in a later turn, and only what is acknowledged', async () => {
    const harness = await openHarness();
    const got: (StoredBatch | Failure)[] = [];
    start(harness, batchOf(['a']), got);
    start(harness, batchOf(['b', 'c']), got);
    await harness.settle();
    expect(got).toEqual([]);
    harness.storage.owner?.acknowledge(1);
    expect(got).toEqual([{ kind: 'stored', offset: 0, count: 1, duplicate: false }]);
    await harness.flush();
    expect(got[1]).toEqual({ kind: 'stored', offset: 1, count: 2, duplicate: false });
  });

  test('copies what is only lent', async () => {
    const harness = await openHarness();
    const batch = batchOf(['lent']);
    start(harness, batch, []);
    batch.batchView.fill(0);
    await harness.flush();
    expect(harness.storage.entries[0]?.includes('lent')).toBe(true);
  });

  test('answers a repeat with the first offset, not before that is acknowledged', async () => {
    const harness = await openHarness();
    await open(harness, 'p');
    const got: (StoredBatch | Failure)[] = [];
    start(harness, inOrder('p', 1, 1, 0, ['a']), got);
    start(harness, inOrder('p', 1, 1, 0, ['a']), got);
    await harness.settle();
    expect(got).toEqual([]);
    await harness.flush();
    expect(got).toEqual([
      { kind: 'stored', offset: 1, count: 1, duplicate: false },
      { kind: 'stored', offset: 1, count: 1, duplicate: true },
    ]);
    expect(harness.storage.entries.length).toBe(2);
  });

  test('holds an early batch for its predecessor', async () => {
    const harness = await openHarness();
    await open(harness, 'p');
    const got: (StoredBatch | Failure)[] = [];
    start(harness, inOrder('p', 1, 3, 2, ['c']), got);
    start(harness, inOrder('p', 1, 2, 1, ['b']), got);
    await harness.advance(150);
    expect(got).toEqual([]);
    start(harness, inOrder('p', 1, 1, 0, ['a']), got);
    await harness.flush();
    expect(got.map(result => (result.kind === 'stored' ? result.offset : result.code))).toEqual([1, 2, 3]);
  });

  test('refuses it as certainly not stored when that does not come in time', async () => {
    const harness = await openHarness();
    await open(harness, 'p');
    const got: (StoredBatch | Failure)[] = [];
    start(harness, inOrder('p', 1, 2, 1, ['b']), got);
    await harness.advance(199);
    expect(got).toEqual([]);
    await harness.advance(2);
    expect(codes(got)).toEqual(['out_of_sequence no']);
    expect(harness.partition.isIdle()).toBe(false);
    expect(codes([await publish(harness, inOrder('p', 1, 1, 0, ['a']))])).toEqual(['stored']);
  });

  test('answers a held repeat as a repeat', async () => {
    const harness = await openHarness();
    await open(harness, 'p');
    const got: (StoredBatch | Failure)[] = [];
    start(harness, inOrder('p', 1, 2, 1, ['b']), got);
    start(harness, inOrder('p', 1, 2, 1, ['b']), got);
    start(harness, inOrder('p', 1, 1, 0, ['a']), got);
    await harness.flush();
    expect(got.map(result => result.kind === 'stored' && [result.offset, result.duplicate])).toEqual([
      [1, false],
      [2, false],
      [2, true],
    ]);
  });

  test('tells a new epoch its last sequence once all before is acknowledged, and fences the old one', async () => {
    const harness = await openHarness();
    await open(harness, 'p');
    const got: (StoredBatch | Failure)[] = [];
    const opened: (ProducerOpened | Failure)[] = [];
    start(harness, inOrder('p', 1, 5, 0, ['a']), got);
    const opening = { name: 'p', epoch: 0, instance: '00000000000000b2', window: 3, ephemeral: false };
    harness.partition.openProducer(opening, result => opened.push(result));
    start(harness, inOrder('p', 1, 6, 5, ['b']), got);
    harness.storage.owner?.acknowledge(1);
    await harness.settle();
    expect(opened).toEqual([]);
    await harness.flush();
    expect(opened).toEqual([{ kind: 'opened', epoch: 2, lastSequence: 5, window: 3 }]);
    expect(codes(got).sort()).toEqual(['fenced no', 'stored']);
  });

  test('fences after a take over, too', async () => {
    const harness = await openHarness();
    await open(harness, 'p');
    await open(harness, 'p', 0, '00000000000000b2');
    await harness.takeOver();
    expect(codes([await publish(harness, inOrder('p', 1, 1, 0, ['a']))])).toEqual(['fenced no']);
    expect(await open(harness, 'p', 2, '00000000000000b2')).toMatchObject({ kind: 'opened', epoch: 2 });
  });

  test('remembers repeats through a take over, by replay and by checkpoint', async () => {
    const harness = await openHarness({ settings: { checkpointIntervalMs: 0 } });
    await open(harness, 'p');
    await publish(harness, inOrder('p', 1, 1, 0, ['a']));
    await harness.takeOver();
    expect(await publish(harness, inOrder('p', 1, 1, 0, ['a']))).toMatchObject({ offset: 1, duplicate: true });
    harness.partition.maintain(harness.world.clock.now());
    await harness.flush();
    await harness.takeOver();
    expect(await publish(harness, inOrder('p', 1, 1, 0, ['a']))).toMatchObject({ offset: 1, duplicate: true });
  });

  test('does not know a producer that was not opened', async () => {
    const harness = await openHarness();
    expect(codes([await publish(harness, inOrder('p', 1, 1, 0, ['a']))])).toEqual(['producer_unknown unknown']);
  });

  test('a producer without a name needs no opening and has no order', async () => {
    const harness = await openHarness();
    expect(await open(harness, '')).toEqual({ kind: 'opened', epoch: 0, lastSequence: 0, window: 64 });
    expect(harness.storage.entries.length).toBe(0);
  });

  test('remembers an idempotency id for the window, through a take over', async () => {
    const harness = await openHarness({ policies: { retentionMs: -1, backlogBytesMax: -1, dedupWindowMs: 1000 } });
    expect(await publish(harness, batchOf(['a', 'b'], { idempotencyId: 'x' }))).toMatchObject({ offset: 0, duplicate: false });
    expect(await publish(harness, batchOf(['a', 'b'], { idempotencyId: 'x' }))).toMatchObject({ offset: 0, count: 2, duplicate: true });
    await harness.takeOver();
    expect(await publish(harness, batchOf(['a', 'b'], { idempotencyId: 'x' }))).toMatchObject({ offset: 0, duplicate: true });
    await harness.advance(1001);
    expect(await publish(harness, batchOf(['a', 'b'], { idempotencyId: 'x' }))).toMatchObject({ offset: 2, duplicate: false });
  });

  test('pushes back when too much is pending, in count and in bytes', async () => {
    const harness = await openHarness({ settings: { pendingEntriesMax: 2, pendingBytesMax: 5000 } });
    const got: (StoredBatch | Failure)[] = [];
    for (const value of ['a', 'b', 'c']) start(harness, batchOf([value]), got);
    await harness.flush();
    expect(codes(got)).toEqual(['stored', 'stored', 'overloaded no']);
    got.length = 0;
    start(harness, batchOf(['x'.repeat(3000)]), got);
    start(harness, batchOf(['y'.repeat(3000)]), got);
    await harness.flush();
    expect(codes(got)).toEqual(['stored', 'overloaded no']);
  });

  test('pushes back while the log is full, and goes on afterwards; repeats are answered meanwhile', async () => {
    const harness = await openHarness();
    await open(harness, 'p');
    await publish(harness, inOrder('p', 1, 1, 0, ['a']));
    harness.storage.full = 'space';
    expect(codes([await publish(harness, batchOf(['b']))])).toEqual(['storage_full no']);
    expect(await publish(harness, inOrder('p', 1, 1, 0, ['a']))).toMatchObject({ duplicate: true });
    harness.storage.full = 'window';
    expect(codes([await publish(harness, batchOf(['b']))])).toEqual(['overloaded no']);
    harness.storage.full = false;
    expect(codes([await publish(harness, batchOf(['b']))])).toEqual(['stored']);
  });

  test('refuses what would not fit an entry, instead of failing', async () => {
    const harness = await openHarness({ settings: { pendingBytesMax: 1e9 } });
    const info = { view: Buffer.alloc(6 * 1024 * 1024), count: 1, codec: 0 as const, keyHashes: 0 };
    expect(codes([await publish(harness, batchOf(['x'.repeat(7 * 1024 * 1024)], { info }))])).toEqual(['message_too_large no']);
  });

  test('bounds the producers that it remembers, and forgets idle ones to take new ones', async () => {
    const harness = await openHarness({ settings: { producersMax: 2, producerIdleMs: 1000, checkpointIntervalMs: 1e9 } });
    await open(harness, 'p');
    await open(harness, 'q');
    expect(codes([await open(harness, 'r')])).toEqual(['overloaded no']);
    await harness.advance(2000);
    harness.partition.maintain(harness.world.clock.now());
    await harness.flush();
    expect(await open(harness, 'r')).toMatchObject({ kind: 'opened' });
    expect(codes([await publish(harness, inOrder('p', 1, 1, 0, ['a']))])).toEqual(['producer_unknown unknown']);
  });

  test.each([
    ['epoch', { epoch: -1 }],
    ['window', { window: -1 }],
    ['instance', { instance: 'nonsense' }],
  ])('refuses an opening with a wrong %s', async (field, more) => {
    const harness = await openHarness();
    const results: (ProducerOpened | Failure)[] = [];
    const opening = { name: 'p', epoch: 0, instance: INSTANCE, window: 3, ephemeral: false, ...more };
    harness.partition.openProducer(opening, result => results.push(result));
    await harness.flush();
    expect(results[0]).toMatchObject({ code: 'invalid_argument', detail: { field } });
  });

  test('what is pending when the partition is lost ended unknown; later work is refused', async () => {
    const harness = await openHarness();
    const old = harness.partition;
    const got: (StoredBatch | Failure)[] = [];
    start(harness, batchOf(['a']), got);
    await harness.takeOver(1);
    expect(codes(got)).toEqual(['not_owner unknown']);
    old.publish(batchOf(['b']), result => got.push(result));
    await harness.flush();
    expect(codes(got)).toEqual(['not_owner unknown', 'not_owner no']);
    expect(harness.partition.state.end).toBe(1);
  });

  test('append times never go back, whatever the clock does', async () => {
    const harness = await openHarness();
    await publish(harness, batchOf(['a']));
    const before = harness.partition.state.appendTimeMs;
    harness.world.clock.jump(-3_600_000);
    await publish(harness, batchOf(['b']));
    expect(harness.partition.state.appendTimeMs).toBe(before);
    await harness.takeOver();
    await publish(harness, batchOf(['c']));
    expect(harness.partition.state.appendTimeMs).toBe(before);
  });
});
