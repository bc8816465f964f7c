import { beforeEach, describe, expect, it } from 'vitest';
import { offset } from '#lib/types/brands.ts';
import { appended, BOOKIES, ballot, descriptor, entry, OK, ScriptedTransport, UNREACHABLE } from '../testing/scripted.ts';
import type { Lost } from './pace.ts';
import { LedgerWriter, type WriterStart } from './write.ts';

let transport: ScriptedTransport;
let lost: Lost | null;
let alarms: string[];
let acks: number;

beforeEach(() => {
  transport = new ScriptedTransport();
  lost = null;
  alarms = [];
  acks = 0;
});

function writer(replicas: number, ackQuorum: number, start: Partial<WriterStart> = {}, windowCount = 8): LedgerWriter {
  const known = descriptor(1, replicas, ackQuorum);
  return new LedgerWriter(
    {
      transport,
      ballot: ballot(1),
      windowCount,
      windowBytes: 1 << 20,
      onAcked: () => {
        acks++;
      },
      onLost: reason => {
        lost = reason;
      },
      alarm: what => alarms.push(what),
    },
    { descriptor: known, first: offset(0), created: known.ensemble, lazy: false, linked: true, ...start },
  );
}

function put(to: LedgerWriter, count: number, reserved = false): void {
  for (let n = 0; n < count; n++) to.append(entry(to.end), 1, reserved);
}

/** Ticks every 20 ms for so long. */
function wait(on: LedgerWriter, ms: number, fromMs = 0): void {
  for (let now = fromMs; now <= fromMs + ms; now += 20) on.tick(now);
}

describe('acknowledgement', () => {
  it('comes with A answers, and everything before acknowledged', () => {
    const w = writer(3, 2);
    put(w, 2);
    transport.answer(1, 'append', appended(1));
    expect(w.ackedEnd).toBe(0);
    transport.answer(2, 'append', appended(1));
    expect(w.ackedEnd).toBe(1);
    transport.answer(3, 'append', appended(1));
    transport.answer(3, 'append', appended(2));
    expect(w.ackedEnd).toBe(1);
    transport.answer(1, 'append', appended(2));
    expect(w.ackedEnd).toBe(2);
    expect(acks).toBe(2);
  });

  it('waits for the link, and comes with it', () => {
    const w = writer(1, 1, { linked: false });
    put(w, 1);
    transport.answer(1, 'append', appended(1));
    expect(w.ackedEnd).toBe(0);
    w.link();
    expect(w.ackedEnd).toBe(1);
  });

  it('ends at once with `stale`, whatever is answered later', () => {
    const w = writer(3, 2);
    put(w, 1);
    transport.answer(1, 'append', { kind: 'stale', promised: ballot(9) });
    expect(lost).toEqual({ kind: 'stale', promised: ballot(9) });
    transport.answer(2, 'append', appended(1));
    transport.answer(3, 'append', appended(1));
    expect(w.ackedEnd).toBe(0);
  });

  it('is told to the replicas by an empty append when nothing follows for 50 ms, and once', () => {
    const w = writer(1, 1);
    wait(w, 100);
    expect(transport.waiting()).toEqual([]);
    put(w, 1);
    w.tick(120);
    transport.answer(1, 'append', appended(1));
    w.tick(140);
    expect(transport.waiting()).toEqual(['append 1 empty@1']);
    expect(transport.answer(1, 'append', appended(1)).ackedEnd).toBe(1);
    wait(w, 200, 160);
    expect(transport.waiting()).toEqual([]);
    expect(w.pace()).toBe('none');
  });
});

