// The partitions that this broker has open. One is taken over when it is first used and let go when nobody has used it for a while, so
// that memory follows what is in use and not what exists. Who uses one holds a lease; a lease ends with a reason when the partition does.

import type { Clock, Logger } from '#lib/runtime/ports.ts';
import { assert } from '#lib/types/assert.ts';
import type { PartitionId } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import type { EffectivePolicies } from '../partition/api.ts';
import type { OwnedPartition } from '../partition/partition.ts';
import type { PartitionLease } from '../rpc/edge.ts';

export interface PartitionsDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Takes it over; `onEnded`: it has ended by itself. */
  open(partition: PartitionId, onEnded: (reason: Failure) => void): Promise<OwnedPartition | Failure>;
  readonly limits: PartitionsLimits;
}

export interface PartitionsLimits {
  readonly openMax: number;
  /** Unused for so long, a partition is closed. */
  readonly idleCloseMs: number;
  /** Take overs at a time. */
  readonly openingMax: number;
}

interface Slot {
  readonly id: PartitionId;
  readonly leases: Set<Lease>;
  state:
    | { readonly kind: 'opening'; readonly done: Promise<OwnedPartition | Failure> }
    | { readonly kind: 'open'; readonly partition: OwnedPartition }
    | { readonly kind: 'closing'; readonly done: Promise<void>; readonly partition: OwnedPartition };
  usedMs: number;
}

interface Lease extends PartitionLease {
  onClosed: ((reason: Failure) => void) | null;
}

export class Partitions {
  readonly #deps: PartitionsDeps;
  readonly #slots = new Map<PartitionId, Slot>();
  #opening = 0;
  #queue: (() => void)[] = [];
  #closed = false;

  constructor(deps: PartitionsDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#slots.size;
  }

  /** Open, or on its way to be, or to be closed. */
  has(id: PartitionId): boolean {
    return this.#slots.has(id);
  }

  isOpen(id: PartitionId): boolean {
    return this.#slots.get(id)?.state.kind === 'open';
  }

