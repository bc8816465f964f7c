import { describe, expect, test } from 'vitest';
import type { Failure } from '#lib/types/errors.ts';
import { isFailure } from '#lib/types/errors.ts';
import type { ConsumerSession } from '../partition/api.ts';
import { attach, batchOf, consumerNamed, type Harness, openHarness, publish, TestSink } from '../partition/testing/harness.ts';

async function attached(harness: Harness, sink: TestSink, options: Parameters<typeof attach>[3] = {}): Promise<ConsumerSession> {
  const session = await attach(harness, 's', sink, options);
  if (isFailure(session)) throw new Error(session.message);
  await harness.settle();
  return session;
}

async function fill(harness: Harness, from: number, to: number): Promise<void> {
  for (let n = from; n < to; n++) await publish(harness, batchOf([`${n}a`, `${n}b`]));
}

async function receipt(harness: Harness, session: ConsumerSession, upTo: number, spans: [number, number][] = []): Promise<unknown> {
  const results: unknown[] = [];
  session.acknowledge(session.resetEpoch, upTo, spans, result => results.push(result));
  await harness.flush();
  return results[0];
}

describe('exclusive delivery', () => {
  test('honours credit in messages, and overdraws by one entry at most', async () => {
    const harness = await openHarness();
    const sink = new TestSink();
    const session = await attached(harness, sink, { credit: 0 });
    await fill(harness, 0, 5);
    expect(sink.values).toEqual([]);
    session.addCredit(1, 0);
    await harness.settle();
    expect(sink.values).toEqual(['0a', '0b']);
    session.addCredit(1, 0);
    await harness.settle();
    expect(sink.values.length).toBe(2);
    session.addCredit(2, 0);
    await harness.settle();
    expect(sink.values).toEqual(['0a', '0b', '1a', '1b']);
  });

  test('honours credit in bytes', async () => {
    const harness = await openHarness();
    const sink = new TestSink();
    const attaching = harness.partition.attach(
      { subscription: 's', type: 0, consumer: consumerNamed('c'), start: { kind: 'earliest' }, mustExist: false },
      sink,
    );
    await harness.settle();
    await harness.flush();
    const session = await attaching;
    if (isFailure(session)) throw new Error(session.message);
    await fill(harness, 0, 3);
    session.addCredit(100, 1);
    await harness.settle();
    expect(sink.values).toEqual(['0a', '0b']);
    session.addCredit(0, 1000);
    await harness.settle();
    expect(sink.values.length).toBe(6);
  });

  test('waits while the stream is full and goes on when told', async () => {
    const harness = await openHarness();
    const sink = new TestSink();
    const session = await attached(harness, sink);
    sink.full = true;
    await fill(harness, 0, 2);
    expect(sink.values).toEqual([]);
    sink.full = false;
    session.resume();
    await harness.settle();
    expect(sink.values.length).toBe(4);
  });

  test('skips what is acknowledged, by index, after a new attach', async () => {
    const harness = await openHarness();
    const session = await attached(harness, new TestSink());
    await fill(harness, 0, 3);
    const first = 1;
    session.acknowledge(session.resetEpoch, 0, [[first + 1, first + 4]], null);
    session.detach();
    const sink = new TestSink();
    await attached(harness, sink);
    expect(sink.values).toEqual(['0a', '2a', '2b']);
  });

  test('begins again at markDelete after a new attach', async () => {
    const harness = await openHarness();
    const old = new TestSink();
    const session = await attached(harness, old);
    await fill(harness, 0, 3);
    session.acknowledge(session.resetEpoch, 3, [], null);
    session.detach();
    const sink = new TestSink();
    await attached(harness, sink);
    expect(sink.values).toEqual(['1a', '1b', '2a', '2b']);
  });

  test('delivers nothing after its end', async () => {
    const harness = await openHarness();
    const sink = new TestSink();
    const session = await attached(harness, sink);
    session.detach();
    await fill(harness, 0, 1);
    session.addCredit(10, 1000);
    await harness.settle();
    expect(sink.values).toEqual([]);
    expect(sink.over).toBeNull();
    expect(await receipt(harness, session, 0)).toMatchObject({ code: 'cancelled' });
  });

  test('reads through the log what no cache has, in order, and sees each message once', async () => {
    const harness = await openHarness({ tailBytes: 0 });
    await fill(harness, 0, 300);
    const sink = new TestSink();
    await attached(harness, sink);
    expect(sink.values).toEqual(Array.from({ length: 300 }, (_, n) => [`${n}a`, `${n}b`]).flat());
    expect(harness.storage.reads).toBeLessThan(20);
  });

  test('gets on, though other readers push out at once what it has loaded', async () => {
    const harness = await openHarness({ tailBytes: 0, readAheadBytes: 1 });
    for (let n = 0; n < 40; n++) await publish(harness, batchOf([`${n}`.padEnd(50_000, 'x')]));
    const sinks = Array.from({ length: 8 }, () => new TestSink());
    for (const [n, sink] of sinks.entries()) await attach(harness, `s${n}`, sink);
    await harness.settle();
    expect(sinks.map(sink => sink.got.length)).toEqual(sinks.map(() => 40));
  });

  test('delivers nothing that is not acknowledged', async () => {
    const harness = await openHarness();
    const sink = new TestSink();
    await attached(harness, sink);
    harness.partition.publish(batchOf(['pending']), () => undefined);
    await harness.settle();
    expect(sink.values).toEqual([]);
    await harness.flush();
    expect(sink.values).toEqual(['pending']);
  });

  test('pauses at the limit of holes and goes on when some are filled', async () => {
    const harness = await openHarness({ settings: { holesMax: 3 } });
    const sink = new TestSink();
    const session = await attached(harness, sink);
    await fill(harness, 0, 6);
    for (const at of [2, 4, 6]) session.acknowledge(session.resetEpoch, 0, [[at, at + 1]], null);
    await fill(harness, 6, 8);
    expect(sink.values.at(-1)).toBe('5b');
    session.acknowledge(session.resetEpoch, 4, [], null);
    await harness.settle();
    expect(sink.values.at(-1)).toBe('7b');
  });

  test('ends the session, and loses nothing, when a consumer makes holes without end', async () => {
    const harness = await openHarness({ settings: { holesMax: 2 } });
    const sink = new TestSink();
    const session = await attached(harness, sink);
    for (let n = 0; n < 10; n++) {
      await publish(harness, batchOf(['x', 'y', 'z', 'v']));
      session.acknowledge(
        session.resetEpoch,
        0,
        [
          [4 * n + 2, 4 * n + 3],
          [4 * n + 4, 4 * n + 5],
        ],
        null,
      );
    }
    await harness.settle();
    expect(sink.over).toMatchObject({ code: 'overloaded' });
    expect(harness.partition.subscriptions()[0]?.holes).toBeLessThanOrEqual(8);
  });
});

