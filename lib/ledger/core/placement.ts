// Which R bookies form the ensemble of a new ledger. Live ones first, among them those with space before full ones and those that the
// caller suspects last, then registered ones that are away: Q of an ensemble must create it, the rest may come later (DESIGN ch. 3). Racks come with a later version.

import type { BookieId } from '#lib/types/brands.ts';

export interface Candidate {
  readonly id: BookieId;
  readonly alive: boolean;
  /** Its disk has no space for clients' entries. */
  readonly full: boolean;
}

/**
 * R distinct bookies in an order that spreads load, or null when fewer are registered. `pick(n)` is an integer in [0, n) by chance.
 * `liveMin` of them must be alive and not avoided unless nobody else is left: Q, so that the ledger can be created.
 */
export function chooseEnsemble(
  candidates: readonly Candidate[],
  replicas: number,
  avoid: ReadonlySet<BookieId>,
  pick: (count: number) => number,
): readonly BookieId[] | null {
  if (candidates.length < replicas) return null;
  const ensemble: BookieId[] = [];
  const groups = [
    candidates.filter(bookie => bookie.alive && !avoid.has(bookie.id) && !bookie.full),
    candidates.filter(bookie => bookie.alive && !avoid.has(bookie.id) && bookie.full),
    candidates.filter(bookie => bookie.alive && avoid.has(bookie.id)),
    candidates.filter(bookie => !bookie.alive),
  ];
  for (const group of groups) {
    while (group.length > 0 && ensemble.length < replicas) {
      const [chosen] = group.splice(pick(group.length), 1);
      if (chosen) ensemble.push(chosen.id);
    }
  }
  return ensemble;
}

/** How many of an ensemble chosen now would be alive and trusted. */
export function bestLiveCount(candidates: readonly Candidate[], replicas: number, avoid: ReadonlySet<BookieId>): number {
  return Math.min(replicas, candidates.filter(bookie => bookie.alive && !avoid.has(bookie.id)).length);
}
