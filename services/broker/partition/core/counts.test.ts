import { describe, expect, test } from 'vitest';
import { simRandom } from '#lib/runtime/sim/random.ts';
import { Counts } from './counts.ts';

/** Messages at 0-4 and 7-9, control entries at 5 and 6. */
function example(): Counts {
  const counts = new Counts(0, 0);
  counts.append(5, 5);
  counts.append(1, 0);
  counts.append(1, 0);
  counts.append(3, 3);
  return counts;
}

describe('counts', () => {
  test('never take a control entry for a message', () => {
    const counts = example();
    expect([0, 3, 5, 6, 7, 8, 10].map(offset => counts.at(offset))).toEqual([0, 3, 5, 5, 5, 6, 8].map(count => ({ count, exact: true })));
    expect(counts.total).toBe(8);
    expect(counts.end).toBe(10);
  });

  test('beyond the end are the total, and said to be no fact', () => {
    expect(example().at(11)).toEqual({ count: 8, exact: false });
  });

  test('name the next point, the end at last', () => {
    const counts = example();
    expect(counts.next(0)).toEqual({ offset: 5, count: 5 });
    expect(counts.next(5)).toEqual({ offset: 7, count: 5 });
    expect(counts.next(8)).toEqual({ offset: 10, count: 8 });
    expect(counts.next(10)).toBeUndefined();
  });

  test('below what is remembered are estimates, until an entry tells', () => {
    const counts = new Counts(100, 60);
    counts.append(10, 10);
    expect(counts.at(90)).toEqual({ count: 50, exact: false });
    counts.learn(80, 45);
    expect(counts.at(80)).toEqual({ count: 45, exact: true });
    expect(counts.at(99)).toEqual({ count: 60, exact: false });
    expect(counts.at(105)).toEqual({ count: 65, exact: true });
  });

  test('forget only what nobody asks for', () => {
    const counts = example();
    counts.forgetBelow(8);
    expect(counts.at(8)).toEqual({ count: 6, exact: true });
    expect(counts.at(10)).toEqual({ count: 8, exact: true });
    expect(counts.at(3).exact).toBe(false);
  });

  test('a gap has offsets and no messages', () => {
    const counts = example();
    counts.skip(20);
    counts.append(2, 2);
    expect(counts.at(20)).toEqual({ count: 8, exact: true });
    expect(counts.at(21)).toEqual({ count: 9, exact: true });
  });

  test('are right where they say exact, however much was thinned', () => {
    const random = simRandom(7);
    const counts = new Counts(0, 0);
    const truth: number[] = [0];
    for (let n = 0; n < 3000; n++) {
      const control = random.chance(0.4);
      const span = control ? 1 : 1 + random.integer(4);
      counts.append(span, control ? 0 : span);
      for (let offset = 0; offset < span; offset++) truth.push((truth.at(-1) ?? 0) + (control ? 0 : 1));
      if (n % 10 === 0) {
        const offset = random.integer(truth.length);
        counts.learn(offset, truth[offset] ?? 0);
      }
    }
    let exact = 0;
    truth.forEach((count, offset) => {
      const at = counts.at(offset);
      if (at.exact) expect(at.count).toBe(count);
      if (at.exact) exact++;
      expect(at.count).toBeLessThanOrEqual(counts.total);
    });
    expect(exact).toBeGreaterThan(100);
  });
});
