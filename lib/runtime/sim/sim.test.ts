import { expect, test } from 'vitest';
import type { DiskFile } from '../ports.ts';
import { simClock } from './clock.ts';
import { SECTOR_BYTES, type SimDisk, simDisk } from './disk.ts';
import { simRandom } from './random.ts';

async function prepared(seed: number): Promise<{ disk: SimDisk; file: DiskFile }> {
  const disk = simDisk(simRandom(seed));
  await disk.makeFolder('/d');
  const file = await disk.open('/d/f', { create: true });
  await file.write([Buffer.alloc(4 * SECTOR_BYTES, 1)], 0);
  await file.sync();
  await disk.syncFolder('/d');
  return { disk, file };
}

const outcomes = async (run: (seed: number) => Promise<string>): Promise<Set<string>> => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 400; seed++) seen.add(await run(seed));
  return seen;
};
/** The first byte of each sector. */
const sectors = (bytes: Buffer | undefined): string => {
  let text = '';
  for (let at = 0; at < (bytes?.length ?? 0); at += SECTOR_BYTES) text += bytes?.[at];
  return text;
};

test('synced bytes survive every crash', async () => {
  const seen = await outcomes(async seed => {
    const { disk } = await prepared(seed);
    disk.crash();
    return sectors(disk.contents('/d/f'));
  });
  expect([...seen]).toEqual(['1111']);
});

test('unsynced writes survive, vanish or tear, each by itself, the later without the earlier', async () => {
  const seen = await outcomes(async seed => {
    const { disk, file } = await prepared(seed);
    await file.write([Buffer.alloc(2 * SECTOR_BYTES, 2)], 0);
    await file.write([Buffer.alloc(SECTOR_BYTES, 3)], 2 * SECTOR_BYTES);
    disk.crash();
    return sectors(disk.contents('/d/f'));
  });
  expect(seen).toEqual(new Set(['1111', '2211', '2111', '1211', '1131', '2231', '2131', '1231']));
});

test('a write that had not ended when a sync began is not covered by it', async () => {
  const seen = await outcomes(async seed => {
    const clock = simClock();
    const random = simRandom(seed);
    const disk = simDisk(random, { clock });
    const file = disk.makeFolder('/d').then(() => disk.open('/d/f', { create: true }));
    await clock.advanceSettled(10);
    const opened = await file;
    void disk.syncFolder('/d');
    await clock.advanceSettled(10);
    let synced = false;
    void opened.write([Buffer.alloc(SECTOR_BYTES, 2)], 0);
    void opened.sync().then(() => {
      synced = true;
    });
    await clock.advanceSettled(10);
    expect(synced).toBe(true);
    disk.crash();
    return sectors(disk.contents('/d/f'));
  });
  expect(seen).toEqual(new Set(['', '2']));
});

test('a killed process leaves its unsynced writes to the next one, which can make them durable', async () => {
  const seen = await outcomes(async seed => {
    const { disk, file } = await prepared(seed);
    await file.write([Buffer.alloc(SECTOR_BYTES, 2)], 0);
    disk.kill();
    expect(sectors(disk.contents('/d/f'))).toBe('2111');
    if (seed % 2 === 0) await (await disk.open('/d/f')).sync();
    disk.crash();
    return `${seed % 2 === 0 ? 'synced' : 'not'} ${sectors(disk.contents('/d/f'))}`;
  });
  expect(seen).toEqual(new Set(['synced 2111', 'not 2111', 'not 1111']));
});

test('names persist or not until their folder is synced, and always after', async () => {
  const seen = await outcomes(async seed => {
    const { disk } = await prepared(seed);
    await disk.rename('/d/f', '/d/g');
    await disk.open('/d/h', { create: true });
    disk.crash();
    return (await disk.list('/d')).join('');
  });
  expect(seen).toEqual(new Set(['f', 'g', 'fh', 'gh']));
  const synced = await outcomes(async seed => {
    const { disk } = await prepared(seed);
    await disk.rename('/d/f', '/d/g');
    await disk.open('/d/h', { create: true });
    await disk.syncFolder('/d');
    await disk.remove('/d/h');
    await disk.syncFolder('/d');
    disk.crash();
    return (await disk.list('/d')).join('');
  });
  expect([...synced]).toEqual(['g']);
});

