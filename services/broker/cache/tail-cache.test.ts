import { describe, expect, test } from 'vitest';
import { simRandom } from '#lib/runtime/sim/random.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { encodeEntry, entryBaseOffset, entryEnd } from '#lib/wire/entry.ts';
import { type PartitionTail, TailCache } from './tail-cache.ts';

function entryOf(baseOffset: number, count: number, bytes = 100): Buffer {
  const payload = Buffer.alloc(bytes, 97);
  const header = { kind: 'batch' as const, baseOffset, count, cumulativeCount: baseOffset, appendTimeMs: 1, checkpointOffset: -1 };
  return encodeEntry(header, [], payload, crc32c(payload));
}

describe('the tail cache', () => {
  test('finds the entry that covers an offset', () => {
    const tail = new TailCache(1e6).open();
    for (const [base, count] of [
      [10, 5],
      [15, 1],
      [16, 10],
    ] as const)
      tail.add(entryOf(base, count));
    expect([9, 10, 14, 15, 16, 25, 26].map(offset => tail.get(offset)).map(entry => entry && entryBaseOffset(entry))).toEqual([
      undefined,
      10,
      10,
      15,
      16,
      16,
      undefined,
    ]);
    expect(tail.first).toBe(10);
  });

  test('stays within its budget over all partitions, and the oldest goes first', () => {
    const cache = new TailCache(10_000);
    const a = cache.open();
    const b = cache.open();
    a.add(entryOf(0, 1, 1000));
    for (let n = 0; n < 100; n++) b.add(entryOf(n, 1, 1000));
    expect(cache.usedBytes).toBeLessThanOrEqual(10_000);
    expect(a.size).toBe(0);
    expect(a.get(0)).toBeUndefined();
    expect(b.get(99)).toBeDefined();
    expect(b.get(0)).toBeUndefined();
    a.add(entryOf(1, 1, 1000));
    expect(a.get(1)).toBeDefined();
  });

  test('an entry larger than the budget is not kept', () => {
    const cache = new TailCache(500);
    const tail = cache.open();
    tail.add(entryOf(0, 1, 1000));
    expect(tail.get(0)).toBeUndefined();
    expect(cache.usedBytes).toBe(0);
  });

  test('gives its space back when a partition is closed or trimmed', () => {
    const cache = new TailCache(1e6);
    const a = cache.open();
    const b = cache.open();
    for (let n = 0; n < 10; n++) {
      a.add(entryOf(n, 1));
      b.add(entryOf(n, 1));
    }
    a.dropBelow(5);
    expect([a.get(4), a.first]).toEqual([undefined, 5]);
    b.close();
    const left = cache.usedBytes;
    a.close();
    expect([left > 0, cache.usedBytes]).toEqual([true, 0]);
  });

  test.each([1, 2, 3])('serves what it should in any order of events (seed %i)', seed => {
    const random = simRandom(seed);
    const cache = new TailCache(20_000);
    const open = (): { tail: PartitionTail; end: number; dropped: number } => ({ tail: cache.open(), end: 0, dropped: 0 });
    const partitions = [open(), open(), open()];
    for (let step = 0; step < 20_000; step++) {
      const at = random.integer(partitions.length);
      const partition = partitions[at];
      if (partition === undefined) continue;
      const kind = random.next();
      if (kind < 0.7) {
        const entry = entryOf(partition.end, 1 + random.integer(3), random.integer(400));
        partition.tail.add(entry);
        partition.end = entryEnd(entry);
      } else if (kind < 0.995) {
        partition.dropped = Math.max(partition.dropped, partition.end - random.integer(20));
        partition.tail.dropBelow(partition.dropped);
      } else {
        partition.tail.close();
        partitions[at] = open();
      }
      expect(cache.usedBytes).toBeLessThanOrEqual(cache.budgetBytes);
    }
    let bytes = 0;
    for (const { tail, end } of partitions) {
      for (let offset = Math.min(tail.first, end); offset < end; ) {
        const entry = tail.get(offset);
        expect(entry).toBeDefined();
        bytes += (entry?.length ?? 0) + 256;
        offset = entry === undefined ? end : entryEnd(entry);
      }
    }
    expect(bytes).toBe(cache.usedBytes);
  });
});
