// How often a core wants to be ticked, and why an owner has lost its ledger: words that all acts share.

import type { Ballot } from '#lib/types/ballot.ts';

/** `fast`: every 20 ms, something is due soon; `slow`: every second, something waits for a bookie to return; `none`: nothing does. */
export type Pace = 'none' | 'slow' | 'fast';

export function quicker(a: Pace, b: Pace): Pace {
  if (a === 'fast' || b === 'fast') return 'fast';
  return a === 'slow' || b === 'slow' ? 'slow' : 'none';
}

/** Why an act cannot go on. `stale`: a higher ballot is about. `broken`: a rule of the protocol was broken, which people must look at. */
export type Lost =
  | { readonly kind: 'stale'; readonly promised: Ballot }
  | { readonly kind: 'gone' }
  | { readonly kind: 'broken'; readonly what: string };

export const FAST_TICK_MS = 20;
export const SLOW_TICK_MS = 1000;
const WAIT_FIRST_MS = 10;

/** How long to wait before asking again: doubles from 10 ms to 1 s. */
export function longerWait(waitMs: number): number {
  return waitMs === 0 ? WAIT_FIRST_MS : Math.min(waitMs * 2, SLOW_TICK_MS);
}