test('after a failed sync the bytes may be gone although a second one succeeds', async () => {
  const seen = await outcomes(async seed => {
    const { disk, file } = await prepared(seed);
    await file.write([Buffer.alloc(SECTOR_BYTES, 2)], 0);
    disk.faults.sync = () => 'io';
    await expect(file.sync()).rejects.toMatchObject({ reason: 'io' });
    disk.faults.sync = null;
    await file.sync();
    expect(sectors(disk.contents('/d/f'))).toBe('2111');
    disk.crash();
    return sectors(disk.contents('/d/f'));
  });
  expect(seen).toEqual(new Set(['1111', '2111']));
});

test('a full disk refuses growth, takes overwriting, and grows again when there is space', async () => {
  const { disk, file } = await prepared(1);
  disk.faults.capacityBytes = 4 * SECTOR_BYTES;
  await expect(file.write([Buffer.alloc(SECTOR_BYTES, 2)], 4 * SECTOR_BYTES)).rejects.toMatchObject({ reason: 'full' });
  await file.write([Buffer.alloc(SECTOR_BYTES, 2)], 0);
  disk.faults.capacityBytes = 10 * SECTOR_BYTES;
  await file.write([Buffer.alloc(SECTOR_BYTES, 2)], 4 * SECTOR_BYTES);
  expect(await file.size()).toBe(5 * SECTOR_BYTES);
});

test('a flipped bit is durable', async () => {
  const { disk } = await prepared(1);
  disk.flipBit('/d/f', 8 * 600 + 3);
  disk.crash();
  expect(disk.contents('/d/f')?.[600]).toBe(1 ^ 8);
});

test('the same seed gives the same crash', async () => {
  const run = async () => {
    const { disk, file } = await prepared(42);
    for (let n = 0; n < 20; n++) await file.write([Buffer.alloc(3 * SECTOR_BYTES, n)], n * 100);
    disk.crash();
    return disk.contents('/d/f')?.toString('hex');
  };
  expect(await run()).toBe(await run());
});

test('timers fire in the order of time, then of making; a cancelled one never', () => {
  const clock = simClock();
  const fired: string[] = [];
  clock.after(20, () => fired.push('b'));
  clock.after(10, () => {
    fired.push('a');
    clock.soon(() => fired.push('soon'));
    clock.after(5, () => fired.push('a2'));
  });
  clock.after(20, () => fired.push('c'));
  const cancelled = clock.after(15, () => fired.push('never'));
  cancelled.cancel();
  for (let n = 0; n < 100; n++) clock.after(30 + ((n * 37) % 100), () => fired.push(''));
  clock.advance(19);
  expect(fired).toEqual(['a', 'soon', 'a2']);
  expect(clock.nextAt()).toBe(20);
  clock.advance(1000);
  expect(fired.length).toBe(105);
  expect(fired.slice(3, 5)).toEqual(['b', 'c']);
  expect(clock.step()).toBe(false);
  expect(clock.monotonic()).toBe(1019);
});

test('seeded chance is even and repeats', () => {
  const random = simRandom(3);
  const counts = new Array<number>(10).fill(0);
  for (let n = 0; n < 10_000; n++) {
    const drawn = random.integer(10);
    counts[drawn] = (counts[drawn] ?? 0) + 1;
  }
  for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
  expect(simRandom(9).bytes(8).equals(simRandom(9).bytes(8))).toBe(true);
  expect(simRandom(9).bytes(8).equals(simRandom(10).bytes(8))).toBe(false);
});
