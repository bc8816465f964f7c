// A ballot names one act of taking ownership of a partition. Ballots are totally ordered and never repeat: the epoch may, when an
// index rolls back, but the incarnation is random per process start (DESIGN ch. 2).

/** `epoch` is a safe integer ≥ 0; `incarnation` is 16 hex digits, random per process start. */
export interface Ballot {
  readonly epoch: number;
  readonly incarnation: string;
}

/** Below every ballot that a broker can have. */
export const NO_BALLOT: Ballot = { epoch: 0, incarnation: '0000000000000000' };

/** Negative when `a` is lower than `b`, 0 when they are the same act, positive when `a` is higher. */
export function compareBallots(a: Ballot, b: Ballot): number {
  if (a.epoch !== b.epoch) return a.epoch - b.epoch;
  if (a.incarnation === b.incarnation) return 0;
  return a.incarnation < b.incarnation ? -1 : 1;
}
