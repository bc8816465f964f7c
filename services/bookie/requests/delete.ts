// delete and floor: what is deleted stays deleted. A tombstone keeps the decided seal, so that a walk along the chain passes; a floor
// stands for all tombstones below it.

import type { DeleteRequest, FloorRequest } from '#lib/ledger/protocol.ts';
import { compareBallots } from '#lib/types/ballot.ts';
import { type Answer, afterDurable, type Desk, now, OK } from '../desk.ts';
import { encodeFloor, encodeTombstone, RECORD_FLOOR, RECORD_TOMBSTONE, type Tombstone } from '../replica/core/records.ts';

export function deleteLedger(desk: Desk, { ledger: id, partition, reason, ballot }: DeleteRequest): Answer {
  if (desk.ledgers.tombstone(id)) return afterDurable(OK);
  const ledger = desk.ledgers.get(id);
  const replica = ledger?.replica;
  if (ledger && replica) {
    if (ledger.partition !== partition) return afterDurable({ kind: 'refused', reason: 'invalid', end: replica.end });
    if (compareBallots(ballot, replica.promised) < 0) return now({ kind: 'stale', promised: replica.promised });
    const needsSeal = reason === 'trimmed' || reason === 'offloaded';
    if (needsSeal && !replica.decided) return afterDurable({ kind: 'refused', reason: 'not_decided', end: replica.end });
    desk.parts.cache.drop(ledger);
  }
  const tombstone: Tombstone = { ledger: id, partition, first: replica?.first ?? null, decided: replica?.decided ?? null, reason };
  desk.ledgers.bury(tombstone);
  desk.parts.keeper.sweep();
  return desk.record(RECORD_TOMBSTONE, encodeTombstone(tombstone), OK);
}

export function raiseFloor(desk: Desk, { partition, offset, firstLive, ballot }: FloorRequest): Answer {
  const current = desk.ledgers.floor(partition);
  if (current && compareBallots(ballot, current.ballot) < 0) return now({ kind: 'stale', promised: current.ballot });
  if (current && offset <= current.offset) return afterDurable(OK);
  const floor = { partition, offset, firstLive, ballot };
  for (const ledger of desk.ledgers.raise(floor)) desk.parts.cache.drop(ledger);
  desk.parts.keeper.sweep();
  return desk.record(RECORD_FLOOR, encodeFloor(floor), OK);
}
