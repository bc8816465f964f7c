import { expect, test } from 'vitest';
import { heapGrowingPercent } from './heap.ts';

const MIB = 1024 * 1024;

test('a small heap may grow by several times its size, a large one as V8 decides', () => {
  expect(heapGrowingPercent(0)).toBe(400);
  expect(heapGrowingPercent(8 * MIB)).toBe(400);
  expect(heapGrowingPercent(20 * MIB)).toBe(320);
  expect(heapGrowingPercent(100 * MIB)).toBe(64);
  expect(heapGrowingPercent(128 * MIB)).toBe(50);
  expect(heapGrowingPercent(129 * MIB)).toBe(0);
  expect(heapGrowingPercent(4096 * MIB)).toBe(0);
});
