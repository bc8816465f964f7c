import { beforeEach, describe, expect, it } from 'vitest';
import { offset } from '#lib/types/brands.ts';
import { appended, BOOKIES, ballot, descriptor, entry, OK, ScriptedTransport, UNREACHABLE } from '../testing/scripted.ts';
import { Owner, type OwnerDeps } from './own.ts';
import type { Lost } from './pace.ts';
import { chooseEnsemble } from './placement.ts';
import { Spreads } from './spread.ts';

let transport: ScriptedTransport;
let spreads: Spreads;
let linked: [number, number][];
let lost: Lost | null;

beforeEach(() => {
  transport = new ScriptedTransport(1);
  linked = [];
  lost = null;
});

function own(replicas = 1, ackQuorum = 1, deps: Partial<OwnerDeps> = {}): Owner {
  let made = 2;
  spreads = new Spreads(transport);
  const first = descriptor(1, replicas, ackQuorum);
  return new Owner(
    {
      transport,
      ballot: ballot(1),
      spreads,
      windowCount: 8,
      windowBytes: 1 << 20,
      ledgerBytesMax: 1 << 20,
      nextLedger: (prev, avoid) => {
        const ensemble = chooseEnsemble(transport.bookies(), replicas, avoid, () => 0);
        return ensemble && { ...descriptor(made++, replicas, ackQuorum), prev: prev.ledger, ensemble };
      },
      hasOthers: () => true,
      onAcked: () => undefined,
      onLinked: (_sealed, end, bytes, _next) => linked.push([end, bytes]),
      onLost: reason => {
        lost = reason;
      },
      alarm: () => undefined,
      ...deps,
    },
    { descriptor: first, first: offset(0), created: first.ensemble, lazy: false, linked: true },
  );
}

function put(to: Owner, count: number): void {
  for (let n = 0; n < count; n++) to.append(entry(to.end), 1, false);
}

describe('a roll', () => {
  it('creates the next ledger while writing goes on, drains, seals, and goes on behind it', () => {
    const o = own();
    put(o, 2);
    o.roll();
    put(o, 1);
    expect(transport.waiting()).toEqual(['append 0@1', 'append 1@1', 'create@1', 'append 2@1']);
    transport.answer(1, 'create', OK);
    put(o, 1);
    expect(o.end).toBe(4);
    expect(transport.waiting()).toEqual(['append 0@1', 'append 1@1', 'append 2@1']);
    for (const end of [1, 2, 3]) transport.answer(1, 'append', appended(end));
    expect(transport.waiting()).toEqual(['append 3@1', 'seal@1']);
    expect(transport.peek(1, 'append').first).toBe(3);
    transport.answer(1, 'append', appended(4));
    expect(o.ackedEnd).toBe(3);
    expect(linked).toEqual([]);
    expect(transport.answer(1, 'seal', OK).value.end).toBe(3);
    expect(linked).toEqual([[3, 3 * entry(0).length]]);
    expect(o.ackedEnd).toBe(4);
    expect(transport.waiting()).toEqual(['decided@1']);
  });

  it('cuts at the acknowledged end when what is under way does not get through; the rest goes to the next ledger', () => {
    const o = own();
    put(o, 3);
    transport.answer(1, 'append', appended(1));
    o.roll();
    transport.answer(1, 'create', OK);
    for (let now = 0; now <= 400; now += 20) o.tick(now);
    expect(transport.answer(1, 'seal', OK).value.end).toBe(1);
    expect(o.end).toBe(3);
    const moved = transport.open.filter(sent => sent.request.kind === 'append' && sent.request.first === 1);
    expect(moved.map(sent => sent.request.kind === 'append' && sent.request.offset)).toEqual([1, 2]);
  });

  it('is none for an empty ledger', () => {
    const o = own();
    o.roll();
    expect(transport.waiting()).toEqual([]);
  });

  it('begins by itself when the ledger is large', () => {
    const o = own(1, 1, { ledgerBytesMax: 150 });
    put(o, 2);
    expect(transport.waiting()).not.toContain('create@1');
    put(o, 1);
    expect(transport.waiting()).toContain('create@1');
  });

  it('that is refused as stale ends the ownership', () => {
    const o = own();
    put(o, 1);
    o.roll();
    transport.answer(1, 'create', { kind: 'stale', promised: ballot(7) });
    expect(lost).toEqual({ kind: 'stale', promised: ballot(7) });
    expect(o.isStopped).toBe(true);
  });

  it('that finds another outcome decided ends the ownership, and is no broken rule', () => {
    const o = own();
    put(o, 1);
    transport.answer(1, 'append', appended(1));
    o.roll();
    transport.answer(1, 'create', OK);
    transport.answer(1, 'seal', { kind: 'refused', reason: 'sealed', end: offset(1) });
    const decided = { end: offset(1), next: descriptor(9, 1, 1) };
    transport.answer(1, 'fence', { kind: 'fenced', end: offset(1), ackedEnd: offset(1), accepted: null, decided });
    expect(lost).toEqual({ kind: 'gone' });
  });
});

