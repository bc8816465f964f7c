// Every single flipped byte and every truncation of a small journal of several files: either the damage is noticed, or the outcome is the
// one without damage, except for a tail that nobody was ever told is durable. Never are there other bytes, another order, a silent loss.
import { beforeAll, describe, expect, test } from 'vitest';
import type { DiskFile } from '#lib/runtime/ports.ts';
import { simClock } from '#lib/runtime/sim/clock.ts';
import { simRandom } from '#lib/runtime/sim/random.ts';
import { simWorld } from '#lib/runtime/sim/world.ts';
import { compareJournalPositions, type JournalPosition, openJournal } from './journal.ts';
import { type Recovery, recover } from './recover.ts';
import type { Slot } from './slots.ts';

const OPTIONS = { folder: '/journal', fileBytes: 16_384, filesMax: 6, groupBytesMax: 4096, queueBytesMax: 65_536 };

interface Stored {
  readonly name: string;
  readonly fileBytes: number;
  readonly bytes: Buffer;
}

interface Image {
  readonly files: readonly Stored[];
  /** Payload → how many in a row, from the first on, had been acknowledged and covered when the journal was left. */
  readonly acknowledged: number;
  readonly trimmed: JournalPosition | null;
}

interface Outcome {
  readonly recovery: Recovery;
  readonly records: readonly string[];
}

/** A disk file over bytes in memory. */
function fileOver(bytes: Buffer): DiskFile {
  return {
    path: '/x',
    size: async () => bytes.length,
    read: async (target, position) => bytes.copy(target, 0, position, Math.min(bytes.length, position + target.length)),
    write: async () => {},
    sync: async () => {},
    truncate: async () => {},
    close: async () => {},
  };
}

async function look(files: readonly Stored[], trimmed: JournalPosition | null): Promise<Outcome> {
  const slots = files.map(({ fileBytes, bytes }, number): Slot => {
    return { number, fileBytes, isWhole: bytes.length === fileBytes, file: fileOver(bytes) };
  });
  const records: string[] = [];
  const recovery = await recover(slots, trimmed, ({ type, bytes }, { file, at }) => {
    records.push(`${file}/${at} ${type} ${bytes.toString('latin1')}`);
  });
  return { recovery, records };
}

/** Several lives: rolls, a kill that leaves a cut tail, a trim with a file used again, then `ends`. */
async function makeImage(seed: number, trims: boolean, ends: 'idle' | 'closed' | 'tail'): Promise<Image> {
  const clock = simClock();
  const random = simRandom(seed);
  const world = simWorld(seed, { clock });
  const pass = async (ms: number) => {
    await clock.advanceSettled(ms);
  };
  const until = async <T>(promise: Promise<T>): Promise<T> => {
    const run = pass(3000);
    const result = await promise;
    await run;
    return result;
  };
  let trimmed: JournalPosition | null = null;
  let acknowledged = 0;
  const positions: JournalPosition[] = [];
  const open = async () => (await until(openJournal(world, OPTIONS, trimmed, () => {}))).journal;
  for (let life = 0; life < 3; life++) {
    const journal = await open();
    for (let count = 0; count < (trims ? 6 : 2); count++) {
      const size = random.pick([0, 20, 200, 1500, 4300]);
      if (trims && positions.length > 6) {
        const wanted = positions[positions.length - 4];
        if (wanted && compareJournalPositions(wanted, journal.durableEnd) <= 0) {
          trimmed = wanted;
          journal.trim(trimmed);
        }
      }
      if (journal.isFull(false, size + 20)) await pass(50);
      if (journal.isFull(false, size + 20)) break;
      const text = Buffer.from(`record ${life}.${count} `.padEnd(size, 'abcdefg'));
      const acknowledge = () => {
        acknowledged++;
      };
      positions.push(journal.append(count, [text.subarray(0, 5), text.subarray(5)], acknowledge));
      await pass(random.pick([0, 0, 0, 3, 30]));
    }
    await pass(100);
    if (life === 0) {
      // A tail that is written, not acknowledged, and survives in part.
      for (let count = 0; count < 3; count++) if (!journal.isFull(true, 700)) journal.append(9, [Buffer.alloc(700, `lost ${count}`)], null);
      journal.whenDurable(() => {});
      await pass(0.4);
      world.disk.crash();
    } else if (life === 1) world.disk.kill();
    else if (ends === 'closed') await until(journal.close());
    else if (ends === 'tail' && !journal.isFull(true, 20)) {
      journal.append(7, [Buffer.from('never acknowledged')], null);
      await pass(52);
    }
  }
  const files: Stored[] = [];
  for (const name of await until(world.disk.list('/journal'))) {
    const bytes = world.disk.contents(`/journal/${name}`);
    if (bytes && name.startsWith('journal-')) files.push({ name, fileBytes: Number(name.split('-')[2]), bytes });
  }
  return { files, acknowledged, trimmed };
}

