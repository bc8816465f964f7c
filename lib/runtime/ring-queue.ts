// A first-in first-out queue in one array used as a ring: no element moves on `shift`, and memory follows what it holds. Bounded in
// count: who fills it asks `isFull` first, and pushing into a full queue is a bug.

import { assert } from '#lib/types/assert.ts';

const FIRST_CAPACITY = 16;

export class RingQueue<T> {
  readonly countMax: number;
  #slots: (T | undefined)[] = new Array<T | undefined>(FIRST_CAPACITY).fill(undefined);
  #first = 0;
  #count = 0;

  constructor(countMax: number) {
    assert(Number.isSafeInteger(countMax) && countMax >= 1, `a queue holds at least one element, not ${countMax}`);
    this.countMax = countMax;
  }

  get length(): number {
    return this.#count;
  }

  get isFull(): boolean {
    return this.#count >= this.countMax;
  }

  push(element: T): void {
    assert(this.#count < this.countMax, `a queue of at most ${this.countMax} elements is full`);
    if (this.#count === this.#slots.length) this.#grow();
    this.#slots[(this.#first + this.#count) & (this.#slots.length - 1)] = element;
    this.#count++;
  }

  /** Takes the oldest element out; undefined when there is none. */
  shift(): T | undefined {
    if (this.#count === 0) return undefined;
    const element = this.#slots[this.#first];
    this.#slots[this.#first] = undefined;
    this.#first = (this.#first + 1) & (this.#slots.length - 1);
    this.#count--;
    return element;
  }

  peek(): T | undefined {
    return this.at(0);
  }

  /** The element at `index`, counted from the oldest; undefined beyond the newest. */
  at(index: number): T | undefined {
    if (index < 0 || index >= this.#count) return undefined;
    return this.#slots[(this.#first + index) & (this.#slots.length - 1)];
  }

  /** Forgets all elements, and the memory that many of them took. */
  clear(): void {
    this.#slots = new Array<T | undefined>(FIRST_CAPACITY).fill(undefined);
    this.#first = 0;
    this.#count = 0;
  }

  /** Doubles; the capacity stays a power of two, so that an index is a mask instead of a division. */
  #grow(): void {
    const larger = new Array<T | undefined>(this.#slots.length * 2).fill(undefined);
    for (let index = 0; index < this.#count; index++) larger[index] = this.at(index);
    this.#slots = larger;
    this.#first = 0;
  }
}