describe('a replica that fails', () => {
  function failing(bookies: number): { readonly o: Owner; now: number; tick(ms: number): void } {
    transport = new ScriptedTransport(bookies);
    const o = own(3, 2);
    const run = {
      o,
      now: 0,
      /** Bookie 3 does not answer anything. */
      tick(ms: number): void {
        for (const until = run.now + ms; run.now < until; run.now += 20) {
          o.tick(run.now);
          for (const sent of transport.open.filter(found => found.to === BOOKIES[2])) {
            transport.open.splice(transport.open.indexOf(sent), 1);
            sent.onReply(UNREACHABLE);
          }
        }
      },
    };
    put(o, 1);
    transport.answer(1, 'append', appended(1));
    transport.answer(2, 'append', appended(1));
    run.tick(8000);
    return run;
  }

  it('is replaced by a roll when another bookie can take its place, once', () => {
    const { o } = failing(4);
    expect(o.isRolling).toBe(true);
    expect(transport.peek(4, 'create').descriptor.ensemble).toEqual([BOOKIES[0], BOOKIES[1], BOOKIES[3]]);
  });

  it('is gone on without when there is none', () => {
    const { o } = failing(3);
    expect(o.isRolling).toBe(false);
    expect(o.ackedEnd).toBe(1);
    for (const n of [1, 2]) transport.answer(n, 'append', appended(1));
    expect(o.pace()).toBe('slow');
  });
});

describe('letting go', () => {
  it('waits for what is pending, then seals', () => {
    const o = own();
    let closed = false;
    put(o, 1);
    o.close(() => {
      closed = true;
    });
    expect(transport.waiting()).toEqual(['append 0@1']);
    transport.answer(1, 'append', appended(1));
    transport.answer(1, 'create', OK);
    expect(closed).toBe(false);
    expect(transport.answer(1, 'seal', OK).value.end).toBe(1);
    expect(closed).toBe(true);
  });

  it('is at once when nothing was written', () => {
    const o = own();
    let closed = false;
    o.close(() => {
      closed = true;
    });
    expect(closed).toBe(true);
    expect(transport.waiting()).toEqual([]);
  });

  it('of a purged partition seals without a successor', () => {
    const o = own();
    let ended = false;
    put(o, 1);
    transport.answer(1, 'append', appended(1));
    o.endPartition(() => {
      ended = true;
    });
    expect(transport.answer(1, 'seal', OK).value).toEqual({ end: 1, next: null });
    expect(ended).toBe(true);
  });
});

it('repeats an outcome until every bookie has answered', () => {
  const o = own();
  put(o, 1);
  transport.answer(1, 'append', appended(1));
  o.roll();
  transport.answer(1, 'create', OK);
  transport.answer(1, 'seal', OK);
  for (let n = 0; n < 5; n++) {
    transport.answer(1, 'decided', UNREACHABLE);
    for (let now = n * 2000; now < n * 2000 + 1200; now += 20) spreads.tick(now);
  }
  expect(spreads.count).toBe(1);
  transport.answer(1, 'decided', OK);
  expect(spreads.count).toBe(0);
  expect(spreads.pace()).toBe('none');
});
