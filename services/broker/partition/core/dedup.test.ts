import { describe, expect, test } from 'vitest';
import { type BatchIdentity, Producer, Producers } from './dedup.ts';

const INSTANCE = '00000000000000a1';
const NEVER = { producersMs: 0, ephemeralMs: 0, idsMs: 0 };

function opened(window = 3): Producers {
  const producers = new Producers();
  producers.applyOpening({ kind: 'producer', name: 'p', epoch: 1, instance: INSTANCE, window, ephemeral: false }, 1000);
  return producers;
}

function store(producers: Producers, sequence: number, prevSequence: number, offset = sequence * 10, crc = sequence): void {
  producers.applyBatch({ name: 'p', epoch: 1, sequence, prevSequence, instance: INSTANCE, idempotencyId: '' }, offset, 1, crc, 1000);
}

const batch = (sequence: number, prevSequence: number, more: Partial<BatchIdentity> = {}): BatchIdentity => ({
  name: 'p',
  epoch: 1,
  instance: INSTANCE,
  sequence,
  prevSequence,
  crc: sequence,
  ...more,
});

const codeOf = (producers: Producers, identity: BatchIdentity): string => {
  const verdict = producers.judge(identity);
  return verdict.kind === 'failure' ? `${verdict.code} ${verdict.stored}` : verdict.kind;
};