  *open(): Generator<readonly [PartitionId, OwnedPartition]> {
    for (const slot of this.#slots.values()) if (slot.state.kind === 'open') yield [slot.id, slot.state.partition];
  }

  async lease(id: PartitionId, onClosed: (reason: Failure) => void): Promise<(PartitionLease & { partition: OwnedPartition }) | Failure> {
    for (;;) {
      if (this.#closed) return STOPPING;
      const known = this.#slots.get(id);
      const room = known ? null : this.#makeRoom();
      if (room instanceof Promise) {
        await room;
        continue;
      }
      if (room) return room;
      const slot = known ?? this.#begin(id);
      if (slot.state.kind === 'closing') {
        await slot.state.done;
        continue;
      }
      if (slot.state.kind === 'open') return this.#grant(slot, slot.state.partition, onClosed);
      const opened = await slot.state.done;
      if (isFailure(opened)) return opened;
      // Between the promise and here it may have ended or begun to close.
      if (this.isOpen(id) && this.#slots.get(id) === slot) return this.#grant(slot, opened, onClosed);
    }
  }

  setPolicies(id: PartitionId, policies: EffectivePolicies): void {
    const state = this.#slots.get(id)?.state;
    if (state?.kind === 'open') state.partition.setPolicies(policies);
  }

  /** About once a second. */
  maintain(nowMs: number): void {
    const { idleCloseMs } = this.#deps.limits;
    for (const slot of this.#slots.values()) {
      if (slot.state.kind !== 'open') continue;
      const { partition } = slot.state;
      partition.maintain(nowMs);
      if (slot.leases.size > 0) slot.usedMs = nowMs;
      else if (nowMs - slot.usedMs >= idleCloseMs && partition.isIdle()) this.#close(slot, partition, () => partition.close());
    }
  }

  /** Ends it for good: its topic has been purged in the catalog. Everybody who uses it is told. */
  async purge(id: PartitionId, reason: Failure): Promise<Failure | null> {
    const lease = await this.lease(id, () => {});
    if (isFailure(lease)) return lease;
    const slot = this.#slots.get(id);
    if (slot?.state.kind !== 'open') return fail('unavailable', 'the partition ended before it was purged');
    const { partition } = slot.state;
    this.#endLeases(slot, reason);
    await this.#close(slot, partition, () => partition.purge());
    return null;
  }

  /** Tells everybody who uses it, at once; opening and purging come later. */
  end(id: PartitionId, reason: Failure): void {
    const slot = this.#slots.get(id);
    if (slot) this.#endLeases(slot, reason);
  }

  /** Hands all of them over. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const wake of this.#queue.splice(0)) wake();
    const ends: Promise<unknown>[] = [];
    for (const slot of [...this.#slots.values()]) {
      if (slot.state.kind === 'open') {
        const { partition } = slot.state;
        // What is pending is answered first, then its producers hear why it ends.
        ends.push(this.#close(slot, partition, () => partition.close()).then(() => this.#endLeases(slot, STOPPING)));
      } else if (slot.state.kind === 'closing') {
        // A purge may wait for bookies that are away: it is given up, and goes on with the next broker.
        ends.push(slot.state.partition.close(), slot.state.done);
      } else ends.push(slot.state.done.then(opened => (isFailure(opened) ? undefined : opened.close())));
    }
    await Promise.all(ends);
  }

  /** Null: there is room for one more. A promise: there will be, ask again. */
  #makeRoom(): Promise<void> | Failure | null {
    const { openMax } = this.#deps.limits;
    if (this.#slots.size < openMax) return null;
    const closing = this.#evict();
    if (this.#slots.size < openMax * 2) return null;
    return closing ?? fail('overloaded', `${this.#slots.size} partitions are open on this broker, and all are in use`, {}, 1000);
  }

  #begin(id: PartitionId): Slot {
    const done = this.#openSoon(id);
    const slot: Slot = { id, leases: new Set(), state: { kind: 'opening', done }, usedMs: this.#deps.clock.now() };
    this.#slots.set(id, slot);
    done.then(opened => this.#onOpened(slot, opened));
    return slot;
  }

  async #openSoon(id: PartitionId): Promise<OwnedPartition | Failure> {
    while (this.#opening >= this.#deps.limits.openingMax && !this.#closed) await new Promise<void>(wake => this.#queue.push(wake));
    if (this.#closed) return STOPPING;
    this.#opening += 1;
    try {
      return await this.#deps.open(id, reason => this.#onEnded(id, reason));
    } catch (error) {
      this.#deps.logger.error('opening a partition failed', { partition: id, error: String(error) });
      return fail('internal', "the partition could not be opened; the server's log says why");
    } finally {
      this.#opening -= 1;
      this.#queue.shift()?.();
    }
  }

  #onOpened(slot: Slot, opened: OwnedPartition | Failure): void {
    assert(slot.state.kind === 'opening', 'a partition opens once');
    if (isFailure(opened) || this.#closed) {
      this.#slots.delete(slot.id);
      if (isFailure(opened))
        this.#deps.logger.warn('partition not opened', { partition: slot.id, code: opened.code, reason: opened.message });
      return;
    }
    slot.state = { kind: 'open', partition: opened };
    slot.usedMs = this.#deps.clock.now();
  }

  #grant(slot: Slot, partition: OwnedPartition, onClosed: (reason: Failure) => void): Lease & { partition: OwnedPartition } {
    const lease = {
      partition,
      onClosed: onClosed as ((reason: Failure) => void) | null,
      release: () => {
        lease.onClosed = null;
        slot.leases.delete(lease);
        slot.usedMs = this.#deps.clock.now();
      },
    };
    slot.leases.add(lease);
    return lease;
  }

  #onEnded(id: PartitionId, reason: Failure): void {
    const slot = this.#slots.get(id);
    if (slot?.state.kind !== 'open') return;
    this.#slots.delete(id);
    this.#endLeases(slot, reason);
  }

  #endLeases(slot: Slot, reason: Failure): void {
    for (const lease of [...slot.leases]) {
      const { onClosed } = lease;
      lease.release();
      onClosed?.(reason);
    }
  }

  /** The one that was unused for longest makes room, one at rest before one that has to save something first. Null: all are in use. */
  #evict(): Promise<void> | null {
    let best: { readonly slot: Slot; readonly partition: OwnedPartition; readonly idle: boolean } | null = null;
    let closing: Promise<void> | null = null;
    for (const slot of this.#slots.values()) {
      if (slot.state.kind === 'closing') closing ??= slot.state.done;
      if (slot.state.kind !== 'open' || slot.leases.size > 0) continue;
      const { partition } = slot.state;
      const idle = partition.isIdle();
      if (!best || (idle && !best.idle) || (idle === best.idle && slot.usedMs < best.slot.usedMs)) best = { slot, partition, idle };
    }
    if (!best) return closing;
    const { slot, partition } = best;
    const done = this.#close(slot, partition, () => partition.close());
    return closing ?? done;
  }

  #close(slot: Slot, partition: OwnedPartition, act: () => Promise<void>): Promise<void> {
    const done = act()
      .catch(error => this.#deps.logger.error('closing a partition failed', { partition: slot.id, error: String(error) }))
      .then(() => {
        if (this.#slots.get(slot.id) === slot) this.#slots.delete(slot.id);
      });
    slot.state = { kind: 'closing', done, partition };
    return done;
  }
}

const STOPPING: Failure = fail('unavailable', 'the server is stopping', {}, 500);
