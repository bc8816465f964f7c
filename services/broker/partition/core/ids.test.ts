import { describe, expect, test } from 'vitest';
import { IdempotencyIds } from './ids.ts';

describe('idempotency ids', () => {
  test('are known within the window only', () => {
    const ids = new IdempotencyIds(100);
    ids.apply('a', 5, 2, 1000);
    expect(ids.find('a', 1000)).toMatchObject({ offset: 5, count: 2 });
    expect(ids.find('a', 1001)).toBeUndefined();
    expect(ids.find('b', 0)).toBeUndefined();
  });

  test('are bounded in number: the oldest go first', () => {
    const ids = new IdempotencyIds(1000);
    for (let n = 0; n < 5000; n++) ids.apply(`id${n}`, n, 1, n);
    expect(ids.size).toBeLessThanOrEqual(1000);
    expect(ids.find('id4999', 0)).toBeDefined();
    expect(ids.find('id0', 0)).toBeUndefined();
  });

  test('are forgotten when all of their segment are too old', () => {
    const ids = new IdempotencyIds(10_000);
    for (let n = 0; n < 600; n++) ids.apply(`id${n}`, n, 1, n);
    ids.expire(300);
    expect(ids.find('id10', 0)).toBeUndefined();
    expect(ids.find('id299', 0)).toBeDefined();
    expect(ids.find('id599', 0)).toBeDefined();
  });

  test('that are used again after their window keep the newer place', () => {
    const ids = new IdempotencyIds(10_000);
    ids.apply('a', 1, 1, 0);
    for (let n = 0; n < 300; n++) ids.apply(`id${n}`, n, 1, n);
    ids.apply('a', 900, 1, 900);
    ids.expire(200);
    expect(ids.find('a', 0)).toMatchObject({ offset: 900 });
  });

  test('come back from a checkpoint, of which only changed segments are written', () => {
    const ids = new IdempotencyIds(10_000);
    for (let n = 0; n < 600; n++) ids.apply(`id${n}`, n, 1, n);
    const written = [...ids.segments()].map(([number]) => [number, JSON.parse(JSON.stringify(ids.encode(number)))] as const);
    const restored = new IdempotencyIds(10_000);
    for (const [number, data] of written) restored.restore(number, data);
    expect([...restored.entries()]).toEqual([...ids.entries()]);
    ids.apply('more', 700, 1, 700);
    expect([...ids.segments()].filter(([, dirty]) => dirty).length).toBe(1);
    expect(() => restored.restore(0, [])).toThrow('order');
    expect(() => restored.restore(9, ['x', 1])).toThrow('cut short');
  });
});
