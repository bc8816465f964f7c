import { expect, test } from 'vitest';
import {
  BLOCK_BYTES,
  decodeFileHeader,
  encodeFileHeader,
  type FileHeader,
  type FileIdentity,
  type JournalPosition,
  readGroupHeader,
  readRecord,
} from './format.ts';
import { Group, SlabPool } from './group.ts';
import { type FileFacts, planReplay, replayFile, traceLives } from './replay.ts';

const life = (sequence: number): FileIdentity => ({ sequence, idLow: sequence * 77, idHigh: sequence * 99 });
const FILE_BYTES = 8 * BLOCK_BYTES;

/** A file's bytes: the groups of one life, each a list of texts with its `syncedTo`. */
function fileOf(
  identity: FileIdentity,
  groups: readonly { readonly texts: readonly string[]; readonly syncedTo?: JournalPosition }[],
): Buffer {
  const file = Buffer.alloc(FILE_BYTES);
  let at = BLOCK_BYTES;
  for (const { texts, syncedTo = { file: 0, at: 0 } } of groups) {
    const group = new Group(new SlabPool(), identity, at);
    for (const text of texts) group.add(1, [Buffer.from(text)], text.length, undefined);
    Buffer.concat(group.close(syncedTo)).copy(file, at);
    at = group.end;
  }
  return file;
}

function replay(
  file: Buffer,
  identity: FileIdentity,
  end: number | null = null,
  mustReach = end ?? 0,
  trimmed: JournalPosition | null = null,
) {
  const texts: string[] = [];
  const outcome = replayFile(file, { identity, end, mustReach }, trimmed, false, ({ bytes }, _position, afterDamage) => {
    texts.push(`${afterDamage ? '!' : ''}${bytes.toString().trimEnd()}`);
  });
  return { texts, ...outcome };
}

test('a file header comes back as it was, and no flipped bit of it passes', () => {
  const header: FileHeader = {
    identity: life(7),
    previous: { identity: life(6), end: 40_960, recordsEnd: 40_001 },
    startedMs: 1_700_000_000_000,
    fileBytes: FILE_BYTES,
  };
  const block = encodeFileHeader(header);
  expect(block.length).toBe(BLOCK_BYTES);
  expect(decodeFileHeader(block)).toEqual(header);
  expect(decodeFileHeader(encodeFileHeader({ ...header, previous: null }))?.previous).toBeNull();
  for (let bit = 0; bit < 96 * 8; bit++) {
    const flipped = Buffer.from(block);
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(decodeFileHeader(flipped)).toBeNull();
  }
});

test('a group and a record are valid only where they were written, and in their own life', () => {
  const file = fileOf(life(3), [{ texts: ['one', 'two'] }]);
  const record = BLOCK_BYTES + 64;
  expect(readRecord(file, record, life(3), file.length)?.bytes.toString()).toBe('one');
  expect(readRecord(file, record, life(4), file.length)).toBeNull();
  const moved = Buffer.alloc(FILE_BYTES);
  file.copy(moved, 2 * BLOCK_BYTES, BLOCK_BYTES, 2 * BLOCK_BYTES);
  expect(readGroupHeader(file, BLOCK_BYTES)).not.toBeNull();
  expect(readGroupHeader(moved, 2 * BLOCK_BYTES)).toBeNull();
  expect(readRecord(moved, record + BLOCK_BYTES, life(3), file.length)).toBeNull();
});

test('a length of 2^32 - 1 is refused before anything is read', () => {
  const file = fileOf(life(3), [{ texts: ['one'] }]);
  file.writeUInt32LE(0xffffffff, BLOCK_BYTES + 64 + 4);
  expect(readRecord(file, BLOCK_BYTES + 64, life(3), file.length)).toBeNull();
});

