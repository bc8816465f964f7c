// Chance from the operating system's generator.

import { randomBytes } from 'node:crypto';
import type { Random } from '../ports.ts';

export function nodeRandom(): Random {
  return {
    next: () => Math.random(),
    bytes: count => randomBytes(count),
  };
}
