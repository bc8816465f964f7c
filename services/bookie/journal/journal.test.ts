import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { memoryLogger } from '#lib/runtime/loggers.ts';
import { memoryDisk } from '#lib/runtime/memory-disk.ts';
import { createNodeWorld } from '#lib/runtime/node/world.ts';
import type { Disk, DiskFile } from '#lib/runtime/ports.ts';
import { mortalClock, type SimClock, simClock } from '#lib/runtime/sim/clock.ts';
import { type SimDisk, simDisk } from '#lib/runtime/sim/disk.ts';
import { simRandom } from '#lib/runtime/sim/random.ts';
import { type SimWorld, simWorld } from '#lib/runtime/sim/world.ts';
import { decodeFileHeader } from './core/format.ts';
import { type Journal, type JournalOpening, type JournalPosition, openJournal, type ReplayedRecord } from './journal.ts';

const MIB = 1024 * 1024;
const OPTIONS = { folder: '/journal', fileBytes: 65_536, filesMax: 4, groupBytesMax: 32_768, queueBytesMax: 262_144 };

/** A journal on a simulated disk, with a record of what the disk was asked. */
class Bench {
  readonly clock: SimClock = simClock();
  readonly disk: SimDisk;
  readonly world: SimWorld;
  /** `write <bytes>` and `sync`, as they begin; the views of the last write. */
  readonly calls: string[] = [];
  lastViews: readonly Uint8Array[] = [];
  records: ReplayedRecord[] = [];
  options = OPTIONS;
  #life = mortalClock(this.clock);

  constructor(delayMs = 1) {
    this.disk = simDisk({ ...simRandom(1), next: () => 0.999 }, { clock: this.clock, delayMsMax: delayMs });
    this.world = simWorld(1, { clock: this.clock, disk: this.disk });
  }

  async open(trimmed: JournalPosition | null = null): Promise<{ journal: Journal; opening: JournalOpening }> {
    this.records = [];
    this.#life.end();
    this.#life = mortalClock(this.clock);
    const world = { ...this.world, clock: this.#life, disk: this.#watch(this.disk.forLife()) };
    const opening = openJournal(world, this.options, trimmed, record => this.records.push({ ...record, bytes: Buffer.from(record.bytes) }));
    const opened = await this.until(opening);
    await this.pass(300);
    this.calls.length = 0;
    return opened;
  }

  async until<T>(promise: Promise<T>): Promise<T> {
    let isDone = false;
    promise.then(
      () => {
        isDone = true;
      },
      () => {
        isDone = true;
      },
    );
    for (let step = 0; !isDone && step < 2000; step++) await this.pass(1);
    return await promise;
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advanceSettled(ms);
  }

  texts(): string[] {
    return this.records.map(({ bytes }) => bytes.toString());
  }

  #watch(disk: Disk): Disk {
    return { ...disk, open: async (path, options) => this.#watchFile(await disk.open(path, options)) };
  }

  /** The making of files in the background is no matter of the tests that count. */
  #watchFile(file: DiskFile): DiskFile {
    if (file.path.includes('filling')) return file;
    return {
      path: file.path,
      size: () => file.size(),
      read: (target, position) => file.read(target, position),
      truncate: size => file.truncate(size),
      close: () => file.close(),
      write: (views, position) => {
        this.calls.push(`write ${views.reduce((sum, view) => sum + view.length, 0)}`);
        this.lastViews = views;
        return file.write(views, position);
      },
      sync: () => {
        this.calls.push('sync');
        return file.sync();
      },
    };
  }
}

const bytes = (text: string) => [Buffer.from(text)];

test('what is appended in one turn is one write and one sync, and is acknowledged in order after it', async () => {
  const bench = new Bench();
  const { journal } = await bench.open();
  const acknowledged: number[] = [];
  for (let n = 0; n < 50; n++) journal.append(1, bytes(`record ${n}`), () => acknowledged.push(n));
  await bench.pass(0.5);
  expect(bench.calls).toEqual(['write 4096']);
  await bench.pass(1);
  expect(bench.calls).toEqual(['write 4096', 'sync']);
  expect(acknowledged).toEqual([]);
  await bench.pass(1);
  expect(acknowledged).toEqual(Array.from({ length: 50 }, (_, n) => n));
});

