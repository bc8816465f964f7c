import { describe, expect, test } from 'vitest';
import { isDue, type PendingCheckpoint, restoreBlocks, takeSnapshot, trimLimit } from './checkpoint.ts';
import type { CommitRecord, ControlRecord } from './control.ts';
import { decodeControl, encodeControl } from './control.ts';
import { PartitionState, type Subscription } from './state.ts';

const INSTANCE = '00000000000000a1';
const NEVER = { producersMs: 0, ephemeralMs: 0, idsMs: 0 };
const IDS_MAX = 1000;

/** Producers, ids, and two subscriptions, one with holes. */
function example(): PartitionState {
  const state = new PartitionState(0, 0, 0, IDS_MAX);
  state.applyControl({ kind: 'producer', name: 'p', epoch: 1, instance: INSTANCE, window: 3, ephemeral: false }, 1, 10);
  state.applyControl({ kind: 'subscribed', name: 's', type: 1, from: 0, count: 0 }, 2, 10);
  state.applyControl({ kind: 'subscribed', name: 't', type: 1, from: 3, count: 0 }, 3, 10);
  for (let sequence = 1; sequence <= 50; sequence++)
    state.applyBatch(
      4,
      { name: 'p', epoch: 1, sequence, prevSequence: sequence - 1, instance: INSTANCE, idempotencyId: `id${sequence}` },
      7,
      4,
      100,
    );
  acknowledge(state, 's', 0, [10, 12, 20, 30]);
  return state;
}

function acknowledge(state: PartitionState, name: string, upTo: number, spans: readonly number[]): void {
  state.acknowledge(subscription(state, name), upTo, spans);
}

function subscription(state: PartitionState, name: string): Subscription {
  const found = state.subscriptions.get(name);
  if (found === undefined) throw new Error(`no subscription ${name}`);
  return found;
}

/** Appends all of it, as its owner does; returns the records with their offsets. */
function write(state: PartitionState, checkpoint: PendingCheckpoint): Map<number, ControlRecord> {
  const written = new Map<number, ControlRecord>();
  for (let done = false; !done; ) {
    const record = decodeControl(encodeControl(checkpoint.next()));
    if (record.kind === 'malformed') throw new Error(record.reason);
    const at = state.end;
    written.set(at, record);
    state.applyControl(record, state.appendTimeMs, 10);
    done = checkpoint.appended(at);
  }
  return written;
}

function commitOf(written: ReadonlyMap<number, ControlRecord>): CommitRecord {
  const commit = [...written.values()].at(-1);
  if (commit?.kind !== 'commit') throw new Error('the commit comes last');
  return commit;
}

function restore(commit: CommitRecord, log: ReadonlyMap<number, ControlRecord>): PartitionState {
  const state = new PartitionState(commit.start, commit.startCount, commit.appendTimeMs, IDS_MAX, commit.snapshot, commit.count);
  const blocks = new Map<string, unknown>();
  for (const [key, at] of commit.blocks) {
    const chunk = log.get(at);
    if (chunk?.kind === 'chunk') blocks.set(key, chunk.blocks[key]);
  }
  restoreBlocks(state, blocks);
  return state;
}

const shapeOf = (state: PartitionState): unknown => ({
  producers: [...state.producers.buckets().keys()].map(bucket => state.producers.peek(bucket)),
  ids: [...state.ids.entries()],
  subscriptions: [...state.subscriptions.values()].map(({ name, type, createdMs, resetEpoch, cursor }) => {
    const ranges = cursor.ranges.chunks.flatMap(chunk => chunk.flat);
    return { name, type, createdMs, resetEpoch, markDelete: cursor.markDelete, count: cursor.count, exact: cursor.exact, ranges };
  }),
});

