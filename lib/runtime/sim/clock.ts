// A clock that moves only when it is told to: timers fire in the order of their time, then of their making, so one schedule is one history.

import { assert } from '#lib/types/assert.ts';
import type { Clock, Timer } from '../ports.ts';
import { RingQueue } from '../ring-queue.ts';

export interface SimClock extends Clock {
  /** Runs the next `soon` callback, or moves to the next timer and runs it; false when nothing waits. */
  step(): boolean;
  /** Moves by `ms`, running all that falls due, in order. Promises do not settle in between. */
  advance(ms: number): void;
  /** As `advance`, but lets promises settle after every step: `turns` microtask turns each. */
  advanceSettled(ms: number, turns?: number): Promise<void>;
  /** When the next timer fires; null when there is none. `soon` callbacks are due at once. */
  nextAt(): number | null;
  /** Shifts the wall clock alone, as an operator or NTP does. */
  jump(ms: number): void;
}

interface Waiting {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
  cancelled: boolean;
}

const SETTLE_TURNS = 24;
const SOON_MAX = 2 ** 20;

/** Starts at `startMs` on the wall clock and 0 on the steady one. */
export function simClock(startMs = 1_700_000_000_000): SimClock {
  const heap: Waiting[] = [];
  const soon = new RingQueue<() => void>(SOON_MAX);
  let now = 0;
  let wallOffset = startMs;
  let order = 0;

  const next = (): Waiting | undefined => {
    for (let first = heap[0]; first; first = heap[0]) {
      if (!first.cancelled) return first;
      popHeap(heap);
    }
    return undefined;
  };
  /** Runs one thing that is due up to `limit`; false when there is none. */
  const stepUntil = (limit: number): boolean => {
    const run = soon.shift();
    if (run) {
      run();
      return true;
    }
    const timer = next();
    if (!timer || timer.at > limit) return false;
    popHeap(heap);
    now = Math.max(now, timer.at);
    timer.run();
    return true;
  };
  const settle = async (turns: number): Promise<void> => {
    for (let turn = 0; turn < turns; turn++) await undefined;
  };

  return {
    now: () => Math.floor(wallOffset + now),
    monotonic: () => now,
    after(delayMs, run): Timer {
      assert(delayMs >= 0, `a delay is 0 or more, not ${delayMs}`);
      const timer = { at: now + delayMs, order: order++, run, cancelled: false };
      pushHeap(heap, timer);
      return {
        cancel: () => {
          timer.cancelled = true;
        },
      };
    },
    soon(run) {
      soon.push(run);
    },
    step: () => stepUntil(Number.POSITIVE_INFINITY),
    advance(ms) {
      const end = now + ms;
      while (stepUntil(end)) {}
      now = Math.max(now, end);
    },
    async advanceSettled(ms, turns = SETTLE_TURNS) {
      const end = now + ms;
      await settle(turns);
      while (stepUntil(end)) await settle(turns);
      now = Math.max(now, end);
    },
    nextAt: () => next()?.at ?? null,
    jump(ms) {
      wallOffset += ms;
    },
  };
}

/** The clock of one life of a node: after `end`, nothing that it was asked to run runs any more. */
export function mortalClock(clock: Clock): Clock & { end(): void } {
  let isOver = false;
  const mortal = (run: () => void) => () => {
    if (!isOver) run();
  };
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    after: (delayMs, run) => clock.after(delayMs, mortal(run)),
    soon: run => clock.soon(mortal(run)),
    end: () => {
      isOver = true;
    },
  };
}

const before = (a: Waiting, b: Waiting): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

function pushHeap(heap: Waiting[], added: Waiting): void {
  let at = heap.push(added) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent];
    if (!above || !before(added, above)) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = added;
}

function popHeap(heap: Waiting[]): void {
  const last = heap.pop();
  if (!last || heap.length === 0) return;
  let at = 0;
  for (;;) {
    const left = heap[2 * at + 1];
    const right = heap[2 * at + 2];
    const smaller = right && left && before(right, left) ? right : left;
    if (!smaller || !before(smaller, last)) break;
    const from = smaller === left ? 2 * at + 1 : 2 * at + 2;
    heap[at] = smaller;
    at = from;
  }
  heap[at] = last;
}
