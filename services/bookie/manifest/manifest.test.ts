import { describe, expect, test } from 'vitest';
import type { World } from '#lib/runtime/ports.ts';
import { type SimDisk, simDisk } from '#lib/runtime/sim/disk.ts';
import { simRandom } from '#lib/runtime/sim/random.ts';
import { offset } from '#lib/types/brands.ts';
import { PARTITION, quickWorld, testBallot, testDescriptor, testLedgerId } from '../testing/support.ts';
import { type Edit, encodeManifestHeader, encodeRecord, readManifest } from './core/format.ts';
import { Manifest } from './manifest.ts';

const bookie = '00112233445566778899aabbccddeeff' as Parameters<typeof testDescriptor>[1];
const run = {
  ledger: testLedgerId(1),
  segment: 4,
  first: offset(0),
  end: offset(9),
  position: 64,
  bytes: 900,
  entries: 3,
  marksPosition: 964,
  marks: 1,
};
const bare = { first: null, end: null, ackedEnd: null, accepted: null, decided: null };
const decided = { end: offset(9), next: testDescriptor(2, bookie) };
const placed = { first: offset(0), end: offset(9), ackedEnd: offset(8), accepted: { ballot: testBallot(2), ...decided }, decided };
const EDITS: readonly Edit[] = [
  { kind: 'segment', segment: 4, fileBytes: 5000, entryBytes: 4000, runs: [run, { ...run, first: offset(9), end: offset(20) }] },
  { kind: 'segment', segment: 5, fileBytes: 50, entryBytes: 0, runs: [] },
  { kind: 'segment_removed', segment: 4 },
  { kind: 'state', state: { descriptor: testDescriptor(1, bookie), promised: testBallot(3), ...bare } },
  { kind: 'state', state: { descriptor: testDescriptor(1, bookie), promised: testBallot(3), ...placed } },
  { kind: 'tombstone', tombstone: { ledger: testLedgerId(3), partition: PARTITION, first: null, decided: null, reason: 'orphan' } },
  { kind: 'tombstone', tombstone: { ledger: testLedgerId(3), partition: PARTITION, first: offset(2), decided, reason: 'trimmed' } },
  { kind: 'forgotten', ledger: testLedgerId(3) },
  { kind: 'floor', floor: { partition: PARTITION, offset: offset(7), firstLive: testLedgerId(2), ballot: testBallot(4) } },
  { kind: 'trim', position: { file: 3, at: 12_288 } },
];

test('a file says again what was put into it', () => {
  const nonce = Buffer.from('01234567');
  const header = encodeManifestHeader(7, nonce);
  const one = encodeRecord(EDITS, nonce, header.length);
  const cover = encodeRecord([], nonce, header.length + one.length);
  const file = Buffer.concat([header, one, cover]);
  expect(readManifest(file)).toMatchObject({ kind: 'clean', edits: EDITS, end: file.length });
  expect(readManifest(Buffer.concat([file, Buffer.alloc(100)]))).toMatchObject({ kind: 'clean', edits: EDITS, end: file.length });
  expect(readManifest(Buffer.concat([file, Buffer.from('the tail of a crash')]))).toMatchObject({
    kind: 'tail_cut',
    edits: EDITS,
    end: file.length,
  });
});

test('a damaged record is told from the tail of a crash by what stands behind it; the others are read all the same', () => {
  const nonce = Buffer.from('01234567');
  const parts = [encodeManifestHeader(7, nonce)];
  let at = parts[0]?.length ?? 0;
  for (const edit of EDITS) {
    const record = encodeRecord([edit], nonce, at);
    parts.push(record);
    at += record.length;
  }
  const file = Buffer.concat(parts);
  const first = parts[0]?.length ?? 0;
  file[first + 60] = (file[first + 60] ?? 0) ^ 1;
  expect(readManifest(file)).toMatchObject({ kind: 'corrupt', edits: EDITS.slice(1) });
  // Of another life of the file: not valid here.
  const other = encodeRecord(EDITS, Buffer.from('76543210'), first);
  expect(readManifest(Buffer.concat([parts[0] ?? Buffer.alloc(0), other]))).toMatchObject({ kind: 'tail_cut', edits: [] });
  const newer = Buffer.from(parts[0] ?? Buffer.alloc(0));
  expect(readManifest(newer)).toMatchObject({ kind: 'clean', edits: [] });
});

