// One ledger on this bookie, as a pure state machine (DESIGN ch. 3): a request goes in, the answer comes out with what must be
// journalled before it may be given. The state may run ahead of the disk; only `stale` (and `unknown`) may be answered at once, because a
// lower ballot stays refused whatever a crash takes back.
//
// What it guarantees: the promised ballot only rises; entries are a prefix without gaps; nothing is accepted below the promise, after a
// seal of the same ballot, or after a decided seal; what this replica knows to be acknowledged is never cut.

import type { AcceptedSeal, AppendRequest, BookieReply, LedgerDescriptor, RestoreRequest, SealValue } from '#lib/ledger/protocol.ts';
import { assert } from '#lib/types/assert.ts';
import { type Ballot, compareBallots } from '#lib/types/ballot.ts';
import { type Offset, offset } from '#lib/types/brands.ts';
import type { ReplicaRecord } from '#lib/wire/ledger-values.ts';

/** What must be in the journal before the answer goes out: `entry`, the request's entry; `state`, the replica's state as it is now. */
export type Change = 'nothing' | 'entry' | 'state';

export type Outcome =
  | { readonly kind: 'answer'; readonly reply: BookieReply; readonly when: 'now' | 'after_durable'; readonly change: Change }
  /** The offset is held already: whoever has the bytes compares them, then answers `appended(end)` or `conflict`. */
  | { readonly kind: 'compare' };

const OK: BookieReply = { kind: 'ok' };
const UNKNOWN: Outcome = { kind: 'answer', reply: { kind: 'unknown' }, when: 'now', change: 'nothing' };
const COMPARE: Outcome = { kind: 'compare' };

const answer = (reply: BookieReply, change: Change = 'nothing'): Outcome => ({ kind: 'answer', reply, when: 'after_durable', change });
const stale = (promised: Ballot): Outcome => ({ kind: 'answer', reply: { kind: 'stale', promised }, when: 'now', change: 'nothing' });
const conflict = (what: string): Outcome => answer({ kind: 'conflict', what });

/** What a bookie without the ledger says to a first `create` or `fence`: undefined when the replica may be installed. */
export function refuseInstall(descriptor: LedgerDescriptor, ballot: Ballot): Outcome | undefined {
  return compareBallots(ballot, descriptor.creator) < 0 ? stale(descriptor.creator) : undefined;
}

export class Replica {
  readonly descriptor: LedgerDescriptor;
  /** True after a damage that may have cost promises or entries: no votes until a seal is decided (ch. 4). */
  inDoubt: boolean;
  #promised: Ballot;
  #first: Offset | null;
  #end: Offset | null;
  #ackedEnd: Offset | null;
  #accepted: AcceptedSeal | null;
  #decided: SealValue | null;

  constructor(state: ReplicaRecord, inDoubt: boolean) {
    assert(
      (state.first === null) === (state.end === null) && (state.end === null) === (state.ackedEnd === null),
      'a replica is placed whole',
    );
    assert(state.first === null || (state.end ?? 0) >= state.first, 'a replica ends where it begins, or later');
    this.descriptor = state.descriptor;
    this.inDoubt = inDoubt;
    this.#promised = state.promised;
    this.#first = state.first;
    this.#end = state.end;
    this.#ackedEnd = state.ackedEnd;
    this.#accepted = state.accepted;
    this.#decided = state.decided;
  }

  /** As a `create` or a `fence` of `ballot` installs it. */
  static installed(descriptor: LedgerDescriptor, ballot: Ballot, first: Offset | null): Replica {
    assert(compareBallots(ballot, descriptor.creator) >= 0, 'a replica is not installed below its creator');
    return new Replica({ descriptor, promised: ballot, first, end: first, ackedEnd: first, accepted: null, decided: null }, false);
  }

  get promised(): Ballot {
    return this.#promised;
  }
  get first(): Offset | null {
    return this.#first;
  }
  get end(): Offset | null {
    return this.#end;
  }
  get ackedEnd(): Offset | null {
    return this.#ackedEnd;
  }
  get decided(): SealValue | null {
    return this.#decided;
  }