test('large parts are passed on, small ones are copied, and both come back in order', () => {
  const group = new Group(new SlabPool(), life(1), BLOCK_BYTES);
  const parts = [10, 5000, 0, 4096, 70_000, 1].map((size, n) => Buffer.alloc(size, n + 1));
  for (let round = 0; round < 20; round++) group.add(2, parts, 79_107, undefined);
  const views = group.close({ file: 0, at: 0 });
  const passedOn = new Set<Uint8Array>(parts);
  expect(views.filter(view => passedOn.has(view)).length).toBe(40);
  const file = Buffer.concat([Buffer.alloc(BLOCK_BYTES), ...views]);
  const records: Buffer[] = [];
  const outcome = replayFile(file, { identity: life(1), end: null, mustReach: 0 }, null, false, ({ bytes }) => records.push(bytes));
  expect(outcome.end).toBe(file.length);
  expect(records.length).toBe(20);
  for (const record of records) expect(record.equals(Buffer.concat(parts))).toBe(true);
});

test('a record of an earlier life, of the same size at the same place, does not stand in for one that was not written', () => {
  // The first record ends at a sector, so that a torn write can leave whole old records behind a new header.
  const first = 'a'.repeat(408);
  const old = fileOf(life(3), [{ texts: [first, 'old 1', 'old 2'] }]);
  const torn = fileOf(life(9), [{ texts: [first, 'new 1', 'new 2'] }]);
  old.copy(torn, BLOCK_BYTES + 512, BLOCK_BYTES + 512);
  expect(replay(torn, life(9))).toMatchObject({ texts: [], end: BLOCK_BYTES, damage: null, cutBytes: BLOCK_BYTES });
});

test('a torn tail is cut whole; the intact group behind it goes with it', () => {
  const file = fileOf(life(2), [
    { texts: ['1'] },
    { texts: ['2', '3'], syncedTo: { file: 2, at: 2 * BLOCK_BYTES } },
    { texts: ['4'], syncedTo: { file: 2, at: 2 * BLOCK_BYTES } },
  ]);
  file[2 * BLOCK_BYTES + 64 + 41 + 40] = 0;
  expect(replay(file, life(2))).toMatchObject({ texts: ['1'], end: 2 * BLOCK_BYTES, damage: null, cutBytes: 2 * BLOCK_BYTES });
});

test('the same is damage when a later group says that it had been durable; what is valid comes back, marked', () => {
  const file = fileOf(life(2), [
    { texts: ['1'] },
    { texts: ['2', '3', '4'], syncedTo: { file: 2, at: 2 * BLOCK_BYTES } },
    { texts: ['5'], syncedTo: { file: 2, at: 3 * BLOCK_BYTES } },
  ]);
  file[2 * BLOCK_BYTES + 64 + 41 + 40] = 0;
  const outcome = replay(file, life(2));
  expect(outcome.damage).toEqual({ what: 'a group is damaged', at: { file: 2, at: 2 * BLOCK_BYTES } });
  expect(outcome.texts).toEqual(['1', '!2', '!4', '!5']);
});

test('a group that is torn counts as durable when a group of the next file says so, though that has no valid header', () => {
  const file = fileOf(life(2), [{ texts: ['1'] }, { texts: ['2'] }]);
  file[2 * BLOCK_BYTES + 64] = 0xff;
  const next = fileOf(life(3), [{ texts: ['3'], syncedTo: { file: 2, at: 3 * BLOCK_BYTES } }]);
  const header: FileHeader = { identity: life(2), previous: null, startedMs: 0, fileBytes: FILE_BYTES };
  const facts: FileFacts[] = [
    { slot: 1, fileBytes: FILE_BYTES, actualBytes: FILE_BYTES, header, isBlank: false, traces: [] },
    { slot: 2, fileBytes: FILE_BYTES, actualBytes: FILE_BYTES, header: null, isBlank: false, traces: traceLives(next) },
  ];
  const plan = planReplay(facts, null);
  expect(plan.damages).toEqual([]);
  expect(plan.nextSequence).toBe(4);
  expect(plan.chain).toMatchObject([{ slot: 1, mustReach: 3 * BLOCK_BYTES }]);
  expect(replay(file, life(2), null, 3 * BLOCK_BYTES).damage).not.toBeNull();
  expect(replay(file, life(2)).damage).toBeNull();
});