describe('on a disk', () => {
  const trim = (at: number): Edit => ({ kind: 'trim', position: { file: 1, at } });
  async function fresh(): Promise<{ disk: SimDisk; world: World; manifest: Manifest }> {
    const disk = simDisk(simRandom(3));
    const world = quickWorld(disk);
    await disk.makeFolder('/m');
    return { disk, world, manifest: await Manifest.fresh(world, '/m', []) };
  }
  const reopened = async (world: World) => {
    const { manifest, edits, opening } = await Manifest.open(world, '/m');
    await manifest?.close();
    return { edits, kind: opening.kind };
  };

  test('what is committed survives every crash', async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const disk = simDisk(simRandom(seed));
      const world = quickWorld(disk);
      await disk.makeFolder('/m');
      let manifest = await Manifest.fresh(world, '/m', []);
      const committed: Edit[] = [];
      for (let n = 0; n < 12; n++) {
        if (n % 5 === 4) await manifest.rewrite(committed);
        else {
          await manifest.commit([trim(n)]);
          committed.push(trim(n));
        }
        if (n % 3 !== 2) continue;
        const under = manifest.commit([trim(100 + n)]);
        for (let turn = 0; turn < seed % 9; turn++) await undefined;
        disk.crash();
        void under;
        const opened = await Manifest.open(world, '/m');
        expect(['clean', 'tail_cut']).toContain(opened.opening.kind);
        expect(opened.edits.slice(0, committed.length)).toEqual(committed);
        expect(opened.edits.length - committed.length).toBeLessThanOrEqual(1);
        committed.splice(0, committed.length, ...opened.edits);
        if (!opened.manifest) throw new Error('it cannot be appended to');
        manifest = opened.manifest;
      }
    }
  });

  test('a full disk rejects a commit, which is repeated when there is space; smaller ones fit into what the file has ahead', async () => {
    const { disk, world, manifest } = await fresh();
    disk.faults.capacityBytes = disk.contents('/m/manifest-0000000001')?.length ?? 0;
    for (let n = 0; n < 50; n++) await manifest.commit([trim(n)]);
    const large = Array.from(
      { length: 6000 },
      (_, n): Edit => ({ kind: 'state', state: { descriptor: testDescriptor(n, bookie), promised: testBallot(3), ...bare } }),
    );
    await expect(manifest.commit(large)).rejects.toMatchObject({ reason: 'full' });
    await manifest.commit([trim(99)]);
    disk.faults.capacityBytes = 10 ** 9;
    await manifest.commit(large);
    await manifest.close();
    const { edits, kind } = await reopened(world);
    expect(kind).toBe('clean');
    expect(edits.length).toBe(51 + 6000);
    expect(edits[50]).toEqual(trim(99));
  });

  test('a rejected sync leaves nothing behind that looks like a later record', async () => {
    const { disk, world, manifest } = await fresh();
    await manifest.commit([trim(1)]);
    let syncs = 0;
    disk.faults.sync = () => (++syncs === 2 ? 'full' : null);
    await expect(manifest.commit(EDITS)).rejects.toMatchObject({ reason: 'full' });
    disk.faults.sync = null;
    await manifest.commit([trim(2)]);
    await manifest.close();
    expect(await reopened(world)).toEqual({ kind: 'clean', edits: [trim(1), trim(2)] });
  });

  test('one of a newer version is not touched', async () => {
    const { disk, world, manifest } = await fresh();
    await manifest.close();
    const path = '/m/manifest-0000000001';
    const file = await disk.open(path);
    const header = Buffer.alloc(32);
    await file.read(header, 0);
    header.writeUInt32LE(9, 4);
    const { crc32c } = await import('#lib/wire/crc32c.ts');
    header.writeUInt32LE(crc32c(header.subarray(0, 28)), 28);
    await file.write([header], 0);
    const before = disk.contents(path);
    expect(await Manifest.open(world, '/m')).toMatchObject({ manifest: null, opening: { kind: 'newer', version: 9 } });
    expect(disk.contents(path)).toEqual(before);
  });
});
