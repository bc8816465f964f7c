// create, fence, seal and decided: what a take over and a roll ask of a voter. Each is answered when the state that it left is durable.

import type { CreateRequest, DecidedRequest, FenceRequest, LedgerDescriptor, SealRequest } from '#lib/ledger/protocol.ts';
import { type Ballot, compareBallots } from '#lib/types/ballot.ts';
import type { Offset } from '#lib/types/brands.ts';
import { entryBaseOffset } from '#lib/wire/entry.ts';
import { type Answer, afterDurable, type Desk, now, OK, UNKNOWN } from '../desk.ts';
import { standing } from '../identity.ts';
import type { HeldLedger } from '../replica/core/ledgers.ts';
import { type Outcome, Replica, refuseInstall } from '../replica/core/replica.ts';

export function create(desk: Desk, { descriptor, ballot }: CreateRequest): Answer {
  const ledger = desk.ledgers.get(descriptor.ledger);
  if (ledger) return settle(desk, ledger, ledger.replica.create(descriptor, ballot));
  const refused = refuse(desk, descriptor, ballot, null) ?? answered(refuseInstall(descriptor, ballot));
  return refused ?? desk.recordState(desk.ledgers.add(Replica.installed(descriptor, ballot, null)), OK);
}

export function fence(desk: Desk, { descriptor, ballot, first }: FenceRequest): Answer {
  const ledger = desk.ledgers.get(descriptor.ledger);
  if (ledger) return settle(desk, ledger, ledger.replica.fence(descriptor, ballot, first));
  const refused = refuse(desk, descriptor, ballot, first) ?? answered(refuseInstall(descriptor, ballot));
  if (refused) return refused;
  const replica = Replica.installed(descriptor, ballot, first);
  return desk.recordState(desk.ledgers.add(replica), replica.fenced(first));
}

/** Both may cut what reaches beyond the end. */
export function end(desk: Desk, request: SealRequest | DecidedRequest): Answer {
  const ledger = desk.ledgers.get(request.ledger);
  if (!ledger) return desk.absent(request.ledger);
  const { first, value } = request;
  const { replica } = ledger;
  if (isWithinEntry(ledger, value.end)) {
    const what = `a seal at ${value.end}, within an entry`;
    desk.alarm(ledger, what);
    return afterDurable({ kind: 'conflict', what });
  }
  const before = replica.end;
  const outcome = request.kind === 'seal' ? replica.seal(request.ballot, first, value) : replica.decide(first, value);
  cutAfter(desk, ledger, before);
  return settle(desk, ledger, outcome);
}

/** Entries follow their replica when its end was lowered from `before`. */
export function cutAfter(desk: Desk, ledger: HeldLedger, before: Offset | null): void {
  const { end } = ledger.replica;
  if (end === null || before === null || end >= before) return;
  desk.parts.cache.cut(ledger, end);
  desk.parts.keeper.sweep();
}

/** A ledger that is not here: deleted, below the floor, of an owner that was followed by the one that raised it, or not ours to vote on. */
function refuse(desk: Desk, descriptor: LedgerDescriptor, ballot: Ballot, first: Offset | null): Answer | undefined {
  const gone = desk.refuseGone(descriptor.ledger, descriptor.partition, first);
  if (gone) return gone;
  const floor = desk.ledgers.floor(descriptor.partition);
  if (floor && compareBallots(ballot, floor.ballot) < 0) return now({ kind: 'stale', promised: floor.ballot });
  return standing(desk.parts.identity, descriptor.ensemble) === 'member' ? undefined : UNKNOWN;
}

const answered = (outcome: Outcome | undefined): Answer | undefined => (outcome?.kind === 'answer' ? now(outcome.reply) : undefined);

function settle(desk: Desk, ledger: HeldLedger, outcome: Outcome): Answer {
  return outcome.kind === 'answer' ? desk.settle(ledger, outcome) : UNKNOWN;
}

/** True when `end` would cut an entry in two. Only entries in memory are looked at: a seal is about the newest ones. */
function isWithinEntry(ledger: HeldLedger, end: Offset): boolean {
  for (const list of [ledger.flushing, ledger.active]) {
    const index = list?.indexOf(end) ?? -1;
    const entry = index < 0 ? undefined : list?.entries[index];
    if (entry && entryBaseOffset(entry) !== end) return true;
  }
  return false;
}
