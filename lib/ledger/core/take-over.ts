// Take over: from any ledger of a chain to owning its open end, under one fresh ballot (DESIGN ch. 3). On each ledger: fence, decide a
// value (learned, adopted or new), copy what is missing, create the next ledger when it is mine, seal, walk on. It stops at once when a
// higher ballot shows itself. Nothing outside is told of a ledger before the seal that names it is chosen.
//
//   fencing ──Q answers──▶ filling ──A hold all──▶ creating (mine) ──Q created──▶ sealing ──Q accepted──▶ leads
//      ▲  ▲                   │ source lost           │ no ensemble: names another       │ not mine
//      │  └───────────────────┘                                                          │
//      └── decided answered, or adopted value chosen: on to the ledger that it names ◀───┘
//
// An open ledger that is empty on all R replicas, each of which has now promised this ballot, is in the state that `create` leaves: it is
// adopted as it is. So opening and closing an idle partition adds no ledger.

import { assert } from '#lib/types/assert.ts';
import { type Ballot, compareBallots } from '#lib/types/ballot.ts';
import { type BookieId, type LedgerId, type Offset, offset } from '#lib/types/brands.ts';
import {
  type AcceptedSeal,
  type BookieReply,
  type BookieTransport,
  type LedgerDescriptor,
  type SealValue,
  voteQuorum,
} from '../protocol.ts';
import { Asking, type Verdict } from './ask.ts';
import { Backfill, type BackfillOutcome } from './backfill.ts';
import { Create } from './create.ts';
import { type Lost, type Pace, quicker } from './pace.ts';
import { Seal, type SealedLedger, type SealOutcome } from './seal.ts';
import type { Spreads } from './spread.ts';

export type TakeOverOutcome =
  /** I own the partition: `ledger` is open, empty, and `created` know it. */
  | { readonly kind: 'leads'; readonly ledger: LedgerDescriptor; readonly first: Offset; readonly created: readonly BookieId[] }
  | { readonly kind: 'lost'; readonly lost: Lost }
  /** The start was deleted and names no successor: begin as without an index. */
  | { readonly kind: 'nowhere'; readonly floor: { readonly offset: Offset; readonly firstLive: LedgerId } | null }
  /** The partition was ended with its topic. */
  | { readonly kind: 'ended' };

export interface TakeOverDeps {
  readonly transport: BookieTransport;
  readonly ballot: Ballot;
  /** Gets the outcomes of seals to tell; outlives the take over. */
  readonly spreads: Spreads;
  /** A fresh descriptor after `prev`, or null while too few bookies are registered. */
  nextLedger(prev: LedgerDescriptor, avoid: ReadonlySet<BookieId>): LedgerDescriptor | null;
  /** Would Q of an ensemble without these be alive? */
  hasOthers(without: ReadonlySet<BookieId>): boolean;
  onOutcome(outcome: TakeOverOutcome): void;
  /** Something that people must look at. */
  alarm(what: string): void;
}

interface Answer {
  readonly end: Offset;
  readonly ackedEnd: Offset;
  readonly accepted: AcceptedSeal | null;
}

interface Value extends SealValue {
  readonly mine: boolean;
}

type Act =
  | { readonly kind: 'fencing' }
  | { readonly kind: 'filling'; readonly act: Backfill; readonly end: Offset; readonly accepted: AcceptedSeal | null }
  | { readonly kind: 'naming'; readonly end: Offset; readonly avoid: ReadonlySet<BookieId> }
  | { readonly kind: 'creating'; readonly act: Create }
  | { readonly kind: 'sealing'; readonly act: Seal }
  | { readonly kind: 'finished' };

/** Ticks for which an empty ledger's last replicas are waited for before it is sealed without them. */
const PATIENCE_TICKS = 4;
/** Ticks between two rounds of asking all bookies, while too few of the ensemble answer. */
const INSPECT_TICKS = 40;
const NOBODY: ReadonlySet<BookieId> = new Set();

export class TakeOver {
  readonly #deps: TakeOverDeps;
  #ledger: SealedLedger;
  #answers = new Map<BookieId, Answer>();
  /** Bookies that have replied in any way: for them an empty ledger does not wait. */
  #heard = new Set<BookieId>();
  #deleted = new Set<BookieId>();
  /** Replicas whose bytes fail their checksum: what they say of their end is no vote. */
  readonly #doubted = new Set<BookieId>();
  #fence: Asking;
  #act: Act = { kind: 'fencing' };
  #ticks = 0;
  #alarmed = false;

  constructor(deps: TakeOverDeps, start: SealedLedger) {
    this.#deps = deps;
    this.#ledger = start;
    this.#fence = this.#fenceAll();
  }

  /** The ledger that it is at: for logs. */
  get at(): LedgerDescriptor {
    return this.#ledger.descriptor;
  }

  get isFinished(): boolean {
    return this.#act.kind === 'finished';
  }

