// Bytes in bulk to standard output. What is appended gathers in large blocks while the one before is being written; a slow reader is felt
// as back-pressure, never as memory; a reader that went away ends the command quietly. Nothing here blocks the event loop, so the
// connection to the server stays alive while the reader of the output does not read.

import { fstatSync, write as writeFile } from 'node:fs';

const BLOCK_BYTES = 256 * 1024;
/** Past it the user of the output must wait. */
const PENDING_BYTES_MAX = 4 * BLOCK_BYTES;

export type Outlet = (block: Buffer, done: (error: NodeJS.ErrnoException | null) => void) => void;

/** The reader of the output has gone: there is nobody to write for. */
export class OutputClosed extends Error {
  override readonly name = 'OutputClosed';
}

export class Output {
  /** Bytes that have been handed to the system so far. */
  written = 0;
  /** Bytes appended so far. */
  appended = 0;
  readonly #outlet: Outlet;
  #block: Buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  #used = 0;
  #queue: Buffer[] = [];
  #busy = false;
  #error: Error | null = null;
  #wake: (() => void)[] = [];
  #onWritten: () => void = () => undefined;

  constructor(outlet: Outlet = standardOutput()) {
    this.#outlet = outlet;
  }

  /** Called whenever `written` has grown. */
  set onWritten(run: () => void) {
    this.#onWritten = run;
  }

  /** `view` is copied. */
  readonly append = (view: Uint8Array): void => {
    this.appended += view.length;
    if (view.length > BLOCK_BYTES) {
      this.#seal();
      this.#queue.push(Buffer.from(view));
      return;
    }
    if (this.#used + view.length > BLOCK_BYTES) this.#seal();
    this.#block.set(view, this.#used);
    this.#used += view.length;
  };

  /** True: wait for `room` before more is appended. */
  isFull(): boolean {
    return this.appended - this.written > PENDING_BYTES_MAX;
  }

  /** Begins to write what has been appended, unless a write is under way, after which the rest goes at once. */
  kick(): void {
    if (this.#busy || this.#error) return;
    if (this.#queue.length === 0) this.#seal();
    const block = this.#queue.shift();
    if (!block) return;
    this.#busy = true;
    this.#outlet(block, error => {
      this.#busy = false;
      if (error) this.#error = error.code === 'EPIPE' ? new OutputClosed('the reader of the output has gone') : error;
      else this.written += block.length;
      this.#onWritten();
      for (const wake of this.#wake.splice(0)) wake();
      this.kick();
    });
  }

  /** Resolves when there is room again; rejects when nothing can be written any more. */
  async room(): Promise<void> {
    for (this.kick(); this.isFull(); ) await this.#changed();
    if (this.#error) throw this.#error;
  }

  /** Resolves when all that was appended has been handed to the system. */
  async flush(): Promise<void> {
    for (this.kick(); this.written < this.appended; ) await this.#changed();
    if (this.#error) throw this.#error;
  }

  #changed(): Promise<void> {
    if (this.#error) throw this.#error;
    return new Promise(resolve => this.#wake.push(resolve));
  }

  #seal(): void {
    if (this.#used === 0) return;
    this.#queue.push(this.#block.subarray(0, this.#used));
    this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    this.#used = 0;
  }
}

/**
 * A pipe or socket is written by the event loop: a write in the thread pool that nobody reads would keep the process from ending. A file
 * is written in the thread pool, because the stream of the runtime would stop the loop for each block.
 */
export function standardOutput(): Outlet {
  const kind = fstatSync(1);
  if (kind.isFIFO() || kind.isSocket() || process.stdout.isTTY) {
    return (block, done) => {
      process.stdout.write(block, error => done(error ?? null));
    };
  }
  return (block, done) => writeWhole(block, 0, done);
}

function writeWhole(block: Buffer, at: number, done: (error: NodeJS.ErrnoException | null) => void): void {
  writeFile(1, block, at, block.length - at, null, (error, count) => {
    if (error || at + count === block.length) done(error);
    else writeWhole(block, at + count, done);
  });
}
