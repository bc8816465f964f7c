import { expect, test } from 'vitest';
import { ByteBudget } from './byte-budget.ts';
import { RingQueue } from './ring-queue.ts';
import { simRandom } from './sim/random.ts';

test('a ring queue is a queue, through growth and many turns of the ring', () => {
  const random = simRandom(7);
  const queue = new RingQueue<number>(100);
  const model: number[] = [];
  for (let n = 0; n < 20_000; n++) {
    if (random.chance(0.52)) {
      if (queue.isFull) expect(model.length).toBe(100);
      else {
        queue.push(n);
        model.push(n);
      }
    } else expect(queue.shift()).toBe(model.shift());
    expect(queue.length).toBe(model.length);
    expect(queue.peek()).toBe(model[0]);
    const index = random.integer(101);
    expect(queue.at(index)).toBe(model[index]);
  }
  queue.clear();
  expect(queue.shift()).toBeUndefined();
});

test('pushing into a full queue is a bug', () => {
  const queue = new RingQueue<number>(2);
  queue.push(1);
  queue.push(2);
  expect(queue.isFull).toBe(true);
  expect(() => queue.push(3)).toThrow(/full/);
  expect([queue.shift(), queue.shift(), queue.shift()]).toEqual([1, 2, undefined]);
});

test('a budget lets the last one overshoot and remembers the most', () => {
  const budget = new ByteBudget(10);
  budget.take(9);
  expect(budget.isFull).toBe(false);
  expect(budget.fits(1)).toBe(true);
  expect(budget.fits(2)).toBe(false);
  budget.take(5);
  expect(budget.isFull).toBe(true);
  expect(budget.free).toBe(0);
  budget.give(14);
  expect([budget.used, budget.highWater]).toEqual([0, 14]);
  expect(() => budget.give(1)).toThrow(/given back/);
});
