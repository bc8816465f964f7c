// Seeded values for tests of the wire: the same seed gives the same frames on every machine.

import type { ErrorCode } from '#lib/types/errors.ts';
import { ERRORS } from '#lib/types/errors.ts';

/** mulberry32: small, and good enough to choose test values. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 … 2^32 − 1. */
  u32(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  below(end: number): number {
    return this.u32() % end;
  }

  flip(): boolean {
    return this.below(2) === 1;
  }

  /** A number of 32 bits, small ones and the edges often. */
  uint32(): number {
    return this.pick([0, 1, 127, 128, 16383, 16384, this.below(1000), this.u32(), 0x7fffffff, 0x80000000, 0xffffffff]);
  }

  /** A safe integer ≥ 0. */
  uint64(): number {
    return this.pick([
      0,
      this.uint32(),
      2 ** 32,
      this.u32() * 2 ** 20 + this.below(2 ** 20),
      2 ** 35 - 1,
      2 ** 35,
      Number.MAX_SAFE_INTEGER,
    ]);
  }

  int64(): number {
    const value = this.uint64();
    return this.flip() || value === 0 ? value : -value;
  }

  hex64(): string {
    return this.pick([hex(this.u32()) + hex(this.u32()), '0000000000000000', 'ffffffffffffffff', '8000000000000000']);
  }

  text(most = 20): string {
    const length = this.below(most + 1);
    let text = '';
    for (let index = 0; index < length; index++) text += this.pick(['a', 'Z', '0', '.', '/', 'é', 'ß', '日', '🦦', '\u0000', '\u007f']);
    return text;
  }

  bytes(most = 40): Buffer {
    const bytes = Buffer.alloc(this.below(most + 1));
    for (let index = 0; index < bytes.length; index++) bytes[index] = this.below(256);
    return bytes;
  }

  list<T>(most: number, make: () => T): T[] {
    return Array.from({ length: this.below(most + 1) }, make);
  }

  maybe<T>(make: () => T): T | null {
    return this.flip() ? make() : null;
  }

  pick<T>(values: readonly T[]): T {
    const value = values[this.below(values.length)];
    if (value === undefined) throw new Error('nothing to pick from');
    return value;
  }

  errorCode(): ErrorCode {
    return this.pick(Object.keys(ERRORS).filter((code): code is ErrorCode => code in ERRORS));
  }
}

const hex = (value: number): string => value.toString(16).padStart(8, '0');