describe('the holder of an exclusive subscription', () => {
  test('keeps it from others, who are told who, from where and since when', async () => {
    const harness = await openHarness();
    const sink = new TestSink();
    await attached(harness, sink, { consumer: consumerNamed('alice') });
    const refused = await attach(harness, 's', new TestSink(), { consumer: consumerNamed('bob') });
    const since = new Date(harness.world.clock.now()).toISOString();
    expect(refused).toMatchObject({ code: 'subscription_busy', detail: { holder: 'alice', address: '10.0.0.1:9', since } });
    expect((refused as Failure).message).toContain('alice');
    await publish(harness, batchOf(['a']));
    expect(sink.values).toEqual(['a']);
  });

  test('is replaced by its own new instance at once', async () => {
    const harness = await openHarness();
    const ghost = new TestSink();
    const old = await attached(harness, ghost, { consumer: consumerNamed('alice', '1') });
    await publish(harness, batchOf(['a']));
    const sink = new TestSink();
    await attached(harness, sink, { consumer: consumerNamed('alice', '2') });
    expect(ghost.over).toMatchObject({ code: 'consumer_replaced' });
    await publish(harness, batchOf(['b']));
    expect(sink.values).toEqual(['a', 'b']);
    expect(ghost.values).toEqual(['a']);
    old.detach();
    await publish(harness, batchOf(['c']));
    expect(sink.values).toEqual(['a', 'b', 'c']);
  });

  test('is replaced by a higher epoch of its instance, and not by a lower one', async () => {
    const harness = await openHarness();
    await attached(harness, new TestSink(), { consumer: consumerNamed('alice', '1', 4) });
    const late = await attach(harness, 's', new TestSink(), { consumer: consumerNamed('alice', '1', 3) });
    expect(late).toMatchObject({ code: 'consumer_replaced' });
    expect(isFailure(await attach(harness, 's', new TestSink(), { consumer: consumerNamed('alice', '1', 5) }))).toBe(false);
  });

  test('frees it by detaching', async () => {
    const harness = await openHarness();
    const session = await attached(harness, new TestSink(), { consumer: consumerNamed('alice') });
    session.detach();
    expect(isFailure(await attach(harness, 's', new TestSink(), { consumer: consumerNamed('bob') }))).toBe(false);
  });
});