test('while a sync runs small records gather for the next one, and a large group is written meanwhile', async () => {
  const bench = new Bench();
  const { journal } = await bench.open();
  journal.append(1, bytes('first'), () => {});
  await bench.pass(1.2);
  expect(bench.calls).toEqual(['write 4096', 'sync']);
  journal.append(1, bytes('small'), () => {});
  await bench.pass(0.3);
  expect(bench.calls.length).toBe(2);
  journal.append(1, [Buffer.alloc(40_000)], () => {});
  await bench.pass(0.1);
  expect(bench.calls).toEqual(['write 4096', 'sync', 'write 4096']);
  await bench.pass(6);
  expect(bench.calls.filter(call => call === 'sync').length).toBeLessThanOrEqual(3);
});

test('a record that nobody waits for causes no sync, goes out within 50 ms, and is durable with the next group', async () => {
  const bench = new Bench();
  const { journal } = await bench.open();
  journal.append(1, bytes('lazy'), null);
  await bench.pass(40);
  expect(bench.calls).toEqual([]);
  await bench.pass(20);
  expect(bench.calls).toEqual(['write 4096']);
  await bench.pass(10_000);
  expect(bench.calls).toEqual(['write 4096']);
  let isDurable = false;
  journal.append(1, bytes('eager'), () => {
    isDurable = true;
  });
  await bench.pass(5);
  expect(isDurable).toBe(true);
  bench.disk.crash();
  await bench.open();
  expect(bench.texts()).toEqual(['lazy', 'eager']);
});

test('records that nobody waits for cannot fill the queue for ever', async () => {
  const bench = new Bench();
  bench.options = { ...OPTIONS, queueBytesMax: 40_000 };
  const { journal } = await bench.open();
  for (let n = 0; n < 60; n++) {
    if (journal.isFull(false, 4000) === 'space') journal.trim(journal.durableEnd);
    if (!journal.isFull(false, 4000)) journal.append(1, [Buffer.alloc(4000)], null);
    await bench.pass(60);
  }
  expect(journal.isFull(false, 4000)).not.toBe('queue');
  expect(bench.calls).toContain('sync');
});

test('whenDurable runs later, even when all is durable, and brings out what nobody waited for', async () => {
  const bench = new Bench();
  const { journal } = await bench.open();
  const ran: string[] = [];
  journal.whenDurable(() => ran.push('nothing'));
  expect(ran).toEqual([]);
  await bench.pass(0);
  expect(ran).toEqual(['nothing']);
  journal.append(1, bytes('lazy'), null);
  journal.whenDurable(() => ran.push('gathering'));
  await bench.pass(0.5);
  journal.whenDurable(() => ran.push('writing'));
  await bench.pass(5);
  expect(ran).toEqual(['nothing', 'gathering', 'writing']);
  journal.append(1, bytes('lazy'), null);
  await bench.pass(60);
  bench.calls.length = 0;
  journal.whenDurable(() => ran.push('written'));
  await bench.pass(3);
  expect(ran.pop()).toBe('written');
  expect(bench.calls[0]).toBe('sync');
});

test('an idle journal writes one empty header within 10 ms, then nothing at all', async () => {
  const bench = new Bench(0.2);
  const { journal } = await bench.open();
  let durableAt = 0;
  journal.append(1, bytes('x'), () => {
    durableAt = bench.clock.monotonic();
  });
  await bench.pass(1);
  expect(bench.calls).toEqual(['write 4096', 'sync']);
  await bench.pass(durableAt + 10 - bench.clock.monotonic());
  expect(bench.calls).toEqual(['write 4096', 'sync', 'write 4096', 'sync']);
  await bench.pass(3_600_000);
  expect(bench.calls.length).toBe(4);
});