  state(): ReplicaRecord {
    return {
      descriptor: this.descriptor,
      promised: this.#promised,
      first: this.#first,
      end: this.#end,
      ackedEnd: this.#ackedEnd,
      accepted: this.#accepted,
      decided: this.#decided,
    };
  }

  /** Where reading must stop: with the promised ballot at `end`, otherwise at what is known to be acknowledged or decided. */
  readableEnd(ballot: Ballot | null): Offset {
    const end = this.#end ?? offset(0);
    if (this.#decided) return least(end, this.#decided.end);
    if (ballot !== null && compareBallots(ballot, this.#promised) === 0) return end;
    return least(end, this.#ackedEnd ?? offset(0));
  }

  create(descriptor: LedgerDescriptor, ballot: Ballot): Outcome {
    if (this.#withoutVote()) return UNKNOWN;
    if (compareBallots(ballot, this.#promised) < 0) return stale(this.#promised);
    if (!sameDescriptor(descriptor, this.descriptor)) return conflict('another descriptor of the same ledger');
    return answer(OK, this.#promise(ballot));
  }

  /** `entry` changes nothing yet: once the entry is taken to the journal, `appended` must follow. */
  append(request: AppendRequest): Outcome {
    if (this.#withoutVote()) return UNKNOWN;
    const order = compareBallots(request.ballot, this.#promised);
    if (order < 0) return stale(this.#promised);
    if (order > 0) return this.#refuse('not_promised');
    if (this.#decided || (this.#accepted && compareBallots(this.#accepted.ballot, request.ballot) >= 0)) return this.#refuse('sealed');
    if (this.#first !== null && this.#first !== request.first) return conflict(firstConflict(this.#first, request.first));
    const end = this.#end ?? request.first;
    if (request.span === 0) {
      if (this.#ackedEnd !== null && request.ackedEnd > this.#ackedEnd) this.#ackedEnd = request.ackedEnd;
      return answer({ kind: 'appended', end });
    }
    if (request.offset > end) return answer({ kind: 'refused', reason: 'gap', end });
    if (request.offset < request.first) return this.#refuse('invalid');
    return request.offset < end ? COMPARE : answer({ kind: 'appended', end: offset(end + request.span) }, 'entry');
  }

  /** The entry of an accepted `append` or `restore`, or one that the journal gives back at a restart, is part of the replica now. */
  appended(first: Offset, at: Offset, span: number, ackedEnd: Offset): void {
    assert(this.#first === null || this.#first === first, `a ledger that begins at ${this.#first} does not begin at ${first}`);
    assert((this.#end ?? first) === at && span > 0, `an entry at ${at} does not follow ${this.#end}`);
    this.#first = first;
    this.#end = offset(at + span);
    this.#ackedEnd = offset(Math.max(ackedEnd, this.#ackedEnd ?? first));
  }

  fence(descriptor: LedgerDescriptor, ballot: Ballot, first: Offset): Outcome {
    if (this.#withoutVote()) return UNKNOWN;
    if (compareBallots(ballot, this.#promised) < 0) return stale(this.#promised);
    if (!sameDescriptor(descriptor, this.descriptor)) return conflict('another descriptor of the same ledger');
    if (this.#first !== null && this.#first !== first) return conflict(firstConflict(this.#first, first));
    const placed = this.#place(first);
    const promised = this.#promise(ballot);
    return answer(this.fenced(first), placed === 'state' ? placed : promised);
  }

  fenced(first: Offset): BookieReply {
    return { kind: 'fenced', end: this.#end ?? first, ackedEnd: this.#ackedEnd ?? first, accepted: this.#accepted, decided: this.#decided };
  }

  seal(ballot: Ballot, first: Offset, value: SealValue): Outcome {
    if (this.#withoutVote()) return UNKNOWN;
    if (compareBallots(ballot, this.#promised) < 0) return stale(this.#promised);
    // Normal for a replica that missed a fence and heard the outcome: the proposer learns that it is over.
    if (this.#decided && !sameSeal(this.#decided, value)) return answer({ kind: 'refused', reason: 'sealed', end: this.#end });
    const wrong = this.#refuseEnd(first, value);
    if (wrong) return wrong;
    const accepted = this.#accepted;
    if (accepted && compareBallots(accepted.ballot, ballot) === 0) {
      if (!sameSeal(accepted, value)) return conflict('one ballot proposes two seals');
      return answer(OK);
    }
    this.#place(first);
    this.#promise(ballot);
    this.#accepted = { ballot, end: value.end, next: value.next };
    this.#cut(value.end);
    return answer(OK, 'state');
  }

  decide(first: Offset, value: SealValue): Outcome {
    if (this.#decided) return sameSeal(this.#decided, value) ? answer(OK) : conflict('two decided seals');
    const wrong = this.#refuseEnd(first, value);
    if (wrong) return wrong;
    this.#place(first);
    this.#decided = { end: value.end, next: value.next };
    this.inDoubt = false;
    this.#cut(value.end);
    return answer(OK, 'state');
  }

  /** After the replica has taken over the request's decided seal (`decide`): the entry fills up what is missing below it. */
  restore(request: RestoreRequest): Outcome {
    assert(this.#decided !== null && this.#end !== null, 'only a decided ledger is restored');
    if (request.span === 0) return answer({ kind: 'appended', end: this.#end });
    if (request.offset + request.span > this.#decided.end || request.offset < request.first) return this.#refuse('invalid');
    if (request.offset > this.#end) return this.#refuse('gap');
    return request.offset < this.#end ? COMPARE : answer({ kind: 'appended', end: offset(this.#end + request.span) }, 'entry');
  }

  /** `sluice doctor --salvage` accepts what is lost: this replica votes again, with what it has. */
  acceptLoss(): void {
    this.inDoubt = false;
    if (this.#end !== null && this.#ackedEnd !== null) this.#ackedEnd = least(this.#ackedEnd, this.#end);
  }

  #withoutVote(): boolean {
    return this.inDoubt && this.#decided === null;
  }

  #refuse(reason: 'gap' | 'sealed' | 'not_promised' | 'invalid'): Outcome {
    return answer({ kind: 'refused', reason, end: this.#end });
  }

  /** What is wrong with an end that is proposed or decided. */
  #refuseEnd(first: Offset, value: SealValue): Outcome | undefined {
    if (this.#first !== null && this.#first !== first) return conflict(firstConflict(this.#first, first));
    if (value.end < first) return this.#refuse('invalid');
    if (this.#end !== null && value.end < least(this.#end, this.#ackedEnd ?? first))
      return conflict(`a seal at ${value.end} would cut entries that are acknowledged up to ${this.#ackedEnd}`);
    return undefined;
  }

  #promise(ballot: Ballot): Change {
    const order = compareBallots(ballot, this.#promised);
    assert(order >= 0, 'a promise does not fall');
    this.#promised = ballot;
    return order > 0 ? 'state' : 'nothing';
  }

  #place(first: Offset): Change {
    if (this.#first !== null) return 'nothing';
    this.#first = first;
    this.#end = first;
    this.#ackedEnd = first;
    return 'state';
  }

  #cut(end: Offset): void {
    assert(this.#end !== null, 'a replica that is sealed has a place');
    this.#end = least(this.#end, end);
  }
}

const least = (a: Offset, b: Offset): Offset => (a < b ? a : b);
const firstConflict = (held: Offset, given: Offset): string => `the ledger begins at ${held} here and at ${given} in the request`;

export function sameDescriptor(a: LedgerDescriptor, b: LedgerDescriptor): boolean {
  if (a === b) return true;
  return (
    a.ledger === b.ledger &&
    a.partition === b.partition &&
    a.topic === b.topic &&
    a.prev === b.prev &&
    a.ackQuorum === b.ackQuorum &&
    compareBallots(a.creator, b.creator) === 0 &&
    a.ensemble.length === b.ensemble.length &&
    a.ensemble.every((bookie, n) => bookie === b.ensemble[n])
  );
}

export function sameSeal(a: SealValue, b: SealValue): boolean {
  if (a.end !== b.end) return false;
  return a.next === null || b.next === null ? a.next === b.next : sameDescriptor(a.next, b.next);
}
