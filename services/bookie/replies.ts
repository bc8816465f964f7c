// Answers on their way: those that wait for the journal, and those that may go at once (in the next turn, never within the call). Answers
// wait in two queues, one for records and one for what was durable when asked, because the journal keeps the order within each; so one
// function serves all of them, and an answer costs no closure.

import type { BookieReply } from '#lib/ledger/protocol.ts';
import type { Clock } from '#lib/runtime/ports.ts';
import { RingQueue } from '#lib/runtime/ring-queue.ts';
import { assert } from '#lib/types/assert.ts';

export type OnReply = (reply: BookieReply) => void;

const WAITING_MAX = 2 ** 17;

export class Replies {
  readonly #clock: Clock;
  readonly #recorded = this.#queue();
  readonly #unrecorded = this.#queue();
  readonly #ready = this.#queue();
  #isScheduled = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Push-back: so many answers wait that no request should be taken. */
  get isFull(): boolean {
    return this.#recorded.replies.isFull || this.#unrecorded.replies.length + this.#ready.replies.length >= WAITING_MAX / 2;
  }
  get waiting(): number {
    return this.#recorded.replies.length + this.#unrecorded.replies.length + this.#ready.replies.length;
  }

  /** Goes out in the next turn. */
  soon(reply: BookieReply, onReply: OnReply): void {
    if (this.#ready.replies.isFull) {
      this.#clock.soon(() => onReply(reply));
      return;
    }
    push(this.#ready, reply, onReply);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#clock.soon(this.#onTurn);
  }

  /** Goes out when the record that is appended next, with `onRecord`, is durable. */
  withRecord(reply: BookieReply, onReply: OnReply): void {
    push(this.#recorded, reply, onReply);
  }

  /** Goes out when all that is in the journal now is durable: `onDurable` is to be given to the journal. */
  whenDurable(reply: BookieReply, onReply: OnReply): void {
    push(this.#unrecorded, reply, onReply);
  }

  readonly onRecord = (): void => give(this.#recorded);
  readonly onDurable = (): void => give(this.#unrecorded);

  readonly #onTurn = (): void => {
    this.#isScheduled = false;
    for (let left = this.#ready.replies.length; left > 0; left--) give(this.#ready);
  };

  #queue(): Waiting {
    return { replies: new RingQueue<BookieReply>(WAITING_MAX), callbacks: new RingQueue<OnReply>(WAITING_MAX) };
  }
}

interface Waiting {
  readonly replies: RingQueue<BookieReply>;
  readonly callbacks: RingQueue<OnReply>;
}

function push(queue: Waiting, reply: BookieReply, onReply: OnReply): void {
  queue.replies.push(reply);
  queue.callbacks.push(onReply);
}

function give(queue: Waiting): void {
  const reply = queue.replies.shift();
  const onReply = queue.callbacks.shift();
  assert(reply !== undefined && onReply !== undefined, 'an answer waits for what is durable now');
  onReply(reply);
}
