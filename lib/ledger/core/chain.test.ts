import { describe, expect, it } from 'vitest';
import type { BookieId, LedgerId, Offset } from '#lib/types/brands.ts';
import { offset } from '#lib/types/brands.ts';
import type { LedgerDescriptor, ReplicaState, SealValue } from '../protocol.ts';
import { BOOKIES, ballot, descriptor, ledgerNumber, PARTITION } from '../testing/scripted.ts';
import { findChain, findStart, Listings } from './chain.ts';

const [ONE = '' as BookieId, TWO = '' as BookieId] = BOOKIES;

function state(n: number, first: number | null, end: number | null, more: Partial<ReplicaState> = {}): ReplicaState {
  const at = (value: number | null): Offset | null => (value === null ? null : offset(value));
  const known = { promised: ballot(1), accepted: null, decided: null };
  return { descriptor: descriptor(n, 2, 2), ...known, first: at(first), end: at(end), ackedEnd: at(first), bytes: 0, ...more };
}

const seal = (end: number, n: number): SealValue => ({ end: offset(end), next: descriptor(n, 2, 2) });

function listings(
  perBookie: readonly (readonly [BookieId, readonly ReplicaState[]])[],
  floor: { offset: Offset; firstLive: LedgerId } | null = null,
): Listings {
  const found = new Listings();
  for (const [bookie, ledgers] of perBookie) found.add(bookie, { partition: PARTITION, floor, ledgers, more: false });
  return found;
}

describe('the start of a take over without an index', () => {
  const genesis: LedgerDescriptor = descriptor(1, 2, 2);

  it("is the catalog's first ledger when no bookie knows more", () => {
    expect(findStart(listings([]), genesis)).toMatchObject({ descriptor: genesis, first: 0 });
    expect(findStart(listings([]), null)).toBeNull();
  });

  it('is what a decided seal names, even when nobody lists that', () => {
    expect(findStart(listings([[ONE, [state(1, 0, 5, { decided: seal(5, 2) })]]]), genesis)).toMatchObject({
      descriptor: descriptor(2, 2, 2),
      first: 5,
    });
  });

  it('is no ledger that was created and not linked', () => {
    const created = [state(1, 0, 5, { decided: seal(5, 2) }), state(2, 5, 7), state(3, 9, 9)];
    expect(findStart(listings([[ONE, created]]), genesis)?.first).toBe(5);
  });

  it('is a ledger in which something is acknowledged', () => {
    const found = findStart(listings([[ONE, [state(4, 20, 25, { ackedEnd: offset(22) })]]]), genesis);
    expect(found?.descriptor.ledger).toBe(ledgerNumber(4));
  });

  it('is the first live one of the floor, and not the first ledger ever', () => {
    const floor = { offset: offset(9), firstLive: ledgerNumber(4) };
    const found = findStart(listings([[ONE, [state(4, 9, 9), state(5, 9, 12)]]], floor), genesis);
    expect(found?.descriptor.ledger).toBe(ledgerNumber(4));
    // Also when it was only created yet.
    expect(findStart(listings([[ONE, [state(4, null, null)]]], floor), genesis)).toMatchObject({ first: 9 });
  });
});

describe('a chain', () => {
  const replicas: readonly (readonly [BookieId, readonly ReplicaState[]])[] = [
    [ONE, [state(1, 0, 5, { decided: seal(5, 2), bytes: 50 }), state(2, 5, 8, { bytes: 30 })]],
    [TWO, [state(1, 0, 3, { decided: null, bytes: 30 }), state(2, 5, 8, { decided: seal(8, 3), bytes: 30 }), state(3, 8, 8)]],
  ];
  const open = { descriptor: descriptor(3, 2, 2), first: offset(8) };

  it('is walked back by `prev`, with what holds it and whom its outcome did not reach', () => {
    const { chain, missing, untold } = findChain(listings(replicas), open);
    expect(chain.ledgers.map(ledger => [ledger.first, ledger.end, ledger.bytes, ledger.holders])).toEqual([
      [0, 5, 50, [ONE]],
      [5, 8, 30, [ONE, TWO]],
      [8, null, 0, []],
    ]);
    expect(missing).toBeNull();
    expect(untold.map(found => [found.value.end, found.to])).toEqual([
      [8, [ONE]],
      [5, [TWO]],
    ]);
  });

  it('says when a ledger is not listed by anybody', () => {
    const { chain, missing } = findChain(listings([[TWO, [state(2, 5, 8, { decided: seal(8, 3) })]]]), open);
    expect(chain.start).toBe(5);
    expect(missing).toBe(ledgerNumber(1));
  });

  it('ends at the floor', () => {
    const floor = { offset: offset(5), firstLive: ledgerNumber(2) };
    const { chain, missing } = findChain(listings(replicas, floor), open);
    expect(chain.start).toBe(5);
    expect(missing).toBeNull();
  });

  it('shows orphans, which can never be linked, and takes none for one while a part of it is not known', () => {
    const orphan = { ...state(7, null, null), descriptor: { ...descriptor(7, 2, 2), prev: ledgerNumber(2) } };
    const nextOfOpen = { ...state(8, null, null), descriptor: { ...descriptor(8, 2, 2), prev: ledgerNumber(3) } };
    const { orphans } = findChain(listings([...replicas, [ONE, [orphan, nextOfOpen]]]), open);
    expect(orphans.map(found => found.descriptor.ledger)).toEqual([ledgerNumber(7)]);
    expect(findChain(listings([[ONE, [orphan, nextOfOpen]]]), open).orphans).toEqual([]);
  });

  it('finds the ledger of an offset, over empty ones', () => {
    const { chain } = findChain(listings(replicas), open);
    chain.link(offset(8), 0, descriptor(4, 2, 2));
    expect([0, 4, 5, 7, 8, 100].map(at => chain.find(offset(at)).descriptor.ledger)).toEqual([1, 1, 2, 2, 4, 4].map(ledgerNumber));
  });

  it('is trimmed by whole sealed ledgers, each with the value that sealed it', () => {
    const { chain } = findChain(listings(replicas), open);
    expect(chain.trim(offset(4))).toEqual([]);
    expect(chain.trim(offset(7)).map(({ seal: value }) => [value.end, value.next?.ledger])).toEqual([[5, ledgerNumber(2)]]);
    expect(chain.start).toBe(5);
    expect(chain.trim(offset(100))).toHaveLength(1);
    expect(chain.start).toBe(8);
  });
});
