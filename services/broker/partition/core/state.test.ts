import { describe, expect, test } from 'vitest';
import type { CursorBlock } from '#lib/metadata/store.ts';
import { offset } from '#lib/types/brands.ts';
import { mergeCursor, putBack, takeChanges } from './merge.ts';
import { PartitionState, type Subscription } from './state.ts';

function fresh(): PartitionState {
  return new PartitionState(0, 0, 0, 100);
}

function messages(state: PartitionState, count: number): void {
  state.applyBatch(count, null, 0, state.appendTimeMs, 100);
}

function subscribe(state: PartitionState, name = 's', from = state.end, count = state.counts.total): Subscription {
  state.applyControl({ kind: 'subscribed', name, type: 1, from, count }, state.appendTimeMs, 50);
  const subscription = state.subscriptions.get(name);
  if (subscription === undefined) throw new Error('it was just created');
  return subscription;
}

describe("a partition's state", () => {
  test('takes the offset of the entry as the reset epoch', () => {
    const state = fresh();
    messages(state, 5);
    const subscription = subscribe(state);
    expect(subscription.resetEpoch).toBe(5);
    state.applyControl({ kind: 'sought', name: 's', from: 2, count: 2 }, 0, 50);
    expect(subscription.resetEpoch).toBe(6);
    expect(subscription.cursor.markDelete).toBe(2);
  });

  test('drops a receipt of another life of the cursor', () => {
    const state = fresh();
    const subscription = subscribe(state, 's', 0, 0);
    messages(state, 5);
    state.applyControl({ kind: 'acknowledged', name: 's', resetEpoch: 99, upTo: 4, spans: [] }, 0, 50);
    expect(subscription.cursor.markDelete).toBe(0);
    state.applyControl({ kind: 'acknowledged', name: 's', resetEpoch: 0, upTo: 4, spans: [5, 6] }, 0, 50);
    expect(subscription.cursor.markDelete).toBe(4);
    expect(subscription.cursor.ranges.first()).toEqual([5, 6]);
    expect(subscription.reflects).toBe(7);
  });

  test('moves every cursor below a trim up to the new start, in replay too', () => {
    const state = fresh();
    const low = subscribe(state, 'low', 0, 0);
    const high = subscribe(state, 'high', 0, 0);
    messages(state, 10);
    state.acknowledge(high, 9, []);
    state.applyControl({ kind: 'trim', to: 6, count: 4, ledger: 'x' }, 0, 50);
    expect([low.cursor.markDelete, low.cursor.count]).toEqual([6, 4]);
    expect(high.cursor.markDelete).toBe(9);
    expect(state.start).toBe(6);
    expect(low.cursor.backlog(state.counts)).toBe(6);
  });

  test('takes the offsets of a gap as acknowledged', () => {
    const state = fresh();
    const subscription = subscribe(state, 's', 0, 0);
    messages(state, 2);
    state.skipGap(20);
    state.applyControl({ kind: 'gap', from: 3, to: 20 }, 0, 50);
    messages(state, 4);
    expect(state.end).toBe(25);
    expect(subscription.cursor.backlog(state.counts)).toBe(6);
    state.acknowledge(subscription, 3, []);
    expect(subscription.cursor.markDelete).toBe(21);
    expect(subscription.cursor.backlog(state.counts)).toBe(4);
  });

  test('is due for a checkpoint by every change but upkeep', () => {
    const state = fresh();
    const subscription = subscribe(state);
    expect(state.due).toBe(true);
    state.due = false;
    state.applyControl({ kind: 'chunk', snapshot: 0, blocks: {} }, 0, 10);
    expect(state.due).toBe(false);
    messages(state, 1);
    expect(state.due).toBe(true);
    state.due = false;
    state.acknowledge(subscription, state.end, []);
    expect(state.due).toBe(true);
    state.due = false;
    state.acknowledge(subscription, state.end, []);
    expect(state.due).toBe(false);
  });

  test('clips an acknowledgement to the live log', () => {
    const state = fresh();
    const subscription = subscribe(state, 's', 0, 0);
    messages(state, 5);
    state.acknowledge(subscription, 100, [200, 300]);
    expect(subscription.cursor.markDelete).toBe(6);
    expect(subscription.cursor.ranges.count).toBe(0);
  });
});

