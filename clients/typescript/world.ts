// The one place of the client that touches clock, timers and chance. Everything else takes it as a parameter, so that tests can hold time.

import { randomBytes } from 'node:crypto';

export interface ClientTimer {
  cancel(): void;
}

export interface ClientWorld {
  /** A steady clock in ms with fractions, for spans. */
  now(): number;
  /** The moment in `delayMs`, on the wall clock, as gRPC takes deadlines. */
  deadline(delayMs: number): number;
  /** Uniform in [0, 1). */
  random(): number;
  randomHex(bytes: number): string;
  /** Calls `run` once, after at least `delayMs`. */
  after(delayMs: number, run: () => void): ClientTimer;
  /** Calls `run` when this turn of the loop has done its I/O and all that followed from it. */
  endOfTurn(run: () => void): void;
}

export const nodeWorld: ClientWorld = {
  now: () => performance.now(),
  deadline: delayMs => Date.now() + delayMs,
  random: () => Math.random(),
  randomHex: bytes => randomBytes(bytes).toString('hex'),
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  endOfTurn: run => {
    setImmediate(run);
  },
};