/** An image, what it gives without damage, and what of that somebody was told is durable. */
interface Case {
  readonly image: Image;
  readonly clean: Outcome;
  readonly safe: readonly string[];
}

async function makeCase(seed: number, trims: boolean, ends: 'idle' | 'closed' | 'tail'): Promise<Case> {
  const image = await makeImage(seed, trims, ends);
  const clean = await look(image.files, image.trimmed);
  return { image, clean, safe: clean.records.filter(record => !record.includes('never acknowledged') && !record.includes('lost')) };
}

/** Checks one damaged image, and says what became of it. */
async function check({ image, clean, safe }: Case, files: readonly Stored[], what: string): Promise<'noticed' | 'same' | 'shorter'> {
  const { recovery, records } = await look(files, image.trimmed);
  let from = 0;
  for (const record of records) {
    const at = clean.records.indexOf(record, from);
    if (at < 0) throw new Error(`${what}: wrong or repeated record ${record.slice(0, 60)}`);
    from = at + 1;
  }
  if (recovery.damages.length > 0) return 'noticed';
  if (records.length === clean.records.length) return 'same';
  if (records.length < safe.length) throw new Error(`${what}: ${safe.length - records.length} acknowledged records are lost in silence`);
  if (records.some((record, index) => record !== clean.records[index])) throw new Error(`${what}: a hole in the records`);
  return 'shorter';
}

/** Replaces one file. */
function withFile(image: Image, index: number, bytes: Buffer): Stored[] {
  return image.files.map((file, at) => (at === index ? { ...file, bytes } : file));
}

const KINDS = [
  { name: 'idle', seed: 1, trims: false, ends: 'idle' },
  { name: 'closed, with files used again', seed: 2, trims: true, ends: 'closed' },
  { name: 'with a tail that was never acknowledged', seed: 5, trims: true, ends: 'tail' },
] as const;