  pace(): Pace {
    switch (this.#act.kind) {
      case 'fencing':
      case 'naming':
        return 'fast';
      case 'filling':
      case 'creating':
      case 'sealing':
        return quicker(this.#act.act.pace(), this.#fence.pace());
      case 'finished':
        return 'none';
    }
  }

  tick(nowMs: number): void {
    this.#ticks++;
    this.#fence.tick(nowMs);
    const act = this.#act;
    if (act.kind === 'filling' || act.kind === 'creating' || act.kind === 'sealing') act.act.tick(nowMs);
    else if (act.kind === 'naming') this.#name(act.end, act.avoid);
    else if (act.kind === 'fencing') {
      this.#decide();
      if (this.#act.kind === 'fencing' && this.#ticks % INSPECT_TICKS === 0) this.#inspectAll();
    }
  }

  /** Lets go without an outcome: the caller gives up. */
  stop(): void {
    this.#stopActs();
    this.#act = { kind: 'finished' };
  }

  get #voteQuorum(): number {
    return voteQuorum(this.#ledger.descriptor.ensemble.length, this.#ledger.descriptor.ackQuorum);
  }

  #stopActs(): void {
    this.#fence.stop();
    if (this.#act.kind === 'filling' || this.#act.kind === 'creating' || this.#act.kind === 'sealing') this.#act.act.stop();
  }

  #finish(outcome: TakeOverOutcome): void {
    this.stop();
    this.#deps.onOutcome(outcome);
  }

  // ---- fencing --------------------------------------------------------------------------------------------------------------------

  #fenceAll(): Asking {
    const { descriptor, first } = this.#ledger;
    const request = { kind: 'fence', descriptor, ballot: this.#deps.ballot, first } as const;
    const fence = new Asking(
      this.#deps.transport,
      () => request,
      (from, reply) => this.#onFenceAnswer(from, reply),
    );
    fence.start(descriptor.ensemble);
    return fence;
  }

  /** Forgets the answers and fences the ledger that is now current. */
  #restart(ledger: SealedLedger): void {
    this.#stopActs();
    this.#ledger = ledger;
    this.#answers = new Map();
    this.#heard = new Set();
    this.#deleted = new Set();
    this.#ticks = 0;
    this.#act = { kind: 'fencing' };
    this.#fence = this.#fenceAll();
  }

