import { describe, expect, test } from 'vitest';
import { memoryLogger } from '#lib/runtime/loggers.ts';
import { offset } from '#lib/types/brands.ts';
import { isFailure } from '#lib/types/errors.ts';
import type { ConsumerSession, EffectivePolicies } from './api.ts';
import {
  attach,
  batchOf,
  FOREVER,
  type Harness,
  type HarnessOptions,
  INSTANCE,
  inOrder,
  openHarness,
  publish,
  TestSink,
} from './testing/harness.ts';
import { decode } from './testing/model-log.ts';

const WEEK = 7 * 24 * 3600 * 1000;
const RETAIN: EffectivePolicies = { retentionMs: WEEK, backlogBytesMax: -1, dedupWindowMs: 600_000 };

const kinds = (harness: Harness): string[] => harness.storage.entries.map(decode).map(({ control }) => control?.kind ?? 'batch');

async function maintain(harness: Harness, times = 1): Promise<void> {
  for (let n = 0; n < times; n++) {
    harness.partition.maintain(harness.world.clock.now());
    await harness.settle();
    await harness.flush();
  }
}

/** Ledgers of some messages each, a day apart. */
async function days(harness: Harness, count: number): Promise<void> {
  for (let day = 0; day < count; day++) {
    for (let n = 0; n < 5; n++) await publish(harness, batchOf([`day${day}-${n}`]));
    harness.storage.owner?.roll();
    await harness.advance(24 * 3600 * 1000);
  }
}

async function consumer(harness: Harness, sink = new TestSink()): Promise<ConsumerSession> {
  const session = await attach(harness, 's', sink);
  if (isFailure(session)) throw new Error(session.message);
  await harness.settle();
  return session;
}

const opened = (options: HarnessOptions = {}): Promise<Harness> => openHarness({ policies: RETAIN, ...options });

describe('checkpoints', () => {
  test('come every few seconds while something changes, and never while nothing does', async () => {
    const harness = await opened();
    await publish(harness, batchOf(['a']));
    await maintain(harness);
    expect(kinds(harness)).toEqual(['batch']);
    await harness.advance(5000);
    await maintain(harness);
    expect(kinds(harness)).toEqual(['batch', 'commit']);
    for (let n = 0; n < 20; n++) {
      await harness.advance(60_000);
      await maintain(harness);
    }
    expect(kinds(harness).length).toBe(2);
  });

  test('come sooner when a take over would replay much', async () => {
    const harness = await opened({ settings: { checkpointBytes: 10_000 } });
    await publish(harness, batchOf(['x'.repeat(11_000)]));
    await maintain(harness);
    expect(kinds(harness)).toEqual(['batch', 'commit']);
  });

  test('an idle partition writes nothing, through take overs too, and comes to rest', async () => {
    const harness = await opened();
    const session = await consumer(harness);
    await publish(harness, batchOf(['a', 'b']));
    session.acknowledge(session.resetEpoch, 3, [], null);
    await harness.advance(5000);
    await maintain(harness);
    session.detach();
    const before = harness.storage.end;
    for (let n = 0; n < 5; n++) {
      await harness.takeOver();
      await harness.advance(10_000);
      await maintain(harness, 3);
    }
    expect(harness.storage.end).toBe(before);
    expect(harness.partition.isIdle()).toBe(true);
  });

  test('let a take over read little: the checkpoint, and what came after', async () => {
    const harness = await opened();
    for (let n = 0; n < 200; n++) await publish(harness, batchOf(['x'.repeat(10_000)]));
    await harness.advance(5000);
    await maintain(harness);
    const before = harness.storage.reads;
    await harness.takeOver();
    expect(harness.storage.reads - before).toBeLessThan(5);
  });

  test('that were not complete count for nothing', async () => {
    const harness = await opened({ settings: { checkpointIntervalMs: 0 } });
    harness.partition.openProducer({ name: 'p', epoch: 0, instance: INSTANCE, window: 3, ephemeral: false }, () => undefined);
    await harness.flush();
    await maintain(harness);
    await publish(harness, inOrder('p', 1, 1, 0, ['a']));
    harness.partition.maintain(harness.world.clock.now());
    await harness.settle();
    expect(harness.storage.pending.length).toBe(2);
    await harness.takeOver(1);
    expect(harness.partition.state.checkpoint?.at).toBe(2);
    expect(await publish(harness, inOrder('p', 1, 1, 0, ['a']))).toMatchObject({ duplicate: true });
  });

  test('of damaged bytes refuse to open, and say where', async () => {
    const harness = await opened({ settings: { checkpointIntervalMs: 0 } });
    await consumer(harness);
    await maintain(harness);
    const chunk = harness.storage.entries[1];
    chunk?.writeUInt8(0xff, chunk.length - 5);
    expect(await harness.takeOver()).toMatchObject({ code: 'data_loss', detail: { offset: '1' } });
  });
});

