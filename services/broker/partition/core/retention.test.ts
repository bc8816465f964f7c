import { describe, expect, test } from 'vitest';
import { ledgerId, offset } from '#lib/types/brands.ts';
import type { LedgerSummary } from '../../log/api.ts';
import { bytesFrom, decideTrim, type RetentionInput, rollDue } from './retention.ts';

const id = (n: number) => ledgerId(`01890000-0000-7000-8000-${String(n).padStart(12, '0')}`);

/** Ledgers of ten offsets and 100 bytes each, one a second; the last is open. */
function ledgers(count: number): LedgerSummary[] {
  return Array.from({ length: count }, (_, n) => ({
    ledger: id(n),
    first: offset(n * 10),
    end: n === count - 1 ? null : offset(n * 10 + 10),
    bytes: 100,
    lastAppendTimeMs: n * 1000,
  }));
}

const decide = (more: Partial<RetentionInput>) =>
  decideTrim({ ledgers: ledgers(5), nowMs: 10_000, retentionMs: -1, lowestCursor: 1000, overQuota: false, forcedTo: 0, ...more });

describe('retention', () => {
  test('frees whole ledgers that are older than it, never the open one', () => {
    expect(decide({ retentionMs: 7500 })).toMatchObject({ to: 30, ledger: id(3), bytes: 300, passesCursors: false });
    expect(decide({ retentionMs: 0 })).toMatchObject({ to: 40, ledger: id(4) });
    expect(decide({ retentionMs: 11_000 })).toBeUndefined();
  });

  test('for ever frees nothing', () => {
    expect(decide({ retentionMs: -1 })).toBeUndefined();
  });

  test('stops before what is not acknowledged', () => {
    expect(decide({ retentionMs: 0, lowestCursor: 25 })).toMatchObject({ to: 20 });
    expect(decide({ retentionMs: 0, lowestCursor: 5 })).toBeUndefined();
  });

  test('passes it only over the quota, and then only what is old enough', () => {
    expect(decide({ retentionMs: 8500, lowestCursor: 5, overQuota: true })).toMatchObject({ to: 20, passesCursors: true });
    expect(decide({ retentionMs: -1, lowestCursor: 5, overQuota: true })).toBeUndefined();
  });

  test('frees what is forced, acknowledged or not', () => {
    expect(decide({ forcedTo: 20, lowestCursor: 0 })).toMatchObject({ to: 20, passesCursors: true });
  });

  test('waits for a ledger whose age is not known', () => {
    const unknown = ledgers(5).map((ledger, n) => (n === 1 ? { ...ledger, lastAppendTimeMs: null } : ledger));
    expect(decide({ retentionMs: 0, ledgers: unknown })).toMatchObject({ to: 10 });
  });

  test('walks over empty ledgers and does not stop at one', () => {
    const some = ledgers(4);
    const empty = { ledger: id(9), first: offset(10), end: offset(10), bytes: 0, lastAppendTimeMs: null };
    const [first, ...rest] = some;
    expect(decide({ retentionMs: 0, ledgers: first === undefined ? [] : [first, empty, ...rest] })).toMatchObject({ to: 30 });
  });

  test('counts the bytes above a cursor, of a ledger in parts by offsets', () => {
    expect(bytesFrom(ledgers(5), 0, 50)).toBe(500);
    expect(bytesFrom(ledgers(5), 35, 50)).toBe(150);
    expect(bytesFrom(ledgers(5), 50, 50)).toBe(0);
  });

  test('rolls a ledger by the age of its first message, sooner for a short retention', () => {
    expect(rollDue(null, 1e12, 1000, -1)).toBe(false);
    expect(rollDue(0, 3_599_999, 3_600_000, -1)).toBe(false);
    expect(rollDue(0, 3_600_000, 3_600_000, -1)).toBe(true);
    expect(rollDue(0, 10_000, 3_600_000, 40_000)).toBe(true);
    expect(rollDue(0, 999, 3_600_000, 10)).toBe(false);
  });
});
