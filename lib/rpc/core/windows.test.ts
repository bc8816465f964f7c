import { describe, expect, it } from 'vitest';
import { KIB, MIB } from '#lib/types/limits.ts';
import { Windows } from './windows.ts';

const limits = { openingBytes: 64 * KIB, maxBytes: 4 * MIB, budgetBytes: 16 * MIB, idleTicks: 3 };
const sample = (receivedBytes: number, streams = 1) => ({ receivedBytes, streams });

describe('windows', () => {
  it('grow step by step while the sender fills them, up to the largest', () => {
    const windows = new Windows<string>(limits);
    windows.add('a');
    const seen: number[] = [];
    for (let received = 0, i = 0; i < 6; i++) {
      received += 8 * MIB;
      windows.tick([['a', sample(received)]]);
      seen.push(windows.windowBytes('a'));
    }
    expect(seen).toEqual([256 * KIB, MIB, 4 * MIB, 4 * MIB, 4 * MIB, 4 * MIB]);
  });

  it('stay small for a connection that sends little', () => {
    const windows = new Windows<string>(limits);
    windows.add('a');
    for (let i = 1; i < 50; i++) expect(windows.tick([['a', sample(i * 1000)]])).toEqual([]);
  });

  it('become small again when nothing comes, and give the budget back', () => {
    const windows = new Windows<string>(limits);
    windows.add('a');
    windows.tick([['a', sample(8 * MIB)]]);
    expect(windows.chargedBytes).toBe(256 * KIB);
    for (let i = 0; i < 2; i++) expect(windows.tick([['a', sample(8 * MIB)]])).toEqual([]);
    expect(windows.tick([['a', sample(8 * MIB)]])).toEqual([{ key: 'a', windowBytes: 64 * KIB }]);
    expect(windows.chargedBytes).toBe(0);
  });

  it('never promise more than the budget, over many connections and many streams', () => {
    const windows = new Windows<number>(limits);
    for (let key = 0; key < 100; key++) windows.add(key);
    for (let tick = 1; tick < 10; tick++) {
      windows.tick(Array.from({ length: 100 }, (_, key) => [key, sample(tick * 8 * MIB, (key % 7) + 1)] as const));
      expect(windows.chargedBytes).toBeLessThanOrEqual(limits.budgetBytes);
    }
    expect(windows.chargedBytes).toBeGreaterThan(limits.budgetBytes / 2);
  });

  it('shrink when a grown connection opens more streams than the budget holds', () => {
    const windows = new Windows<string>(limits);
    windows.add('a');
    for (let i = 1; i < 5; i++) windows.tick([['a', sample(i * 8 * MIB)]]);
    expect(windows.windowBytes('a')).toBe(4 * MIB);
    windows.tick([['a', sample(40 * MIB, 20)]]);
    expect(windows.windowBytes('a') * 20).toBeLessThanOrEqual(limits.budgetBytes);
  });

  it('forget a closed connection with what it was charged', () => {
    const windows = new Windows<string>(limits);
    windows.add('a');
    windows.tick([['a', sample(8 * MIB)]]);
    windows.remove('a');
    windows.remove('a');
    expect(windows.chargedBytes).toBe(0);
  });
});
