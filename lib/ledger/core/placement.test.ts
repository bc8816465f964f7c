import { expect, it } from 'vitest';
import { BOOKIES } from '../testing/scripted.ts';
import { bestLiveCount, chooseEnsemble } from './placement.ts';

const bookies = (alive: readonly boolean[], full: readonly number[] = []) =>
  alive.map((up, n) => ({ id: BOOKIES[n] ?? ('' as never), alive: up, full: full.includes(n) }));
const first = (): number => 0;
const none = new Set<never>();

it('takes live bookies, then full ones, then suspected ones, then those that are away', () => {
  const all = bookies([true, true, true, false, true], [0]);
  expect(chooseEnsemble(all, 2, new Set([BOOKIES[1] ?? ('' as never)]), first)).toEqual([BOOKIES[2], BOOKIES[4]]);
  expect(chooseEnsemble(all, 3, new Set([BOOKIES[1] ?? ('' as never)]), first)).toEqual([BOOKIES[2], BOOKIES[4], BOOKIES[0]]);
  expect(chooseEnsemble(all, 5, new Set([BOOKIES[1] ?? ('' as never)]), first)).toEqual([2, 4, 0, 1, 3].map(n => BOOKIES[n]));
});

it('names nobody twice, and nobody when too few are registered', () => {
  const all = bookies([true, true, true, true, true]);
  for (let n = 0; n < 5; n++) expect(new Set(chooseEnsemble(all, 3, none, count => n % count)).size).toBe(3);
  expect(chooseEnsemble(all, 6, none, first)).toBeNull();
});

it('counts how many replicas of a new ensemble would live', () => {
  const all = bookies([true, true, false]);
  expect(bestLiveCount(all, 3, none)).toBe(2);
  expect(bestLiveCount(all, 1, none)).toBe(1);
  expect(bestLiveCount(all, 3, new Set([BOOKIES[0] ?? ('' as never)]))).toBe(1);
});