test('behind the end that the next file names, nothing counts, however valid', () => {
  const file = fileOf(life(2), [{ texts: ['1'] }, { texts: ['cut'] }]);
  expect(replay(file, life(2), 2 * BLOCK_BYTES)).toMatchObject({ texts: ['1'], end: 2 * BLOCK_BYTES, damage: null });
});

test('damage below the trim position does not matter', () => {
  const file = fileOf(life(2), [
    { texts: ['1'] },
    { texts: ['2'], syncedTo: { file: 2, at: 2 * BLOCK_BYTES } },
    { texts: ['3'], syncedTo: { file: 2, at: 3 * BLOCK_BYTES } },
  ]);
  file[BLOCK_BYTES + 70] = 0xff;
  expect(replay(file, life(2)).damage).not.toBeNull();
  const needed = replay(file, life(2), null, 0, { file: 2, at: 2 * BLOCK_BYTES });
  expect(needed).toMatchObject({ texts: ['2', '3'], damage: null });
  expect(replay(file, life(2), null, 0, { file: 2, at: 2 * BLOCK_BYTES - 1 }).damage).not.toBeNull();
});

/** Facts of files with valid headers, each naming the one before in the list. */
function chainOf(sequences: readonly number[]): FileFacts[] {
  return sequences.map((sequence, index) => {
    const before = sequences[index - 1];
    const previous = before === undefined ? null : { identity: life(before), end: 8192, recordsEnd: 5000 };
    const header: FileHeader = { identity: life(sequence), previous, startedMs: 0, fileBytes: FILE_BYTES };
    return { slot: sequence, fileBytes: FILE_BYTES, actualBytes: FILE_BYTES, header, isBlank: false, traces: [] };
  });
}

test('the chain goes back from the newest file, past lives that no header names', () => {
  const files = chainOf([1, 2, 5, 6]);
  const strays = chainOf([3, 4]).map(facts => ({ ...facts, slot: facts.slot + 10 }));
  const plan = planReplay([...strays, ...files], null);
  expect(plan.chain.map(({ slot }) => slot)).toEqual([1, 2, 5, 6]);
  expect(plan.chain.map(({ end }) => end)).toEqual([8192, 8192, 8192, null]);
  expect(plan).toMatchObject({ damages: [], nextSequence: 7, missing: null });
});

test('the chain stops where all that is older is trimmed', () => {
  const files = chainOf([1, 2, 5, 6]);
  const from = (trimmed: JournalPosition) => planReplay(files.slice(1), trimmed);
  expect(from({ file: 1, at: 5000 })).toMatchObject({ damages: [], chain: [{ slot: 2 }, { slot: 5 }, { slot: 6 }] });
  expect(from({ file: 2, at: 4096 })).toMatchObject({ damages: [], chain: [{ slot: 2 }, { slot: 5 }, { slot: 6 }] });
  expect(from({ file: 5, at: 4096 })).toMatchObject({ damages: [], chain: [{ slot: 5 }, { slot: 6 }] });
  expect(from({ file: 1, at: 4999 }).damages).toMatchObject([{ what: 'a file is missing', at: { file: 1 } }]);
});

test('a journal that ends before its trim position, or has two files of one sequence, is damaged', () => {
  expect(planReplay(chainOf([1, 2]), { file: 3, at: 4096 })).toMatchObject({
    damages: [{ what: 'the journal ends before its trim position' }],
    missing: { identity: { sequence: 3 } },
    nextSequence: 4,
  });
  expect(planReplay([], { file: 3, at: 4096 }).damages.length).toBe(1);
  expect(planReplay([], null)).toEqual({ chain: [], damages: [], nextSequence: 1, missing: null });
  const twice = [...chainOf([1, 2]), ...chainOf([2]).map(facts => ({ ...facts, slot: 9 }))];
  expect(planReplay(twice, null).damages).toMatchObject([{ what: 'two files have the same sequence' }]);
});
