// A disk that forgets what it may. Per file it keeps the durable bytes and the writes since the last sync; `crash()` keeps, drops or
// tears (at sectors) each of those by itself, so that they persist in any order. Creations, renames and removals of files persist or not
// unless their folder was synced; a sync of the file alone does not make its name durable. Faults are switched on from outside.
//
// What a sync covers is what was *finished* when it began. Calls that are under way at a crash never settle: the process that waits for
// them is gone.

import { dirname } from 'node:path';
import { assert } from '#lib/types/assert.ts';
import { FolderTree } from '../folder-tree.ts';
import { PagedBytes } from '../paged-bytes.ts';
import { type Clock, type Disk, DiskError, type DiskErrorReason, type DiskFile } from '../ports.ts';
import type { SimRandom } from './random.ts';

/** The unit that a disk writes whole or not at all. */
export const SECTOR_BYTES = 512;

/** Asked for each call; a reason makes it fail. */
export type Fault = (path: string) => DiskErrorReason | null;

export interface SimFaults {
  /** Files may not grow beyond this in total; a write that would fails as `full`, part of it done. */
  capacityBytes: number;
  /** A failed write may have written any part. */
  write: Fault | null;
  /** A failed sync loses any part of what it should have covered, and a later sync that succeeds does not bring it back. */
  sync: Fault | null;
  read: Fault | null;
}

export interface SimDisk extends Disk {
  readonly faults: SimFaults;
  /** The power goes: what is not durable survives in part. Files that are open become unusable, locks are free. */
  crash(): void;
  /** The process ends, the machine goes on: what was written is seen by the next process, but still not durable. */
  kill(): void;
  /** The disk as the process of this life sees it: after the next crash or kill, no call of it ever settles or does anything. */
  forLife(): Disk;
  /** Turns one bit over in the stored file, as rot does: durably, without anybody having written. */
  flipBit(path: string, bit: number): void;
  /** Cuts the stored file, durably, behind everybody's back. */
  cut(path: string, size: number): void;
  /** What reads see of a file now; undefined when there is none. */
  contents(path: string): Buffer | undefined;
}

export interface SimDiskOptions {
  /** With a clock each call takes up to `delayMsMax`, so that calls overlap; without one it ends in the next microtask. */
  readonly clock?: Clock;
  readonly delayMsMax?: number;
}

type Change =
  | { readonly kind: 'write'; readonly at: number; readonly bytes: Buffer; finished: boolean }
  | { readonly kind: 'size'; readonly size: number; finished: boolean };

type FolderChange =
  | { readonly kind: 'create'; readonly path: string; readonly file: StoredFile }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string; readonly file: StoredFile }
  | { readonly kind: 'remove'; readonly path: string };

interface StoredFile {
  durable: PagedBytes;
  live: PagedBytes;
  changes: Change[];
}

/** Everything that belongs to one life, between two crashes, of the machine. */
interface Life {
  over: boolean;
}

export function simDisk(random: SimRandom, options: SimDiskOptions = {}): SimDisk {
  return new SimulatedDisk(random, options);
}

class SimulatedDisk implements SimDisk {
  readonly faults: SimFaults = { capacityBytes: Number.MAX_SAFE_INTEGER, write: null, sync: null, read: null };
  readonly #random: SimRandom;
  readonly #options: SimDiskOptions;
  readonly #folders = new FolderTree();
  readonly #durable = new Map<string, StoredFile>();
  readonly #live = new Map<string, StoredFile>();
  readonly #folderChanges = new Map<string, FolderChange[]>();
  readonly #locks = new Set<string>();
  #life: Life = { over: false };

  constructor(random: SimRandom, options: SimDiskOptions) {
    this.#random = random;
    this.#options = options;
  }

  forLife(): Disk {
    const life = this.#life;
    const alive = <T>(run: () => Promise<T>): Promise<T> => (life.over ? new Promise<never>(() => {}) : run());
    return {
      open: (path, options) => alive(() => this.open(path, options)),
      list: folder => alive(() => this.list(folder)),
      makeFolder: folder => alive(() => this.makeFolder(folder)),
      syncFolder: folder => alive(() => this.syncFolder(folder)),
      rename: (from, to) => alive(() => this.rename(from, to)),
      remove: path => alive(() => this.remove(path)),
      space: () => alive(() => this.space()),
      lock: path => alive(() => this.lock(path)),
    };
  }

  async open(path: string, options: { create?: boolean; readOnly?: boolean } = {}): Promise<DiskFile> {
    const life = this.#life;
    await this.pause(life);
    let file = this.#live.get(path);
    if (!file) {
      if (!options.create) throw missing(path);
      this.#folders.checkParent(path);
      file = { durable: new PagedBytes(), live: new PagedBytes(), changes: [] };
      this.#live.set(path, file);
      this.#note({ kind: 'create', path, file });
    }
    return new SimFile(this, life, path, file, options.readOnly === true);
  }

