// Writes one stream's responses and knows when to stop. A message counts until HTTP/2 has taken it, which it does only as fast as the
// client reads; so a client that stops reading costs at most `streamBytesMax` and one message, and less when all streams together have
// used up the pool.

import type { BytePool } from './byte-pool.ts';

/** What is used of a grpc-js call. */
export interface ResponseSink {
  write(bytes: Buffer, done: (error?: Error | null) => void): unknown;
}

export class StreamWriter {
  readonly #sink: ResponseSink;
  readonly #pool: BytePool;
  readonly #streamBytesMax: number;
  readonly #onRoom: () => void;
  #inFlight = 0;
  #wasFull = false;
  #closed = false;

  /** `onRoom` is called, never within `write`, when `isFull` has been true and is not any more. */
  constructor(sink: ResponseSink, pool: BytePool, streamBytesMax: number, onRoom: () => void) {
    this.#sink = sink;
    this.#pool = pool;
    this.#streamBytesMax = streamBytesMax;
    this.#onRoom = onRoom;
  }

  get bytesInFlight(): number {
    return this.#inFlight;
  }

  isFull(): boolean {
    const full = this.#inFlight > 0 && (this.#inFlight >= this.#streamBytesMax || this.#pool.isFull);
    if (full) this.#wasFull = true;
    return full;
  }

  write(bytes: Buffer): void {
    if (this.#closed) return;
    const size = bytes.length;
    this.#inFlight += size;
    this.#pool.take(size);
    this.#sink.write(bytes, () => this.#onWritten(size));
  }

  /** The call is over: nothing more is written, and the pool gets back what it lent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pool.give(this.#inFlight);
    this.#inFlight = 0;
  }

  #onWritten(size: number): void {
    if (this.#closed) return;
    this.#inFlight -= size;
    this.#pool.give(size);
    if (!this.#wasFull || this.isFull()) return;
    this.#wasFull = false;
    this.#onRoom();
  }
}