describe.each(KINDS)('a journal that is $name', ({ seed, trims, ends }) => {
  let made: Case;
  beforeAll(async () => {
    made = await makeCase(seed, trims, ends);
  });

  test('has several files with records, and opens without damage', () => {
    const { image, clean, safe } = made;
    expect(clean.recovery.damages).toEqual([]);
    expect(image.files.length).toBeGreaterThanOrEqual(3);
    expect(clean.recovery.kept.filter(({ usedBytes }) => usedBytes > 8192).length).toBeGreaterThanOrEqual(trims ? 1 : 3);
    expect(safe.length).toBeGreaterThan(3);
    if (!trims) expect(safe.length).toBeGreaterThanOrEqual(image.acknowledged);
    if (ends === 'tail') expect(clean.records.length).toBe(safe.length + 1);
  });

  test('any flipped byte is noticed or harmless', { timeout: 300_000 }, async () => {
    const { image, clean } = made;
    const outcomes = { noticed: 0, same: 0, shorter: 0 };
    const random = simRandom(seed);
    for (const [index, file] of image.files.entries()) {
      const bytes = Buffer.from(file.bytes);
      // Files that hold nothing now are looked at more coarsely.
      const isUsed = clean.recovery.kept.some(({ slot, usedBytes }) => slot === index && usedBytes > 8192);
      for (let at = 0; at < bytes.length; at += isUsed ? 1 : 17) {
        const was = bytes[at] ?? 0;
        bytes[at] = was ^ (random.chance(0.5) ? 1 << random.integer(8) : 1 + random.integer(255));
        outcomes[await check(made, withFile(image, index, bytes), `${file.name} byte ${at}`)]++;
        bytes[at] = was;
      }
    }
    console.log(JSON.stringify(outcomes));
    expect(outcomes.noticed).toBeGreaterThan(3000);
    expect(outcomes.same).toBeGreaterThan(3000);
  });

  test('any truncation is noticed', { timeout: 300_000 }, async () => {
    const { image, clean } = made;
    for (const [index, file] of image.files.entries()) {
      const isNeeded = clean.recovery.kept.some(({ slot }) => slot === index);
      for (let size = 0; size < file.bytes.length; size += size % 512 < 40 || size % 512 > 500 ? 1 : 13) {
        const outcome = await check(made, withFile(image, index, file.bytes.subarray(0, size)), `${file.name} cut to ${size}`);
        if (isNeeded) expect(outcome).toBe('noticed');
      }
    }
  });

  test('any lost sector is noticed or harmless', { timeout: 300_000 }, async () => {
    const { image } = made;
    for (const [index, file] of image.files.entries())
      for (let at = 0; at < file.bytes.length; at += 512) {
        const bytes = Buffer.from(file.bytes);
        bytes.fill(0, at, at + 512);
        await check(made, withFile(image, index, bytes), `${file.name} sector ${at / 512}`);
      }
  });

  test('a missing file with records is noticed, unless it is the last', async () => {
    const { image, clean } = made;
    const last = Math.max(...clean.recovery.kept.map(({ free }) => free.file));
    for (const [index] of image.files.entries()) {
      const kept = clean.recovery.kept.find(({ slot }) => slot === index);
      if (!kept || kept.free.file === last || kept.free.file === 0) continue;
      const { recovery } = await look(
        image.files.map((file, at) => (at === index ? { ...file, bytes: Buffer.alloc(file.fileBytes) } : file)),
        image.trimmed,
      );
      expect(recovery.damages.length).toBeGreaterThan(0);
    }
  });
});

test('random damage to hundreds of journals is noticed or harmless', { timeout: 300_000 }, async () => {
  const outcomes = { noticed: 0, same: 0, shorter: 0 };
  for (let seed = 100; seed < 400; seed++) {
    const random = simRandom(seed);
    const made = await makeCase(seed, random.chance(0.6), random.pick(['idle', 'closed', 'tail']));
    expect(made.clean.recovery.damages, `seed ${seed}`).toEqual([]);
    for (let round = 0; round < 60; round++) {
      const index = random.integer(made.image.files.length);
      const bytes = Buffer.from(made.image.files[index]?.bytes ?? []);
      // Where something was written, more often than not.
      const at = random.chance(0.8) ? lastWritten(bytes, random.integer(bytes.length)) : random.integer(bytes.length);
      if (random.chance(0.7)) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.integer(8));
      else bytes.fill(random.pick([0, 0xff]), at, Math.min(at + random.pick([2, 30, 512, 4096]), at - (at % 4096) + 4096));
      outcomes[await check(made, withFile(made.image, index, bytes), `seed ${seed}, round ${round}`)]++;
    }
  }
  console.log(JSON.stringify(outcomes));
  expect(outcomes.noticed).toBeGreaterThan(2000);
  expect(outcomes.same).toBeGreaterThan(2000);
});

/** The last byte that is not zero up to `at`. */
function lastWritten(bytes: Buffer, at: number): number {
  let found = at;
  while (found > 0 && bytes[found] === 0) found--;
  return found;
}