  async list(folder: string): Promise<string[]> {
    await this.pause(this.#life);
    return this.#folders.namesIn(folder, this.#live.keys());
  }

  async makeFolder(folder: string): Promise<void> {
    await this.pause(this.#life);
    this.#folders.add(folder);
  }

  async syncFolder(folder: string): Promise<void> {
    this.#folders.check(folder);
    const covered = this.#folderChanges.get(folder)?.length ?? 0;
    await this.pause(this.#life);
    this.#failIf(this.faults.sync, folder);
    for (const change of this.#folderChanges.get(folder)?.splice(0, covered) ?? []) applyFolderChange(this.#durable, change);
  }

  async rename(from: string, to: string): Promise<void> {
    assert(dirname(from) === dirname(to), 'a rename stays in its folder');
    await this.pause(this.#life);
    const file = this.#live.get(from);
    if (!file) throw missing(from);
    this.#live.delete(from);
    this.#live.set(to, file);
    this.#note({ kind: 'rename', from, to, file });
  }

  async remove(path: string): Promise<void> {
    await this.pause(this.#life);
    if (this.#live.delete(path)) this.#note({ kind: 'remove', path });
  }

  async space(): Promise<{ free: number; total: number }> {
    await this.pause(this.#life);
    return { free: Math.max(0, this.faults.capacityBytes - this.usedBytes()), total: this.faults.capacityBytes };
  }

  async lock(path: string): ReturnType<Disk['lock']> {
    await this.pause(this.#life);
    this.#folders.checkParent(path);
    if (this.#locks.has(path)) return { kind: 'held', holder: 'another process' };
    this.#locks.add(path);
    return {
      kind: 'locked',
      release: async () => {
        this.#locks.delete(path);
      },
    };
  }

  kill(): void {
    this.#life.over = true;
    this.#life = { over: false };
    this.#locks.clear();
    // The kernel finishes what it was given.
    for (const file of this.#live.values()) for (const change of file.changes) change.finished = true;
  }

  crash(): void {
    this.kill();
    const files = new Set([...this.#durable.values(), ...this.#live.values()]);
    for (const changes of this.#folderChanges.values()) {
      const keep = this.#mood();
      for (const change of changes) if (this.#random.chance(keep)) applyFolderChange(this.#durable, change);
    }
    this.#folderChanges.clear();
    for (const file of files) this.#crashFile(file);
    this.#live.clear();
    for (const [path, file] of this.#durable) this.#live.set(path, file);
  }

  flipBit(path: string, bit: number): void {
    const file = this.#live.get(path);
    assert(file !== undefined && bit < file.live.size * 8, `${path} has no bit ${bit}`);
    const at = Math.floor(bit / 8);
    for (const bytes of [file.live, file.durable]) {
      if (at >= bytes.size) continue;
      const one = Buffer.alloc(1);
      bytes.read(one, at);
      one[0] = (one[0] ?? 0) ^ (1 << (bit % 8));
      bytes.write(one, at);
    }
  }

  cut(path: string, size: number): void {
    const file = this.#live.get(path);
    assert(file !== undefined, `${path} does not exist`);
    file.live.truncate(size);
    file.durable.truncate(size);
  }

  contents(path: string): Buffer | undefined {
    return this.#live.get(path)?.live.toBuffer();
  }

  /** Ends when the call's time has passed; never when the machine crashes meanwhile. */
  async pause(life: Life): Promise<void> {
    const { clock, delayMsMax = 1 } = this.#options;
    if (clock) await new Promise<void>(resolve => clock.after(this.#random.next() * delayMsMax, resolve));
    else await undefined;
    if (life.over) await new Promise<never>(() => {});
  }

  usedBytes(): number {
    let used = 0;
    for (const file of this.#live.values()) used += file.live.size;
    return used;
  }

  async write(life: Life, path: string, file: StoredFile, views: readonly Uint8Array[], position: number): Promise<void> {
    if (life.over) await never();
    const bytes = Buffer.concat(views);
    const growth = Math.max(0, position + bytes.length - file.live.size);
    const room = this.faults.capacityBytes - this.usedBytes();
    const reason = this.faults.write?.(path) ?? (growth > 0 && growth > room ? 'full' : null);
    const done = reason === null ? bytes : bytes.subarray(0, this.#random.integer(Math.max(1, bytes.length - Math.max(0, growth - room))));
    const change: Change = { kind: 'write', at: position, bytes: done, finished: false };
    if (done.length > 0) {
      file.live.write(done, position);
      file.changes.push(change);
    }
    await this.pause(life);
    change.finished = true;
    if (reason !== null) throw new DiskError(reason, path, `${path}: a write failed`);
  }

  async resize(life: Life, file: StoredFile, size: number): Promise<void> {
    if (life.over) await never();
    const change: Change = { kind: 'size', size, finished: false };
    file.live.truncate(size);
    file.changes.push(change);
    await this.pause(life);
    change.finished = true;
  }

  async sync(life: Life, path: string, file: StoredFile): Promise<void> {
    if (life.over) await never();
    const covered = new Set(file.changes.filter(change => change.finished));
    const reason = this.faults.sync?.(path) ?? null;
    await this.pause(life);
    for (const change of file.changes) {
      if (!covered.has(change)) continue;
      if (reason === null) applyWhole(file.durable, change);
      else this.#applyTorn(file.durable, change, this.#mood());
    }
    file.changes = file.changes.filter(change => !covered.has(change));
    if (reason !== null) throw new DiskError(reason, path, `${path}: a sync failed`);
  }

  async read(life: Life, path: string, file: StoredFile, target: Uint8Array, position: number): Promise<number> {
    await this.pause(life);
    this.#failIf(this.faults.read, path);
    return file.live.read(target, position);
  }

  #note(change: FolderChange): void {
    const folder = dirname(change.kind === 'rename' ? change.to : change.path);
    const changes = this.#folderChanges.get(folder);
    if (changes) changes.push(change);
    else this.#folderChanges.set(folder, [change]);
  }

  #failIf(fault: Fault | null, path: string): void {
    const reason = fault?.(path) ?? null;
    if (reason !== null) throw new DiskError(reason, path, `${path}: a call failed`);
  }

  #crashFile(file: StoredFile): void {
    const keep = this.#mood();
    for (const change of file.changes) this.#applyTorn(file.durable, change, keep);
    file.changes = [];
    file.live = file.durable.copy();
  }

  /** The share that survives. The extremes are drawn often, because most mistakes show there. */
  #mood(): number {
    return this.#random.pick([0, 1, 0.5, this.#random.next()]);
  }

  /** The change as a whole, nothing of it, or some of its sectors. */
  #applyTorn(bytes: PagedBytes, change: Change, keep: number): void {
    if (change.kind === 'size' || this.#random.chance(0.5)) {
      if (this.#random.chance(keep)) applyWhole(bytes, change);
      return;
    }
    const end = change.at + change.bytes.length;
    for (let at = change.at; at < end; ) {
      const next = Math.min(end, (Math.floor(at / SECTOR_BYTES) + 1) * SECTOR_BYTES);
      if (this.#random.chance(keep)) bytes.write(change.bytes.subarray(at - change.at, next - change.at), at);
      at = next;
    }
  }
}

class SimFile implements DiskFile {
  readonly path: string;
  readonly #disk: SimulatedDisk;
  readonly #life: Life;
  readonly #file: StoredFile;
  readonly #readOnly: boolean;
  #closed = false;

  constructor(disk: SimulatedDisk, life: Life, path: string, file: StoredFile, readOnly: boolean) {
    this.path = path;
    this.#disk = disk;
    this.#life = life;
    this.#file = file;
    this.#readOnly = readOnly;
  }

  async size(): Promise<number> {
    await this.#check(false);
    return this.#file.live.size;
  }

  async write(views: readonly Uint8Array[], position: number): Promise<void> {
    assert(Number.isSafeInteger(position) && position >= 0, `${position} is no position in a file`);
    await this.#check(true);
    await this.#disk.write(this.#life, this.path, this.#file, views, position);
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    await this.#check(false);
    return await this.#disk.read(this.#life, this.path, this.#file, target, position);
  }

  async sync(): Promise<void> {
    await this.#check(false);
    await this.#disk.sync(this.#life, this.path, this.#file);
  }

  async truncate(size: number): Promise<void> {
    await this.#check(true);
    await this.#disk.resize(this.#life, this.#file, size);
  }

  async close(): Promise<void> {
    if (!this.#closed) await this.#check(false);
    this.#closed = true;
  }

  async #check(writes: boolean): Promise<void> {
    if (this.#life.over) await new Promise<never>(() => {});
    if (this.#closed) throw new DiskError('closed', this.path, `${this.path} is closed`);
    if (writes && this.#readOnly) throw new DiskError('read_only', this.path, `${this.path} was opened for reading only`);
  }
}

/** A call of a life that is over changes nothing any more, wherever between two turns it was. */
const never = (): Promise<never> => new Promise(() => {});

function missing(path: string): DiskError {
  return new DiskError('missing', path, `${path} does not exist`);
}

function applyWhole(bytes: PagedBytes, change: Change): void {
  if (change.kind === 'size') bytes.truncate(change.size);
  else bytes.write(change.bytes, change.at);
}

function applyFolderChange(names: Map<string, StoredFile>, change: FolderChange): void {
  if (change.kind === 'create') names.set(change.path, change.file);
  if (change.kind === 'remove') names.delete(change.path);
  if (change.kind === 'rename') {
    if (names.get(change.from) === change.file) names.delete(change.from);
    names.set(change.to, change.file);
  }
}
