import { describe, expect, test } from 'vitest';
import { memoryLogger } from '#lib/runtime/loggers.ts';
import { offset } from '#lib/types/brands.ts';
import { type Failure, isFailure } from '#lib/types/errors.ts';
import type { PositionFrame } from '#lib/wire/frames.ts';
import type { SubscriptionStatus } from './api.ts';
import { attach, batchOf, consumerNamed, type Harness, openHarness, publish, TestSink, valuesOf } from './testing/harness.ts';

const EARLIEST: PositionFrame = { kind: 'earliest' };
const LATEST: PositionFrame = { kind: 'latest' };

async function done<T>(harness: Harness, work: Promise<T>): Promise<T> {
  await harness.settle();
  await harness.flush();
  return work;
}

async function create(harness: Harness, name: string, start: PositionFrame | null): Promise<SubscriptionStatus> {
  const status = await done(harness, harness.partition.createSubscription(name, 1, start));
  if (isFailure(status)) throw new Error(status.message);
  return status;
}

async function fill(harness: Harness, count: number): Promise<void> {
  for (let n = 0; n < count; n++) await publish(harness, batchOf([`${n}a`, `${n}b`]));
}

describe('subscriptions', () => {
  test('begin where they are told: at the latest by default', async () => {
    const harness = await openHarness();
    await fill(harness, 3);
    expect(await create(harness, 'l', null)).toMatchObject({ backlog: 0 });
    expect(await create(harness, 'e', EARLIEST)).toMatchObject({ markDelete: 0, backlog: 6 });
    expect(await create(harness, 'o', { kind: 'offset', offset: 3 })).toMatchObject({ markDelete: 3, backlog: 3 });
    expect(await create(harness, 'beyond', { kind: 'offset', offset: 1000 })).toMatchObject({ backlog: 0 });
  });

  test('begin at a time', async () => {
    const harness = await openHarness();
    await fill(harness, 2);
    const now = harness.world.clock.now();
    await harness.advance(100);
    await fill(harness, 2);
    expect(await create(harness, 't', { kind: 'time', timeMs: now + 1 })).toMatchObject({ markDelete: 4, backlog: 4 });
    expect(await create(harness, 'future', { kind: 'time', timeMs: now + 1e9 })).toMatchObject({ backlog: 0 });
    expect(await create(harness, 'past', { kind: 'time', timeMs: -5 })).toMatchObject({ markDelete: 0 });
  });

  test.each([[{ kind: 'offset', offset: -1 }], [{ kind: 'offset', offset: 2 ** 60 }], [{ kind: 'time', timeMs: Number.NaN }]] as [
    PositionFrame,
  ][])('refuse the place %o', async position => {
    const harness = await openHarness();
    expect(await done(harness, harness.partition.createSubscription('s', 1, position))).toMatchObject({ code: 'invalid_argument' });
  });

  test('are created once, and not again as another type', async () => {
    const harness = await openHarness();
    const [first, second] = [harness.partition.createSubscription('s', 1, EARLIEST), harness.partition.createSubscription('s', 0, LATEST)];
    const a = await done(harness, first);
    const b = await done(harness, second);
    expect(isFailure(a) || isFailure(b) ? null : a.resetEpoch).toBe(isFailure(b) ? undefined : b.resetEpoch);
    expect(harness.storage.entries.length).toBe(1);
    expect(await done(harness, harness.partition.createSubscription('s', 3, EARLIEST))).toMatchObject({ code: 'unsupported' });
  });

  test('are not told before their entry is acknowledged', async () => {
    const harness = await openHarness();
    const told: unknown[] = [];
    void harness.partition.createSubscription('s', 1, null).then(status => told.push(status));
    await harness.settle();
    expect(told).toEqual([]);
    await harness.flush();
    expect(told.length).toBe(1);
  });

  test('that must exist are not made by attaching', async () => {
    const harness = await openHarness();
    const attaching = harness.partition.attach(
      { subscription: 's', type: 1, consumer: consumerNamed('c'), start: null, mustExist: true },
      new TestSink(),
    );
    expect(await done(harness, attaching)).toMatchObject({ code: 'subscription_not_found' });
    expect(harness.storage.entries.length).toBe(0);
  });

  test('survive a take over by log and by checkpoint, without metadata', async () => {
    const harness = await openHarness({ settings: { checkpointIntervalMs: 0 } });
    await fill(harness, 2);
    const before = await create(harness, 's', EARLIEST);
    harness.metadata.setReachable(false);
    await harness.takeOver();
    expect(harness.partition.subscriptions()).toMatchObject([{ name: 's', resetEpoch: before.resetEpoch, markDelete: 0, backlog: 4 }]);
    harness.partition.maintain(harness.world.clock.now());
    await harness.flush();
    await harness.takeOver();
    expect(harness.partition.subscriptions()).toMatchObject([{ name: 's', resetEpoch: before.resetEpoch, markDelete: 0, backlog: 4 }]);
  });

  test('are sought, and their consumer goes on from there under the new epoch', async () => {
    const harness = await openHarness();
    const sink = new TestSink();
    const session = await attach(harness, 's', sink);
    if (isFailure(session)) throw new Error(session.message);
    await fill(harness, 2);
    const results: unknown[] = [];
    session.seek({ kind: 'offset', offset: 2 }, session.resetEpoch, result => results.push(result));
    await harness.settle();
    const before = sink.got.length;
    expect(results).toEqual([]);
    await harness.flush();
    expect(results).toEqual([{ kind: 'sought', resetEpoch: 5, markDelete: 2 }]);
    expect(sink.got.slice(before).map(({ value, resetEpoch }) => [value, resetEpoch])).toEqual([
      ['0b', 5],
      ['1a', 5],
      ['1b', 5],
    ]);
  });

  test('refuse a seek that does not know the newest one, and name that only when it is acknowledged', async () => {
    const harness = await openHarness();
    const { resetEpoch } = await create(harness, 's', EARLIEST);
    const newer = harness.partition.seekSubscription('s', LATEST);
    await harness.settle();
    const told: (SubscriptionStatus | Failure)[] = [];
    void harness.partition.seekSubscription('s', EARLIEST, resetEpoch).then(result => told.push(result));
    await harness.settle();
    expect(told).toEqual([]);
    await done(harness, newer);
    expect(told).toMatchObject([{ code: 'changed', detail: { resetEpoch: '1' } }]);
    expect(await done(harness, harness.partition.deleteSubscription('s', resetEpoch))).toMatchObject({ code: 'changed' });
  });

  test('clamp a seek to the log', async () => {
    const harness = await openHarness();
    await fill(harness, 1);
    await create(harness, 's', EARLIEST);
    const far = await done(harness, harness.partition.seekSubscription('s', { kind: 'offset', offset: 999 }));
    expect(far).toMatchObject({ backlog: 0 });
    const back = await done(harness, harness.partition.seekSubscription('s', { kind: 'offset', offset: 0 }));
    expect(back).toMatchObject({ markDelete: 0, backlog: 2 });
  });

  test('are deleted with their consumer and their blocks in metadata, and do not come back from there', async () => {
    const harness = await openHarness();
    const sink = new TestSink();
    const session = await attach(harness, 's', sink);
    if (isFailure(session)) throw new Error(session.message);
    await fill(harness, 2);
    session.acknowledge(session.resetEpoch, 3, [], null);
    await harness.advance(1000);
    const old = harness.metadata.snapshot();
    expect(await done(harness, harness.partition.deleteSubscription('s'))).toEqual({ kind: 'deleted' });
    expect(sink.over).toMatchObject({ code: 'subscription_not_found' });
    await harness.advance(1000);
    expect((await harness.metadata.readCursor(harness.storage.partition, 's')).size).toBe(0);
    harness.metadata.restore(old);
    await harness.takeOver();
    expect(harness.partition.subscriptions()).toEqual([]);
    expect(await create(harness, 's', EARLIEST)).toMatchObject({ markDelete: 1, backlog: 4 });
    await harness.takeOver();
    expect(harness.partition.subscriptions()).toMatchObject([{ markDelete: 1, backlog: 4 }]);
  });

  test('do not exist for who changes what is not there', async () => {
    const harness = await openHarness();
    expect(await done(harness, harness.partition.deleteSubscription('s'))).toMatchObject({ code: 'subscription_not_found' });
    expect(await done(harness, harness.partition.seekSubscription('s', LATEST))).toMatchObject({ code: 'subscription_not_found' });
  });

  test('are bounded in number', async () => {
    const harness = await openHarness({ settings: { subscriptionsMax: 2 } });
    await create(harness, 'a', null);
    await create(harness, 'b', null);
    expect(await done(harness, harness.partition.createSubscription('c', 1, null))).toMatchObject({ code: 'overloaded' });
  });

  test('count their backlog in messages through receipts, checkpoints and take overs', async () => {
    const harness = await openHarness({ settings: { checkpointIntervalMs: 0 } });
    const session = await attach(harness, 's', new TestSink());
    if (isFailure(session)) throw new Error(session.message);
    for (let n = 0; n < 20; n++) {
      await publish(harness, batchOf(['a', 'b', 'c']));
      harness.partition.maintain(harness.world.clock.now());
      await harness.flush();
    }
    expect(session.backlog).toBe(60);
    const third = harness.storage.entries.filter(entry => entry.includes('a\nb\nc'))[2];
    const upTo = (third?.readUInt32LE(24) ?? 0) + 1;
    session.acknowledge(session.resetEpoch, upTo, [], null);
    expect(session.backlog).toBe(53);
    await harness.advance(1000);
    await harness.takeOver();
    harness.partition.maintain(harness.world.clock.now());
    await harness.flush();
    expect(harness.partition.subscriptions()[0]?.backlog).toBe(53);
  });
});

