// read, locate, inspect and list: none of them fences anybody. What is missing here although it exists is said to be missing.

import type { InspectRequest, ListRequest, LocateRequest, ReadRequest } from '#lib/ledger/protocol.ts';
import { compareBallots } from '#lib/types/ballot.ts';
import { type Answer, afterDurable, BUSY_QUEUE, type Desk, now } from '../desk.ts';
import type { OnReply } from '../replies.ts';

const READ_BYTES_MAX = 16 * 1024 * 1024;
/** Of all partitions together, but one of each: an answer stays within a few MiB. */
const LIST_COUNT_MAX = 4096;

export function read(desk: Desk, request: ReadRequest, onReply: OnReply): Answer | null {
  const { ledger: id, ballot, offset: from } = request;
  const ledger = desk.ledgers.get(id);
  if (!ledger) return desk.absent(id);
  const { replica } = ledger;
  if (ballot !== null && !replica.decided && compareBallots(ballot, replica.promised) < 0)
    return now({ kind: 'stale', promised: replica.promised });
  const limit = replica.readableEnd(ballot);
  if (from >= limit || replica.first === null) {
    const known = replica.decided?.end ?? replica.ackedEnd ?? limit;
    // Below what is known to be acknowledged there is an entry, only not here: that is no empty answer.
    return afterDurable(from < known ? { kind: 'refused', reason: 'gap', end: replica.end } : { kind: 'entries', entries: [], end: limit });
  }
  if (from < replica.first) return afterDurable({ kind: 'refused', reason: 'invalid', end: replica.end });
  const { reads } = desk.parts;
  if (reads.isFull) return BUSY_QUEUE;
  // What is acknowledged is durable where it counts; the rest only when the journal here has it.
  const isSettled = replica.decided !== null || limit <= (replica.ackedEnd ?? limit);
  reads.read(ledger, from, limit, Math.min(Math.max(request.bytesMax, 1), READ_BYTES_MAX), result => {
    if (!('kind' in result)) desk.give((isSettled ? now : afterDurable)({ kind: 'entries', entries: result, end: limit }), onReply);
    else desk.give(desk.ledgers.get(id) === ledger ? now(result) : desk.absent(id), onReply);
  });
  return null;
}

export function locate(desk: Desk, { ledger: id, by, value }: LocateRequest, onReply: OnReply): Answer | null {
  const ledger = desk.ledgers.get(id);
  if (!ledger) return desk.absent(id);
  const { reads } = desk.parts;
  if (reads.isFull) return BUSY_QUEUE;
  reads.locate(ledger, by, value, ledger.replica.readableEnd(null), result => {
    if (typeof result !== 'object' || result === null) desk.give(now({ kind: 'located', offset: result }), onReply);
    else desk.give(desk.ledgers.get(id) === ledger ? now(result) : desk.absent(id), onReply);
  });
  return null;
}

export function inspect(desk: Desk, { ledger: id }: InspectRequest): Answer {
  const ledger = desk.ledgers.get(id);
  return ledger ? afterDurable({ kind: 'state', state: ledger.state() }) : desk.absent(id);
}

export function list(desk: Desk, { partitions, countMax, after }: ListRequest): Answer {
  let left = LIST_COUNT_MAX;
  const listings = partitions.map(partition => {
    const count = Math.max(1, Math.min(countMax, left));
    const floor = desk.ledgers.floor(partition);
    const older = desk.ledgers.ofPartition(partition).filter(({ id }) => after === null || id < after);
    left -= Math.min(count, older.length);
    return {
      partition,
      floor: floor && { offset: floor.offset, firstLive: floor.firstLive },
      ledgers: older.slice(0, count).map(ledger => ledger.state()),
      more: older.length > count,
    };
  });
  return afterDurable({ kind: 'list', partitions: listings });
}
