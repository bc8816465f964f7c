// Cuts a stream of bytes into length-prefixed frames. Push in what arrives; each whole frame is handed out after it was consumed, so a
// callback that throws or closes leaves nothing half done.
//
// A frame is a u32 length and so many bytes behind it. The length is bounded before anything is allocated, and memory follows what has
// arrived, not what was announced: a peer that announces much and sends little costs little.

import { assert } from '#lib/types/assert.ts';

const PREFIX_BYTES = 4;
const FIRST_BYTES = 4 * 1024;

/** `view` is the frame without its length. `isOwned`: nobody else refers to its memory; else it is lent until the call returns. */
export type OnFrame = (view: Buffer, isOwned: boolean) => void;

export class FrameParser {
  readonly #bytesMin: number;
  #bytesMax: number;
  readonly #onFrame: OnFrame;
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #prefixFill = 0;
  /** Of the frame that is arriving. */
  #length = 0;
  #frame: Buffer | null = null;
  #fill = 0;
  #problem: string | undefined;

  constructor(bytesMin: number, bytesMax: number, onFrame: OnFrame) {
    this.#bytesMin = bytesMin;
    this.#bytesMax = bytesMax;
    this.#onFrame = onFrame;
  }

  /** From the next frame on: how large one may be. */
  allow(bytesMax: number): void {
    this.#bytesMax = bytesMax;
  }

  /** True between the first byte of a frame and its last. */
  get isWithinFrame(): boolean {
    return this.#prefixFill > 0;
  }

  /** Bytes of memory that an unfinished frame holds. */
  get heldBytes(): number {
    return this.#frame?.length ?? 0;
  }

  /** What is wrong with the stream: it cannot be read on. Undefined while all is well. `view` is lent. */
  push(view: Buffer): string | undefined {
    let at = 0;
    while (this.#problem === undefined && at < view.length)
      at = this.#prefixFill < PREFIX_BYTES ? this.#takePrefix(view, at) : this.#takeBody(view, at);
    return this.#problem;
  }

  #takePrefix(view: Buffer, from: number): number {
    const taken = Math.min(PREFIX_BYTES - this.#prefixFill, view.length - from);
    view.copy(this.#prefix, this.#prefixFill, from, from + taken);
    this.#prefixFill += taken;
    if (this.#prefixFill === PREFIX_BYTES) {
      this.#length = this.#prefix.readUInt32LE(0);
      if (this.#length < this.#bytesMin || this.#length > this.#bytesMax)
        this.#problem = `a frame of ${this.#length} bytes; allowed are ${this.#bytesMin} to ${this.#bytesMax}`;
    }
    return from + taken;
  }

  #takeBody(view: Buffer, from: number): number {
    if (this.#fill === 0 && view.length - from >= this.#length) {
      const end = from + this.#length;
      this.#give(view.subarray(from, end), false);
      return end;
    }
    const taken = Math.min(this.#length - this.#fill, view.length - from);
    const frame = this.#room(this.#fill + taken);
    view.copy(frame, this.#fill, from, from + taken);
    this.#fill += taken;
    if (this.#fill === this.#length) this.#give(frame.subarray(0, this.#length), true);
    return from + taken;
  }

  /** A buffer for at least `bytes` of the frame, with what was there. Grows fourfold, so a frame of a few chunks is placed at once. */
  #room(bytes: number): Buffer {
    const old = this.#frame;
    if (old && old.length >= bytes) return old;
    const larger = Buffer.allocUnsafeSlow(Math.min(this.#length, Math.max(FIRST_BYTES, bytes * 4)));
    old?.copy(larger, 0, 0, this.#fill);
    this.#frame = larger;
    return larger;
  }

  #give(view: Buffer, isOwned: boolean): void {
    assert(view.length === this.#length, 'a frame is whole');
    this.#prefixFill = 0;
    this.#fill = 0;
    this.#frame = null;
    this.#onFrame(view, isOwned);
  }
}