describe('cursors in metadata', () => {
  test('never run ahead of the log', async () => {
    const harness = await openHarness();
    const { resetEpoch } = await create(harness, 's', EARLIEST);
    await fill(harness, 3);
    await harness.advance(1000);
    void harness.partition.seekSubscription('s', LATEST);
    await harness.advance(5000);
    const epochs = async (): Promise<number[]> =>
      [...(await harness.metadata.readCursor(harness.storage.partition, 's')).values()].map(block => block.resetEpoch);
    expect(await epochs()).toEqual([resetEpoch]);
    await harness.flush();
    await harness.advance(1000);
    expect(await epochs()).toEqual([7]);
  });

  test('wait for a receipt that is pending', async () => {
    const harness = await openHarness();
    const session = await attach(harness, 's', new TestSink());
    if (isFailure(session)) throw new Error(session.message);
    await fill(harness, 2);
    await harness.advance(1000);
    session.acknowledge(session.resetEpoch, 3, [], () => undefined);
    await harness.advance(5000);
    const mark = async (): Promise<number | null | undefined> =>
      (await harness.metadata.readCursor(harness.storage.partition, 's')).get('m')?.markDelete;
    expect(await mark()).toBeLessThan(3);
    await harness.flush();
    await harness.advance(1000);
    expect(await mark()).toBe(3);
  });

  test('are written again when metadata was away, which stops nothing', async () => {
    const logger = memoryLogger();
    const harness = await openHarness({ logger });
    const sink = new TestSink();
    const session = await attach(harness, 's', sink);
    if (isFailure(session)) throw new Error(session.message);
    harness.metadata.setReachable(false);
    await fill(harness, 2);
    session.acknowledge(session.resetEpoch, 3, [[4, 5]], null);
    await harness.advance(10_000);
    expect(sink.values.length).toBe(4);
    expect(logger.lines.filter(({ level }) => level === 'warn').length).toBeGreaterThan(1);
    harness.metadata.setReachable(true);
    await harness.advance(10_000);
    const blocks = await harness.metadata.readCursor(harness.storage.partition, 's');
    expect(blocks.get('m')?.markDelete).toBe(3);
    expect([...blocks.values()].flatMap(({ ranges }) => ranges)).toEqual([[4, 5]]);
  });

  test('are one call a tick, and none while nothing changes', async () => {
    const harness = await openHarness();
    const calls: number[] = [];
    const put = harness.metadata.putCursors.bind(harness.metadata);
    harness.metadata.putCursors = updates => {
      calls.push(updates.length);
      return put(updates);
    };
    for (const name of ['a', 'b', 'c']) await create(harness, name, EARLIEST);
    await harness.advance(1000);
    expect(calls).toEqual([3]);
    await fill(harness, 3);
    await harness.advance(10_000);
    expect(calls).toEqual([3]);
  });
});

