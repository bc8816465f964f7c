// append: the hot path. Per entry one look-up, the replica's step, one record, one place in the cache.

import type { AppendRequest, RestoreRequest } from '#lib/ledger/protocol.ts';
import type { Offset } from '#lib/types/brands.ts';
import { ENTRY_HEADER_BYTES, entryBaseOffset, entryEnd } from '#lib/wire/entry.ts';
import { type Answer, afterDurable, BUSY_QUEUE, type Desk, now, UNKNOWN } from '../desk.ts';
import type { HeldLedger } from '../replica/core/ledgers.ts';
import type { OnReply } from '../replies.ts';

export function append(desk: Desk, request: AppendRequest, onReply: OnReply): Answer | null {
  const ledger = desk.ledgers.get(request.ledger);
  if (!ledger) return desk.absent(request.ledger);
  const { replica } = ledger;
  const { offset: at, span, bytes, first, ackedEnd } = request;
  if (!isWhole(at, span, bytes)) return afterDurable({ kind: 'refused', reason: 'invalid', end: replica.end });
  const outcome = replica.append(request);
  if (outcome.kind === 'compare') return compare(desk, ledger, request, onReply, null);
  if (outcome.change !== 'entry') return desk.settle(ledger, outcome);
  const busy = desk.refuseEntry(ledger.partition, bytes.length, request.reserved);
  if (busy) return busy;
  replica.appended(first, at, span, ackedEnd);
  return desk.recordEntry(ledger, 'put', bytes, { at, first, ackedEnd }, outcome.reply);
}

/** The offset is held already: the same bytes are fine (a lost reply), others are a broken rule. `onDamage`: what repair does about stored bytes that do not hold. */
export function compare(
  desk: Desk,
  ledger: HeldLedger,
  request: AppendRequest | RestoreRequest,
  onReply: OnReply,
  onDamage: (() => Answer) | null,
): Answer | null {
  const { reads } = desk.parts;
  const { end } = ledger.replica;
  if (end === null) return UNKNOWN;
  if (reads.isFull) return BUSY_QUEUE;
  reads.entryAt(ledger, request.offset, end, held => {
    if (held !== undefined && 'kind' in held) desk.give(onDamage ? onDamage() : now(held), onReply);
    else if (held?.equals(request.bytes)) desk.give(afterDurable({ kind: 'appended', end: ledger.replica.end ?? end }), onReply);
    else {
      const what = `another entry at ${request.offset}`;
      desk.alarm(ledger, what);
      desk.give(afterDurable({ kind: 'conflict', what }), onReply);
    }
  });
  return null;
}

/** True when `bytes` is one entry with this place, or nothing at all. Its checksums were checked where it came in. */
export function isWhole(at: Offset, span: number, bytes: Buffer): boolean {
  if (span === 0) return bytes.length === 0;
  if (bytes.length < ENTRY_HEADER_BYTES || bytes.readUInt32LE(8) !== bytes.length) return false;
  if (ENTRY_HEADER_BYTES + bytes.readUInt32LE(12) > bytes.length) return false;
  return entryBaseOffset(bytes) === at && entryEnd(bytes) === at + span;
}
