import { describe, expect, test } from 'vitest';
import { offset } from '#lib/types/brands.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { encodeEntry } from '#lib/wire/entry.ts';
import { EntryList, firstIndex } from './entry-list.ts';

/** Entries of `spans` offsets each, from 100 on; their append times are 1000, 1010, … */
function listOf(spans: readonly number[], payloadBytes = 10): EntryList {
  const list = new EntryList(offset(100));
  let at = 100;
  for (const [n, span] of spans.entries()) {
    const payload = Buffer.alloc(payloadBytes, n);
    const header = {
      kind: 'batch',
      baseOffset: at,
      count: span,
      cumulativeCount: at - 100,
      appendTimeMs: 1000 + 10 * n,
      checkpointOffset: -1,
    } as const;
    list.push(encodeEntry(header, [], payload, crc32c(payload)));
    at += span;
  }
  return list;
}

describe('a list of entries', () => {
  test('finds the entry that covers an offset', () => {
    const list = listOf([3, 1, 5]);
    expect([99, 100, 102, 103, 104, 108, 109].map(at => list.indexOf(offset(at)))).toEqual([-1, 0, 0, 1, 2, 2, -1]);
  });

  test('hands out whole entries up to a limit and an amount, but at least one', () => {
    const list = listOf([3, 1, 5]);
    const take = (from: number, limit: number, bytes: number) => {
      const out: Buffer[] = [];
      const left = list.collect(from, offset(limit), bytes, out);
      return { count: out.length, left };
    };
    expect(take(0, 109, 1000)).toEqual({ count: 3, left: 1000 - 3 * 74 });
    expect(take(0, 108, 1000)).toEqual({ count: 2, left: -1 });
    expect(take(0, 102, 1000)).toEqual({ count: 0, left: -1 });
    expect(take(0, 109, 1)).toEqual({ count: 1, left: -1 });
    expect(take(1, 109, 148)).toEqual({ count: 2, left: 0 });
  });

  test('is cut in place, or copied without its end', () => {
    const list = listOf([3, 1, 5]);
    const before = list.before(offset(104));
    expect([before.end, before.entries.length, list.entries.length]).toEqual([104, 2, 3]);
    expect(list.before(offset(200))).toBe(list);
    list.cut(offset(103));
    expect([list.end, list.bytes, list.entries.length]).toEqual([103, 74, 1]);
    list.cut(offset(50));
    expect([list.end, list.bytes, list.entries.length]).toEqual([100, 0, 0]);
  });

  test('refuses an entry that does not follow', () => {
    const list = listOf([3]);
    const other = listOf([1]).entries[0];
    expect(() => list.push(other ?? Buffer.alloc(0))).toThrow('does not follow');
  });

  test('finds a time and a count', () => {
    const list = listOf([3, 1, 5]);
    const locate = (by: 'time' | 'count', value: number, limit = 109) =>
      list.entries.indexOf(list.locate(by, value, offset(limit)) ?? Buffer.alloc(0));
    expect([0, 1000, 1001, 1020, 1021].map(value => locate('time', value))).toEqual([0, 0, 1, 2, -1]);
    expect([0, 2, 3, 4, 8, 9].map(value => locate('count', value))).toEqual([0, 0, 1, 2, 2, -1]);
    expect(locate('time', 1020, 104)).toBe(-1);
  });
});

test('a binary search finds the first that holds', () => {
  const sorted = [1, 3, 3, 7];
  expect([0, 1, 2, 3, 4, 8].map(value => firstIndex(sorted, element => element >= value))).toEqual([0, 0, 1, 1, 3, 4]);
});
