// restore: how repair fills a holder, and how it replaces stored bytes that do not hold any more.

import type { RestoreRequest, SealValue } from '#lib/ledger/protocol.ts';
import type { Offset } from '#lib/types/brands.ts';
import { type Answer, afterDurable, BUSY_QUEUE, type Desk, UNKNOWN } from '../desk.ts';
import type { HeldLedger } from '../replica/core/ledgers.ts';
import { encodeState, RECORD_STATE } from '../replica/core/records.ts';
import { Replica } from '../replica/core/replica.ts';
import type { OnReply } from '../replies.ts';
import { compare, isWhole } from './append.ts';
import { cutAfter } from './vote.ts';

export function restore(desk: Desk, request: RestoreRequest, onReply: OnReply): Answer | null {
  const { descriptor, first, decided, offset: at, span, bytes } = request;
  const gone = desk.refuseGone(descriptor.ledger, descriptor.partition, first);
  if (gone) return gone;
  if (!isWhole(at, span, bytes) || decided.end < first) return afterDurable({ kind: 'refused', reason: 'invalid', end: null });
  const busy = desk.refuseEntry(descriptor.partition, bytes.length, false);
  if (busy) return busy;
  const ledger = desk.ledgers.get(descriptor.ledger) ?? desk.ledgers.add(Replica.installed(descriptor, descriptor.creator, first));
  const refused = adoptSeal(desk, ledger, first, decided);
  if (refused) return refused;
  const outcome = ledger.replica.restore(request);
  if (outcome.kind === 'compare') return compare(desk, ledger, request, onReply, () => patch(desk, ledger, request));
  if (outcome.change !== 'entry') return desk.settle(ledger, outcome);
  ledger.replica.appended(first, at, span, first);
  return desk.recordEntry(ledger, 'put', bytes, { at, first, ackedEnd: first }, outcome.reply);
}

/** The ledger gets this decided seal, where it has none; what stands against it is the answer. */
function adoptSeal(desk: Desk, ledger: HeldLedger, first: Offset, decided: SealValue): Answer | undefined {
  const before = ledger.replica.end;
  const outcome = ledger.replica.decide(first, decided);
  cutAfter(desk, ledger, before);
  if (outcome.kind !== 'answer') return UNKNOWN;
  if (outcome.reply.kind !== 'ok') return desk.settle(ledger, outcome);
  if (outcome.change === 'state') {
    desk.ledgers.changed(ledger);
    desk.parts.journal.append(RECORD_STATE, [encodeState(ledger.replica.state())], null);
  }
  return undefined;
}

/** The stored entry is damaged: the good one lies over it from now on. */
function patch(desk: Desk, ledger: HeldLedger, request: RestoreRequest): Answer {
  const { first, end } = ledger.replica;
  if (desk.isClosing || first === null || end === null || desk.ledgers.get(ledger.id) !== ledger) return UNKNOWN;
  if (desk.replies.isFull) return BUSY_QUEUE;
  const busy = desk.refuseEntry(ledger.partition, request.bytes.length, false);
  if (busy) return busy;
  desk.parts.world.logger.info('a damaged entry was replaced', { ledger: ledger.id, offset: request.offset });
  return desk.recordEntry(ledger, 'patch', request.bytes, { at: request.offset, first, ackedEnd: first }, { kind: 'appended', end });
}