describe('a replica that lags', () => {
  it('is caught up from the window: one entry ahead, then the rest', () => {
    const w = writer(3, 2);
    put(w, 3);
    for (let n = 0; n < 3; n++) transport.answer(3, 'append', UNREACHABLE);
    for (const end of [1, 2, 3]) for (const n of [1, 2]) transport.answer(n, 'append', appended(end));
    expect(w.ackedEnd).toBe(3);
    wait(w, 40);
    expect(transport.waiting().filter(what => !what.includes('empty'))).toEqual(['append 0@3']);
    transport.answer(3, 'append', appended(1));
    expect(transport.waiting().filter(what => !what.includes('empty'))).toEqual(['append 1@3', 'append 2@3']);
  });

  it('gets no more until its answers are in, so that nothing is sent in vain', () => {
    const w = writer(1, 1);
    put(w, 3);
    transport.answer(1, 'append', UNREACHABLE);
    wait(w, 100);
    put(w, 1);
    expect(transport.waiting()).toEqual(['append 1@1', 'append 2@1']);
  });

  it('stays behind when the window has moved on, and is named as unhealthy', () => {
    const w = writer(3, 2, {}, 4);
    for (let n = 0; n < 6; n++) {
      put(w, 1);
      transport.answer(1, 'append', appended(n + 1));
      transport.answer(2, 'append', appended(n + 1));
      if (n === 0) transport.answer(3, 'append', UNREACHABLE);
    }
    expect(transport.waiting()).toEqual([]);
    expect(w.unhealthy()).toEqual(new Set([BOOKIES[2]]));
    expect(w.ackedEnd).toBe(6);
    expect(w.isFull()).toBe(false);
  });

  it('is back when a late answer shows that it missed nothing', () => {
    const w = writer(3, 2, {}, 4);
    for (let n = 0; n < 6; n++) {
      put(w, 1);
      transport.answer(1, 'append', appended(n + 1));
      transport.answer(2, 'append', appended(n + 1));
    }
    expect(w.unhealthy().size).toBe(1);
    transport.answer(3, 'append', appended(6));
    expect(w.unhealthy().size).toBe(0);
    put(w, 1);
    transport.answer(1, 'append', appended(7));
    expect(w.ackedEnd).toBe(6);
  });

  it('that has less than it once answered is out, loudly', () => {
    const w = writer(3, 2);
    put(w, 2);
    transport.answer(3, 'append', appended(1));
    transport.answer(3, 'append', UNREACHABLE);
    wait(w, 40);
    transport.answer(3, 'append', { kind: 'refused', reason: 'gap', end: offset(0) });
    expect(alarms).toHaveLength(1);
    expect(w.unhealthy()).toEqual(new Set([BOOKIES[2]]));
  });
});

describe('push-back', () => {
  it('for space is reported until an entry is taken again', () => {
    const w = writer(1, 1);
    put(w, 1);
    transport.answer(1, 'append', { kind: 'busy', reason: 'space' });
    expect(w.isFull()).toBe('space');
    wait(w, 40);
    expect(w.isFull()).toBe('space');
    transport.answer(1, 'append', appended(1));
    expect(w.isFull()).toBe(false);
    expect(w.ackedEnd).toBe(1);
  });

  it('lets a reserved entry through: what stands before it uses the reserve too', () => {
    const w = writer(1, 1);
    put(w, 2);
    transport.answer(1, 'append', { kind: 'busy', reason: 'space' });
    transport.answer(1, 'append', { kind: 'refused', reason: 'gap', end: offset(0) });
    put(w, 1, true);
    put(w, 1);
    wait(w, 40);
    expect(transport.answer(1, 'append', appended(1)).reserved).toBe(true);
    expect(transport.answer(1, 'append', appended(2)).reserved).toBe(true);
    expect(transport.answer(1, 'append', appended(3)).reserved).toBe(true);
    expect(transport.answer(1, 'append', appended(4)).reserved).toBe(false);
  });

  it('of one in three is none while A can write', () => {
    const w = writer(3, 2);
    put(w, 1);
    transport.answer(1, 'append', { kind: 'busy', reason: 'space' });
    expect(w.isFull()).toBe(false);
    transport.answer(2, 'append', { kind: 'busy', reason: 'space' });
    expect(w.isFull()).toBe('space');
  });

  it('comes from the window by count and by bytes', () => {
    const w = writer(1, 1, {}, 3);
    put(w, 3);
    expect(w.isFull()).toBe('window');
    transport.answer(1, 'append', appended(1));
    expect(w.isFull()).toBe(false);
  });
});

it('does not raise the dead: a bookie that knew the ledger and does not any more has deleted it for another owner', () => {
  const w = writer(1, 1);
  put(w, 1);
  transport.answer(1, 'append', { kind: 'refused', reason: 'no_ledger', end: null });
  expect(lost).toEqual({ kind: 'gone' });
  wait(w, 100);
  expect(transport.waiting()).toEqual([]);
});

describe('a ledger that bookies do not know yet', () => {
  it('is created with the first entry, which follows', () => {
    const w = writer(1, 1, { created: [], lazy: true });
    wait(w, 100);
    expect(transport.waiting()).toEqual([]);
    put(w, 2);
    expect(transport.waiting()).toEqual(['create@1']);
    transport.answer(1, 'create', OK);
    expect(transport.waiting()).toEqual(['append 0@1', 'append 1@1']);
  });

  it('is created on the rest of the ensemble while it is open', () => {
    const w = writer(3, 2, { created: BOOKIES.slice(0, 2) });
    expect(transport.waiting()).toEqual(['create@3']);
    transport.answer(3, 'create', UNREACHABLE);
    put(w, 1);
    wait(w, 40);
    transport.answer(3, 'create', OK);
    expect(transport.waiting()).toEqual(['append 0@1', 'append 0@2', 'append 0@3']);
  });
});

it('hands over what is not acknowledged when it is frozen', () => {
  const w = writer(1, 1);
  put(w, 3);
  transport.answer(1, 'append', appended(1));
  expect(w.freeze().map(request => request.offset)).toEqual([1, 2]);
  transport.answer(1, 'append', appended(2));
  expect(w.ackedEnd).toBe(1);
});
