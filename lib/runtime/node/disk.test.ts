import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DiskError } from '../ports.ts';
import { diskError, nodeDisk } from './disk.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sluice-node-disk-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A process that takes the lock when it is told to, says what it got, and stays. */
function locker(path: string): { child: ChildProcess; answer: Promise<string> } {
  const code = `
    const { nodeDisk } = await import(${JSON.stringify(join(import.meta.dirname, 'disk.ts'))});
    process.stdout.write('ready ');
    await new Promise(resolve => process.stdin.once('data', resolve));
    const lock = await nodeDisk().lock(${JSON.stringify(path)});
    process.stdout.write(lock.kind + '\\n');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['pipe', 'pipe', 'ignore'] });
  const answer = new Promise<string>((resolve, reject) => {
    let text = '';
    child.stdout?.on('data', chunk => {
      text += String(chunk);
      if (text.includes('\n')) resolve(text.trim());
    });
    child.once('exit', () => reject(new Error(`the process ended after ${JSON.stringify(text)}`)));
  });
  answer.catch(() => {});
  return { child, answer };
}

const ready = (child: ChildProcess) => new Promise(resolve => child.stdout?.once('data', resolve));
const kill = (child: ChildProcess) =>
  new Promise<void>(resolve => {
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });

test('a lock is held across processes, names its holder, and dies with a killed one', async () => {
  const path = join(folder, 'lock');
  const { child, answer } = locker(path);
  await ready(child);
  child.stdin?.write('go');
  expect(await answer).toBe('ready locked');
  const held = await nodeDisk().lock(path);
  expect(held).toMatchObject({ kind: 'held', holder: expect.stringContaining(`process ${child.pid}`) });
  await kill(child);
  const mine = await nodeDisk().lock(path);
  expect(mine.kind).toBe('locked');
  if (mine.kind === 'locked') await mine.release();
});

test('of processes that race for a lock, left behind by a killed one, exactly one gets it', async () => {
  const path = join(folder, 'lock');
  const dead = locker(path);
  await ready(dead.child);
  dead.child.stdin?.write('go');
  await dead.answer;
  await kill(dead.child);
  const racers = Array.from({ length: 4 }, () => locker(path));
  await Promise.all(racers.map(({ child }) => ready(child)));
  for (const { child } of racers) child.stdin?.write('go');
  const answers = await Promise.all(racers.map(({ answer }) => answer));
  await Promise.all(racers.map(({ child }) => kill(child)));
  expect(answers.sort()).toEqual(['ready held', 'ready held', 'ready held', 'ready locked']);
});

test('errors of the file system become reasons', () => {
  const reasonOf = (code: string) => diskError('/p', Object.assign(new Error(code), { code })).reason;
  expect(['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'ENOENT', 'EIO', 'EMFILE'].map(reasonOf)).toEqual([
    'full',
    'full',
    'read_only',
    'read_only',
    'missing',
    'io',
    'io',
  ]);
});

/** A file system of its own, where the test may mount one. */
function mountSmall(path: string): boolean {
  mkdirSync(path);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', path], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

test('a real full file system is `full`, and takes writes again when space is given back', async context => {
  const path = join(folder, 'small');
  if (!mountSmall(path)) return context.skip();
  try {
    const disk = nodeDisk();
    const big = await disk.open(join(path, 'big'), { create: true });
    await big.write([Buffer.alloc(900 * 1024, 1)], 0);
    const other = await disk.open(join(path, 'other'), { create: true });
    const views = [Buffer.alloc(100 * 1024), Buffer.alloc(100 * 1024)];
    await expect(other.write(views, 0)).rejects.toMatchObject({ reason: 'full' });
    await big.truncate(0);
    await other.write(views, 0);
    expect(await other.size()).toBe(200 * 1024);
    await big.close();
    await other.close();
  } finally {
    execFileSync('umount', [path]);
  }
});

test('a lock in a folder that cannot be written says so', async context => {
  const path = join(folder, 'small');
  if (!mountSmall(path)) return context.skip();
  try {
    execFileSync('mount', ['-o', 'remount,ro', path]);
    await expect(nodeDisk().lock(join(path, 'lock'))).rejects.toBeInstanceOf(DiskError);
    await expect(nodeDisk().lock(join(path, 'lock'))).rejects.toMatchObject({ reason: 'read_only' });
  } finally {
    execFileSync('umount', [path]);
  }
});
