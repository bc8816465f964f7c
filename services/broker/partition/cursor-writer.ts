// Brings cursors to metadata: once per tick, all partitions' changed blocks in one call. Metadata is an index: a failure is logged, what was
// not written counts as changed again, and nothing waits for it.

import { type CursorUpdate, MetadataError, type MetadataStore } from '#lib/metadata/store.ts';
import type { Timer, World } from '#lib/runtime/ports.ts';
import type { PartitionId } from '#lib/types/brands.ts';

/** A partition with cursors to write. */
export interface CursorSource {
  /** What may be written now, taken as written; `settled` is told what became of it. `more`: something else waits for acknowledgements. */
  takeCursorUpdates(): { readonly updates: readonly CursorUpdate[]; readonly more: boolean; settled(written: boolean): void };
}

interface Drop {
  readonly partition: PartitionId;
  readonly subscription: string;
}

/** Updates in one call; the rest follows in the next tick. */
const UPDATES_MAX = 2000;
const RETRY_MAX_MS = 5000;

export class CursorWriter {
  readonly #world: World;
  readonly #metadata: MetadataStore;
  readonly #tickMs: number;
  readonly #sources = new Set<CursorSource>();
  #drops: Drop[] = [];
  #timer: Timer | null = null;
  #flight: Promise<void> | null = null;
  #failures = 0;

  constructor(world: World, metadata: MetadataStore, tickMs = 200) {
    this.#world = world;
    this.#metadata = metadata;
    this.#tickMs = tickMs;
  }

  /** A cursor of this partition has changed. */
  touch(source: CursorSource): void {
    this.#sources.add(source);
    this.#arm();
  }

  /** The subscription is gone from the log; its blocks would be ignored, and are removed to save their space. */
  drop(partition: PartitionId, subscription: string): void {
    this.#drops.push({ partition, subscription });
    this.#arm();
  }

  /** The partition is no longer ours. */
  forget(source: CursorSource): void {
    this.#sources.delete(source);
  }

  /** Writes now what may be written; for a clean end. */
  async flush(): Promise<void> {
    await this.#flight;
    await this.#tick();
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#sources.clear();
  }

  #arm(): void {
    if (this.#timer !== null || this.#flight !== null) return;
    const delayMs = Math.min(RETRY_MAX_MS, this.#tickMs * 2 ** Math.min(this.#failures, 10));
    this.#timer = this.#world.clock.after(delayMs, () => {
      this.#timer = null;
      this.#tick();
    });
  }

  #tick(): Promise<void> {
    this.#flight ??= this.#write().finally(() => {
      this.#flight = null;
      if (this.#sources.size > 0 || this.#drops.length > 0) this.#arm();
    });
    return this.#flight;
  }

  async #write(): Promise<void> {
    const updates: CursorUpdate[] = [];
    const taken: { settled(written: boolean): void }[] = [];
    for (const source of this.#sources) {
      if (updates.length >= UPDATES_MAX) break;
      const changes = source.takeCursorUpdates();
      if (!changes.more) this.#sources.delete(source);
      for (const update of changes.updates) updates.push(update);
      if (changes.updates.length > 0) taken.push({ settled: written => this.#settled(source, changes, written) });
    }
    const written = await this.#attempt(updates);
    for (const changes of taken) changes.settled(written);
  }

  #settled(source: CursorSource, changes: { settled(written: boolean): void }, written: boolean): void {
    changes.settled(written);
    if (!written) this.#sources.add(source);
  }

  /** Drops first: a subscription of the same name may have been created since. */
  async #attempt(updates: readonly CursorUpdate[]): Promise<boolean> {
    try {
      for (let drop = this.#drops[0]; drop !== undefined; drop = this.#drops[0]) {
        await this.#metadata.dropCursor(drop.partition, drop.subscription);
        this.#drops.shift();
      }
      if (updates.length > 0) await this.#metadata.putCursors(updates);
      this.#failures = 0;
      return true;
    } catch (error) {
      if (!(error instanceof MetadataError)) this.#world.fatal('cursors could not be written', error);
      this.#failures++;
      this.#world.logger.warn('cursors not written to metadata, will be tried again', { error: String(error), updates: updates.length });
      return false;
    }
  }
}
