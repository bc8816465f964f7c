// How much more a server may send of one partition. What is taken by the application is given back, in pieces of a quarter, so that
// neither every batch costs a frame nor the server runs dry.

import { assert } from '#lib/types/assert.ts';

export interface Grant {
  readonly messages: number;
  readonly bytes: number;
}

export class CreditBook {
  readonly #messagesMax: number;
  readonly #bytesMax: number;
  #messages = 0;
  #bytes = 0;

  constructor(messagesMax: number, bytesMax: number) {
    assert(messagesMax >= 1 && bytesMax >= 1, 'without credit nothing ever comes');
    this.#messagesMax = messagesMax;
    this.#bytesMax = bytesMax;
  }

  /** A new connection has none: all of it is granted again. */
  onAttached(): void {
    this.#messages = this.#messagesMax;
    this.#bytes = this.#bytesMax;
  }

  onTaken(messages: number, bytes: number): void {
    this.#messages += messages;
    this.#bytes += bytes;
  }

  get isDue(): boolean {
    return this.#messages * 4 >= this.#messagesMax || this.#bytes * 4 >= this.#bytesMax;
  }

  take(): Grant | null {
    if (!this.isDue) return null;
    const grant = { messages: this.#messages, bytes: this.#bytes };
    this.#messages = 0;
    this.#bytes = 0;
    return grant;
  }
}