test('records that come every few milliseconds need no empty headers', async () => {
  const bench = new Bench(0.2);
  const { journal } = await bench.open();
  for (let n = 0; n < 10; n++) {
    journal.append(1, bytes('x'), () => {});
    await bench.pass(5);
  }
  expect(bench.calls.length).toBe(20);
});

test('a failing write or sync is fatal: nothing is acknowledged, and nothing is tried again', async () => {
  for (const kind of ['write', 'sync'] as const) {
    const bench = new Bench();
    const { journal } = await bench.open();
    bench.disk.faults[kind] = () => 'io';
    let isDurable = false;
    journal.append(1, bytes('x'), () => {
      isDurable = true;
    });
    await bench.pass(5);
    bench.disk.faults[kind] = null;
    journal.append(1, bytes('y'), () => {
      isDurable = true;
    });
    const calls = bench.calls.length;
    await bench.pass(1000);
    expect(bench.world.fatals).toEqual(['the journal could not be written']);
    expect(isDurable).toBe(false);
    expect(bench.calls.length).toBe(calls);
    await expect(journal.close()).rejects.toMatchObject({ reason: 'io' });
  }
});

test('a full queue pushes back, reserved records later than others', async () => {
  const bench = new Bench();
  bench.options = { ...OPTIONS, queueBytesMax: 20_000 };
  const { journal } = await bench.open();
  while (!journal.isFull(false, 1000)) journal.append(1, [Buffer.alloc(1000)], () => {});
  expect(journal.isFull(false, 1000)).toBe('queue');
  expect(journal.isFull(true, 1000)).toBe(false);
  while (!journal.isFull(true, 1000)) journal.append(1, [Buffer.alloc(1000)], () => {});
  expect(journal.isFull(true, 1000)).toBe('queue');
  await bench.pass(10);
  expect(journal.isFull(false, 1000)).toBe(false);
});

/** Appends until the journal says that there is no space. */
async function fillUp(bench: Bench, journal: Journal, isReserved: boolean): Promise<number> {
  let count = 0;
  for (; journal.isFull(isReserved, 3000) !== 'space'; count++) {
    journal.append(1, [Buffer.alloc(3000, count)], () => {});
    await bench.pass(10);
  }
  return count;
}

test('a full disk pushes back, keeps a reserve, and takes records again when there is space, without a restart', async () => {
  const bench = new Bench();
  bench.disk.faults.capacityBytes = 2 * 65_536 + 10_000;
  const { journal } = await bench.open();
  expect(await fillUp(bench, journal, false)).toBeGreaterThan(5);
  await bench.pass(2000);
  expect(journal.isFull(false, 3000)).toBe('space');
  expect(journal.isFull(true, 3000)).toBe(false);
  expect(await fillUp(bench, journal, true)).toBeGreaterThanOrEqual(1);
  expect(journal.isFull(true, 3000)).toBe('space');
  bench.disk.faults.capacityBytes = 10 * MIB;
  await bench.pass(2000);
  expect(journal.isFull(false, 3000)).toBe(false);
  let isDurable = false;
  journal.append(1, bytes('after'), () => {
    isDurable = true;
  });
  await bench.pass(10);
  expect(isDurable).toBe(true);
  expect(bench.world.fatals).toEqual([]);
  expect(journal.usage().files).toBeLessThanOrEqual(OPTIONS.filesMax);
});

test('a journal that starts on a full disk opens, replays, and waits for space', async () => {
  const bench = new Bench();
  bench.options = { ...OPTIONS, filesMax: 1 };
  const { journal } = await bench.open();
  journal.append(1, bytes('kept'), () => {});
  await bench.pass(50);
  bench.disk.crash();
  bench.disk.faults.capacityBytes = 0;
  bench.options = OPTIONS;
  const second = await bench.open();
  expect(bench.texts()).toEqual(['kept']);
  expect(second.journal.isFull(true, 100)).toBe('space');
  bench.disk.faults.capacityBytes = 10 * MIB;
  await bench.pass(2000);
  expect(second.journal.isFull(false, 100)).toBe(false);
  second.journal.append(1, bytes('more'), () => {});
  await bench.pass(50);
  bench.disk.crash();
  await bench.open();
  expect(bench.texts()).toEqual(['kept', 'more']);
});

