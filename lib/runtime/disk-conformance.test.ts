// What every `Disk` does alike: the real one, the one in memory, the simulated one.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { memoryDisk } from './memory-disk.ts';
import { nodeDisk } from './node/disk.ts';
import type { Disk } from './ports.ts';
import { simDisk } from './sim/disk.ts';
import { simRandom } from './sim/random.ts';

const KINDS: readonly { name: string; make(): Disk }[] = [
  { name: 'node', make: nodeDisk },
  { name: 'memory', make: memoryDisk },
  { name: 'sim', make: () => simDisk(simRandom(1)) },
];

describe.each(KINDS)('a $name disk', ({ make }) => {
  let disk: Disk;
  let folder: string;
  let real: string;
  beforeEach(async () => {
    real = mkdtempSync(join(tmpdir(), 'sluice-disk-'));
    disk = make();
    folder = join(real, 'a', 'b');
    await disk.makeFolder(folder);
  });
  afterEach(() => rmSync(real, { recursive: true, force: true }));
  const open = (name: string, options = { create: true }) => disk.open(join(folder, name), options);
  const readAll = async (name: string) => {
    const file = await open(name, { create: false });
    const bytes = Buffer.alloc(await file.size());
    expect(await file.read(bytes, 0)).toBe(bytes.length);
    await file.close();
    return bytes;
  };

  test('reads what was written, from any position, across buffers', async () => {
    const file = await open('f');
    await file.write([Buffer.from('hello '), new Uint8Array(0), Buffer.from('world')], 0);
    await file.write([Buffer.from('J')], 0);
    const middle = Buffer.alloc(5);
    expect(await file.read(middle, 3)).toBe(5);
    expect(middle.toString()).toBe('lo wo');
    await file.sync();
    await file.close();
    expect((await readAll('f')).toString()).toBe('Jello world');
  });

  test('writes thousands of buffers in one call, more than one system call takes', async () => {
    const views = Array.from({ length: 5000 }, (_, n) => Buffer.from(`${n},`));
    const file = await open('many');
    await file.write(views, 10);
    expect((await readAll('many')).subarray(10).equals(Buffer.concat(views))).toBe(true);
    await file.close();
  });

  test('a write without bytes changes nothing', async () => {
    const file = await open('f');
    await file.write([], 5);
    await file.write([new Uint8Array(0)], 5);
    expect(await file.size()).toBe(0);
    await file.close();
  });

  test('reads fewer bytes only at the end', async () => {
    const file = await open('f');
    await file.write([Buffer.from('abc')], 0);
    expect(await file.read(Buffer.alloc(10), 1)).toBe(2);
    expect(await file.read(Buffer.alloc(10), 3)).toBe(0);
    expect(await file.read(Buffer.alloc(10), 100)).toBe(0);
    await file.close();
  });

  test('a hole reads as zeros, over old bytes of a page too', async () => {
    const file = await open('f');
    await file.write([Buffer.alloc(100_000, 1)], 0);
    await file.truncate(70_000);
    await file.truncate(100_000);
    await file.write([Buffer.from('x')], 300_000);
    const bytes = await readAll('f');
    expect(bytes.length).toBe(300_001);
    expect(bytes.subarray(0, 70_000).every(byte => byte === 1)).toBe(true);
    expect(bytes.subarray(70_000, 300_000).every(byte => byte === 0)).toBe(true);
    await file.close();
  });

  test('bytes can be overwritten with zeros', async () => {
    const file = await open('f');
    await file.write([Buffer.alloc(200_000, 7)], 0);
    await file.write([Buffer.alloc(100_000)], 50_000);
    const bytes = await readAll('f');
    expect(bytes.indexOf(0)).toBe(50_000);
    expect(bytes.indexOf(7, 60_000)).toBe(150_000);
    await file.close();
  });

  test('a missing file or folder is `missing`, for open and rename; removing it is fine', async () => {
    await expect(open('nothing', { create: false })).rejects.toMatchObject({ name: 'DiskError', reason: 'missing' });
    await expect(disk.open(join(folder, 'no', 'f'), { create: true })).rejects.toMatchObject({ reason: 'missing' });
    await expect(disk.rename(join(folder, 'nothing'), join(folder, 'x'))).rejects.toMatchObject({ reason: 'missing' });
    await disk.remove(join(folder, 'nothing'));
  });

  test('lists the names of a folder, sorted; none of one that does not exist', async () => {
    for (const name of ['b', 'a', 'c']) await (await open(name)).close();
    await disk.makeFolder(join(folder, 'sub', 'deep'));
    expect(await disk.list(folder)).toEqual(['a', 'b', 'c', 'sub']);
    expect(await disk.list(join(folder, 'none'))).toEqual([]);
    await disk.syncFolder(folder);
  });

  test('renames over what exists, and removes', async () => {
    const first = await open('first');
    await first.write([Buffer.from('1')], 0);
    await (await open('second')).close();
    await disk.rename(join(folder, 'first'), join(folder, 'second'));
    expect(await disk.list(folder)).toEqual(['second']);
    expect((await readAll('second')).toString()).toBe('1');
    await disk.remove(join(folder, 'second'));
    expect(await disk.list(folder)).toEqual([]);
    await first.close();
  });

  test('a closed file refuses everything but another close', async () => {
    const file = await open('f');
    await file.close();
    await file.close();
    for (const call of [file.size(), file.write([Buffer.from('x')], 0), file.read(Buffer.alloc(1), 0), file.sync(), file.truncate(0)])
      await expect(call).rejects.toMatchObject({ reason: 'closed' });
  });

  test('a file opened for reading takes no writes', async () => {
    await (await open('f')).close();
    const file = await disk.open(join(folder, 'f'), { readOnly: true });
    await expect(file.write([Buffer.from('x')], 0)).rejects.toMatchObject({ name: 'DiskError' });
    expect(await file.size()).toBe(0);
    await file.close();
  });

  test('says how much space there is', async () => {
    const { free, total } = await disk.space(folder);
    expect(free).toBeGreaterThan(0);
    expect(total).toBeGreaterThanOrEqual(free);
  });

  test('a lock is held by one, and free after its release', async () => {
    const path = join(folder, 'lock');
    const lock = await disk.lock(path);
    if (lock.kind !== 'locked') throw new Error(lock.holder);
    const second = await disk.lock(path);
    expect(second.kind).toBe('held');
    expect((await disk.lock(path)).kind).toBe('held');
    await lock.release();
    await lock.release();
    const third = await disk.lock(path);
    expect(third.kind).toBe('locked');
    if (third.kind === 'locked') await third.release();
    await expect(disk.lock(join(folder, 'no', 'lock'))).rejects.toMatchObject({ reason: 'missing' });
  });
});