describe('retention', () => {
  test('frees whole ledgers after seven days, without subscriptions', async () => {
    const harness = await opened();
    await days(harness, 10);
    const cached = harness.tailCache.usedBytes;
    await maintain(harness, 3);
    expect(harness.partition.status()).toMatchObject({ startOffset: 15, messages: 35 });
    expect(harness.storage.start).toBe(15);
    expect(harness.tailCache.usedBytes).toBeLessThan(cached * 0.8);
    expect(await harness.partition.read(offset(3), 100)).toMatchObject({ code: 'invalid_argument' });
    expect(await harness.partition.resolve({ kind: 'earliest' })).toBe(15);
  });

  test('keeps what is acknowledged for seven days, and what is not for longer', async () => {
    const harness = await opened();
    const session = await consumer(harness);
    await days(harness, 10);
    await maintain(harness, 3);
    expect(harness.storage.start).toBe(0);
    session.acknowledge(session.resetEpoch, 12, [], null);
    await maintain(harness, 3);
    expect(harness.partition.status().startOffset).toBe(11);
    session.acknowledge(session.resetEpoch, harness.partition.status().endOffset, [], null);
    await maintain(harness, 3);
    expect(harness.partition.status().startOffset).toBe(16);
  });

  test('does not take what a seek has just made needed again', async () => {
    const harness = await opened({ policies: FOREVER, settings: { checkpointIntervalMs: 0 } });
    const session = await consumer(harness);
    await days(harness, 10);
    session.acknowledge(session.resetEpoch, harness.partition.status().endOffset, [], null);
    await maintain(harness, 3);
    harness.partition.setPolicies(RETAIN);
    harness.partition.maintain(harness.world.clock.now());
    session.seek({ kind: 'earliest' }, session.resetEpoch, () => undefined);
    await harness.settle();
    await harness.flush();
    await maintain(harness, 3);
    expect(harness.partition.status().startOffset).toBe(0);
    expect(harness.partition.subscriptions()[0]?.backlog).toBe(50);
  });

  test('the trim is in the log, acknowledged, before anything is deleted', async () => {
    const harness = await opened({ settings: { checkpointIntervalMs: 0 } });
    await days(harness, 10);
    harness.partition.maintain(harness.world.clock.now());
    await harness.settle();
    expect(harness.storage.pending.map(decode).at(-1)?.control).toMatchObject({ kind: 'trim', to: 15, count: 15 });
    expect(harness.storage.start).toBe(0);
    await harness.flush();
    expect(harness.storage.start).toBe(15);
  });

  test('a trim that was decided and not carried out is carried out by the next owner', async () => {
    const harness = await opened();
    await days(harness, 10);
    const trim = harness.storage.owner?.trim;
    if (harness.storage.owner) harness.storage.owner.trim = async () => undefined;
    await maintain(harness, 3);
    expect([harness.storage.start, trim === undefined]).toEqual([0, false]);
    await harness.takeOver();
    expect(harness.storage.start).toBe(15);
    expect(harness.partition.status().startOffset).toBe(15);
  });

  test('a cursor whose acknowledgements were only plain is not below the start after a take over without metadata', async () => {
    const harness = await opened({ settings: { checkpointIntervalMs: 1e12 } });
    const session = await consumer(harness);
    await days(harness, 8);
    await maintain(harness, 3);
    harness.partition.state.due = true;
    const { endOffset } = harness.partition.status();
    await days(harness, 4);
    session.acknowledge(session.resetEpoch, endOffset, [], null);
    await maintain(harness, 4);
    const { startOffset } = harness.partition.status();
    expect(startOffset).toBeGreaterThan(10);
    harness.metadata.restore();
    await harness.takeOver();
    const sink = new TestSink();
    await consumer(harness, sink);
    expect(sink.got[0]?.offset).toBeGreaterThanOrEqual(startOffset);
    expect(sink.over).toBeNull();
  });

  test('comes to rest when everything has gone', async () => {
    const harness = await opened();
    await days(harness, 3);
    for (let week = 0; week < 6; week++) {
      await harness.advance(WEEK);
      await maintain(harness, 4);
    }
    const { end } = harness.storage;
    expect(harness.partition.status().messages).toBe(0);
    for (let week = 0; week < 6; week++) {
      await harness.takeOver();
      await harness.advance(WEEK);
      await maintain(harness, 4);
    }
    expect(harness.storage.end).toBe(end);
  });

  test('rolls an old ledger so that it can go, and never one of control entries only', async () => {
    const harness = await opened({ settings: { rollAgeMs: 1000 } });
    await consumer(harness);
    await maintain(harness);
    await harness.advance(10_000);
    await maintain(harness);
    expect(harness.storage.ledgerFirsts.length).toBe(1);
    await publish(harness, batchOf(['a']));
    await maintain(harness);
    await harness.advance(999);
    await maintain(harness);
    expect(harness.storage.ledgerFirsts.length).toBe(1);
    await harness.advance(2);
    await maintain(harness);
    expect(harness.storage.ledgerFirsts.length).toBe(2);
    await harness.advance(10_000);
    await maintain(harness, 3);
    expect(harness.storage.ledgerFirsts.length).toBe(2);
  });
});

