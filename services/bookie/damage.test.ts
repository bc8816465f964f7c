// Bytes that rot. Whatever is flipped or cut: it is noticed or harmless. Nobody is served wrong bytes, no vote is given on what may be
// forgotten, and nothing intact is deleted.
import { basename, dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { memoryLogger } from '#lib/runtime/loggers.ts';
import { memoryDisk } from '#lib/runtime/memory-disk.ts';
import type { Disk } from '#lib/runtime/ports.ts';
import { type BookieId, offset } from '#lib/types/brands.ts';
import type { Bookie } from './bookie.ts';
import { BookieStartError } from './identity.ts';
import { createBookie } from './open.ts';
import { appendRequest, ask, quickWorld, smallConfig, testBallot, testDescriptor, testEntry, testLedgerId } from './testing/support.ts';

type Image = ReadonlyMap<string, Buffer>;

async function dump(disk: Disk, folder: string, into = new Map<string, Buffer>()): Promise<Map<string, Buffer>> {
  for (const name of await disk.list(folder)) {
    const path = `${folder}/${name}`;
    const below = await disk.list(path);
    if (below.length > 0 || ['journal', 'segments', 'manifest'].includes(name)) {
      await dump(disk, path, into);
      continue;
    }
    const file = await disk.open(path, { readOnly: true });
    const bytes = Buffer.alloc(await file.size());
    await file.read(bytes, 0);
    await file.close();
    into.set(path, bytes);
  }
  return into;
}

async function load(image: Image, changed?: { path: string; bytes: Buffer }): Promise<Disk> {
  const disk = memoryDisk();
  for (const [path, bytes] of image) {
    await disk.makeFolder(dirname(path));
    const file = await disk.open(path, { create: true });
    await file.write([path === changed?.path ? changed.bytes : bytes], 0);
    await file.close();
  }
  return disk;
}

const config = () => ({ ...smallConfig(), journalFileBytes: 16 * 1024, journalFilesMax: 10 });

interface Sample {
  readonly image: Image;
  readonly id: BookieId;
  /** By ledger: 1 is decided, 2 is open with a fence of ballot 3, 3 was deleted. */
  readonly entries: readonly (readonly Buffer[])[];
}

/** A small bookie with something of everything, flushed twice; `close` or a kill. */
async function sample(ends: 'closed' | 'killed'): Promise<Sample> {
  const disk = memoryDisk();
  const bookie = await createBookie(quickWorld(disk), config());
  const entries: Buffer[][] = [[], [], []];
  const append = async (n: number, count: number) => {
    for (let left = count; left > 0; left--) {
      const list = entries[n - 1] ?? [];
      const entry = testEntry(list.length, Buffer.from(`ledger ${n} entry ${list.length}`));
      expect(await ask(bookie, appendRequest(n, 1, entry, list.length))).toMatchObject({ kind: 'appended' });
      list.push(entry);
    }
  };
  for (const n of [1, 2, 3]) {
    expect(await ask(bookie, { kind: 'create', descriptor: testDescriptor(n, bookie.id), ballot: testBallot(1) })).toEqual({ kind: 'ok' });
    await append(n, 3);
  }
  await bookie.flush();
  await append(1, 2);
  await append(2, 2);
  const decided = { end: offset(5), next: testDescriptor(2, bookie.id) };
  await ask(bookie, { kind: 'decided', ledger: testLedgerId(1), first: offset(0), value: decided });
  const end = { end: offset(3), next: null };
  await ask(bookie, { kind: 'decided', ledger: testLedgerId(3), first: offset(0), value: end });
  const { partition } = testDescriptor(3, bookie.id);
  await ask(bookie, { kind: 'delete', ledger: testLedgerId(3), partition, reason: 'trimmed', ballot: testBallot(1) });
  expect(
    await ask(bookie, { kind: 'fence', descriptor: testDescriptor(2, bookie.id), ballot: testBallot(3), first: offset(0) }),
  ).toMatchObject({ kind: 'fenced', end: 5 });
  await bookie.flush();
  await append3(bookie, entries);
  // Until the journal, idle, has covered its last group: a damage of that one is the end of a crash otherwise.
  await new Promise(resolve => setTimeout(resolve, 50));
  if (ends === 'closed') await bookie.close();
  const image = await dump(disk, '/data');
  if (ends === 'killed') await bookie.close();
  return { image, id: bookie.id, entries };
}

/** One more entry that is in the journal only, unless the bookie is closed. */
async function append3(bookie: Bookie, entries: Buffer[][]): Promise<void> {
  const entry = testEntry(5, Buffer.from('ledger 2 entry 5'));
  expect(await ask(bookie, appendRequest(2, 3, entry, 5))).toMatchObject({ kind: 'appended' });
  entries[1]?.push(entry);
}

/** Checks all that a client can see against what was acknowledged; says whether the bookie noticed anything. */
async function examine(disk: Disk, { id, entries }: Sample): Promise<'as it was' | 'reborn' | 'damaged entries'> {
  const bookie = await createBookie(quickWorld(disk, memoryLogger()), config());
  try {
    const isReborn = bookie.id !== id;
    let damaged = 0;
    for (const n of [1, 2]) damaged += await examineEntries(bookie, n, entries[n - 1] ?? []);
    const sealed = await ask(bookie, { kind: 'inspect', ledger: testLedgerId(1) });
    if (sealed.kind === 'state' && sealed.state.decided) expect(sealed.state.decided.end).toBe(5);
    else expect(isReborn).toBe(true);
    // A lower ballot than the fenced one must never get a vote or an entry.
    const fence = { kind: 'fence', descriptor: testDescriptor(2, id), ballot: testBallot(2), first: offset(0) } as const;
    const fenced = await ask(bookie, fence);
    const late = await ask(bookie, appendRequest(2, 1, testEntry(6, Buffer.from('late')), 6));
    if (isReborn) for (const reply of [fenced, late]) expect(['unknown', 'stale']).toContain(reply.kind);
    else for (const reply of [fenced, late]) expect(reply).toEqual({ kind: 'stale', promised: testBallot(3) });
    const again = await ask(bookie, { kind: 'create', descriptor: testDescriptor(3, id), ballot: testBallot(9) });
    expect(isReborn ? ['gone', 'unknown', 'stale'] : ['gone']).toContain(again.kind);
    if (isReborn) return 'reborn';
    return damaged > 0 ? 'damaged entries' : 'as it was';
  } finally {
    await bookie.close();
  }
}

/** Number of entries that cannot be read, each of which was said to be so. */
async function examineEntries(bookie: Bookie, n: number, entries: readonly Buffer[]): Promise<number> {
  let damaged = 0;
  for (let at = 0; at < entries.length; at++) {
    const reply = await ask(bookie, { kind: 'read', ledger: testLedgerId(n), ballot: testBallot(3), offset: offset(at), bytesMax: 1 });
    if (reply.kind === 'entries' && reply.entries.length > 0) expect(reply.entries[0]?.equals(entries[at] ?? Buffer.alloc(0))).toBe(true);
    else {
      // Never "no entry" from a bookie that still votes.
      if (reply.kind === 'entries') expect(bookie.answersTo(bookie.id) && reply.end).toBeLessThanOrEqual(at);
      damaged++;
    }
  }
  return damaged;
}

const isSegment = (path: string) => basename(path).startsWith('segment-');

/** So many at a time: most of an examination is waiting for turns of the loop. */
const AT_ONCE = 30;

async function overEach(taken: Sample, name: RegExp, change: 'flip' | 'cut', step = 1): Promise<Record<string, number>> {
  const outcomes: Record<string, number> = {};
  for (const [path, good] of taken.image) {
    if (!name.test(path)) continue;
    // The zeros that a file has ahead: a few of them stand for all.
    const size = good.length - zerosAtEnd(good) + Math.min(40, zerosAtEnd(good));
    for (let from = 0; from < size; from += AT_ONCE * step) {
      const places = Array.from({ length: AT_ONCE }, (_, n) => from + n * step).filter(at => at < size);
      for (const outcome of await Promise.all(places.map(at => examineChanged(taken, path, good, at, change))))
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    }
  }
  return outcomes;
}

function zerosAtEnd(bytes: Buffer): number {
  let count = 0;
  while (count < bytes.length && bytes[bytes.length - 1 - count] === 0) count++;
  return count;
}

async function examineChanged(taken: Sample, path: string, good: Buffer, at: number, change: 'flip' | 'cut'): Promise<string> {
  const bytes = change === 'cut' ? good.subarray(0, at) : Buffer.from(good);
  if (change === 'flip') bytes[at] = (bytes[at] ?? 0) ^ (1 << (at % 8));
  const disk = await load(taken.image, { path, bytes });
  const outcome = await examine(disk, taken);
  const left = await dump(disk, '/data');
  for (const [other, content] of taken.image) {
    if (!isSegment(other) || outcome === 'as it was') continue;
    const kept = left.get(other) ?? left.get(other.replace(/segment-/, 'damaged-segment-'));
    expect(kept?.equals(other === path ? bytes : content), `${other} is kept (${outcome}, ${change} at ${at} of ${path})`).toBe(true);
  }
  return outcome;
}

describe('each flipped byte and each cut', () => {
  test('of a segment', async () => {
    const taken = await sample('closed');
    const flips = await overEach(taken, /segments/, 'flip');
    expect(flips['reborn']).toBeUndefined();
    expect(flips['damaged entries']).toBeGreaterThan(0);
    const cuts = await overEach(taken, /segments/, 'cut');
    expect(cuts['reborn']).toBeUndefined();
    expect(cuts['damaged entries']).toBeGreaterThan(0);
  }, 120_000);

  test('of the manifest, after a clean end', async () => {
    const taken = await sample('closed');
    const flips = await overEach(taken, /manifest/, 'flip');
    const cuts = await overEach(taken, /manifest/, 'cut');
    expect(flips['damaged entries']).toBeUndefined();
    expect(cuts['damaged entries']).toBeUndefined();
    expect(flips['reborn']).toBeGreaterThan(0);
  }, 120_000);

  test('of the manifest, after a kill', async () => {
    const taken = await sample('killed');
    const flips = await overEach(taken, /manifest/, 'flip');
    const cuts = await overEach(taken, /manifest/, 'cut');
    expect(flips['damaged entries']).toBeUndefined();
    expect(cuts['damaged entries']).toBeUndefined();
    expect(flips['reborn']).toBeGreaterThan(0);
  }, 120_000);

  test('of the journal, after a kill', async () => {
    const taken = await sample('killed');
    const flips = await overEach(taken, /journal/, 'flip', 23);
    const cuts = await overEach(taken, /journal/, 'cut', 211);
    expect(flips['damaged entries']).toBeUndefined();
    expect(cuts['damaged entries']).toBeUndefined();
    expect(flips['reborn']).toBeGreaterThan(0);
  }, 120_000);

  test('of one copy of the identity; of both the start is refused', async () => {
    const taken = await sample('closed');
    expect(await overEach(taken, /identity$/, 'flip')).toEqual({ 'as it was': taken.image.get('/data/identity')?.length });
    const image = new Map(taken.image);
    for (const name of ['identity', 'identity.copy']) image.set(`/data/${name}`, Buffer.from('rubbish that is long enough'));
    const disk = await load(image);
    const failed = await createBookie(quickWorld(disk), config()).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(BookieStartError);
    expect(failed).toMatchObject({ problem: 'damaged' });
  }, 60_000);
});
