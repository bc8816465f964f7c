// Asks each of several bookies the same thing until it has answered: a request that could not be delivered, or was pushed back, is sent
// again after a growing pause. Every request of the protocol may be repeated, so this is safe whatever became of the one before.

import type { BookieId } from '#lib/types/brands.ts';
import type { BookieReply, BookieRequest, BookieTransport } from '../protocol.ts';
import { FAST_TICK_MS, longerWait, type Pace, SLOW_TICK_MS } from './pace.ts';

/** What a handler makes of an answer: settled, ask again at once (another request is next), or after a pause. */
export type Verdict = 'settled' | 'now' | 'later';

interface Target {
  readonly id: BookieId;
  state: 'asked' | 'waiting' | 'settled';
  waitMs: number;
  /** When to ask again; null until the next tick says what time it is. */
  dueMs: number | null;
}

export class Asking {
  readonly #transport: BookieTransport;
  readonly #request: (to: BookieId) => BookieRequest;
  readonly #onAnswer: (from: BookieId, reply: BookieReply) => Verdict;
  readonly #targets: Target[] = [];
  #stopped = false;

  constructor(
    transport: BookieTransport,
    request: (to: BookieId) => BookieRequest,
    onAnswer: (from: BookieId, reply: BookieReply) => Verdict,
  ) {
    this.#transport = transport;
    this.#request = request;
    this.#onAnswer = onAnswer;
  }

  /** Begins with these bookies; one that was asked before is left alone. */
  start(targets: readonly BookieId[]): void {
    for (const id of targets) {
      if (this.#targets.some(target => target.id === id)) continue;
      const target: Target = { id, state: 'asked', waitMs: 0, dueMs: null };
      this.#targets.push(target);
      this.#ask(target);
    }
  }

  /** Asks a bookie again whose answer was settled. */
  again(id: BookieId): void {
    const target = this.#targets.find(known => known.id === id);
    if (!target) this.start([id]);
    else if (target.state === 'settled') this.#ask(target);
  }

  /** Every answer from now on is ignored. */
  stop(): void {
    this.#stopped = true;
  }

  tick(nowMs: number): void {
    if (this.#stopped) return;
    for (const target of this.#targets) {
      if (target.state !== 'waiting') continue;
      // Ticks are not finer than the shortest pause.
      target.dueMs ??= nowMs + Math.max(0, target.waitMs - FAST_TICK_MS);
      if (target.dueMs <= nowMs) this.#ask(target);
      if (this.#stopped) return;
    }
  }

  pace(): Pace {
    if (this.#stopped) return 'none';
    let pace: Pace = 'none';
    for (const target of this.#targets) {
      if (target.state === 'settled') continue;
      if (target.state === 'asked' || target.waitMs < SLOW_TICK_MS) return 'fast';
      pace = 'slow';
    }
    return pace;
  }

  isSettled(): boolean {
    return this.#targets.every(target => target.state === 'settled');
  }

  #ask(target: Target): void {
    target.state = 'asked';
    this.#transport.send(target.id, this.#request(target.id), reply => {
      if (this.#stopped) return;
      const verdict = this.#onAnswer(target.id, reply);
      if (this.#stopped) return;
      if (verdict === 'settled') {
        target.state = 'settled';
        target.waitMs = 0;
      } else if (verdict === 'now') {
        target.waitMs = 0;
        this.#ask(target);
      } else {
        target.state = 'waiting';
        target.waitMs = longerWait(target.waitMs);
        target.dueMs = null;
      }
    });
  }
}