describe('the backlog quota', () => {
  const QUOTA: EffectivePolicies = { retentionMs: WEEK, backlogBytesMax: 3000, dedupWindowMs: 600_000 };

  test('refuses publishes while unacknowledged messages fill it, and takes them again', async () => {
    const harness = await opened({ policies: QUOTA });
    const session = await consumer(harness);
    await publish(harness, batchOf(['x'.repeat(4000)]));
    await maintain(harness);
    expect(await publish(harness, batchOf(['more']))).toMatchObject({ code: 'backlog_quota', stored: 'no' });
    session.acknowledge(session.resetEpoch, harness.partition.status().endOffset, [], null);
    await maintain(harness);
    expect(await publish(harness, batchOf(['more']))).toMatchObject({ kind: 'stored' });
  });

  test('does not count what nobody has subscribed to', async () => {
    const harness = await opened({ policies: QUOTA });
    await publish(harness, batchOf(['x'.repeat(4000)]));
    await maintain(harness);
    expect(await publish(harness, batchOf(['more']))).toMatchObject({ kind: 'stored' });
  });

  test('frees what is past its retention though it is not acknowledged, and says so', async () => {
    const logger = memoryLogger();
    const harness = await opened({ policies: FOREVER, logger });
    await consumer(harness);
    await days(harness, 10);
    harness.partition.setPolicies({ ...QUOTA, backlogBytesMax: 100 });
    await maintain(harness, 3);
    expect(harness.partition.status().startOffset).toBeGreaterThan(10);
    const line = logger.lines.find(({ message }) => message === 'trimmed messages before their time');
    expect(line).toMatchObject({ level: 'warn', fields: { reason: 'backlog quota' } });
    expect(harness.partition.subscriptions()[0]?.markDelete).toBe(harness.partition.status().startOffset);
  });
});