describe('a checkpoint', () => {
  test('gives back the state as of its snapshot', () => {
    const state = example();
    const checkpoint = takeSnapshot(state, NEVER, 0);
    const shape = shapeOf(state);
    const log = write(state, checkpoint);
    expect(shapeOf(restore(commitOf(log), log))).toEqual(shape);
  });

  test('is of one offset, whatever comes between its entries', () => {
    const state = example();
    const checkpoint = takeSnapshot(state, NEVER, 0);
    const shape = shapeOf(state);
    acknowledge(state, 's', 9, []);
    state.applyBatch(1, null, 0, 5, 10);
    const log = write(state, checkpoint);
    expect(shapeOf(restore(commitOf(log), log))).toEqual(shape);
    expect(commitOf(log)).toMatchObject({ snapshot: 203, count: 200 });
  });

  test('writes only changed blocks, and names the old ones', () => {
    const state = example();
    const log = write(state, takeSnapshot(state, NEVER, 0));
    const first = commitOf(log);
    acknowledge(state, 't', 10, []);
    const second = write(state, takeSnapshot(state, NEVER, 0));
    for (const [at, record] of second) log.set(at, record);
    const blocks = [...second.values()].flatMap(record => (record.kind === 'chunk' ? Object.keys(record.blocks) : []));
    expect(blocks).toEqual(['s:t']);
    expect([...commitOf(second).blocks.keys()].sort()).toEqual([...first.blocks.keys()].sort());
    expect(shapeOf(restore(commitOf(second), log))).toEqual(shapeOf(state));
  });

  test('writes blocks again that stand where the log is to be trimmed', () => {
    const state = example();
    write(state, takeSnapshot(state, NEVER, 0));
    const limit = trimLimit(state);
    expect(limit).toBe(203);
    state.applyBatch(10, null, 0, 5, 10);
    write(state, takeSnapshot(state, NEVER, 0));
    expect(trimLimit(state)).toBe(limit);
    write(state, takeSnapshot(state, NEVER, state.end));
    expect(trimLimit(state)).toBeGreaterThan(limit);
  });

  test('does not make another one due', () => {
    const state = example();
    const rules = { intervalMs: 0, replayBytesMax: 1 };
    expect(isDue(state, 0, rules)).toBe(true);
    write(state, takeSnapshot(state, NEVER, 0));
    state.applyControl({ kind: 'trim', to: 3, count: 0, ledger: 'x' }, 5, 10);
    expect(isDue(state, 1e9, rules)).toBe(false);
    state.applyBatch(1, null, 0, 5, 10);
    expect(isDue(state, 0, rules)).toBe(true);
  });

  test('is due after a while, or when much would have to be replayed', () => {
    const state = example();
    expect(isDue(state, 10, { intervalMs: 1000, replayBytesMax: 1e9 })).toBe(false);
    expect(isDue(state, 1000, { intervalMs: 1000, replayBytesMax: 1e9 })).toBe(true);
    expect(isDue(state, 10, { intervalMs: 1000, replayBytesMax: 5000 })).toBe(true);
  });

  test('of very many holes is spread over chunks of bounded size', () => {
    const state = new PartitionState(0, 0, 0, IDS_MAX);
    state.applyControl({ kind: 'subscribed', name: 's', type: 1, from: 0, count: 0 }, 0, 0);
    state.applyBatch(100_000, null, 0, 0, 0);
    for (let n = 2; n < 100_000; n += 2) acknowledge(state, 's', 0, [n, n + 1]);
    const checkpoint = takeSnapshot(state, NEVER, 0);
    const shape = shapeOf(state);
    const log = write(state, checkpoint);
    const sizes = [...log.values()].filter(record => record.kind === 'chunk').map(record => encodeControl(record).length);
    expect(Math.max(...sizes)).toBeLessThan(200_000);
    expect(sizes.length).toBeGreaterThan(3);
    expect(shapeOf(restore(commitOf(log), log))).toEqual(shape);
  });

  test('whose cursor block is older than a trim comes back at the start, not below it', () => {
    const state = new PartitionState(0, 0, 0, IDS_MAX);
    state.applyControl({ kind: 'subscribed', name: 's', type: 1, from: 0, count: 0 }, 0, 0);
    for (let n = 0; n < 5; n++) state.applyControl({ kind: 'gap', from: 0, to: 0 }, 0, 0);
    const blocks = new Map<string, unknown>([['s:s', [1, 0, 0, 0, 0, true]]]);
    const restored = new PartitionState(4, 0, 0, IDS_MAX, 8, 1);
    restoreBlocks(restored, blocks);
    expect(subscription(restored, 's').cursor.markDelete).toBe(4);
  });

  test.each([
    ['an unknown block', [['x1', []]]],
    ['ranges of no subscription', [['r0:s', [1, 2]]]],
    ['a subscription cut short', [['s:s', [1, 2]]]],
    ['a type that is none', [['s:s', [9, 0, 0, 0, 0, true]]]],
  ] as const)('with %s is refused', (_, blocks) => {
    const state = new PartitionState(0, 0, 0, IDS_MAX);
    expect(() => restoreBlocks(state, new Map<string, unknown>(blocks.map(([key, data]) => [key, data])))).toThrow();
  });
});