test('a trim gives space back, and files are used again for ever', async () => {
  const bench = new Bench();
  const { journal } = await bench.open();
  await fillUp(bench, journal, false);
  expect(journal.usage().files).toBe(OPTIONS.filesMax);
  for (let round = 0; round < 30; round++) {
    const live = journal.usage().liveBytes;
    journal.trim(journal.durableEnd);
    expect(journal.usage().liveBytes).toBeLessThan(live);
    await bench.pass(20);
    expect(journal.isFull(false, 3000)).toBe(false);
    expect(await fillUp(bench, journal, false)).toBeGreaterThan(20);
    expect(journal.usage().files).toBeLessThanOrEqual(OPTIONS.filesMax);
  }
});

test('replay begins at the trim position', async () => {
  const bench = new Bench();
  const { journal } = await bench.open();
  const positions: JournalPosition[] = [];
  for (let n = 0; n < 30; n++) {
    positions.push(journal.append(1, [Buffer.from(`${n}`.padEnd(2000))], () => {}));
    if (n % 3 === 0) await bench.pass(15);
  }
  await bench.pass(50);
  bench.disk.kill();
  for (const from of [0, 1, 7, 8, 9, 17, 29]) {
    const { opening } = await bench.open(positions[from]);
    expect(opening.kind).toBe('clean');
    expect(bench.records.map(({ position }) => position)).toEqual(positions.slice(from));
    bench.disk.kill();
  }
});

test('starts without a record in between do not use up files', async () => {
  const bench = new Bench();
  const { journal } = await bench.open();
  journal.append(1, bytes('kept'), () => {});
  await bench.pass(50);
  for (let start = 0; start < 30; start++) {
    bench.disk.crash();
    const { journal } = await bench.open();
    expect(bench.texts()).toEqual(['kept']);
    expect(journal.usage().files).toBeLessThanOrEqual(OPTIONS.filesMax);
  }
});

test('starts that crash again and again after a few records still find space', async () => {
  const bench = new Bench();
  for (let start = 0; start < 3 + OPTIONS.filesMax; start++) {
    const { journal } = await bench.open();
    expect(bench.records.length).toBe(start);
    expect(journal.isFull(true, 10)).toBe(false);
    journal.append(1, bytes(`start ${start}`), () => {});
    await bench.pass(50);
    bench.disk.kill();
  }
  const { journal } = await bench.open();
  journal.trim(journal.durableEnd);
  await bench.pass(100);
  expect(journal.usage().files).toBeLessThanOrEqual(OPTIONS.filesMax + 1);
});

test('close makes everything durable, also what nobody waited for', async () => {
  const bench = new Bench();
  const { journal } = await bench.open();
  journal.append(1, bytes('one'), () => {});
  journal.append(1, bytes('two'), null);
  await bench.until(journal.close());
  bench.disk.crash();
  const { opening } = await bench.open();
  expect(opening).toEqual({ kind: 'clean' });
  expect(bench.texts()).toEqual(['one', 'two']);
});

test('an entry of 8 MiB is passed on without a copy, and comes back whole', async () => {
  const bench = new Bench();
  bench.options = { ...OPTIONS, fileBytes: 16 * MIB, queueBytesMax: 32 * MIB, groupBytesMax: MIB };
  const { journal } = await bench.open();
  const entry = simRandom(3).bytes(8 * MIB);
  expect(journal.isFull(false)).toBe(false);
  journal.append(1, [Buffer.from('head'), entry], () => {});
  await bench.pass(0.1);
  expect(bench.lastViews.includes(entry)).toBe(true);
  await bench.pass(50);
  bench.disk.kill();
  await bench.open();
  expect(bench.records[0]?.bytes.subarray(4).equals(entry)).toBe(true);
});