describe('finding space over all partitions', () => {
  test('frees the oldest ledger, acknowledged or not, says so, and moves cursors up', async () => {
    const logger = memoryLogger();
    const harness = await opened({ policies: FOREVER, logger });
    const sink = new TestSink();
    await consumer(harness);
    await days(harness, 3);
    const oldest = harness.partition.oldestLedger();
    expect(oldest?.bytes).toBeGreaterThan(0);
    expect(oldest?.lastAppendTimeMs).toBeLessThan(harness.world.clock.now());
    harness.partition.trimOldest('10 GiB are full');
    await harness.settle();
    await harness.flush();
    await maintain(harness, 3);
    expect(harness.partition.status().startOffset).toBe(6);
    const warned = logger.lines.find(({ message }) => message === 'trimmed messages before their time');
    expect(warned).toMatchObject({ level: 'warn', fields: { reason: '10 GiB are full', messages: 5, unacknowledged: { s: 5 } } });
    expect(harness.partition.oldestLedger()?.lastAppendTimeMs).toBeGreaterThan(oldest?.lastAppendTimeMs ?? 0);
    await harness.takeOver();
    await consumer(harness, sink);
    expect(sink.values[0]).toBe('day1-0');
  });

  test('closes the open ledger when there is no other', async () => {
    const harness = await opened({ policies: FOREVER });
    await publish(harness, batchOf(['a']));
    await maintain(harness);
    expect(harness.partition.oldestLedger()).not.toBeNull();
    harness.partition.trimOldest('full');
    await harness.flush();
    await maintain(harness, 3);
    expect(harness.partition.status()).toMatchObject({ startOffset: 1, messages: 0 });
    expect(harness.partition.oldestLedger()).toBeNull();
  });
});

describe('a clean end', () => {
  test('leaves a checkpoint, and cursors in it', async () => {
    const harness = await opened();
    const sink = new TestSink();
    const session = await consumer(harness, sink);
    await publish(harness, batchOf(['a', 'b']));
    session.acknowledge(session.resetEpoch, 2, [], null);
    const closing = harness.partition.close();
    await harness.settle();
    expect(sink.over).toMatchObject({ code: 'not_owner' });
    await harness.flush();
    await closing;
    expect(kinds(harness).at(-1)).toBe('commit');
    harness.metadata.restore();
    await harness.takeOver();
    expect(harness.partition.subscriptions()).toMatchObject([{ markDelete: 2, backlog: 1 }]);
  });

  test('answers what is pending and refuses what comes later', async () => {
    const harness = await opened();
    const got: unknown[] = [];
    harness.partition.publish(batchOf(['a']), result => got.push(result));
    const closing = harness.partition.close();
    harness.partition.publish(batchOf(['b']), result => got.push(result));
    await harness.settle();
    await harness.flush();
    await closing;
    expect(got).toMatchObject([{ code: 'not_owner', stored: 'no' }, { kind: 'stored' }]);
  });

  test('does not wait for ever for a log that acknowledges nothing', async () => {
    const harness = await opened();
    const got: unknown[] = [];
    harness.partition.publish(batchOf(['a']), result => got.push(result));
    const closing = harness.partition.close();
    await harness.advance(5000);
    await closing;
    expect(got).toMatchObject([{ code: 'not_owner', stored: 'unknown' }]);
  });

  test('a purge ends everything', async () => {
    const harness = await opened();
    const sink = new TestSink();
    await consumer(harness, sink);
    await publish(harness, batchOf(['a']));
    const purging = harness.partition.purge();
    await harness.settle();
    await purging;
    expect(sink.over).toMatchObject({ code: 'topic_not_found' });
    expect(harness.storage.entries).toEqual([]);
    expect((await harness.metadata.readCursor(harness.storage.partition, 's')).size).toBe(0);
  });
});
