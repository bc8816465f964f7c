import { describe, expect, test } from 'vitest';
import { Counts } from './counts.ts';
import { Cursor } from './cursor.ts';

/** `m3` three messages, `c` a control entry. */
function log(...entries: readonly string[]): Counts {
  const counts = new Counts(0, 0);
  for (const entry of entries) {
    const messages = entry === 'c' ? 0 : Number(entry.slice(1));
    counts.append(Math.max(1, messages), messages);
  }
  return counts;
}

describe('a cursor', () => {
  test('moves over what is acknowledged without a hole', () => {
    const counts = log('m5');
    const cursor = new Cursor(0, 0);
    expect(cursor.acknowledge(1, 3, counts)).toBe(true);
    expect(cursor.markDelete).toBe(0);
    expect(cursor.acknowledge(0, 1, counts)).toBe(true);
    expect(cursor.markDelete).toBe(3);
    expect(cursor.acknowledge(0, 3, counts)).toBe(false);
    expect(cursor.ranges.count).toBe(0);
  });

  test('steps over control entries, which is no change', () => {
    const counts = log('c', 'c', 'm2', 'c', 'm1', 'c');
    const cursor = new Cursor(0, 0);
    cursor.logDirty = false;
    cursor.metadataDirty = false;
    cursor.settle(counts);
    expect(cursor.markDelete).toBe(2);
    expect(cursor.logDirty || cursor.metadataDirty).toBe(false);
    cursor.acknowledge(2, 4, counts);
    expect(cursor.markDelete).toBe(5);
    expect(cursor.logDirty && cursor.metadataDirty).toBe(true);
    cursor.acknowledge(5, 6, counts);
    expect(cursor.markDelete).toBe(7);
  });

  test('counts its backlog in messages, not in offsets', () => {
    const counts = log('m2', 'c', 'c', 'm4', 'c', 'm4');
    const cursor = new Cursor(0, 0);
    expect(cursor.backlog(counts)).toBe(10);
    cursor.acknowledge(5, 10, counts);
    expect(cursor.backlog(counts)).toBe(6);
    cursor.acknowledge(0, 2, counts);
    expect(cursor.markDelete).toBe(4);
    expect(cursor.backlog(counts)).toBe(4);
    cursor.moveUp(counts.end, counts);
    expect(cursor.backlog(counts)).toBe(0);
  });

  test('says which messages of an entry are open', () => {
    const counts = log('m10', 'm5');
    const cursor = new Cursor(0, 0);
    expect(cursor.open(0, 10)).toEqual([]);
    cursor.acknowledge(3, 5, counts);
    cursor.acknowledge(9, 12, counts);
    expect(cursor.open(0, 10)).toEqual([
      [0, 3],
      [5, 4],
    ]);
    expect(cursor.open(10, 15)).toEqual([[2, 3]]);
    cursor.moveUp(4, counts);
    expect(cursor.open(0, 10)).toEqual([[5, 4]]);
    cursor.moveUp(10, counts);
    expect(cursor.open(0, 10)).toBeUndefined();
  });

  test('goes on from an offset inside an entry', () => {
    const cursor = new Cursor(4, 4);
    expect(cursor.open(0, 10)).toEqual([[4, 6]]);
  });

  test('begins another life at a seek', () => {
    const counts = log('m10', 'c', 'm4');
    const cursor = new Cursor(0, 0);
    cursor.acknowledge(2, 4, counts);
    cursor.moveUp(1, counts);
    cursor.reset(11, 10);
    expect(cursor.markDelete).toBe(11);
    expect(cursor.ranges.count).toBe(0);
    expect(cursor.backlog(counts)).toBe(4);
    cursor.reset(0, 0);
    expect(cursor.backlog(counts)).toBe(14);
  });

  test('is raised to the start of the log with its count', () => {
    const counts = new Counts(50, 30);
    counts.append(5, 5);
    const cursor = new Cursor(3, 3);
    cursor.raise(20, 11, counts);
    expect([cursor.markDelete, cursor.count, cursor.exact]).toEqual([20, 11, true]);
    cursor.raise(10, 5, counts);
    expect(cursor.markDelete).toBe(20);
  });

  test('knows that nothing but control entries lie between equal counts, though it never saw them', () => {
    const counts = new Counts(50, 30);
    const cursor = new Cursor(40, 30);
    cursor.settle(counts);
    expect(cursor.markDelete).toBe(50);
  });

  test('estimates where nothing is known, never above the next fact, and is put right', () => {
    const counts = new Counts(50, 30);
    counts.append(1, 1);
    const cursor = new Cursor(10, 10);
    cursor.moveUp(45, counts);
    expect(cursor.exact).toBe(false);
    expect(cursor.count).toBeLessThanOrEqual(30);
    counts.learn(45, 28);
    cursor.settle(counts);
    expect([cursor.count, cursor.exact]).toEqual([28, true]);
  });

  test('counts a hundred thousand holes', () => {
    const counts = log('m200000');
    const cursor = new Cursor(0, 0);
    for (let n = 0; n < 100_000; n++) cursor.acknowledge(2 * n + 1, 2 * n + 2, counts);
    expect(cursor.ranges.count).toBe(100_000);
    expect(cursor.backlog(counts)).toBe(100_000);
    for (let n = 0; n < 100_000; n++) cursor.acknowledge(2 * n, 2 * n + 1, counts);
    expect(cursor.markDelete).toBe(200_000);
    expect(cursor.ranges.count).toBe(0);
  });
});
