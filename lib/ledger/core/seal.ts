// Seal: proposes one value for a ledger's end and successor under one ballot. Q acceptances choose it. Once the first request has left,
// the value never changes: an act that wants another one begins with a higher ballot.

import type { Ballot } from '#lib/types/ballot.ts';
import type { BookieId, Offset } from '#lib/types/brands.ts';
import {
  type BookieReply,
  type BookieRequest,
  type BookieTransport,
  type LedgerDescriptor,
  type SealValue,
  voteQuorum,
} from '../protocol.ts';
import { Asking, type Verdict } from './ask.ts';
import type { Lost, Pace } from './pace.ts';

export type SealOutcome =
  | { readonly kind: 'chosen' }
  /** Another owner's outcome, learned from a copy of it. */
  | { readonly kind: 'decided'; readonly value: SealValue }
  | { readonly kind: 'lost'; readonly lost: Lost };

export interface SealedLedger {
  readonly descriptor: LedgerDescriptor;
  readonly first: Offset;
}

export class Seal {
  readonly #value: SealValue;
  readonly #quorum: number;
  readonly #accepted = new Set<BookieId>();
  /** Bookies without the ledger: a fence carries the descriptor, so they can vote after it. */
  readonly #without = new Set<BookieId>();
  readonly #refused = new Set<BookieId>();
  readonly #asking: Asking;
  readonly #onOutcome: (outcome: SealOutcome) => void;

  constructor(
    transport: BookieTransport,
    ledger: SealedLedger,
    ballot: Ballot,
    value: SealValue,
    onOutcome: (outcome: SealOutcome) => void,
  ) {
    const { descriptor, first } = ledger;
    this.#value = value;
    this.#quorum = voteQuorum(descriptor.ensemble.length, descriptor.ackQuorum);
    this.#onOutcome = onOutcome;
    const seal: BookieRequest = { kind: 'seal', ledger: descriptor.ledger, ballot, first, value };
    const fence: BookieRequest = { kind: 'fence', descriptor, ballot, first };
    this.#asking = new Asking(
      transport,
      to => (this.#without.has(to) ? fence : seal),
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

  #finish(outcome: SealOutcome): Verdict {
    this.#asking.stop();
    this.#onOutcome(outcome);
    return 'settled';
  }

  #onAnswer(from: BookieId, reply: BookieReply): Verdict {
    switch (reply.kind) {
      case 'ok':
        this.#accepted.add(from);
        return this.#accepted.size >= this.#quorum ? this.#finish({ kind: 'chosen' }) : 'settled';
      case 'stale':
        return this.#finish({ kind: 'lost', lost: reply });
      case 'fenced':
        if (reply.decided) return this.#learn(reply.decided);
        this.#without.delete(from);
        return 'now';
      case 'refused':
        // Without the ledger, or in a state that only an answer to a fence explains.
        this.#without.add(from);
        if (this.#refused.has(from)) return 'later';
        this.#refused.add(from);
        return 'now';
      case 'gone':
        return reply.decided ? this.#learn(reply.decided) : this.#finish({ kind: 'lost', lost: { kind: 'gone' } });
      case 'conflict':
        return this.#finish({ kind: 'lost', lost: { kind: 'broken', what: reply.what } });
      case 'unreachable':
      case 'busy':
        return 'later';
      default:
        return 'settled';
    }
  }

  #learn(value: SealValue): Verdict {
    if (value.end === this.#value.end && value.next?.ledger === this.#value.next?.ledger) return this.#finish({ kind: 'chosen' });
    return this.#finish({ kind: 'decided', value });
  }
}
