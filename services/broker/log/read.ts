// Reading a partition's log across its ledgers: which replica is asked, what happens when it cannot answer, and how a time or a count is
// found by halving the chain. Bytes that fail their checksum are tried elsewhere and never passed off as "nothing there".

import type { Chain, ChainLedger } from '#lib/ledger/core/chain.ts';
import type { LedgerWriter } from '#lib/ledger/core/write.ts';
import type { BookieReply, BookieTransport } from '#lib/ledger/protocol.ts';
import type { Clock } from '#lib/runtime/ports.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import { type BookieId, type Offset, offset } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import { entryAppendTimeMs, entryBaseOffset, entryCount, entryCumulativeCount, entryEnd } from '#lib/wire/entry.ts';
import { ask } from './ask.ts';

export interface LogView {
  readonly transport: BookieTransport;
  readonly ballot: Ballot;
  readonly chain: Chain;
  /** The open ledger's writer. */
  readonly writer: LedgerWriter;
  readonly ackedEnd: Offset;
  readonly clock: Clock;
}

/** How often, and after which pause, bookies are asked again that are busy with other reads. */
const BUSY_ATTEMPTS_MAX = 50;
const BUSY_WAIT_MS = 10;
const SCAN_BYTES = 1024 * 1024;

/** As `PartitionLog.read`. */
export async function readLog(view: LogView, from: Offset, bytesMax: number): Promise<readonly Buffer[] | Failure> {
  for (let attempt = 0; ; attempt++) {
    if (from < view.chain.start) return belowStart(view, from);
    if (from >= view.ackedEnd) return [];
    const result = await readOnce(view, from, bytesMax);
    if (result !== 'busy') return result;
    if (attempt === BUSY_ATTEMPTS_MAX) return fail('overloaded', 'the bookies are busy with other reads', {}, BUSY_WAIT_MS);
    await new Promise<void>(resolve => view.clock.after(BUSY_WAIT_MS, resolve));
  }
}

/** Asks one replica after the other. `busy`: none could, and one of them only for now. */
async function readOnce(view: LogView, from: Offset, bytesMax: number): Promise<readonly Buffer[] | Failure | 'busy'> {
  const ledger = view.chain.find(from);
  const problems: string[] = [];
  let worst: 'storage_unavailable' | 'data_loss' | 'busy' = 'storage_unavailable';
  for (const bookie of readOrder(view, ledger, from)) {
    const { ballot } = view;
    const reply = await ask(view.transport, bookie, { kind: 'read', ledger: ledger.descriptor.ledger, ballot, offset: from, bytesMax });
    if (reply.kind === 'entries') {
      const entries = clip(reply.entries, ledger.end ?? view.ackedEnd);
      const [entry] = entries;
      if (entry && entryBaseOffset(entry) <= from && entryEnd(entry) > from) return entries;
    }
    if (reply.kind === 'busy') worst = 'busy';
    else if (reply.kind === 'corrupt' && worst !== 'busy') worst = 'data_loss';
    problems.push(`${bookie}: ${describe(reply)}`);
  }
  if (worst === 'busy') return worst;
  if (from < view.chain.start) return belowStart(view, from);
  return fail(worst, `offset ${from} cannot be read from ledger ${ledger.descriptor.ledger} (${problems.join('; ')})`);
}

/** As `PartitionLog.locate`: the first ledger whose replica does not answer "beyond me" has it. */
export async function locateInLog(view: LogView, by: 'time' | 'count', value: number): Promise<Offset | null | Failure> {
  const ledgers = view.chain.ledgers.filter(ledger => (ledger.end ?? view.ackedEnd) > ledger.first);
  let low = 0;
  let high = ledgers.length;
  let best: Offset | null = null;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const ledger = ledgers[middle];
    if (!ledger) break;
    const found = await locateInLedger(view, ledger, by, value);
    if (isFailure(found)) return found;
    if (found === null) low = middle + 1;
    else {
      best = found;
      high = middle;
    }
  }
  return best;
}

