// Seeded chance (xoshiro128**): the same seed gives the same history.

import { assert } from '#lib/types/assert.ts';
import type { Random } from '../ports.ts';

export interface SimRandom extends Random {
  /** A whole number in [0, below). */
  integer(below: number): number;
  /** True with this probability. */
  chance(probability: number): boolean;
  pick<T>(choices: readonly T[]): T;
  /** Another generator, so that what one part draws does not shift what another gets. */
  fork(): SimRandom;
}

export function simRandom(seed: number): SimRandom {
  const state = seedState(seed);
  const u32 = (): number => {
    const [a, b, c, d] = [state[0] ?? 0, state[1] ?? 0, state[2] ?? 0, state[3] ?? 0];
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    const shifted = b << 9;
    const c2 = c ^ a;
    const d2 = d ^ b;
    state[1] = b ^ c2;
    state[0] = a ^ d2;
    state[2] = c2 ^ shifted;
    state[3] = rotate(d2, 11);
    return result;
  };
  const next = (): number => ((u32() >>> 5) * 0x4000000 + (u32() >>> 6)) / 2 ** 53;
  const integer = (below: number): number => {
    assert(below >= 1, `nothing can be drawn below ${below}`);
    return Math.floor(next() * below);
  };
  return {
    next,
    integer,
    chance: probability => next() < probability,
    pick: choices => {
      const picked = choices[integer(choices.length)];
      assert(picked !== undefined, 'nothing to pick from');
      return picked;
    },
    bytes: count => {
      const bytes = Buffer.allocUnsafe(count);
      for (let at = 0; at < count; at += 4) {
        const drawn = u32();
        if (at + 4 <= count) bytes.writeUInt32LE(drawn, at);
        else for (let last = at; last < count; last++) bytes[last] = drawn >>> (8 * (last - at));
      }
      return bytes;
    },
    fork: () => simRandom(u32()),
  };
}

function rotate(value: number, by: number): number {
  return ((value << by) | (value >>> (32 - by))) >>> 0;
}

/** Spreads a small seed over the whole state (splitmix32). */
function seedState(seed: number): Uint32Array {
  const state = new Uint32Array(4);
  let z = seed >>> 0;
  for (let at = 0; at < 4; at++) {
    z = (z + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    state[at] = (mixed ^ (mixed >>> 15)) >>> 0;
  }
  return state;
}
