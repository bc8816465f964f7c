// Roll: the owner ends its open ledger and goes on in the next one. The next is created on Q of its ensemble while writing goes on; then
// what is under way is drained for a moment; the ledger is cut at its acknowledged end, which is sealed; entries past it go to the next.
// No fence is needed, since the owner holds the ballot. Ending a partition (its topic was purged) is a roll to nothing.
//
//   creating ──Q created──▶ draining ──all acknowledged, or 160 ms──▶ (cut) sealing ──Q accepted──▶ rolled

import { assert } from '#lib/types/assert.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import type { BookieId, Offset } from '#lib/types/brands.ts';
import type { BookieTransport, LedgerDescriptor } from '../protocol.ts';
import { Create, type CreateOutcome } from './create.ts';
import type { Lost, Pace } from './pace.ts';
import { Seal, type SealedLedger, type SealOutcome } from './seal.ts';
import type { Spreads } from './spread.ts';

export interface RollDeps {
  readonly transport: BookieTransport;
  readonly ballot: Ballot;
  readonly spreads: Spreads;
  nextLedger(prev: LedgerDescriptor, avoid: ReadonlySet<BookieId>): LedgerDescriptor | null;
  hasOthers(without: ReadonlySet<BookieId>): boolean;
  /** Is everything acknowledged that was given to the open ledger? */
  isDrained(): boolean;
  /** Freezes the open ledger and returns its end: nothing is acknowledged in it any more. `next` takes what lies past the end. */
  cut(next: { readonly descriptor: LedgerDescriptor; readonly created: readonly BookieId[] } | null): Offset;
  onRolled(): void;
  onLost(lost: Lost): void;
}

type Phase =
  | { readonly kind: 'naming'; readonly avoid: ReadonlySet<BookieId> }
  | { readonly kind: 'creating'; readonly act: Create }
  | { readonly kind: 'draining'; readonly next: LedgerDescriptor | null; readonly created: readonly BookieId[]; ticksLeft: number }
  | { readonly kind: 'sealing'; readonly act: Seal }
  | { readonly kind: 'finished' };

const DRAIN_TICKS = 8;

export class Roll {
  readonly #deps: RollDeps;
  readonly #ledger: SealedLedger;
  #phase: Phase;

  constructor(deps: RollDeps, ledger: SealedLedger, avoid: ReadonlySet<BookieId>, ending: boolean) {
    this.#deps = deps;
    this.#ledger = ledger;
    this.#phase = ending ? { kind: 'draining', next: null, created: [], ticksLeft: DRAIN_TICKS } : { kind: 'naming', avoid };
  }

  start(): void {
    if (this.#phase.kind === 'naming') this.#name(this.#phase.avoid);
    else this.onDrained();
  }

  /** From here on to the cut, new entries wait: they belong to the next ledger. */
  get isDraining(): boolean {
    return this.#phase.kind === 'draining';
  }

  pace(): Pace {
    switch (this.#phase.kind) {
      case 'naming':
        return 'slow';
      case 'draining':
        return 'fast';
      case 'creating':
      case 'sealing':
        return this.#phase.act.pace();
      case 'finished':
        return 'none';
    }
  }

  tick(nowMs: number): void {
    const phase = this.#phase;
    if (phase.kind === 'naming') this.#name(phase.avoid);
    else if (phase.kind === 'creating' || phase.kind === 'sealing') phase.act.tick(nowMs);
    else if (phase.kind === 'draining') {
      phase.ticksLeft--;
      this.onDrained();
    }
  }

  /** Called when something was acknowledged. */
  onDrained(): void {
    const phase = this.#phase;
    if (phase.kind !== 'draining' || (phase.ticksLeft > 0 && !this.#deps.isDrained())) return;
    const { next, created } = phase;
    const end = this.#deps.cut(next ? { descriptor: next, created } : null);
    assert(end >= this.#ledger.first, 'a ledger ends at or after its first offset');
    const act = new Seal(this.#deps.transport, this.#ledger, this.#deps.ballot, { end, next }, outcome =>
      this.#onSealed(outcome, end, next),
    );
    this.#phase = { kind: 'sealing', act };
  }

  stop(): void {
    if (this.#phase.kind === 'creating' || this.#phase.kind === 'sealing') this.#phase.act.stop();
    this.#phase = { kind: 'finished' };
  }

  #name(avoid: ReadonlySet<BookieId>): void {
    const next = this.#deps.nextLedger(this.#ledger.descriptor, avoid);
    if (!next) {
      this.#phase = { kind: 'naming', avoid };
      return;
    }
    const hasOthers = (without: ReadonlySet<BookieId>): boolean => this.#deps.hasOthers(without);
    const act = new Create(this.#deps.transport, next, this.#deps.ballot, hasOthers, outcome => this.#onCreated(outcome, next));
    this.#phase = { kind: 'creating', act };
  }

  #onCreated(outcome: CreateOutcome, next: LedgerDescriptor) {
    switch (outcome.kind) {
      case 'created':
        this.#phase = { kind: 'draining', next, created: outcome.on, ticksLeft: DRAIN_TICKS };
        return this.onDrained();
      case 'impossible':
        this.#phase = { kind: 'naming', avoid: outcome.without };
        return;
      case 'lost':
        return this.#lose(outcome.lost);
    }
  }

  #onSealed(outcome: SealOutcome, end: Offset, next: LedgerDescriptor | null) {
    if (outcome.kind === 'lost') return this.#lose(outcome.lost);
    if (outcome.kind === 'decided') return this.#lose({ kind: 'gone' });
    const { descriptor, first } = this.#ledger;
    const decided = { kind: 'decided', ledger: descriptor.ledger, first, value: { end, next } } as const;
    this.#deps.spreads.add(descriptor.ensemble, [decided], ignore, ignore);
    this.#phase = { kind: 'finished' };
    this.#deps.onRolled();
  }

  #lose(lost: Lost): void {
    this.stop();
    this.#deps.onLost(lost);
  }
}

const ignore = (): void => undefined;
