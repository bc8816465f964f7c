import { describe, expect, test } from 'vitest';
import { simRandom } from '#lib/runtime/sim/random.ts';
import { AckedRanges } from './ranges.ts';

const flatOf = (ranges: AckedRanges): number[] => ranges.chunks.flatMap(chunk => chunk.flat);

describe('acknowledged ranges', () => {
  test('join what touches or overlaps', () => {
    const ranges = new AckedRanges();
    expect(ranges.add(10, 12)).toBe(true);
    expect(ranges.add(14, 16)).toBe(true);
    expect(ranges.add(12, 14)).toBe(true);
    expect(flatOf(ranges)).toEqual([10, 16]);
    expect(ranges.add(11, 15)).toBe(false);
    expect(ranges.count).toBe(1);
  });

  test('cost by their number, not by their length', () => {
    const ranges = new AckedRanges();
    ranges.add(1, 1e12);
    expect(flatOf(ranges)).toEqual([1, 1e12]);
  });

  test('name what is free between them', () => {
    const ranges = new AckedRanges();
    ranges.add(3, 5);
    ranges.add(8, 9);
    expect(ranges.gaps(0, 3)).toBeUndefined();
    expect(ranges.gaps(0, 10)).toEqual([0, 3, 5, 8, 9, 10]);
    expect(ranges.gaps(3, 5)).toEqual([]);
    expect(ranges.gaps(4, 9)).toEqual([5, 8]);
  });

  test('change only the chunks that they touch', () => {
    const ranges = new AckedRanges();
    for (let n = 0; n < 1000; n++) ranges.add(n * 10, n * 10 + 1);
    for (const chunk of ranges.chunks) {
      chunk.logDirty = false;
      chunk.metadataDirty = false;
    }
    ranges.add(5005, 5006);
    expect(ranges.chunks.length).toBeGreaterThan(5);
    expect(ranges.chunks.filter(chunk => chunk.logDirty).length).toBeLessThanOrEqual(2);
    expect(ranges.chunks.filter(chunk => chunk.metadataDirty).length).toBeLessThanOrEqual(2);
  });

  test('tell which chunks are gone, once', () => {
    const ranges = new AckedRanges();
    for (let n = 0; n < 300; n++) ranges.add(n * 10, n * 10 + 1);
    const ids = ranges.chunks.map(chunk => chunk.id);
    ranges.removeBelow(10_000);
    expect([...ranges.takeRemoved()].sort()).toEqual(ids.sort());
    expect(ranges.takeRemoved()).toEqual([]);
  });

  test('never use the id of a chunk that somebody else wrote', () => {
    const ranges = new AckedRanges();
    ranges.putRemoved([7]);
    ranges.add(1, 2);
    expect(ranges.chunks[0]?.id).toBe(8);
  });

  test.each([1, 2, 3, 4, 5, 6])('hold what a plain set holds (seed %i)', seed => {
    const random = simRandom(seed);
    const ranges = new AckedRanges();
    const truth = new Set<number>();
    const size = 2500;
    for (let n = 0; n < 4000; n++) {
      const first = random.integer(size);
      const end = first + 1 + (random.chance(0.05) ? random.integer(200) : random.integer(3));
      let news = false;
      for (let at = first; at < end; at++) {
        news ||= !truth.has(at);
        truth.add(at);
      }
      expect(ranges.add(first, end)).toBe(news);
      if (random.chance(0.01)) {
        const below = random.integer(size / 4);
        ranges.removeBelow(below);
        for (const at of truth) if (at < below) truth.delete(at);
      }
      if (n % 400 === 0) check(ranges, truth);
    }
    check(ranges, truth);
  });
});

function check(ranges: AckedRanges, truth: ReadonlySet<number>): void {
  const flat = flatOf(ranges);
  expect(ranges.count).toBe(flat.length / 2);
  const held = new Set<number>();
  for (let at = 0; at < flat.length; at += 2) {
    expect(flat[at] ?? 0).toBeGreaterThan(at === 0 ? -1 : (flat[at - 1] ?? 0));
    for (let offset = flat[at] ?? 0; offset < (flat[at + 1] ?? 0); offset++) held.add(offset);
  }
  expect(held).toEqual(truth);
  for (const chunk of ranges.chunks) expect(chunk.flat.length).toBeLessThanOrEqual(256);
  expect(new Set(ranges.chunks.map(chunk => chunk.id)).size).toBe(ranges.chunks.length);
  const free = ranges.gaps(100, 300) ?? [100, 300];
  for (let offset = 100; offset < 300; offset++) {
    let open = false;
    for (let at = 0; at < free.length; at += 2) open ||= offset >= (free[at] ?? 0) && offset < (free[at + 1] ?? 0);
    expect(open).toBe(!truth.has(offset));
  }
}
