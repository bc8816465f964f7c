// A disk in memory, without faults: for a server in a user's tests, which leaves no trace.

import { assert } from '#lib/types/assert.ts';
import { FolderTree } from './folder-tree.ts';
import { PagedBytes } from './paged-bytes.ts';
import { type Disk, DiskError, type DiskFile } from './ports.ts';

const TOTAL_BYTES = 2 ** 40;

export function memoryDisk(): Disk {
  const files = new Map<string, PagedBytes>();
  const folders = new FolderTree();
  const locks = new Set<string>();
  return {
    open: async (path, options = {}) => {
      let bytes = files.get(path);
      if (!bytes) {
        if (!options.create) throw new DiskError('missing', path, `${path} does not exist`);
        folders.checkParent(path);
        bytes = new PagedBytes();
        files.set(path, bytes);
      }
      return new MemoryFile(path, bytes, options.readOnly === true);
    },
    list: async folder => folders.namesIn(folder, files.keys()),
    makeFolder: async folder => folders.add(folder),
    syncFolder: async folder => folders.check(folder),
    rename: async (from, to) => {
      const bytes = files.get(from);
      if (!bytes) throw new DiskError('missing', from, `${from} does not exist`);
      folders.checkParent(to);
      files.delete(from);
      files.set(to, bytes);
    },
    remove: async path => {
      files.delete(path);
    },
    space: async () => {
      let used = 0;
      for (const bytes of files.values()) used += bytes.heldBytes;
      return { free: Math.max(0, TOTAL_BYTES - used), total: TOTAL_BYTES };
    },
    lock: async path => {
      folders.checkParent(path);
      if (locks.has(path)) return { kind: 'held', holder: 'this process' };
      locks.add(path);
      return {
        kind: 'locked',
        release: async () => {
          locks.delete(path);
        },
      };
    },
  };
}

class MemoryFile implements DiskFile {
  readonly path: string;
  readonly #bytes: PagedBytes;
  readonly #readOnly: boolean;
  #closed = false;

  constructor(path: string, bytes: PagedBytes, readOnly: boolean) {
    this.path = path;
    this.#bytes = bytes;
    this.#readOnly = readOnly;
  }

  async size(): Promise<number> {
    this.#check(false);
    return this.#bytes.size;
  }

  async write(views: readonly Uint8Array[], position: number): Promise<void> {
    this.#check(true);
    assert(Number.isSafeInteger(position) && position >= 0, `${position} is no position in a file`);
    let at = position;
    for (const view of views) {
      this.#bytes.write(view, at);
      at += view.length;
    }
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    this.#check(false);
    return this.#bytes.read(target, position);
  }

  async sync(): Promise<void> {
    this.#check(false);
  }

  async truncate(size: number): Promise<void> {
    this.#check(true);
    this.#bytes.truncate(size);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #check(writes: boolean): void {
    if (this.#closed) throw new DiskError('closed', this.path, `${this.path} is closed`);
    if (writes && this.#readOnly) throw new DiskError('read_only', this.path, `${this.path} was opened for reading only`);
  }
}