describe('deduplication', () => {
  test('accepts a batch only after the last accepted one', () => {
    const producers = opened();
    expect(codeOf(producers, batch(1, 0))).toBe('accept');
    store(producers, 1, 0);
    expect(codeOf(producers, batch(5, 1))).toBe('accept');
    store(producers, 5, 1);
    expect(codeOf(producers, batch(6, 1))).toBe('out_of_sequence no');
    expect(codeOf(producers, batch(7, 6))).toBe('early');
    expect(codeOf(producers, batch(6, 5))).toBe('accept');
  });

  test('answers a repeat with its offset', () => {
    const producers = opened();
    store(producers, 1, 0, 42);
    expect(producers.judge(batch(1, 0))).toEqual({ kind: 'repeat', offset: 42, count: 1 });
  });

  test('refuses other bytes under a used sequence', () => {
    const producers = opened();
    store(producers, 1, 0);
    expect(codeOf(producers, batch(1, 0, { crc: 99 }))).toBe('sequence_reused no');
  });

  test('says "unknown" of what is older than the window, and "no" of what was never accepted within it', () => {
    const producers = opened(2);
    store(producers, 1, 0);
    store(producers, 2, 1);
    store(producers, 5, 2);
    expect(codeOf(producers, batch(1, 0))).toBe('sequence_too_old unknown');
    expect(codeOf(producers, batch(2, 1))).toBe('repeat');
    expect(codeOf(producers, batch(4, 3))).toBe('out_of_sequence no');
    expect(codeOf(producers, batch(3, 2))).toBe('out_of_sequence no');
  });

  test('knows nothing of a batch of the epoch before, and does not claim to', () => {
    const producers = opened();
    store(producers, 1, 0);
    producers.applyOpening({ kind: 'producer', name: 'p', epoch: 2, instance: INSTANCE, window: 3, ephemeral: false }, 1000);
    expect(codeOf(producers, batch(1, 0, { epoch: 2 }))).toBe('sequence_too_old unknown');
    expect(codeOf(producers, batch(2, 1, { epoch: 2 }))).toBe('accept');
  });

  test('refuses older epochs and other instances as fenced', () => {
    const producers = opened();
    store(producers, 1, 0);
    producers.applyOpening({ kind: 'producer', name: 'p', epoch: 2, instance: '00000000000000b2', window: 3, ephemeral: false }, 1000);
    expect(codeOf(producers, batch(2, 1))).toBe('fenced no');
    expect(codeOf(producers, batch(1, 0))).toBe('fenced unknown');
    expect(codeOf(producers, batch(2, 1, { epoch: 2 }))).toBe('fenced no');
    expect(codeOf(producers, batch(2, 1, { epoch: 3 }))).toBe('producer_unknown unknown');
  });

  test('does not know a producer that was not opened', () => {
    expect(codeOf(new Producers(), batch(1, 0))).toBe('producer_unknown unknown');
  });

  test('refuses a sequence that does not follow the one before it', () => {
    expect(codeOf(opened(), batch(1, 1))).toBe('invalid_argument no');
  });

  test('gives the next epoch to a new instance and the same one again to the same', () => {
    const producers = opened();
    const opening = { name: 'p', epoch: 0, instance: INSTANCE, window: 5, ephemeral: false };
    expect(producers.judgeOpening(opening, 50)).toMatchObject({ kind: 'same', producer: { epoch: 1, window: 3 } });
    expect(producers.judgeOpening({ ...opening, instance: 'other' }, 50)).toMatchObject({ kind: 'epoch', record: { epoch: 2 } });
    expect(producers.judgeOpening({ ...opening, epoch: 1, instance: 'other' }, 50)).toMatchObject({ code: 'fenced' });
    expect(producers.judgeOpening({ ...opening, epoch: 7 }, 50)).toMatchObject({ kind: 'epoch', record: { epoch: 7 } });
    expect(producers.judgeOpening({ ...opening, epoch: 2 ** 50 }, 50)).toMatchObject({ code: 'invalid_argument' });
  });

  test('gives a forgotten producer an epoch above all that it ever had', () => {
    const producers = opened();
    producers.expire({ ...NEVER, producersMs: 2000 });
    expect(producers.size).toBe(0);
    const opening = { name: 'p', epoch: 0, instance: INSTANCE, window: 0, ephemeral: false };
    expect(producers.judgeOpening(opening, 50)).toMatchObject({ kind: 'epoch', record: { epoch: 51, window: 64 } });
  });

  test('forgets idle producers, those made for one run sooner', () => {
    const producers = opened();
    producers.applyOpening({ kind: 'producer', name: 'run', epoch: 1, instance: INSTANCE, window: 3, ephemeral: true }, 1000);
    producers.applyOpening({ kind: 'producer', name: 'new', epoch: 1, instance: INSTANCE, window: 3, ephemeral: true }, 3000);
    expect(producers.countIdle({ ...NEVER, ephemeralMs: 2000 })).toBe(1);
    producers.expire({ ...NEVER, ephemeralMs: 2000 });
    expect([...'p', 'run', 'new'].map(name => producers.get(name) !== undefined)).toEqual([true, false, true]);
  });

  test('comes back from a checkpoint as it was, wherever its window stands', () => {
    for (let stored = 0; stored < 9; stored++) {
      const producers = opened(4);
      for (let sequence = 1; sequence <= stored; sequence++) store(producers, sequence, sequence - 1);
      const [bucket] = producers.buckets().keys();
      const restored = new Producers();
      restored.restore(JSON.parse(JSON.stringify(producers.encode(bucket ?? 0))));
      expect(restored.peek(bucket ?? 0)).toEqual(producers.peek(bucket ?? 0));
      for (let sequence = 1; sequence < 12; sequence++)
        expect(restored.judge(batch(sequence, sequence - 1))).toEqual(producers.judge(batch(sequence, sequence - 1)));
    }
  });

  test('writes only changed buckets again', () => {
    const producers = opened();
    for (let n = 0; n < 50; n++)
      producers.applyOpening({ kind: 'producer', name: `x${n}`, epoch: 1, instance: INSTANCE, window: 3, ephemeral: false }, 1000);
    for (const bucket of producers.buckets().keys()) producers.encode(bucket);
    expect([...producers.buckets().values()]).not.toContain(true);
    store(producers, 1, 0);
    expect([...producers.buckets().values()].filter(dirty => dirty)).toEqual([true]);
  });

  test.each([
    ['too few fields', ['p', 1]],
    ['a window of 65', ['p', 1, 'i', 65, false, 0, 0, 0, []]],
    ['more batches than the window', ['p', 1, 'i', 1, false, 0, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8]]],
    ['half a batch', ['p', 1, 'i', 2, false, 0, 0, 0, [1, 2]]],
  ])('refuses a stored producer with %s', (_, data) => {
    expect(() => Producer.decode(data)).toThrow();
  });
});
