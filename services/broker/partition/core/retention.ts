// Which ledgers may go, and when the open one is closed so that it can go later. Whole ledgers, oldest first; the open one never goes.

import type { LedgerSummary } from '../../log/api.ts';

export interface RetentionInput {
  readonly ledgers: readonly LedgerSummary[];
  readonly nowMs: number;
  /** From publish; -1: for ever. */
  readonly retentionMs: number;
  /** The lowest markDelete: below it everything is acknowledged. */
  readonly lowestCursor: number;
  /** Unacknowledged messages fill the backlog quota: those past their retention go too. */
  readonly overQuota: boolean;
  /** Everything below it has to go, acknowledged or not, however young: 0 when nothing has. */
  readonly forcedTo: number;
}

export interface TrimTarget {
  readonly to: number;
  /** The first ledger that stays. */
  readonly ledger: string;
  readonly bytes: number;
  /** It passes messages that a subscription has not acknowledged. */
  readonly passesCursors: boolean;
}

/** The furthest end of a ledger below which nothing is needed; undefined: nothing may go. */
export function decideTrim(input: RetentionInput): TrimTarget | undefined {
  const { ledgers, nowMs, retentionMs, lowestCursor, overQuota, forcedTo } = input;
  let target: TrimTarget | undefined;
  let bytes = 0;
  for (let at = 0; at + 1 < ledgers.length; at++) {
    const ledger = ledgers[at];
    const next = ledgers[at + 1];
    if (ledger === undefined || next === undefined || ledger.end === null) break;
    const empty = ledger.end === ledger.first;
    const old = empty || (retentionMs >= 0 && ledger.lastAppendTimeMs !== null && ledger.lastAppendTimeMs < nowMs - retentionMs);
    const forced = ledger.end <= forcedTo;
    const free = ledger.end <= lowestCursor;
    if (!forced && !(old && (free || overQuota))) break;
    bytes += ledger.bytes;
    if (!empty) target = { to: ledger.end, ledger: next.ledger, bytes, passesCursors: !free };
  }
  return target;
}

/** Bytes of the log at or above `offset`; of the ledger that covers it a share by offsets. */
export function bytesFrom(ledgers: readonly LedgerSummary[], offset: number, end: number): number {
  let bytes = 0;
  for (const ledger of ledgers) {
    const ledgerEnd = ledger.end ?? end;
    if (ledgerEnd <= offset) continue;
    const share = ledger.first >= offset || ledgerEnd === ledger.first ? 1 : (ledgerEnd - offset) / (ledgerEnd - ledger.first);
    bytes += ledger.bytes * share;
  }
  return Math.floor(bytes);
}

/** The open ledger is closed when its first message is so old: by its age, or soon enough for a short retention. */
export function rollDue(firstMessageMs: number | null, nowMs: number, rollAgeMs: number, retentionMs: number): boolean {
  if (firstMessageMs === null) return false;
  const ageMs = retentionMs >= 0 ? Math.min(rollAgeMs, Math.max(1000, retentionMs / 4)) : rollAgeMs;
  return nowMs - firstMessageMs >= ageMs;
}
