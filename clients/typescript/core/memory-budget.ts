// Bytes that several owners share. Who finds it full leaves its name, and is told once when there is room.

import { assert } from '#lib/types/assert.ts';

export interface MemoryUser {
  onMemory(): void;
}

export class MemoryBudget {
  readonly #bytesMax: number;
  readonly #told = new Set<MemoryUser>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get isFull(): boolean {
    return this.#bytes >= this.#bytesMax;
  }

  take(bytes: number): void {
    this.#bytes += bytes;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
    assert(this.#bytes >= 0, 'no more is given back than was taken');
    if (this.#told.size === 0 || this.isFull) return;
    const users = [...this.#told];
    this.#told.clear();
    for (const user of users) user.onMemory();
  }

  /** Tell `user` when there is room, if it is full now. */
  notify(user: MemoryUser): void {
    if (this.isFull) this.#told.add(user);
  }

  forget(user: MemoryUser): void {
    this.#told.delete(user);
  }
}
