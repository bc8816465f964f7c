import { describe, expect, test } from 'vitest';
import { fail, isFailure } from '#lib/types/errors.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { encodeEntry, entryBaseOffset, entryEnd } from '#lib/wire/entry.ts';
import { entryIn, ReadAhead } from './read-ahead.ts';

const KIB = 1024;

/** `count` entries of ten messages and 8 KiB each; `reads` are the offsets that were asked for. */
function logOf(count: number) {
  const payload = Buffer.alloc(8 * KIB, 97);
  const crc = crc32c(payload);
  const reads: number[] = [];
  const entry = (n: number): Buffer =>
    encodeEntry(
      { kind: 'batch', baseOffset: n * 10, count: 10, cumulativeCount: n * 10, appendTimeMs: 1, checkpointOffset: -1 },
      [],
      payload,
      crc,
    );
  const entries = Array.from({ length: count }, (_, n) => entry(n));
  const read = async (offset: number, bytesMax: number): Promise<readonly Buffer[]> => {
    reads.push(offset);
    const first = Math.floor(offset / 10);
    return entries.slice(first, first + Math.max(1, Math.floor(bytesMax / (8 * KIB))));
  };
  return { read, reads, end: count * 10 };
}

describe('reading ahead', () => {
  test('finds the entry that covers an offset once it is loaded', async () => {
    const { read, end } = logOf(50);
    const reader = new ReadAhead(1e6).open(read);
    expect(reader.get(25, end)).toBeUndefined();
    const loaded = await reader.load(25);
    expect(isFailure(loaded) ? null : [entryIn(loaded, 25), entryIn(loaded, 19)].map(entry => entry && entryBaseOffset(entry))).toEqual([
      20,
      undefined,
    ]);
    const entry = reader.get(25, end);
    expect(entry && entryBaseOffset(entry)).toBe(20);
  });

  test('asks for the next block before it is needed, in growing steps', async () => {
    const log = logOf(1000);
    const reader = new ReadAhead(64 * KIB * KIB).open(log.read);
    let waits = 0;
    for (let offset = 0; offset < log.end; ) {
      const entry = reader.get(offset, log.end);
      if (entry === undefined) {
        waits++;
        await reader.load(offset);
        continue;
      }
      offset = entryEnd(entry);
      await null;
      await null;
      await null;
    }
    expect(waits).toBe(1);
    expect(log.reads.length).toBeLessThan(15);
    expect(new Set(log.reads).size).toBe(log.reads.length);
  });

  test('does not read beyond the limit', async () => {
    const log = logOf(20);
    const reader = new ReadAhead(1e9).open(log.read);
    await reader.load(0);
    for (let offset = 0; offset < 150; offset += 10) reader.get(offset, 160);
    await null;
    expect(log.reads).toEqual([0]);
  });

  test('loads once for readers of the same stretch', async () => {
    const log = logOf(50);
    const reader = new ReadAhead(1e9).open(log.read);
    await Promise.all([reader.load(0), reader.load(0)]);
    expect(log.reads).toEqual([0]);
  });

  test('stays within its budget; what was loaded first goes first', async () => {
    const cache = new ReadAhead(300 * KIB);
    const a = cache.open(logOf(100).read);
    const b = cache.open(logOf(100).read);
    await a.load(0);
    await b.load(0);
    await b.load(300);
    expect(cache.usedBytes).toBeLessThanOrEqual(300 * KIB);
    expect(a.get(0, 1000)).toBeUndefined();
    expect(b.get(300, 1000)).toBeDefined();
    b.close();
    a.close();
    expect(cache.usedBytes).toBe(0);
  });

  test('keeps the newest block though it is larger than the budget: a reader must get on', async () => {
    const reader = new ReadAhead(1).open(logOf(100).read);
    await reader.load(0);
    expect(reader.get(0, 1000)).toBeDefined();
  });

  test('forgets what is trimmed, and what comes after its end', async () => {
    const cache = new ReadAhead(1e9);
    const reader = cache.open(logOf(100).read);
    await reader.load(0);
    reader.dropBelow(500);
    expect(reader.get(0, 1000)).toBeUndefined();
    const loading = reader.load(0);
    reader.close();
    await loading;
    expect(cache.usedBytes).toBe(0);
  });

  test('hands on why nothing can be read', async () => {
    const failure = fail('storage_unavailable', 'no bookie answers');
    const reader = new ReadAhead(1e9).open(async () => failure);
    expect(await reader.load(0)).toBe(failure);
    expect(await reader.load(0)).toBe(failure);
  });
});
