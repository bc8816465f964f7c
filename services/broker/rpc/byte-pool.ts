// A budget in bytes that many streams share. Taking never fails: who takes asks first whether the pool is full, and stops its source.

import { assert } from '#lib/types/assert.ts';

export class BytePool {
  readonly bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    assert(bytesMax > 0, 'a pool has room');
    this.bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isFull(): boolean {
    return this.#bytes >= this.bytesMax;
  }

  take(bytes: number): void {
    this.#bytes += bytes;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
    assert(this.#bytes >= 0, 'a pool gets back no more than was taken');
  }
}