/** Append time of a sealed ledger's newest entry, or null when it cannot be had now. */
export async function lastAppendTime(view: LogView, ledger: ChainLedger): Promise<number | null> {
  if (ledger.end === null || ledger.end === ledger.first) return null;
  const entries = await readLog(view, offset(ledger.end - 1), 1);
  const last = isFailure(entries) ? undefined : entries.at(-1);
  return last ? entryAppendTimeMs(last) : null;
}

async function locateInLedger(view: LogView, ledger: ChainLedger, by: 'time' | 'count', value: number): Promise<Offset | null | Failure> {
  const limit = ledger.end ?? view.ackedEnd;
  const problems: string[] = [];
  for (const bookie of readOrder(view, ledger, offset(limit - 1))) {
    const known = await searchableEnd(view, ledger, bookie);
    const reply = await ask(view.transport, bookie, { kind: 'locate', ledger: ledger.descriptor.ledger, by, value });
    if (reply.kind === 'located' && known !== null) {
      if (reply.offset !== null) return reply.offset < limit ? reply.offset : null;
      return known >= limit ? null : scan(view, known, limit, by, value);
    }
    problems.push(`${bookie}: ${describe(reply)}`);
  }
  return fail('storage_unavailable', `ledger ${ledger.descriptor.ledger} cannot be searched (${problems.join('; ')})`);
}

/** Up to where this replica searches: it knows a moment later than the owner what is acknowledged. Null: it did not say. */
async function searchableEnd(view: LogView, ledger: ChainLedger, bookie: BookieId): Promise<Offset | null> {
  const reply = await ask(view.transport, bookie, { kind: 'inspect', ledger: ledger.descriptor.ledger });
  if (reply.kind !== 'state') return null;
  const { first, end, ackedEnd, decided } = reply.state;
  if (first === null || end === null || ackedEnd === null) return ledger.first;
  return decided ? end : offset(Math.min(ackedEnd, end));
}

/** The part of a ledger that its replica does not search yet: entries of the last moment. */
async function scan(view: LogView, from: Offset, limit: Offset, by: 'time' | 'count', value: number): Promise<Offset | null | Failure> {
  for (let at = from; at < limit; ) {
    const entries = await readLog(view, at, SCAN_BYTES);
    if (isFailure(entries)) return entries;
    const found = entries.find(entry => reaches(entry, by, value));
    if (found) return offset(entryBaseOffset(found));
    const last = entries.at(-1);
    if (!last) return null;
    at = offset(entryEnd(last));
  }
  return null;
}

function reaches(entry: Buffer, by: 'time' | 'count', value: number): boolean {
  return by === 'time' ? entryAppendTimeMs(entry) >= value : entryCumulativeCount(entry) + entryCount(entry) > value;
}

/** Replicas that surely hold `at` first, then those that live, then the rest: a bookie may be back before anybody says so. */
function readOrder(view: LogView, ledger: ChainLedger, at: Offset): readonly BookieId[] {
  const ids = [...new Set([...ledger.holders, ...ledger.descriptor.ensemble])];
  if (ids.length === 1) return ids;
  const alive = new Set(
    view.transport
      .bookies()
      .filter(bookie => bookie.alive)
      .map(bookie => bookie.id),
  );
  const rank = (id: BookieId): number => {
    const holds = ledger.end === null ? view.writer.holds(id, at) : ledger.holders.includes(id);
    return (alive.has(id) ? 0 : 2) + (holds ? 0 : 1);
  };
  return ids.sort((a, b) => rank(a) - rank(b));
}

function clip(entries: readonly Buffer[], limit: Offset): readonly Buffer[] {
  const last = entries.at(-1);
  if (!last || entryBaseOffset(last) < limit) return entries;
  return entries.filter(entry => entryBaseOffset(entry) < limit);
}

function belowStart(view: LogView, from: Offset): Failure {
  return fail('invalid_argument', `offset ${from} is below ${view.chain.start}, the oldest that is kept`, {
    field: 'offset',
    start: String(view.chain.start),
  });
}

function describe(reply: BookieReply): string {
  if (reply.kind === 'refused') return `refused, ${reply.reason}`;
  if (reply.kind === 'corrupt') return `corrupt, ${reply.what}`;
  return reply.kind === 'entries' ? 'does not have it' : reply.kind;
}