test('a checksum that the caller gives is believed, and checked at the next start', async () => {
  const bench = new Bench();
  const { journal } = await bench.open();
  journal.append(1, bytes('right'), () => {});
  journal.append(1, bytes('wrong'), () => {}, 12_345);
  await bench.pass(50);
  bench.disk.kill();
  const { opening } = await bench.open();
  expect(opening.kind).toBe('corrupt');
  expect(bench.texts()).toEqual(['right']);
});

/** Thirty acknowledged records over some files, then a crash. */
async function written(bench: Bench): Promise<JournalPosition[]> {
  bench.options = { ...OPTIONS, filesMax: 8 };
  const { journal } = await bench.open();
  const positions: JournalPosition[] = [];
  for (let n = 0; n < 30; n++) {
    positions.push(journal.append(1, [Buffer.from(`record ${n}`.padEnd(2000))], () => {}));
    await bench.pass(12);
  }
  bench.disk.crash();
  return positions;
}

test('damage is found at every start until the caller has trimmed beyond it; what is valid is given back', async () => {
  const bench = new Bench();
  const positions = await written(bench);
  const damaged = positions[12] ?? { file: 0, at: 0 };
  const name = (await bench.until(bench.disk.list('/journal'))).find(name => {
    const found = bench.disk.contents(`/journal/${name}`)?.indexOf('record 12 ') ?? -1;
    return found >= 0;
  });
  bench.disk.flipBit(`/journal/${name}`, (damaged.at + 100) * 8);
  for (let start = 0; start < 4; start++) {
    const { opening, journal } = await bench.open();
    expect(opening).toMatchObject({ kind: 'corrupt', at: { file: damaged.file } });
    expect(bench.records.length).toBe(29 + start);
    expect(bench.records.map(({ afterDamage }) => afterDamage)).toEqual([
      ...Array.from({ length: 12 }, () => false),
      ...Array.from({ length: 17 + start }, () => true),
    ]);
    journal.append(1, bytes('new'), () => {});
    await bench.pass(30);
    bench.disk.crash();
  }
  const { journal } = await bench.open();
  const trimmed = journal.end;
  journal.append(1, bytes('after the trim'), () => {});
  journal.trim(trimmed);
  await bench.pass(30);
  bench.disk.crash();
  const { opening } = await bench.open(trimmed);
  expect(opening.kind).toBe('clean');
  expect(bench.texts()).toEqual(['after the trim']);
});

test('a journal whose files are gone is corrupt at every start until it is trimmed', async () => {
  const bench = new Bench();
  const positions = await written(bench);
  const trimmed = positions[3] ?? null;
  for (const name of await bench.until(bench.disk.list('/journal'))) await bench.until(bench.disk.remove(`/journal/${name}`));
  await bench.until(bench.disk.syncFolder('/journal'));
  for (let start = 0; start < 3; start++) {
    expect((await bench.open(trimmed)).opening.kind).toBe('corrupt');
    bench.disk.crash();
  }
  const { journal } = await bench.open(trimmed);
  const end = journal.end;
  journal.trim(end);
  bench.disk.crash();
  expect((await bench.open(end)).opening.kind).toBe('clean');
});

test('a file that has lost all its bytes is found at every start, and is not used again, until it is trimmed', async () => {
  const bench = new Bench();
  const positions = await written(bench);
  const last = positions[29]?.file ?? 0;
  const paths = (await bench.until(bench.disk.list('/journal'))).map(name => `/journal/${name}`);
  const path = paths.find(path => {
    const header = decodeFileHeader(bench.disk.contents(path) ?? Buffer.alloc(0));
    return header?.identity.sequence === last;
  });
  bench.disk.cut(path ?? '', 0);
  for (let start = 0; start < 3; start++) {
    const { opening, journal } = await bench.open();
    expect(opening.kind).toBe('corrupt');
    for (let n = 0; n < 5; n++) if (!journal.isFull(true, 3000)) journal.append(1, [Buffer.alloc(3000)], () => {});
    await bench.pass(50);
    bench.disk.crash();
  }
  const { journal } = await bench.open();
  const trimmed = journal.end;
  journal.trim(trimmed);
  await bench.pass(50);
  bench.disk.kill();
  expect((await bench.open(trimmed)).opening.kind).toBe('clean');
});

