import { beforeEach, describe, expect, it } from 'vitest';
import { offset } from '#lib/types/brands.ts';
import type { BookieReply } from '../protocol.ts';
import { appended, BOOKIES, ballot, descriptor, entry, fenced, OK, ScriptedTransport, UNREACHABLE } from '../testing/scripted.ts';
import { Spreads } from './spread.ts';
import { TakeOver, type TakeOverOutcome } from './take-over.ts';

const MINE = ballot(5);
let transport: ScriptedTransport;
let outcome: TakeOverOutcome | null;
let alarms: string[];

beforeEach(() => {
  transport = new ScriptedTransport();
  outcome = null;
  alarms = [];
});

function begin(replicas = 3, ackQuorum = 2): TakeOver {
  let made = 10;
  return new TakeOver(
    {
      transport,
      ballot: MINE,
      spreads: new Spreads(transport),
      nextLedger: prev => ({ ...descriptor(made++, replicas, ackQuorum), prev: prev.ledger, creator: MINE }),
      hasOthers: () => true,
      onOutcome: found => {
        outcome = found;
      },
      alarm: what => alarms.push(what),
    },
    { descriptor: descriptor(1, replicas, ackQuorum), first: offset(0) },
  );
}

const entries = (from: number, to: number): BookieReply => ({
  kind: 'entries',
  entries: Array.from({ length: to - from }, (_, n) => entry(from + n)),
  end: offset(to),
});

function wait(on: TakeOver, ms: number, fromMs = 0): void {
  for (let now = fromMs; now <= fromMs + ms; now += 20) on.tick(now);
}

describe('nothing decided', () => {
  it('fills A replicas, creates the next ledger on Q, and only then seals at the largest end', () => {
    begin();
    transport.answer(1, 'fence', fenced(2, 1));
    expect(transport.waiting()).toEqual(['fence@2', 'fence@3']);
    transport.answer(2, 'fence', fenced(1, 1));
    expect(transport.waiting()).toEqual(['fence@3', 'read@1']);
    transport.answer(1, 'read', entries(1, 2));
    const copy = transport.answer(2, 'append', appended(2));
    expect([copy.offset, copy.ackedEnd, copy.ballot, copy.reserved]).toEqual([1, 1, MINE, true]);
    expect(transport.waiting()).toEqual(['fence@3', 'create@1', 'create@2', 'create@3']);
    transport.answer(1, 'create', OK);
    transport.answer(2, 'create', OK);
    const seal = transport.answer(1, 'seal', OK);
    expect([seal.value.end, seal.value.next?.creator]).toEqual([2, MINE]);
    expect(outcome).toBeNull();
    transport.answer(3, 'seal', OK);
    expect(outcome).toMatchObject({ kind: 'leads', first: 2, created: BOOKIES.slice(0, 2) });
    expect(transport.waiting().filter(what => what.startsWith('decided'))).toHaveLength(3);
  });

  it('does not seal below what is known to be acknowledged', () => {
    const act = begin();
    transport.answer(1, 'fence', fenced(1, 1));
    transport.answer(2, 'fence', fenced(1, 3));
    wait(act, 400);
    expect(transport.waiting()).toEqual(['fence@3']);
    expect(alarms).toHaveLength(1);
    transport.answer(3, 'fence', fenced(3, 3));
    expect(transport.waiting()).toContain('read@3');
  });

  it('tries another ensemble when too few of it answer to create', () => {
    const act = begin();
    for (const n of [1, 2, 3]) transport.answer(n, 'fence', fenced(1));
    for (let round = 0; round < 3; round++) {
      for (const n of [1, 2]) if (transport.waiting().includes(`create@${n}`)) transport.answer(n, 'create', UNREACHABLE);
      wait(act, 200, round * 200);
    }
    const ledgers = new Set(transport.open.filter(sent => sent.request.kind === 'create').map(sent => JSON.stringify(sent.request)));
    expect(ledgers.size).toBe(2);
    expect(transport.waiting()).not.toContain('seal@1');
  });
});

describe('an empty ledger', () => {
  it('is taken as it is when all R replicas say that it is empty', () => {
    begin();
    for (const n of [1, 2, 3]) transport.answer(n, 'fence', fenced(0));
    expect(outcome).toMatchObject({ kind: 'leads', ledger: descriptor(1, 3, 2), first: 0, created: BOOKIES.slice(0, 3) });
    expect(transport.waiting()).toEqual([]);
  });

  it('is sealed when one of them does not answer', () => {
    const act = begin();
    transport.answer(1, 'fence', fenced(0));
    transport.answer(2, 'fence', fenced(0));
    expect(transport.waiting()).toEqual(['fence@3']);
    transport.answer(3, 'fence', UNREACHABLE);
    wait(act, 20);
    expect(transport.waiting()).toContain('create@1');
  });

  it('is not taken when a seal was accepted on it', () => {
    begin();
    const accepted = { ballot: ballot(3), end: offset(0), next: descriptor(2, 3, 2) };
    transport.answer(1, 'fence', { ...fenced(0), accepted });
    transport.answer(2, 'fence', fenced(0));
    expect(transport.peek(1, 'seal').value.next).toEqual(accepted.next);
  });
});

