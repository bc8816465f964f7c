// The local file system through Node. Writes and reads go on until all bytes are done, every error becomes a `DiskError`, and a folder
// that was made is durable when `makeFolder` returns.

import * as fs from 'node:fs';
import * as fsp from 'node:fs/promises';
import { dirname } from 'node:path';
import { assert } from '#lib/types/assert.ts';
import { type Disk, DiskError, type DiskErrorReason, type DiskFile } from '../ports.ts';
import { lockFile } from './lock.ts';

/** What Linux takes in one `writev` (IOV_MAX). */
const BUFFERS_MAX = 1024;

const REASONS: Readonly<Record<string, DiskErrorReason>> = {
  ENOSPC: 'full',
  EDQUOT: 'full',
  EROFS: 'read_only',
  EACCES: 'read_only',
  EPERM: 'read_only',
  ENOENT: 'missing',
  EBADF: 'closed',
};

export function nodeDisk(): Disk {
  return {
    open: (path, options = {}) => openFile(path, options),
    list: folder => readNames(folder),
    makeFolder: folder => guard(folder, () => makeFolder(folder)),
    syncFolder: folder => guard(folder, () => syncFolder(folder)),
    rename: (from, to) => guard(from, () => fsp.rename(from, to)),
    remove: path => guard(path, () => fsp.rm(path, { force: true })),
    space: path =>
      guard(path, async () => {
        const { bavail, blocks, bsize } = await fsp.statfs(path);
        return { free: bavail * bsize, total: blocks * bsize };
      }),
    lock: path => guard(path, () => lockFile(path)),
  };
}

async function guard<T>(path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw diskError(path, error);
  }
}

/** The typed form of what Node threw. */
export function diskError(path: string, error: unknown): DiskError {
  if (error instanceof DiskError) return error;
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  const message = error instanceof Error ? error.message : String(error);
  return new DiskError(REASONS[code] ?? 'io', path, `${path}: ${message}`, { cause: error });
}

function openFile(path: string, options: { create?: boolean; readOnly?: boolean }): Promise<DiskFile> {
  const access = options.readOnly ? fs.constants.O_RDONLY : fs.constants.O_RDWR;
  const flags = access | (options.create ? fs.constants.O_CREAT : 0);
  return new Promise((resolve, reject) => {
    fs.open(path, flags, 0o640, (error, fd) => {
      if (error) reject(diskError(path, error));
      else resolve(new NodeFile(path, fd));
    });
  });
}

async function readNames(folder: string): Promise<string[]> {
  try {
    return (await fsp.readdir(folder)).sort();
  } catch (error) {
    const typed = diskError(folder, error);
    if (typed.reason === 'missing') return [];
    throw typed;
  }
}

/** Makes what is missing of the path, and syncs the parent of each folder that it made. */
async function makeFolder(folder: string): Promise<void> {
  const first = await fsp.mkdir(folder, { recursive: true });
  if (first === undefined) return;
  for (let made = folder; ; made = dirname(made)) {
    await syncFolder(dirname(made));
    if (made === first || made === dirname(made)) return;
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await fsp.open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

class NodeFile implements DiskFile {
  readonly path: string;
  #fd: number;

  constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  size(): Promise<number> {
    return this.#call((fd, done) => fs.fstat(fd, (error, stats) => done(error, stats?.size ?? 0)));
  }

  write(views: readonly Uint8Array[], position: number): Promise<void> {
    assert(Number.isSafeInteger(position) && position >= 0, `${position} is no position in a file`);
    return this.#call((fd, done) => writeAll(fd, views, 0, 0, position, done));
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return this.#call((fd, done) => readAll(fd, target, 0, position, done));
  }

  sync(): Promise<void> {
    return this.#call((fd, done) => fs.fdatasync(fd, error => done(error, undefined)));
  }

  truncate(size: number): Promise<void> {
    return this.#call((fd, done) => fs.ftruncate(fd, size, error => done(error, undefined)));
  }

  close(): Promise<void> {
    const fd = this.#fd;
    if (fd < 0) return Promise.resolve();
    this.#fd = -1;
    return new Promise((resolve, reject) => {
      fs.close(fd, error => (error ? reject(diskError(this.path, error)) : resolve()));
    });
  }

  #call<T>(run: (fd: number, done: (error: Error | null, value: T) => void) => void): Promise<T> {
    const fd = this.#fd;
    if (fd < 0) return Promise.reject(new DiskError('closed', this.path, `${this.path} is closed`));
    return new Promise((resolve, reject) => {
      run(fd, (error, value) => (error ? reject(diskError(this.path, error)) : resolve(value)));
    });
  }
}

/** Writes from byte `skip` of `views[first]` on; comes back for what the kernel left over and for more buffers than one call takes. */
function writeAll(
  fd: number,
  views: readonly Uint8Array[],
  first: number,
  skip: number,
  position: number,
  done: (error: Error | null, value: undefined) => void,
): void {
  if (first >= views.length) {
    done(null, undefined);
    return;
  }
  const part = first === 0 && skip === 0 && views.length <= BUFFERS_MAX ? views : cut(views, first, skip);
  fs.writev(fd, part, position, (error, written) => {
    if (error) {
      done(error, undefined);
      return;
    }
    let left = written;
    let next = 0;
    for (let view = part[next]; view !== undefined && left >= view.length; view = part[next]) {
      left -= view.length;
      next++;
    }
    if (next === 0 && left === 0) {
      done(new Error('the file system took no byte of a write'), undefined);
      return;
    }
    writeAll(fd, views, first + next, next === 0 ? skip + left : left, position + written, done);
  });
}

/** At most `BUFFERS_MAX` views from byte `skip` of `views[first]` on. */
function cut(views: readonly Uint8Array[], first: number, skip: number): Uint8Array[] {
  const part = views.slice(first, first + BUFFERS_MAX);
  const head = part[0];
  if (head) part[0] = head.subarray(skip);
  return part;
}

function readAll(fd: number, target: Uint8Array, done: number, position: number, end: (error: Error | null, value: number) => void): void {
  if (done === target.length) {
    end(null, done);
    return;
  }
  fs.read(fd, target, done, target.length - done, position + done, (error, count) => {
    if (error) end(error, done);
    else if (count === 0) end(null, done);
    else readAll(fd, target, done + count, position, end);
  });
}
