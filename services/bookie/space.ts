// Is there room for clients' entries? Past the high-water mark they are refused as retryable; reserved ones (control entries, copies of a
// take over) go on, each partition up to a budget, so that a full disk can be trimmed and taken over. Asks the disk only while something
// is written, or until there is room again.

import { join } from 'node:path';
import { DiskError, type Timer, type World } from '#lib/runtime/ports.ts';
import type { PartitionId } from '#lib/types/brands.ts';

const CHECK_MS = 1000;
/** Looked at earlier when a part of what is kept free has been written since, within these bounds. */
const CHECK_BYTES_MIN = 64 * 1024;
const CHECK_BYTES_MAX = 16 * 1024 * 1024;
/** Of a small disk, not more than this part is kept free. */
const RESERVED_SHARE_MAX = 0.05;

export class Space {
  readonly #world: World;
  readonly #folder: string;
  readonly #reservedBytes: number;
  readonly #partitionBytesMax: number;
  readonly #checkBytes: number;
  readonly #spent = new Map<PartitionId, number>();
  #isFull = false;
  #freeBytes = Number.MAX_SAFE_INTEGER;
  #checking = false;
  #timer: Timer | undefined;
  #writtenBytes = 0;
  #isClosed = false;

  constructor(world: World, folder: string, reservedBytes: number, partitionBytesMax: number) {
    this.#world = world;
    this.#folder = folder;
    this.#reservedBytes = reservedBytes;
    this.#partitionBytesMax = partitionBytesMax;
    this.#checkBytes = Math.max(CHECK_BYTES_MIN, Math.min(reservedBytes / 8, CHECK_BYTES_MAX));
  }

  get isFull(): boolean {
    return this.#isFull;
  }
  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** True when an entry of `bytes` has to wait for space. */
  refuses(partition: PartitionId, bytes: number, reserved: boolean): boolean {
    if (!this.#isFull) return false;
    return !reserved || (this.#spent.get(partition) ?? 0) + bytes > this.#partitionBytesMax;
  }

  /** An entry was taken. */
  wrote(partition: PartitionId, bytes: number): void {
    if (this.#isFull) this.#spent.set(partition, (this.#spent.get(partition) ?? 0) + bytes);
    this.#writtenBytes += bytes;
    if (this.#writtenBytes >= this.#checkBytes) void this.check();
    else this.#timer ??= this.#world.clock.after(CHECK_MS, this.#onTimer);
  }

  async check(): Promise<void> {
    if (this.#checking || this.#isClosed) return;
    this.#checking = true;
    this.#writtenBytes = 0;
    try {
      const { free, total } = await this.#world.disk.space(join(this.#folder, '.'));
      this.#freeBytes = free;
      this.#become(free < Math.min(this.#reservedBytes, total * RESERVED_SHARE_MAX));
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      this.#world.logger.warn('the free space of the disk is not known', { reason: error.reason });
    } finally {
      this.#checking = false;
    }
    if (this.#isFull && !this.#isClosed) this.#timer ??= this.#world.clock.after(CHECK_MS, this.#onTimer);
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined;
    void this.check();
  };

  #become(isFull: boolean): void {
    if (isFull === this.#isFull) return;
    this.#isFull = isFull;
    this.#spent.clear();
    if (isFull)
      this.#world.logger.warn('the disk is full: entries of clients are refused until there is space', { freeBytes: this.#freeBytes });
    else this.#world.logger.info('there is space again: entries are accepted', { freeBytes: this.#freeBytes });
  }
}