  #onFenceAnswer(from: BookieId, reply: BookieReply): Verdict {
    this.#heard.add(from);
    switch (reply.kind) {
      case 'fenced':
        if (reply.decided) this.#follow(reply.decided);
        else this.#onVote(from, { end: reply.end, ackedEnd: reply.ackedEnd, accepted: reply.accepted });
        return 'settled';
      case 'stale':
        this.#finish({ kind: 'lost', lost: reply });
        return 'settled';
      case 'gone':
        this.#onGone(from, reply.decided, reply.floor);
        return 'settled';
      case 'conflict':
        this.#finish({ kind: 'lost', lost: { kind: 'broken', what: reply.what } });
        return 'settled';
      case 'unknown':
        if (this.#act.kind === 'fencing') this.#decide();
        return 'later';
      default:
        if (this.#act.kind === 'fencing') this.#decide();
        return 'later';
    }
  }

  #onVote(from: BookieId, answer: Answer): void {
    if (this.#doubted.has(from)) return;
    this.#answers.set(from, answer);
    if (this.#act.kind === 'fencing') this.#decide();
    else if (this.#act.kind === 'filling') this.#act.act.add(from, answer.end);
  }

  #onGone(from: BookieId, decided: SealValue | null, floor: { readonly offset: Offset; readonly firstLive: LedgerId } | null) {
    if (decided) return this.#follow(decided);
    if (this.#act.kind !== 'fencing') return;
    this.#deleted.add(from);
    const votersLeft = this.#ledger.descriptor.ensemble.length - this.#deleted.size;
    if (floor || votersLeft < this.#voteQuorum) this.#finish({ kind: 'nowhere', floor });
  }

  /** Fewer than Q of the ensemble answer: a repaired copy elsewhere may know what was decided. */
  #inspectAll(): void {
    const ledger = this.#ledger;
    const request = { kind: 'inspect', ledger: ledger.descriptor.ledger } as const;
    for (const bookie of this.#deps.transport.bookies()) {
      if (!bookie.alive || ledger.descriptor.ensemble.includes(bookie.id)) continue;
      this.#deps.transport.send(bookie.id, request, reply => {
        if (this.#act.kind === 'finished' || this.#ledger !== ledger) return;
        if (reply.kind === 'state' && reply.state.decided) this.#follow(reply.state.decided);
        else if (reply.kind === 'gone' && reply.decided) this.#follow(reply.decided);
      });
    }
  }

  // ---- deciding -------------------------------------------------------------------------------------------------------------------

  #decide() {
    if (this.#answers.size < this.#voteQuorum) return;
    const answers = [...this.#answers.values()];
    const first = this.#ledger.first;
    const end = offset(Math.max(first, ...answers.map(answer => answer.end)));
    const ackedEnd = offset(Math.max(first, ...answers.map(answer => answer.ackedEnd)));
    if (ackedEnd > end) return this.#alarmOnce(`acknowledged up to ${ackedEnd}, and no replica that answered holds more than ${end}`);
    const accepted = highestAccepted(answers);
    if (accepted && accepted.end < ackedEnd)
      return this.#alarmOnce(`a seal at ${accepted.end} was accepted, and ${ackedEnd} is acknowledged`);
    if (!accepted && end === this.#ledger.first && this.#adoptEmpty()) return;
    this.#fill(accepted ? accepted.end : end, ackedEnd, accepted);
  }

  /** True when the empty ledger was taken as it is, or when the answers of its last replicas should be awaited. */
  #adoptEmpty(): boolean {
    const { descriptor, first } = this.#ledger;
    if (this.#answers.size === descriptor.ensemble.length) {
      this.#finish({ kind: 'leads', ledger: descriptor, first, created: descriptor.ensemble });
      return true;
    }
    return this.#ticks < PATIENCE_TICKS && descriptor.ensemble.some(id => !this.#heard.has(id));
  }

  #alarmOnce(what: string): void {
    if (!this.#alarmed) this.#deps.alarm(`ledger ${this.#ledger.descriptor.ledger}: ${what}`);
    this.#alarmed = true;
  }

  // ---- filling --------------------------------------------------------------------------------------------------------------------

  #fill(end: Offset, ackedEnd: Offset, accepted: AcceptedSeal | null): void {
    const { descriptor, first } = this.#ledger;
    const answers = [...this.#answers].map(([id, answer]) => ({ id, end: answer.end }));
    if (!answers.some(answer => answer.end >= end)) return;
    const task = {
      ledger: descriptor.ledger,
      ballot: this.#deps.ballot,
      first,
      end,
      ackedEnd,
      ackQuorum: descriptor.ackQuorum,
      voteQuorum: this.#voteQuorum,
    };
    const act = new Backfill(this.#deps.transport, task, answers, outcome => this.#onFilled(outcome, end, accepted));
    this.#act = { kind: 'filling', act, end, accepted };
    act.run();
  }

  #onFilled(outcome: BackfillOutcome, end: Offset, accepted: AcceptedSeal | null) {
    switch (outcome.kind) {
      case 'full':
        if (accepted) return this.#propose({ end: accepted.end, next: accepted.next, mine: false }, []);
        return this.#name(end, NOBODY);
      case 'sourceLost':
        for (const id of outcome.doubted) this.#doubted.add(id);
        return this.#restart(this.#ledger);
      case 'sealed':
        this.#act = { kind: 'fencing' };
        this.#answers.delete(outcome.at);
        return this.#fence.again(outcome.at);
      case 'lost':
        return this.#finish(outcome);
    }
  }

  // ---- creating and sealing -------------------------------------------------------------------------------------------------------

  #name(end: Offset, avoid: ReadonlySet<BookieId>): void {
    const next = this.#deps.nextLedger(this.#ledger.descriptor, avoid);
    if (!next) {
      this.#act = { kind: 'naming', end, avoid };
      return;
    }
    assert(compareBallots(next.creator, this.#deps.ballot) === 0, 'a new ledger carries the ballot that makes it');
    const hasOthers = (without: ReadonlySet<BookieId>): boolean => this.#deps.hasOthers(without);
    const act = new Create(this.#deps.transport, next, this.#deps.ballot, hasOthers, outcome => {
      if (outcome.kind === 'created') this.#propose({ end, next, mine: true }, outcome.on);
      else if (outcome.kind === 'lost') this.#finish(outcome);
      else this.#act = { kind: 'naming', end, avoid: outcome.without };
    });
    this.#act = { kind: 'creating', act };
  }

  #propose(value: Value, created: readonly BookieId[]): void {
    const { end, next, mine } = value;
    const act = new Seal(this.#deps.transport, this.#ledger, this.#deps.ballot, { end, next }, outcome =>
      this.#onSealed(outcome, value, created),
    );
    this.#act = { kind: 'sealing', act };
    assert(!mine || next !== null, 'a take over never ends a partition');
  }

  #onSealed(outcome: SealOutcome, value: Value, created: readonly BookieId[]) {
    switch (outcome.kind) {
      case 'lost':
        return this.#finish(outcome);
      case 'decided':
        return this.#follow(outcome.value);
      case 'chosen': {
        const { descriptor, first } = this.#ledger;
        const decided = { kind: 'decided', ledger: descriptor.ledger, first, value: { end: value.end, next: value.next } } as const;
        this.#deps.spreads.add(descriptor.ensemble, [decided], ignore, ignore);
        if (value.mine && value.next) return this.#finish({ kind: 'leads', ledger: value.next, first: value.end, created });
        return this.#follow(value);
      }
    }
  }

  #follow(value: SealValue) {
    if (!value.next) return this.#finish({ kind: 'ended' });
    this.#restart({ descriptor: value.next, first: value.end });
  }
}

const ignore = (): void => undefined;

function highestAccepted(answers: readonly Answer[]): AcceptedSeal | null {
  let highest: AcceptedSeal | null = null;
  for (const { accepted } of answers) if (accepted && (!highest || compareBallots(accepted.ballot, highest.ballot) > 0)) highest = accepted;
  return highest;
}
