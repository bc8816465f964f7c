// The deliveries of one stream on their way out, in the order in which they came, over all its consumers. Bounded in bytes; an entry that
// has to be unpacked first keeps its place, and what is behind it waits.

import type { Offset } from '#lib/types/brands.ts';
import { type Failure, isFailure } from '#lib/types/errors.ts';
import type { DeliveryFrame } from '#lib/wire/frames.ts';
import { deliveryBytes } from '#lib/wire/messaging-codec.ts';
import type { BytePool } from './byte-pool.ts';
import { type Appetite, toDeliveries } from './deliveries.ts';

export interface DeliveryQueueEvents {
  /** There is something to take. */
  onReady(): void;
  /** It has been full and is not any more; never called within `push`. */
  onRoom(): void;
  /** An entry cannot be delivered to this consumer. */
  onFailed(handle: number, failure: Failure): void;
}

interface Slot {
  readonly appetite: Appetite;
  /** null: being unpacked. */
  deliveries: readonly DeliveryFrame[] | null;
  /** Of `deliveries`, how many have been taken. */
  taken: number;
  bytes: number;
  dropped: boolean;
}

export class DeliveryQueue {
  readonly #pool: BytePool;
  readonly #bytesMax: number;
  readonly #events: DeliveryQueueEvents;
  #slots: Slot[] = [];
  /** Slots before it are done; they are cut off in bulk. */
  #head = 0;
  #bytes = 0;
  #wasFull = false;
  #closed = false;

  constructor(pool: BytePool, bytesMax: number, events: DeliveryQueueEvents) {
    this.#pool = pool;
    this.#bytesMax = bytesMax;
    this.#events = events;
  }

  get bytes(): number {
    return this.#bytes;
  }

  isFull(): boolean {
    const full = this.#bytes > 0 && (this.#bytes >= this.#bytesMax || this.#pool.isFull);
    if (full) this.#wasFull = true;
    return full;
  }

  push(entry: Buffer, ranges: readonly (readonly [number, number])[], resetEpoch: Offset | 0, attempt: number, appetite: Appetite): void {
    if (this.#closed) return;
    const made = toDeliveries(entry, ranges, resetEpoch, attempt, appetite);
    if (isFailure(made)) {
      this.#events.onFailed(appetite.handle, made);
      return;
    }
    const slot: Slot = { appetite, deliveries: null, taken: 0, bytes: entry.length, dropped: false };
    this.#slots.push(slot);
    this.#take(slot.bytes);
    if (made instanceof Promise) made.then(unpacked => this.#onUnpacked(slot, unpacked));
    else {
      slot.deliveries = made;
      this.#events.onReady();
    }
  }

  hasReady(): boolean {
    this.#skipDone();
    return this.#slots[this.#head]?.deliveries != null;
  }

  /** Deliveries for one response: about `packBytes`, at least one when there is one, within what every addressee takes. */
  take(packBytes: number): readonly DeliveryFrame[] {
    const out: DeliveryFrame[] = [];
    let bytes = 0;
    let limit = Number.POSITIVE_INFINITY;
    for (this.#skipDone(); ; this.#skipDone()) {
      const slot = this.#slots[this.#head];
      if (!slot?.deliveries) return out;
      const next = slot.deliveries[slot.taken];
      if (!next) return out;
      const size = deliveryBytes(next);
      limit = Math.min(limit, slot.appetite.responseBytesMax - RESPONSE_RESERVE_BYTES);
      if (out.length > 0 && (bytes + size > limit || bytes + size > packBytes)) return out;
      out.push(next);
      bytes += size;
      slot.taken += 1;
    }
  }

  /** After what was taken has been copied into a response: who waited for room is told. */
  afterTake(): void {
    this.#skipDone();
    if (!this.#wasFull || this.isFull()) return;
    this.#wasFull = false;
    this.#events.onRoom();
  }

  /** This consumer is gone: what waits for it is not sent. */
  drop(handle: number): void {
    for (let i = this.#head; i < this.#slots.length; i++) {
      const slot = this.#slots[i];
      if (slot?.appetite.handle === handle) slot.dropped = true;
    }
    this.#skipDone();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#slots = [];
    this.#head = 0;
    this.#pool.give(this.#bytes);
    this.#bytes = 0;
  }

  #onUnpacked(slot: Slot, unpacked: readonly DeliveryFrame[] | Failure): void {
    if (this.#closed || slot.dropped) return;
    if (isFailure(unpacked)) {
      slot.dropped = true;
      this.#events.onFailed(slot.appetite.handle, unpacked);
      return;
    }
    let bytes = 0;
    for (const delivery of unpacked) bytes += deliveryBytes(delivery);
    this.#give(slot.bytes);
    slot.bytes = bytes;
    this.#take(bytes);
    slot.deliveries = unpacked;
    this.#events.onReady();
  }

  #skipDone(): void {
    for (;;) {
      const slot = this.#slots[this.#head];
      if (!slot || !(slot.dropped || (slot.deliveries !== null && slot.taken >= slot.deliveries.length))) break;
      this.#give(slot.bytes);
      this.#head += 1;
    }
    if (this.#head > 64 && this.#head * 2 > this.#slots.length) {
      this.#slots = this.#slots.slice(this.#head);
      this.#head = 0;
    }
  }

  #take(bytes: number): void {
    this.#bytes += bytes;
    this.#pool.take(bytes);
  }

  #give(bytes: number): void {
    this.#bytes -= bytes;
    this.#pool.give(bytes);
  }
}

/** Room in a response for the frames that are no deliveries. */
const RESPONSE_RESERVE_BYTES = 4096;
