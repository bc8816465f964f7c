// Buffers that are used again: batches are packed into them, and fresh large buffers cost more in garbage collection than in packing. Sizes
// are powers of two; what is kept idle is bounded.

import { assert } from '#lib/types/assert.ts';

const SMALLEST_BITS = 8;
/** A larger one is made for its use and not kept. */
const LARGEST_BITS = 18;

export class BufferPool {
  readonly #idleBytesMax: number;
  readonly #idle: Buffer[][] = Array.from({ length: LARGEST_BITS - SMALLEST_BITS + 1 }, () => []);
  #idleBytes = 0;

  constructor(idleBytesMax: number) {
    this.#idleBytesMax = idleBytesMax;
  }

  get idleBytes(): number {
    return this.#idleBytes;
  }

  /** At least `bytes` long; its content is whatever it was. */
  take(bytes: number): Buffer {
    const kind = kindOf(bytes);
    const idle = this.#idle[kind]?.pop();
    if (idle) this.#idleBytes -= idle.length;
    // Never a slice of a shared slab: it would pin all of that.
    return idle ?? Buffer.allocUnsafeSlow(kind < this.#idle.length ? 2 ** (kind + SMALLEST_BITS) : bytes);
  }

  /** Nobody reads or writes it any more. */
  give(buffer: Buffer): void {
    const kind = kindOf(buffer.length);
    const idle = this.#idle[kind];
    if (!idle || buffer.length !== 2 ** (kind + SMALLEST_BITS) || this.#idleBytes + buffer.length > this.#idleBytesMax) return;
    assert(idle[idle.length - 1] !== buffer, 'a buffer is given back once');
    idle.push(buffer);
    this.#idleBytes += buffer.length;
  }
}

/** Index of the smallest size that holds `bytes`. */
function kindOf(bytes: number): number {
  return bytes <= 2 ** SMALLEST_BITS ? 0 : 32 - Math.clz32(bytes - 1) - SMALLEST_BITS;
}
