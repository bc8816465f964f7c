import { describe, expect, it } from 'vitest';
import { AckBook } from './ack-book.ts';
import { Backoff } from './backoff.ts';
import { BufferPool } from './buffer-pool.ts';
import { CreditBook } from './credit-book.ts';
import { Deque } from './deque.ts';
import { MemoryBudget } from './memory-budget.ts';
import { Partitioner } from './partitioner.ts';
import { RangeSet } from './range-set.ts';

describe('a set of ranges', () => {
  it('is the same as a set of numbers', () => {
    let state = 7;
    const next = (below: number): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let round = 0; round < 200; round++) {
      const ranges = new RangeSet();
      const numbers = new Set<number>();
      for (let step = 0; step < 40; step++) {
        const first = next(100);
        const end = first + 1 + next(12);
        if (next(10) === 0) {
          ranges.dropBelow(first);
          for (const number of numbers) if (number < first) numbers.delete(number);
        } else {
          ranges.add(first, end);
          for (let number = first; number < end; number++) numbers.add(number);
        }
        const listed = ranges.pairs().flatMap(([from, to]) => Array.from({ length: to - from }, (_, index) => from + index));
        expect(listed).toEqual([...numbers].sort((a, b) => a - b));
        expect(ranges.pairs().every(([from], index, all) => index === 0 || from > (all[index - 1]?.[1] ?? 0))).toBe(true);
        const asked = next(100);
        expect(ranges.has(asked, asked + 3)).toBe([0, 1, 2].every(more => numbers.has(asked + more)));
      }
    }
  });
});

describe('the book of acknowledgements', () => {
  it('gathers a turn into few spans, once', () => {
    const book = new AckBook();
    book.onAttached(5, 0);
    for (let offset = 10; offset < 20; offset++) expect(book.add(5, offset, offset + 1)).toBe(true);
    book.add(5, 30, 31);
    expect(book.takePending(100)).toEqual({
      upTo: 0,
      spans: [
        [10, 20],
        [30, 31],
      ],
    });
    expect(book.takePending(100)).toBeNull();
  });

  it('says all of it again on a new connection, without what the cursor has', () => {
    const book = new AckBook();
    book.onAttached(5, 0);
    book.add(5, 0, 10);
    book.add(5, 12, 20);
    book.takePending(100);
    book.add(5, 25, 26);
    book.onAttached(5, 15);
    expect(book.takePending(100)).toEqual({
      upTo: 0,
      spans: [
        [15, 20],
        [25, 26],
      ],
    });
    book.addUpTo(5, 40);
    book.takePending(100);
    book.onAttached(5, 15);
    expect(book.takePending(100)).toEqual({ upTo: 40, spans: [] });
    book.onAttached(5, 40);
    expect(book.takePending(100)).toBeNull();
  });

  it('forgets everything when the cursor has another life', () => {
    const book = new AckBook();
    book.onAttached(5, 0);
    book.add(5, 0, 10);
    book.onReset(60);
    expect(book.takePending(100)).toBeNull();
    expect(book.add(5, 3, 4)).toBe(false);
    expect(book.addUpTo(5, 4)).toBe(false);
    expect(book.hasPending).toBe(false);
    expect(book.add(60, 3, 4)).toBe(true);
    book.onAttached(70, 0);
    expect(book.hasPending).toBe(false);
  });

  it('does not send below what is acknowledged cumulatively', () => {
    const book = new AckBook();
    book.onAttached(5, 0);
    book.add(5, 1, 3);
    book.add(5, 9, 12);
    book.addUpTo(5, 10);
    book.addUpTo(5, 4);
    expect(book.takePending(100)).toEqual({ upTo: 10, spans: [[10, 12]] });
  });

  it('sends many spans in pieces', () => {
    const book = new AckBook();
    book.onAttached(5, 0);
    for (let offset = 0; offset < 50; offset += 2) book.add(5, offset, offset + 1);
    expect(book.takePending(10)?.spans).toHaveLength(10);
    expect(book.takePending(10)?.spans).toHaveLength(10);
    expect(book.takePending(10)?.spans).toHaveLength(5);
    expect(book.takePending(10)).toBeNull();
  });

  it('stays bounded however many holes there are', () => {
    const book = new AckBook();
    book.onAttached(5, 0);
    for (let offset = 0; offset < 60_000; offset += 2) {
      book.add(5, offset, offset + 1);
      if (offset % 1000 === 0) book.takePending(100_000);
    }
    book.onAttached(5, 0);
    expect(book.takePending(100_000)?.spans.length).toBeLessThanOrEqual(10_000);
  });
});

