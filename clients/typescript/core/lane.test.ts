import { describe, expect, it } from 'vitest';
import { fail } from '#lib/types/errors.ts';
import { messagesOf } from '#lib/wire/batch.ts';
import { BufferPool } from './buffer-pool.ts';
import { Lane, type LaneOptions } from './lane.ts';

const options: LaneOptions = {
  batchBytesMax: 1000,
  batchCountMax: 100,
  lingerMs: 1,
  window: 64,
  sendTimeoutMs: 500,
  ackNone: false,
};

function lane(changed: Partial<LaneOptions> = {}): Lane {
  const made = new Lane(0, { ...options, ...changed }, new BufferPool(1_000_000));
  made.onOpened(0, 64);
  return made;
}

function add(to: Lane, payload: string, nowMs = 0): void {
  if (to.isBetweenBatches) to.beginAt(nowMs);
  expect(to.add({ payload }, -1, undefined)).toBeUndefined();
  if (to.beganBatch) to.beginAt(nowMs);
}

const sent = (from: Lane, nowMs: number) => {
  const batch = from.take(nowMs);
  return batch && messagesOf(batch.batchView).map(message => `${message.payload}`);
};

describe('a lane', () => {
  it('sends what a turn brought at once while nothing is under way', () => {
    const one = lane();
    add(one, 'a');
    add(one, 'b');
    expect(sent(one, 0)).toEqual(['a', 'b']);
    expect(one.take(0)).toBeNull();
  });

  it('lets a batch wait for lingerMs while another is under way, and no longer', () => {
    const one = lane();
    add(one, 'a');
    one.take(0);
    add(one, 'b', 10);
    expect(one.take(10)).toBeNull();
    expect(one.wakeAtMs()).toBe(11);
    add(one, 'c', 10.5);
    expect(one.take(10.9)).toBeNull();
    expect(sent(one, 11)).toEqual(['b', 'c']);
  });

  it('sends what waits as soon as nothing is under way', () => {
    const one = lane();
    add(one, 'a');
    one.take(0);
    add(one, 'b', 10);
    one.onStored(1, 7);
    expect(sent(one, 10)).toEqual(['b']);
  });

  it('sends a full batch without waiting', () => {
    const one = lane();
    add(one, 'a');
    one.take(0);
    add(one, 'x'.repeat(600), 10);
    add(one, 'y'.repeat(600), 10);
    expect(one.closedBatch).toBe(true);
    expect(sent(one, 10)).toEqual(['x'.repeat(600)]);
    expect(one.take(10)).toBeNull();
  });

  it('sends a message that may go elsewhere there when the batch is full', () => {
    const one = lane();
    add(one, 'x'.repeat(600));
    expect(one.add({ payload: 'y'.repeat(600) }, -1, undefined, true)).toBe('full');
    expect(one.isBetweenBatches).toBe(true);
    expect(sent(one, 0)).toEqual(['x'.repeat(600)]);
    expect(one.add({ payload: 'y'.repeat(1200) }, -1, undefined, true)).toBeUndefined();
  });

  it('gathers a larger batch while the window is full', () => {
    const one = lane({ window: 1 });
    add(one, 'a');
    one.take(0);
    for (let n = 0; n < 50; n++) add(one, `${n}`, n);
    expect(one.take(100)).toBeNull();
    expect(one.wakeAtMs()).toBe(0);
    one.onStored(1, 0);
    expect(sent(one, 100)).toHaveLength(50);
  });

  it('without batching makes each message a batch', () => {
    const one = lane({ batchCountMax: 1 });
    for (const payload of ['a', 'b', 'c']) add(one, payload);
    expect([sent(one, 0), sent(one, 0), sent(one, 0)]).toEqual([['a'], ['b'], ['c']]);
  });

  it('counts what a message costs, framing included', () => {
    const one = lane();
    add(one, 'abc');
    expect(one.addedBytes).toBe(7);
  });

  it('refuses a message that can never be one, and takes the next', () => {
    const one = lane();
    const refusal = one.add({ payload: Buffer.alloc(6 * 1024 * 1024) }, -1, undefined);
    expect(refusal).toMatchObject({ code: 'message_too_large' });
    add(one, 'a');
    expect(sent(one, 0)).toEqual(['a']);
  });

  it('takes a message that is larger than a batch should be, alone', () => {
    const one = lane();
    add(one, 'a');
    add(one, 'x'.repeat(5000));
    add(one, 'b');
    expect([sent(one, 0), sent(one, 0)?.[0]?.length]).toEqual([['a'], 5000]);
  });

  it('tells listeners by their index, and fails what is still being packed when its time is up', () => {
    const one = lane();
    const listener = (): void => undefined;
    add(one, 'a', 100);
    expect(one.add({ payload: 'b' }, -1, listener)).toBeUndefined();
    one.expire(599, '');
    expect(one.takeSettled()).toEqual([]);
    one.expire(600, 'the server is away');
    const [settled] = one.takeSettled();
    expect(settled).toMatchObject({ kind: 'failed', failure: { code: 'timeout', stored: 'no' } });
    expect(settled?.batch.listeners).toEqual([undefined, listener]);
    expect(one.isEmpty).toBe(true);
  });

  it('with at most once settles a batch when it is handed over', () => {
    const one = lane({ ackNone: true });
    add(one, 'a');
    one.take(0);
    expect(one.takeSettled()).toMatchObject([{ kind: 'stored', offset: -1 }]);
    expect(one.isEmpty).toBe(true);
  });

  it('fails everything when it is over', () => {
    const one = lane();
    add(one, 'a');
    one.take(0);
    add(one, 'b');
    one.failAll(fail('fenced', 'taken over'));
    expect(one.takeSettled().map(settled => settled.kind === 'failed' && settled.failure.stored)).toEqual(['unknown', 'no']);
    expect(one.isEmpty).toBe(true);
  });
});
