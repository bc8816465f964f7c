// What can be wrong with a folder at start, and what a start leaves as it is.
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { memoryLogger } from '#lib/runtime/loggers.ts';
import { memoryDisk } from '#lib/runtime/memory-disk.ts';
import { type Disk, DiskError } from '#lib/runtime/ports.ts';
import { simDisk } from '#lib/runtime/sim/disk.ts';
import { simRandom } from '#lib/runtime/sim/random.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import type { BookieConfig } from './config.ts';
import { bookieDefaults } from './config.ts';
import { BookieStartError } from './identity.ts';
import { createBookie } from './open.ts';
import { appendRequest, ask, CLUSTER, quickWorld, readAll, smallConfig, testBallot, testDescriptor, testEntry } from './testing/support.ts';

async function refused(disk: Disk, config: BookieConfig = smallConfig()): Promise<BookieStartError> {
  const error = await createBookie(quickWorld(disk), config).then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(error instanceof BookieStartError)) throw new Error('it started', { cause: error });
  return error;
}

describe('a start is refused, with what to do,', () => {
  test('on a folder of another cluster; the right cluster, or none, is let in', async () => {
    const disk = memoryDisk();
    await (await createBookie(quickWorld(disk), smallConfig())).close();
    const other = await refused(disk, { ...smallConfig(), clusterId: '0192f000-0000-4000-8000-0000000000ff' });
    expect(other.problem).toBe('other_cluster');
    expect(other.message).toMatch(/\/data .*0192f000-0000-4000-8000-00000000000c.*point dataDir/);
    const bookie = await createBookie(quickWorld(disk), { ...smallConfig(), clusterId: null });
    expect(bookie.clusterId).toBe(CLUSTER);
    await bookie.close();
  });

  test('while another process has the folder, and not any more afterwards', async () => {
    const disk = memoryDisk();
    const first = await createBookie(quickWorld(disk), smallConfig());
    expect(await refused(disk)).toMatchObject({ problem: 'in_use', message: expect.stringContaining('stop it') });
    await first.close();
    await (await createBookie(quickWorld(disk), smallConfig())).close();
  });

  test('on a folder that a newer version wrote', async () => {
    const disk = memoryDisk();
    await (await createBookie(quickWorld(disk), smallConfig())).close();
    for (const name of ['identity', 'identity.copy']) {
      const file = await disk.open(`/data/${name}`);
      const bytes = Buffer.alloc(await file.size());
      await file.read(bytes, 0);
      bytes.writeUInt32LE(7, 4);
      bytes.writeUInt32LE(crc32c(bytes.subarray(0, -4)), bytes.length - 4);
      await file.write([bytes], 0);
    }
    expect(await refused(disk)).toMatchObject({ problem: 'newer_version', message: expect.stringContaining('newer Sluice') });
  });

  test('on data without an identity: it could be anybody', async () => {
    const disk = memoryDisk();
    await (await createBookie(quickWorld(disk), smallConfig())).close();
    for (const name of ['identity', 'identity.copy']) await disk.remove(`/data/${name}`);
    expect(await refused(disk)).toMatchObject({ problem: 'missing_folder', message: expect.stringContaining('identity') });
  });

  test('on a disk that cannot be written, or is full', async () => {
    const readOnly: Disk = {
      ...memoryDisk(),
      makeFolder: async path => {
        throw new DiskError('read_only', path, `${path}: read-only file system`);
      },
    };
    expect(await refused(readOnly)).toMatchObject({ problem: 'read_only', message: expect.stringContaining('mounted') });
    const full = simDisk(simRandom(1));
    full.faults.capacityBytes = 10;
    expect(await refused(full)).toMatchObject({ problem: 'no_space', message: expect.stringContaining('free some') });
  });
});

test('a journal without its manifest is a damage, not a new folder', async () => {
  const disk = memoryDisk();
  const bookie = await createBookie(quickWorld(disk), smallConfig());
  await ask(bookie, { kind: 'create', descriptor: testDescriptor(1, bookie.id), ballot: testBallot(1) });
  await ask(bookie, appendRequest(1, 1, testEntry(0, Buffer.from('x')), 0));
  await bookie.close();
  for (const name of await disk.list('/data/manifest')) await disk.remove(`/data/manifest/${name}`);
  const again = await createBookie(quickWorld(disk), smallConfig());
  expect(again.id).not.toBe(bookie.id);
  // Its segments speak for themselves: what they hold is served, with the ballot that they know.
  expect(await readAll(again, 1, testBallot(1))).toHaveLength(1);
  await again.close();
});

test('an idle bookie writes nothing, and a start on what was closed well says nothing twice', async () => {
  const disk = simDisk(simRandom(1));
  const logger = memoryLogger();
  const bookie = await createBookie(quickWorld(disk, logger), { ...smallConfig(), scrubBytesPerSecond: 64 * 1024, scrubInterval: 100 });
  for (const n of [1, 2, 3]) await ask(bookie, { kind: 'create', descriptor: testDescriptor(n, bookie.id), ballot: testBallot(1) });
  await ask(bookie, appendRequest(1, 1, testEntry(0, Buffer.from('x')), 0));
  await sleep(100);
  const contents = async () => {
    const all: Record<string, Buffer | undefined> = {};
    for (const folder of ['/data', '/data/journal', '/data/segments', '/data/manifest'])
      for (const name of await disk.list(folder)) all[`${folder}/${name}`] = disk.contents(`${folder}/${name}`);
    return all;
  };
  const idle = await contents();
  await sleep(500);
  expect(await contents()).toEqual(idle);
  await bookie.close();
  const manifest = disk.contents('/data/manifest/manifest-0000000001');
  await (await createBookie(quickWorld(disk, logger), smallConfig())).close();
  expect(disk.contents('/data/manifest/manifest-0000000001')).toEqual(manifest);
  expect(logger.lines.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([]);
});

test('the defaults start a bookie', async () => {
  const bookie = await createBookie(quickWorld(memoryDisk()), bookieDefaults('/some/where'));
  expect(bookie.usage()).toMatchObject({ ledgers: 0, isSpaceFull: false });
  await bookie.close();
});