describe('reading', () => {
  test('gives entries without control entries, and where to read on', async () => {
    const harness = await openHarness();
    await create(harness, 's', null);
    await fill(harness, 3);
    const read = await harness.partition.read(offset(0), 1e6);
    if (isFailure(read)) throw new Error(read.message);
    expect(read.entries.flatMap(entry => valuesOf(entry).map(({ value }) => value))).toEqual(['0a', '0b', '1a', '1b', '2a', '2b']);
    expect(read.next).toBe(7);
    expect(await harness.partition.read(offset(7), 1e6)).toEqual({ entries: [], next: 7 });
  });

  test('gives at least one entry, and not much more than asked for', async () => {
    const harness = await openHarness({ tailBytes: 0 });
    await fill(harness, 10);
    const one = await harness.partition.read(offset(4), 1);
    expect(isFailure(one) ? null : [one.entries.length, one.next]).toEqual([1, 6]);
  });

  test('does not give what is only pending', async () => {
    const harness = await openHarness();
    harness.partition.publish(batchOf(['x']), () => undefined);
    await harness.settle();
    expect(await harness.partition.read(offset(0), 1e6)).toEqual({ entries: [], next: 0 });
    expect(await harness.partition.resolve(LATEST)).toBe(0);
  });

  test('wakes who waits, once, and not who has given up', async () => {
    const harness = await openHarness();
    const woken: string[] = [];
    harness.partition.whenReadable(offset(0), () => woken.push('first'));
    harness.partition.whenReadable(offset(2), () => woken.push('later'));
    const giveUp = harness.partition.whenReadable(offset(0), () => woken.push('never'));
    giveUp();
    await harness.settle();
    expect(woken).toEqual([]);
    await fill(harness, 1);
    expect(woken).toEqual(['first']);
    await fill(harness, 1);
    expect(woken).toEqual(['first', 'later']);
    harness.partition.whenReadable(offset(0), () => woken.push('at once'));
    await harness.settle();
    expect(woken.at(-1)).toBe('at once');
  });

  test('resolves places within what is acknowledged', async () => {
    const harness = await openHarness();
    await fill(harness, 2);
    expect(await harness.partition.resolve(EARLIEST)).toBe(0);
    expect(await harness.partition.resolve(LATEST)).toBe(4);
    expect(await harness.partition.resolve({ kind: 'offset', offset: 3 })).toBe(3);
    expect(await harness.partition.resolve({ kind: 'offset', offset: 30 })).toBe(4);
  });
});
