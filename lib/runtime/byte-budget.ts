// How many bytes a queue or cache may hold at once. Who adds asks `isFull` first; the one that is let in may overshoot by its own size,
// so that no size is refused for ever.

import { assert } from '#lib/types/assert.ts';

export class ByteBudget {
  readonly bytesMax: number;
  #used = 0;
  #highWater = 0;

  constructor(bytesMax: number) {
    assert(Number.isSafeInteger(bytesMax) && bytesMax >= 1, `a budget is at least one byte, not ${bytesMax}`);
    this.bytesMax = bytesMax;
  }

  get used(): number {
    return this.#used;
  }

  /** The most that was ever taken at once. */
  get highWater(): number {
    return this.#highWater;
  }

  get free(): number {
    return Math.max(0, this.bytesMax - this.#used);
  }

  get isFull(): boolean {
    return this.#used >= this.bytesMax;
  }

  /** True when `count` bytes more stay within the budget. */
  fits(count: number): boolean {
    return this.#used + count <= this.bytesMax;
  }

  take(count: number): void {
    assert(Number.isSafeInteger(count) && count >= 0, `${count} is no amount of bytes`);
    this.#used += count;
    if (this.#used > this.#highWater) this.#highWater = this.#used;
  }

  give(count: number): void {
    assert(Number.isSafeInteger(count) && count >= 0 && count <= this.#used, `${count} of ${this.#used} bytes cannot be given back`);
    this.#used -= count;
  }
}
