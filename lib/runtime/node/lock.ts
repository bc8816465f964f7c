// The lock of a data folder. Node has no flock, but its SQLite takes POSIX record locks on its file: the kernel frees them when the
// process ends, however it ends, they work between containers that share a volume, and a reused process id means nothing to them.
// An empty database in an open write transaction is the lock; `<path>.holder` says who has it, for the message only.
//
// A process loses such locks when it closes any descriptor of the file: nothing but SQLite may open it.

import { access, constants, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';

const SQLITE_BUSY = 5;
const SQLITE_READONLY = 8;

type Lock = { kind: 'locked'; release(): Promise<void> } | { kind: 'held'; holder: string };

/** `path` is the lock's own file, in the folder that it protects. */
export async function lockFile(path: string): Promise<Lock> {
  await access(dirname(path), constants.W_OK);
  // Loaded when a folder is locked: a client never is, and its users need not see the notice that this module prints.
  const { DatabaseSync } = await import('node:sqlite');
  const database = new DatabaseSync(path);
  try {
    database.exec('PRAGMA busy_timeout = 0; BEGIN IMMEDIATE');
  } catch (error) {
    database.close();
    const code = sqliteCode(error);
    if (code === SQLITE_BUSY) return { kind: 'held', holder: await readHolder(path) };
    if (code === SQLITE_READONLY) throw Object.assign(new Error('the folder is read-only', { cause: error }), { code: 'EROFS' });
    throw error;
  }
  await writeFile(`${path}.holder`, `process ${process.pid} on ${hostname()}, since ${new Date().toISOString()}\n`);
  let released = false;
  return {
    kind: 'locked',
    release: async () => {
      if (released) return;
      released = true;
      await rm(`${path}.holder`, { force: true });
      database.close();
    },
  };
}

/** SQLite's primary result code; the bits above it tell variants apart. */
function sqliteCode(error: unknown): number {
  return error instanceof Error && 'errcode' in error && typeof error.errcode === 'number' ? error.errcode & 0xff : -1;
}

async function readHolder(path: string): Promise<string> {
  const text = await readFile(`${path}.holder`, 'utf8').catch(() => '');
  return text.trim() || 'another process';
}
