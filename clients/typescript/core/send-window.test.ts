import { describe, expect, it } from 'vitest';
import { fail, unknownFate } from '#lib/types/errors.ts';
import { encodeBatchInfoView } from '#lib/wire/batch-info.ts';
import { PendingBatch } from './pending-batch.ts';
import { SendWindow, type Settlement } from './send-window.ts';

const batch = (deadlineMs = 1000) => new PendingBatch(Buffer.from('x'), encodeBatchInfoView(1), null, deadlineMs);

function opened(size = 64, lastSequence = 0): SendWindow {
  const window = new SendWindow(size);
  window.onOpened(lastSequence, size);
  return window;
}

/** Takes all that may be sent and says what it names: [sequence, previous]. */
function takeAll(window: SendWindow, nowMs = 0): [number, number][] {
  const all: [number, number][] = [];
  for (let one = window.take(nowMs); one; one = window.take(nowMs)) all.push([one.sequence, one.previous]);
  return all;
}

const told = (settled: readonly Settlement[]) =>
  settled.map(one => {
    if (one.kind === 'stored') return `stored ${one.batch.sequence}@${one.offset}`;
    return one.kind === 'failed'
      ? `failed ${one.batch.sequence} ${one.failure.code} ${one.failure.stored}`
      : `dropped ${one.batch.sequence}`;
  });

describe('a window', () => {
  it('sends nothing before its producer is open', () => {
    const window = new SendWindow(64);
    window.enqueue(batch());
    expect(window.take(0)).toBeNull();
    window.onOpened(0, 64);
    expect(takeAll(window)).toEqual([[1, 0]]);
  });

  it('goes on behind the last sequence that the broker has', () => {
    const window = opened(64, 41);
    window.enqueue(batch());
    window.enqueue(batch());
    expect(takeAll(window)).toEqual([
      [42, 41],
      [43, 42],
    ]);
  });

  it('holds no more than its size, counted from the oldest unanswered', () => {
    const window = opened(3);
    for (let n = 0; n < 6; n++) window.enqueue(batch());
    expect(takeAll(window).map(([sequence]) => sequence)).toEqual([1, 2, 3]);
    window.onStored(2, 20);
    window.onStored(3, 30);
    expect(takeAll(window)).toEqual([]);
    window.onStored(1, 10);
    expect(takeAll(window).map(([sequence]) => sequence)).toEqual([4, 5, 6]);
    expect(told(window.takeSettled())).toEqual(['stored 2@20', 'stored 3@30', 'stored 1@10']);
  });

  it('takes the size that the broker grants when that is smaller', () => {
    const window = new SendWindow(64);
    window.onOpened(0, 2);
    for (let n = 0; n < 4; n++) window.enqueue(batch());
    expect(takeAll(window)).toHaveLength(2);
  });
});

describe('a lost connection', () => {
  it('sends all that is unanswered again, in order, under the same sequences', () => {
    const window = opened();
    for (let n = 0; n < 3; n++) window.enqueue(batch());
    takeAll(window);
    window.onStored(1, 10);
    window.onClosed();
    expect(window.take(0)).toBeNull();
    window.enqueue(batch());
    window.onOpened(2, 64);
    expect(takeAll(window)).toEqual([
      [2, 1],
      [3, 2],
      [4, 3],
    ]);
    window.onStored(2, 11);
    window.onStored(3, 12);
    expect(told(window.takeSettled())).toEqual(['stored 1@10', 'stored 2@11', 'stored 3@12']);
  });

  it('names what the broker has when it has less than was answered', () => {
    const window = opened();
    for (let n = 0; n < 2; n++) window.enqueue(batch());
    takeAll(window);
    window.onStored(1, 10);
    window.onClosed();
    window.onOpened(0, 64);
    expect(takeAll(window)).toEqual([[2, 0]]);
  });

  it('leaves late answers of the old connection without meaning', () => {
    const window = opened();
    window.enqueue(batch());
    takeAll(window);
    window.onClosed();
    window.onStored(1, 10);
    expect(window.takeSettled()).toEqual([]);
    window.onOpened(1, 64);
    expect(takeAll(window)).toEqual([[1, 0]]);
  });

  it('makes the fate of what was under way unknown, and not of what never left', () => {
    const window = opened(1);
    window.enqueue(batch());
    window.enqueue(batch());
    takeAll(window);
    window.onClosed();
    window.failAll(fail('fenced', 'taken over'));
    expect(told(window.takeSettled())).toEqual(['failed 1 fenced unknown', 'failed 0 fenced no']);
  });
});

