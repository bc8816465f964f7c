// Create: makes a ledger known to Q of its ensemble, before any seal names it. An ensemble of which too many cannot be had is given up
// while that is still allowed, so that the caller names another.

import type { Ballot } from '#lib/types/ballot.ts';
import type { BookieId } from '#lib/types/brands.ts';
import { type BookieReply, type BookieTransport, type LedgerDescriptor, voteQuorum } from '../protocol.ts';
import { Asking, type Verdict } from './ask.ts';
import type { Lost, Pace } from './pace.ts';

export type CreateOutcome =
  | { readonly kind: 'created'; readonly on: readonly BookieId[] }
  /** Too many of the ensemble did not answer: `without` are those to avoid. */
  | { readonly kind: 'impossible'; readonly without: ReadonlySet<BookieId> }
  | { readonly kind: 'lost'; readonly lost: Lost };

/** A bookie that failed so often is avoided, if there is another. */
const FAILURES_MAX = 3;

export class Create {
  readonly #descriptor: LedgerDescriptor;
  readonly #quorum: number;
  readonly #created: BookieId[] = [];
  readonly #failures = new Map<BookieId, number>();
  readonly #asking: Asking;
  readonly #hasOthers: (without: ReadonlySet<BookieId>) => boolean;
  readonly #onOutcome: (outcome: CreateOutcome) => void;

  /** `hasOthers`: could another ensemble be chosen without these? Else there is no use in giving this one up. */
  constructor(
    transport: BookieTransport,
    descriptor: LedgerDescriptor,
    ballot: Ballot,
    hasOthers: (without: ReadonlySet<BookieId>) => boolean,
    onOutcome: (outcome: CreateOutcome) => void,
  ) {
    this.#descriptor = descriptor;
    this.#hasOthers = hasOthers;
    this.#quorum = voteQuorum(descriptor.ensemble.length, descriptor.ackQuorum);
    this.#onOutcome = onOutcome;
    const request = { kind: 'create', descriptor, ballot } as const;
    this.#asking = new Asking(
      transport,
      () => request,
      (from, reply) => this.#onAnswer(from, reply),
    );
    this.#asking.start(descriptor.ensemble);
  }

  tick(nowMs: number): void {
    this.#asking.tick(nowMs);
  }
  pace(): Pace {
    return this.#asking.pace();
  }
  stop(): void {
    this.#asking.stop();
  }

  #finish(outcome: CreateOutcome): Verdict {
    this.#asking.stop();
    this.#onOutcome(outcome);
    return 'settled';
  }

  #onAnswer(from: BookieId, reply: BookieReply): Verdict {
    if (reply.kind === 'ok') {
      this.#created.push(from);
      return this.#created.length >= this.#quorum ? this.#finish({ kind: 'created', on: this.#created.slice() }) : 'settled';
    }
    if (reply.kind === 'stale') return this.#finish({ kind: 'lost', lost: reply });
    if (reply.kind === 'conflict') return this.#finish({ kind: 'lost', lost: { kind: 'broken', what: reply.what } });
    const again = reply.kind === 'unreachable' || reply.kind === 'busy';
    this.#failures.set(from, again ? (this.#failures.get(from) ?? 0) + 1 : FAILURES_MAX);
    const without = new Set<BookieId>();
    for (const [id, failures] of this.#failures) if (failures >= FAILURES_MAX && !this.#created.includes(id)) without.add(id);
    const left = this.#descriptor.ensemble.length - without.size;
    if (left < this.#quorum && this.#hasOthers(without)) return this.#finish({ kind: 'impossible', without });
    return again ? 'later' : 'settled';
  }
}