describe('what others began', () => {
  it('is adopted by the highest ballot, and its ledger is gone to', () => {
    begin();
    const older = { ballot: ballot(2), end: offset(1), next: descriptor(2, 3, 2) };
    const newer = { ballot: ballot(4), end: offset(2), next: { ...descriptor(3, 3, 2), prev: descriptor(1, 3, 2).ledger } };
    transport.answer(1, 'fence', { ...fenced(3), accepted: older });
    transport.answer(2, 'fence', { ...fenced(2), accepted: newer });
    const seal = transport.answer(1, 'seal', OK);
    expect(seal.value).toEqual({ end: 2, next: newer.next });
    transport.answer(2, 'seal', OK);
    expect(transport.peek(1, 'fence')).toMatchObject({ descriptor: newer.next, first: 2 });
  });

  it('is followed from one copy of a decided seal, without a quorum', () => {
    begin();
    const decided = { end: offset(7), next: descriptor(2, 3, 2) };
    transport.answer(3, 'fence', { ...fenced(7), decided });
    expect(transport.peek(1, 'fence').descriptor.ledger).toBe(descriptor(1, 3, 2).ledger);
    const fences = transport.open.filter(sent => sent.request.kind === 'fence' && sent.request.first === 7);
    expect(fences).toHaveLength(3);
  });

  it('is learned from a tombstone, and from a bookie outside the ensemble', () => {
    begin();
    transport.answer(2, 'fence', { kind: 'gone', decided: { end: offset(4), next: descriptor(2, 3, 2) }, floor: null });
    expect(transport.open.filter(sent => sent.request.kind === 'fence' && sent.request.first === 4)).toHaveLength(3);

    transport = new ScriptedTransport(4);
    const act = begin();
    for (const n of [1, 2, 3]) transport.answer(n, 'fence', UNREACHABLE);
    for (let now = 0; now < 1200; now += 20) {
      act.tick(now);
      for (const n of [1, 2, 3]) if (transport.waiting().includes(`fence@${n}`)) transport.answer(n, 'fence', UNREACHABLE);
    }
    const state = {
      descriptor: descriptor(1, 3, 2),
      promised: ballot(1),
      first: offset(0),
      end: offset(4),
      ackedEnd: offset(4),
      accepted: null,
      decided: { end: offset(4), next: descriptor(2, 3, 2) },
      bytes: 1,
    };
    transport.answer(4, 'inspect', { kind: 'state', state });
    expect(act.at).toEqual(descriptor(2, 3, 2));
  });
});

describe('an end', () => {
  it('comes with `stale`', () => {
    begin();
    transport.answer(2, 'fence', { kind: 'stale', promised: ballot(8) });
    expect(outcome).toEqual({ kind: 'lost', lost: { kind: 'stale', promised: ballot(8) } });
    transport.answer(1, 'fence', fenced(0));
    transport.answer(3, 'fence', fenced(0));
    expect(transport.waiting()).toEqual([]);
  });

  it('comes where a floor has passed the start', () => {
    begin(1, 1);
    const floor = { offset: offset(9), firstLive: descriptor(4, 1, 1).ledger };
    transport.answer(1, 'fence', { kind: 'gone', decided: null, floor });
    expect(outcome).toEqual({ kind: 'nowhere', floor });
  });
});

it('decides anew when the only source of a copy cannot be read any more', () => {
  const act = begin();
  transport.answer(1, 'fence', fenced(2));
  transport.answer(2, 'fence', fenced(1));
  transport.answer(1, 'read', { kind: 'corrupt', offset: offset(1), what: 'checksum' });
  expect(transport.waiting()).toEqual(['fence@3', 'fence@1', 'fence@2', 'fence@3']);
  transport.open = transport.open.slice(1);
  // Its end is no vote any more: what it says cannot be read.
  transport.answer(1, 'fence', fenced(2));
  transport.answer(2, 'fence', fenced(1));
  wait(act, 100);
  expect(transport.waiting()).toEqual(['fence@3']);
  transport.answer(3, 'fence', fenced(1));
  expect(transport.waiting()).toContain('create@1');
});
