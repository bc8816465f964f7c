// Messages one by one out of batches. What is left of a batch when an iteration is left early is where the next one begins.

import type { ReceivedBatch, ReceivedMessage } from './received.ts';

export class MessageCursor {
  readonly #nextBatch: () => Promise<IteratorResult<ReceivedBatch, undefined>>;
  #messages: readonly ReceivedMessage[] = [];
  #at = 0;

  constructor(nextBatch: () => Promise<IteratorResult<ReceivedBatch, undefined>>) {
    this.#nextBatch = nextBatch;
  }

  next(): Promise<IteratorResult<ReceivedMessage, undefined>> {
    const message = this.#messages[this.#at];
    if (message === undefined) return this.#refill();
    this.#at += 1;
    return Promise.resolve({ value: message, done: false });
  }

  /** The rest of a batch that is void is not handed out. */
  dropIf(isVoid: (batch: ReceivedBatch) => boolean): void {
    const message = this.#messages[this.#at];
    if (message && isVoid(message.batch)) this.#messages = [];
  }

  async #refill(): Promise<IteratorResult<ReceivedMessage, undefined>> {
    for (;;) {
      const result = await this.#nextBatch();
      if (result.done) return { value: undefined, done: true };
      this.#messages = result.value.messages();
      this.#at = 0;
      const message = this.#messages[0];
      if (message === undefined) continue;
      this.#at = 1;
      return { value: message, done: false };
    }
  }
}