describe('the book of credit', () => {
  it('grants all at an attach and gives back by quarters what was taken', () => {
    const book = new CreditBook(100, 1000);
    book.onAttached();
    expect(book.take()).toEqual({ messages: 100, bytes: 1000 });
    expect(book.take()).toBeNull();
    book.onTaken(10, 100);
    expect(book.take()).toBeNull();
    book.onTaken(10, 150);
    expect(book.take()).toEqual({ messages: 20, bytes: 250 });
  });

  it('never leaves a server dry: what is not given back is less than what was granted', () => {
    for (const [messages, bytes] of [
      [1, 1],
      [2, 10_000],
      [100_000, 3],
    ] as const) {
      const book = new CreditBook(messages, bytes);
      book.onAttached();
      book.take();
      let serverMessages: number = messages;
      let serverBytes: number = bytes;
      for (let n = 0; n < 1000; n++) {
        expect(serverMessages > 0 && serverBytes > 0).toBe(true);
        serverMessages -= 3;
        serverBytes -= 500;
        book.onTaken(3, 500);
        const grant = book.take();
        serverMessages += grant?.messages ?? 0;
        serverBytes += grant?.bytes ?? 0;
        expect(serverMessages <= messages && serverBytes <= bytes).toBe(true);
      }
    }
  });

  it('does not grant again what was taken before a new attach', () => {
    const book = new CreditBook(100, 1000);
    book.onAttached();
    book.take();
    book.onTaken(90, 900);
    book.onAttached();
    expect(book.take()).toEqual({ messages: 100, bytes: 1000 });
  });
});

describe('small parts', () => {
  it('a deque keeps order through many turns of its array', () => {
    const deque = new Deque<number>();
    let pushed = 0;
    let shifted = 0;
    for (let n = 0; n < 20_000; n++) {
      deque.push(pushed++);
      if (n % 3 !== 0) expect(deque.shift()).toBe(shifted++);
    }
    expect(deque.length).toBe(pushed - shifted);
    expect(deque.removeUnless(item => item % 2 === 0).every(item => item % 2 === 1)).toBe(true);
    expect(deque.drain().every(item => item % 2 === 0)).toBe(true);
    expect(deque.shift()).toBeUndefined();
  });

  it('a pool hands out what was given back, in sizes of its own, up to a bound', () => {
    const pool = new BufferPool(3000);
    const one = pool.take(700);
    expect(one.length).toBe(1024);
    pool.give(one);
    expect(pool.take(513)).toBe(one);
    expect(pool.take(600)).not.toBe(one);
    for (const bytes of [1, 256, 257, 262_144]) expect(pool.take(bytes).length).toBeGreaterThanOrEqual(bytes);
    expect(pool.take(300_000).length).toBe(300_000);
    pool.give(Buffer.alloc(1000));
    for (let n = 0; n < 5; n++) pool.give(Buffer.alloc(1024));
    expect(pool.idleBytes).toBe(2048);
  });

  it('a backoff doubles up to its longest and begins again', () => {
    const backoff = new Backoff(10, 50);
    expect([0, 0, 0, 0].map(random => backoff.next(random))).toEqual([10, 20, 40, 50]);
    expect(backoff.next(0.999)).toBeGreaterThan(25);
    backoff.reset();
    expect(backoff.next(0)).toBe(10);
  });

  it('a partitioner moves on with each batch of its turn, and keys keep theirs', () => {
    const partitioner = new Partitioner(3, 2);
    expect(partitioner.present()).toBe(2);
    partitioner.onBatchClosed(1);
    expect(partitioner.present()).toBe(2);
    partitioner.onBatchClosed(2);
    expect(partitioner.present()).toBe(0);
    expect(partitioner.ofHash(0xffff_ffff)).toBe(0x7fff_ffff % 3);
  });

  it('a budget tells those who found it full, once', () => {
    const budget = new MemoryBudget(10);
    let told = 0;
    const user = { onMemory: () => void told++ };
    budget.notify(user);
    budget.take(12);
    budget.notify(user);
    budget.give(1);
    expect([told, budget.isFull]).toEqual([0, true]);
    budget.give(5);
    budget.give(5);
    expect(told).toBe(1);
  });
});