const block = (resetEpoch: number, markDelete: number | null, ...ranges: [number, number][]): CursorBlock => ({
  resetEpoch: offset(resetEpoch),
  markDelete: markDelete === null ? null : offset(markDelete),
  ranges: ranges.map(([first, end]) => [offset(first), offset(end)]),
});

describe('cursors between log and metadata', () => {
  test('are united when they are of one life, each block by itself', () => {
    const state = fresh();
    const subscription = subscribe(state, 's', 0, 0);
    messages(state, 20);
    state.acknowledge(subscription, 3, [10, 12]);
    const blocks = new Map([
      ['m', block(0, 5)],
      ['r0', block(0, null, [11, 14])],
      ['r1', block(77, null, [1, 20])],
    ]);
    expect(mergeCursor(state, subscription, blocks)).toBe(true);
    expect(subscription.cursor.markDelete).toBe(5);
    expect(subscription.cursor.ranges.chunks.flatMap(chunk => chunk.flat)).toEqual([10, 14]);
    expect(mergeCursor(state, subscription, blocks)).toBe(false);
  });

  test('are not, when metadata is of another life or beyond the log', () => {
    const state = fresh();
    const subscription = subscribe(state, 's', 0, 0);
    messages(state, 5);
    const blocks = new Map([
      ['m', block(3, 5)],
      ['r0', block(0, 900, [800, 900])],
    ]);
    expect(mergeCursor(state, subscription, blocks)).toBe(false);
    expect(subscription.cursor.markDelete).toBe(0);
  });

  test('are written by changed blocks, and again after a failure', () => {
    const state = fresh();
    const subscription = subscribe(state, 's', 0, 0);
    messages(state, 5000);
    for (let n = 10; n < 5000; n += 10) state.acknowledge(subscription, 0, [n, n + 1]);
    const all = takeChanges(subscription);
    expect(all?.blocks.get('m')).toEqual(block(0, 1));
    expect(all?.blocks.size).toBe(1 + subscription.cursor.ranges.chunks.length);
    expect(takeChanges(subscription)).toBeUndefined();
    state.acknowledge(subscription, 0, [4993, 4994]);
    const one = takeChanges(subscription);
    expect([...(one?.blocks.keys() ?? [])]).toEqual(['r3']);
    if (one !== undefined) putBack(subscription, one);
    expect([...(takeChanges(subscription)?.blocks.keys() ?? [])]).toEqual(['r3']);
    state.acknowledge(subscription, 5000, []);
    const gone = takeChanges(subscription);
    expect([...(gone?.blocks.values() ?? [])].filter(value => value === null).length).toBeGreaterThan(1);
  });

  test('written out and read back acknowledge the same', () => {
    const state = fresh();
    const subscription = subscribe(state, 's', 0, 0);
    messages(state, 2000);
    for (let n = 3; n < 2000; n += 7) state.acknowledge(subscription, 0, [n, n + 3]);
    state.acknowledge(subscription, 40, []);
    const blocks = new Map<string, CursorBlock>();
    for (const [name, value] of takeChanges(subscription)?.blocks ?? []) if (value !== null) blocks.set(name, value);
    const other = fresh();
    const again = subscribe(other, 's', 0, 0);
    messages(other, 2000);
    mergeCursor(other, again, blocks);
    expect(again.cursor.markDelete).toBe(subscription.cursor.markDelete);
    expect(again.cursor.ranges.chunks.flatMap(chunk => chunk.flat)).toEqual(subscription.cursor.ranges.chunks.flatMap(chunk => chunk.flat));
  });
});