describe('acknowledging', () => {
  test.each([
    ['beyond the end', 100, []],
    ['a span beyond the end', 0, [[1, 100]]],
    ['a span turned round', 0, [[3, 1]]],
    ['no offset', -1, []],
    ['half an offset', 1.5, []],
  ] as [string, number, [number, number][]][])('%s is refused and moves nothing', async (_, upTo, spans) => {
    const harness = await openHarness();
    const session = await attached(harness, new TestSink());
    await fill(harness, 0, 2);
    expect(await receipt(harness, session, upTo, spans)).toMatchObject({ code: 'invalid_argument', stored: 'no' });
    session.acknowledge(session.resetEpoch, upTo, spans, null);
    expect(session.backlog).toBe(4);
  });

  test('of what is only pending is refused', async () => {
    const harness = await openHarness();
    const session = await attached(harness, new TestSink());
    harness.partition.publish(batchOf(['pending']), () => undefined);
    session.acknowledge(session.resetEpoch, 2, [], null);
    expect(session.backlog).toBe(1);
  });

  test('of another life of the cursor is dropped', async () => {
    const harness = await openHarness();
    const session = await attached(harness, new TestSink());
    await fill(harness, 0, 2);
    const before = session.resetEpoch;
    session.seek({ kind: 'earliest' }, before, () => undefined);
    await harness.flush();
    session.acknowledge(before, 3, [], null);
    expect(session.backlog).toBe(4);
    const results: unknown[] = [];
    session.acknowledge(before, 3, [], result => results.push(result));
    await harness.flush();
    expect(results[0]).toMatchObject({ code: 'changed' });
  });

  test('with a receipt holds without metadata', async () => {
    const harness = await openHarness();
    const session = await attached(harness, new TestSink());
    await fill(harness, 0, 3);
    expect(await receipt(harness, session, 3, [[4, 5]])).toEqual({ kind: 'acknowledged' });
    harness.metadata.restore();
    await harness.takeOver();
    const sink = new TestSink();
    await attached(harness, sink);
    expect(sink.values).toEqual(['1a', '2a', '2b']);
  });

  test('without one is in metadata after a tick, and comes back from there', async () => {
    const harness = await openHarness();
    const session = await attached(harness, new TestSink());
    await fill(harness, 0, 3);
    session.acknowledge(session.resetEpoch, 3, [[4, 5]], null);
    await harness.advance(1000);
    await harness.takeOver();
    const sink = new TestSink();
    await attached(harness, sink);
    expect(sink.values).toEqual(['1a', '2a', '2b']);
  });

  test('without one is lost with metadata, and delivered again', async () => {
    const harness = await openHarness();
    const session = await attached(harness, new TestSink());
    await fill(harness, 0, 2);
    session.acknowledge(session.resetEpoch, 3, [], null);
    await harness.advance(1000);
    harness.metadata.restore();
    await harness.takeOver();
    const sink = new TestSink();
    await attached(harness, sink);
    expect(sink.values).toEqual(['0a', '0b', '1a', '1b']);
  });

  test('a receipt is given only for what is in the log, though memory has it', async () => {
    const harness = await openHarness();
    const session = await attached(harness, new TestSink());
    await fill(harness, 0, 1);
    session.acknowledge(session.resetEpoch, 3, [], null);
    const results: unknown[] = [];
    session.acknowledge(session.resetEpoch, 3, [], result => results.push(result));
    await harness.settle();
    expect(results).toEqual([]);
    await harness.flush();
    expect(results).toEqual([{ kind: 'acknowledged' }]);
  });
});
