// What the metadata store compares before it writes: the same rules for every implementation. A rule answers what a reader would find
// afterwards; it never looks at a clock, and a write that comes late loses by its ballot or version.

import { assert } from '#lib/types/assert.ts';
import { type Ballot, compareBallots } from '#lib/types/ballot.ts';
import type { ChainHead, Claim, CursorBlock } from '../store.ts';

/** Operation ids are kept as keys: their length is bounded where they come in. */
const OPERATION_LENGTH_MAX = 200;

/** The counter after one more epoch was taken. */
export function nextEpoch(counted: number, atLeast: number): number {
  assert(Number.isSafeInteger(atLeast) && atLeast >= 0, `an epoch is a safe integer of 0 or more, not ${atLeast}`);
  const next = Math.max(counted, atLeast) + 1;
  assert(Number.isSafeInteger(next), 'epochs have run out');
  return next;
}

/** A claim wins over lower ballots, and over itself: the same act may be told again. */
export function claimWins(current: Claim | null, claim: Claim): boolean {
  return current === null || compareBallots(claim.ballot, current.ballot) >= 0;
}

/** The chain only grows: a head wins with a ballot and a first offset that are not below the current ones. An empty ledger's successor has the same first offset. */
export function headWins(current: { readonly head: ChainHead; readonly ballot: Ballot } | null, head: ChainHead, ballot: Ballot): boolean {
  if (current === null) return true;
  return compareBallots(ballot, current.ballot) >= 0 && head.first >= current.head.first;
}

/** A block of an older reset never takes the place of a newer one: it comes from a broker that has lost the partition. */
export function blockWins(currentResetEpoch: number | null, block: CursorBlock): boolean {
  return currentResetEpoch === null || block.resetEpoch >= currentResetEpoch;
}

/** `version` 0 creates; the version after a write is one more than the one it was compared with. */
export function recordWins(currentVersion: number, version: number): boolean {
  assert(Number.isSafeInteger(version) && version >= 0, `a version is a safe integer of 0 or more, not ${version}`);
  return currentVersion === version;
}

/** Which writes have been done: a retry whose first answer was lost is answered with "stored" again. The oldest are forgotten. */
export class Operations {
  readonly #done = new Set<string>();
  readonly #countMax: number;

  constructor(countMax = 8192) {
    assert(countMax > 0, 'some operations must be remembered');
    this.#countMax = countMax;
  }

  has(subject: string, operation: string): boolean {
    return this.#done.has(keyOf(subject, operation));
  }

  add(subject: string, operation: string): void {
    this.#done.add(keyOf(subject, operation));
    if (this.#done.size <= this.#countMax) return;
    for (const oldest of this.#done) {
      this.#done.delete(oldest);
      break;
    }
    assert(this.#done.size <= this.#countMax, 'the memory of operations is bounded');
  }
}

function keyOf(subject: string, operation: string): string {
  assert(operation.length > 0 && operation.length <= OPERATION_LENGTH_MAX, 'an operation id has 1 to 200 characters');
  return `${operation}\n${subject}`;
}
