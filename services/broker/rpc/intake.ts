// What a stream has taken in and not yet answered, in items and bytes. Reading stops past its limits, when all streams together have used
// up the pool, or while its answers find no room; it goes on at half.

import type { ReadGate } from '#lib/rpc/read-gate.ts';
import type { BytePool } from './byte-pool.ts';

export interface IntakeLimits {
  readonly bytesMax: number;
  readonly itemsMax: number;
}

export class Intake {
  readonly #gate: ReadGate;
  readonly #pool: BytePool;
  readonly #limits: IntakeLimits;
  #bytes = 0;
  #items = 0;
  #over = false;
  #answersWait = false;
  #closed = false;

  constructor(gate: ReadGate, pool: BytePool, limits: IntakeLimits) {
    this.#gate = gate;
    this.#pool = pool;
    this.#limits = limits;
  }

  get items(): number {
    return this.#items;
  }

  take(bytes: number): void {
    if (this.#closed) return;
    this.#bytes += bytes;
    this.#items += 1;
    this.#pool.take(bytes);
    if (this.#over) return;
    this.#over = this.#bytes >= this.#limits.bytesMax || this.#items >= this.#limits.itemsMax || this.#pool.isFull;
    if (this.#over) this.#gate.shut();
  }

  give(bytes: number): void {
    if (this.#closed) return;
    this.#bytes -= bytes;
    this.#items -= 1;
    this.#pool.give(bytes);
    if (!this.#over) return;
    // A stream with nothing under way may always go on: the pool is then others' business, and nobody would wake this one.
    const low = this.#bytes * 2 <= this.#limits.bytesMax && this.#items * 2 <= this.#limits.itemsMax && !this.#pool.isFull;
    this.#over = !low && this.#items > 0;
    this.#apply();
  }

  /** How many answers wait to be written: a client that sends and never reads is not read either. */
  setAnswersWaiting(count: number): void {
    const wait = count >= this.#limits.itemsMax;
    if (wait === this.#answersWait || this.#closed) return;
    this.#answersWait = wait;
    this.#apply();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pool.give(this.#bytes);
    this.#gate.open();
  }

  #apply(): void {
    if (this.#over || this.#answersWait) this.#gate.shut();
    else this.#gate.open();
  }
}