test('the newest durable file stays, whatever is trimmed, until the next one is durably begun', async () => {
  const bench = new Bench();
  // The first file is small for this configuration, so that it is removed when it is free.
  bench.options = { ...OPTIONS, fileBytes: 32 * MIB, queueBytesMax: 32 * MIB };
  const { journal } = await bench.open();
  const { file } = journal.end;
  let position = journal.end;
  while (position.file === file) {
    await bench.until(new Promise<void>(resolve => journal.whenDurable(resolve)));
    await bench.pass(60);
    position = journal.append(1, [Buffer.alloc(MIB)], null);
  }
  // The record is in a file of which nothing is on the disk yet; all before it is durable.
  const trimmed = journal.durableEnd;
  expect(trimmed.file).toBe(file);
  journal.trim(trimmed);
  await bench.pass(10);
  bench.disk.kill();
  expect((await bench.open(trimmed)).opening.kind).toBe('clean');
});

test('a block that the disk cannot read is damage, never a tail', async () => {
  const bench = new Bench();
  await written(bench);
  bench.disk.faults.read = path => (path.includes('journal-1-') ? 'io' : null);
  expect((await bench.open()).opening).toMatchObject({ kind: 'corrupt', what: 'a block cannot be read' });
});

test('another size in the configuration is taken on by the next files', async () => {
  const bench = new Bench();
  const positions = await written(bench);
  for (const fileBytes of [131_072, 32_768]) {
    bench.options = { ...OPTIONS, fileBytes };
    const { opening, journal } = await bench.open();
    expect(opening.kind).toBe('clean');
    expect(bench.records.length).toBe(positions.length);
    expect(journal.isFull(false, 3000)).toBe(false);
    bench.disk.crash();
  }
});

test('in memory it opens at once', async () => {
  const world = { ...createNodeWorld({ logger: memoryLogger(), onFatal: () => {} }), disk: memoryDisk() };
  const started = performance.now();
  const { journal } = await openJournal(world, { ...OPTIONS, fileBytes: 64 * MIB, queueBytesMax: 32 * MIB }, null, () => {});
  await new Promise<void>(resolve => void journal.append(1, bytes('x'), resolve));
  expect(performance.now() - started).toBeLessThan(500);
  await journal.close();
});

test('on a real disk: a thousand groups, a start, and everything is there', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-journal-'));
  try {
    const world = createNodeWorld({ logger: memoryLogger(), onFatal: reason => expect.fail(reason) });
    const options = { folder, fileBytes: 262_144, filesMax: 20, groupBytesMax: 65_536, queueBytesMax: MIB };
    const { journal } = await openJournal(world, options, null, () => {});
    for (let n = 0; n < 1000; n++) {
      while (journal.isFull(false, 3000)) await new Promise(resolve => setTimeout(resolve, 1));
      const wait = new Promise<void>(resolve => void journal.append(n % 7, [Buffer.from(`${n}`), Buffer.alloc(n * 2, n)], resolve));
      if (n % 3 === 0) await wait;
    }
    await journal.close();
    const records: ReplayedRecord[] = [];
    const second = await openJournal(world, options, null, record => records.push({ ...record, bytes: Buffer.from(record.bytes) }));
    expect(second.opening.kind).toBe('clean');
    expect(records.length).toBe(1000);
    for (const [n, { type, bytes }] of records.entries()) {
      expect(type).toBe(n % 7);
      expect(bytes.equals(Buffer.concat([Buffer.from(`${n}`), Buffer.alloc(n * 2, n)]))).toBe(true);
    }
    await second.journal.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
