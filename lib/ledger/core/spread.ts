// Tells what has been decided to every bookie that it concerns, again and again until each has answered or is registered no more:
// outcomes of seals, deletions, floors. Nothing waits for it; it goes on beside the writing.

import { unreachable } from '#lib/types/assert.ts';
import type { BookieId } from '#lib/types/brands.ts';
import type { BookieReply, BookieRequest, BookieTransport } from '../protocol.ts';
import { Asking, type Verdict } from './ask.ts';
import { type Pace, quicker } from './pace.ts';

/** One round: each target gets `requests` in order, the next one after the answer to the one before. */
class Spread {
  readonly #asking: Asking;
  readonly #onDone: () => void;
  #left: number;

  constructor(
    transport: BookieTransport,
    targets: readonly BookieId[],
    requests: readonly BookieRequest[],
    onAnswer: (from: BookieId, reply: BookieReply) => void,
    onDone: () => void,
  ) {
    this.#left = targets.length;
    this.#onDone = onDone;
    const steps = new Map<BookieId, number>();
    const requestFor = (to: BookieId): BookieRequest => {
      const request = requests[steps.get(to) ?? 0];
      if (request === undefined) throw new RangeError('a spread has no request left');
      return request;
    };
    this.#asking = new Asking(transport, requestFor, (from, reply) => {
      if (!isAnswer(reply) && transport.bookies().some(bookie => bookie.id === from)) return 'later';
      onAnswer(from, reply);
      const step = (steps.get(from) ?? 0) + 1;
      steps.set(from, step);
      return step < requests.length && isAnswer(reply) ? 'now' : this.#settle();
    });
    this.#asking.start(targets);
  }

  #settle(): Verdict {
    this.#left--;
    if (this.#left === 0) this.#onDone();
    return 'settled';
  }

  isDone(): boolean {
    return this.#left === 0;
  }
  tick(nowMs: number): void {
    this.#asking.tick(nowMs);
  }
  pace(): Pace {
    return this.#asking.pace();
  }
  stop(): void {
    this.#asking.stop();
  }
}

function isAnswer(reply: BookieReply): boolean {
  switch (reply.kind) {
    case 'unreachable':
    case 'busy':
      return false;
    case 'ok':
    case 'appended':
    case 'fenced':
    case 'stale':
    case 'refused':
    case 'conflict':
    case 'unknown':
    case 'gone':
    case 'entries':
    case 'located':
    case 'state':
    case 'list':
    case 'corrupt':
      return true;
    default:
      return unreachable(reply);
  }
}

/** All spreads of one partition that are under way. */
export class Spreads {
  readonly #transport: BookieTransport;
  #spreads: Spread[] = [];

  constructor(transport: BookieTransport) {
    this.#transport = transport;
  }

  /** `onDone` runs in a later turn, once each target has answered. */
  add(
    targets: readonly BookieId[],
    requests: readonly BookieRequest[],
    onAnswer: (from: BookieId, reply: BookieReply) => void,
    onDone: () => void,
  ) {
    if (targets.length === 0) return onDone();
    this.#spreads.push(new Spread(this.#transport, targets, requests, onAnswer, onDone));
  }

  tick(nowMs: number): void {
    for (const spread of this.#spreads) spread.tick(nowMs);
    this.#spreads = this.#spreads.filter(spread => !spread.isDone());
  }

  pace(): Pace {
    let pace: Pace = 'none';
    for (const spread of this.#spreads) pace = quicker(pace, spread.pace());
    return pace;
  }

  /** How many are not finished. */
  get count(): number {
    let count = 0;
    for (const spread of this.#spreads) if (!spread.isDone()) count++;
    return count;
  }

  stop(): void {
    for (const spread of this.#spreads) spread.stop();
    this.#spreads = [];
  }
}