describe('a refusal', () => {
  it('waits until all under way is answered, then sends again in order', () => {
    const window = opened();
    for (let n = 0; n < 3; n++) window.enqueue(batch());
    takeAll(window);
    expect(window.onRefused(1, fail('overloaded', 'later'), 0)).toEqual({ kind: 'go-on' });
    expect(takeAll(window, 5000)).toEqual([]);
    window.onRefused(2, fail('out_of_sequence', 'wait'), 0);
    expect(takeAll(window, 5000)).toEqual([]);
    window.onRefused(3, fail('out_of_sequence', 'wait'), 0);
    expect(takeAll(window, 1)).toEqual([]);
    expect(window.pausedUntilMs).toBeGreaterThan(0);
    expect(takeAll(window, window.pausedUntilMs)).toEqual([
      [1, 0],
      [2, 1],
      [3, 2],
    ]);
  });

  it('heeds the time that the broker asks for', () => {
    const window = opened();
    window.enqueue(batch());
    takeAll(window);
    window.onRefused(1, fail('storage_full', 'no space', {}, 700), 100);
    expect(takeAll(window, 799)).toEqual([]);
    expect(takeAll(window, 800)).toEqual([[1, 0]]);
  });

  it('for good drops the batch, and those behind it name the one before it', () => {
    const window = opened();
    for (let n = 0; n < 3; n++) window.enqueue(batch());
    takeAll(window);
    window.onStored(1, 10);
    expect(window.onRefused(2, fail('corrupt_batch', 'wrong'), 0)).toEqual({ kind: 'go-on' });
    expect(window.onRefused(3, fail('out_of_sequence', 'wait'), 0)).toEqual({ kind: 'go-on' });
    expect(takeAll(window, 10_000)).toEqual([[3, 1]]);
    expect(told(window.takeSettled())).toEqual(['stored 1@10', 'failed 2 corrupt_batch no']);
  });

  it('says unknown of a batch that an earlier attempt may have stored', () => {
    const window = opened();
    window.enqueue(batch());
    takeAll(window);
    window.onClosed();
    window.onOpened(0, 64);
    takeAll(window);
    window.onRefused(1, fail('invalid_argument', 'wrong'), 0);
    expect(told(window.takeSettled())).toEqual(['failed 1 invalid_argument unknown']);
  });

  it('of an unknown producer, or by one that is not the owner, opens again', () => {
    for (const code of ['producer_unknown', 'not_owner'] as const) {
      const window = opened();
      window.enqueue(batch());
      takeAll(window);
      expect(window.onRefused(1, unknownFate(code, 'not here'), 0)).toEqual({ kind: 'reopen' });
    }
  });

  it('as fenced is the end', () => {
    const window = opened();
    window.enqueue(batch());
    window.enqueue(batch());
    takeAll(window);
    const fenced = fail('fenced', 'a newer epoch');
    expect(window.onRefused(1, fenced, 0)).toEqual({ kind: 'fatal', failure: fenced });
    window.failAll(fenced);
    expect(told(window.takeSettled())).toEqual(['failed 1 fenced no', 'failed 2 fenced unknown']);
  });

  it('as out of sequence of the oldest opens again, and at last gives the batch up', () => {
    const window = opened();
    window.enqueue(batch(1e9));
    let nowMs = 0;
    for (let n = 0; n < 3; n++) {
      takeAll(window, nowMs);
      expect(window.onRefused(1, fail('out_of_sequence', 'wait'), nowMs)).toEqual({ kind: 'reopen' });
      window.onClosed();
      window.onOpened(0, 64);
      nowMs += 2000;
    }
    takeAll(window, nowMs);
    expect(window.onRefused(1, fail('out_of_sequence', 'wait'), nowMs)).toEqual({ kind: 'go-on' });
    expect(told(window.takeSettled())).toEqual(['failed 1 out_of_sequence no']);
  });
});

describe('time', () => {
  it('drops what never left as not stored, and keeps its place for nothing', () => {
    const window = opened(1);
    window.enqueue(batch(100));
    window.enqueue(batch(100));
    window.enqueue(batch(300));
    takeAll(window);
    window.expire(200, 'the server is away');
    expect(told(window.takeSettled())).toEqual(['failed 0 timeout no', 'failed 1 timeout unknown']);
    window.onStored(1, 10);
    expect(told(window.takeSettled())).toEqual(['dropped 1']);
    expect(takeAll(window)).toEqual([[2, 1]]);
  });

  it('keeps sending what may be stored until that is known', () => {
    const window = opened();
    window.enqueue(batch(100));
    takeAll(window);
    window.onClosed();
    window.expire(200, '');
    expect(told(window.takeSettled())).toEqual(['failed 1 timeout unknown']);
    window.expire(300, '');
    expect(window.takeSettled()).toEqual([]);
    window.onOpened(0, 64);
    expect(takeAll(window)).toEqual([[1, 0]]);
    window.onStored(1, 5);
    expect(told(window.takeSettled())).toEqual(['dropped 1']);
    expect(window.isEmpty).toBe(true);
  });

  it('says "not stored" of what was refused and never in doubt', () => {
    const window = opened();
    window.enqueue(batch(100));
    takeAll(window);
    window.onRefused(1, fail('backlog_quota', 'full'), 0);
    window.expire(200, '');
    expect(told(window.takeSettled())).toEqual(['failed 1 backlog_quota no']);
    expect(window.isEmpty).toBe(true);
  });
});
