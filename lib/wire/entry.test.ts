import { describe, expect, it } from 'vitest';
import { crc32c } from './crc32c.ts';
import {
  checkEntry,
  ENTRY_BYTES_MAX,
  ENTRY_HEADER_BYTES,
  type EntryHeader,
  encodeEntry,
  entryAppendTimeMs,
  entryBaseOffset,
  entryCheckpointOffset,
  entryCount,
  entryCumulativeCount,
  entryEnd,
  entryKind,
  entryMeta,
  entryPayload,
  entryPayloadCrc,
  entrySpan,
  readU64,
  writeU64,
} from './entry.ts';

const BATCH: EntryHeader = {
  kind: 'batch',
  baseOffset: 2 ** 40 + 5,
  count: 3,
  cumulativeCount: 2 ** 33,
  appendTimeMs: 1_700_000_000_123,
  checkpointOffset: 77,
};
const CONTROL: EntryHeader = { ...BATCH, kind: 'control', count: 0, checkpointOffset: -1 };
const META = [Buffer.from('meta '), Buffer.from('in pieces')];
const PAYLOAD = Buffer.from('the payload');

const batchEntry = (): Buffer => encodeEntry(BATCH, META, PAYLOAD, crc32c(PAYLOAD));
const controlEntry = (): Buffer => encodeEntry(CONTROL, [], PAYLOAD, crc32c(PAYLOAD));

/** Changes a byte and repairs the header's checksum, so that only the rule behind it can refuse. */
function resealed(entry: Buffer, change: (entry: Buffer) => void): string | undefined {
  change(entry);
  entry.writeUInt32LE(crc32c(entry.subarray(8, ENTRY_HEADER_BYTES + entry.readUInt32LE(12))), 4);
  return checkEntry(entry);
}

describe('an entry', () => {
  it('holds a batch with its header', () => {
    const entry = batchEntry();
    expect(checkEntry(entry)).toBeUndefined();
    expect(entryKind(entry)).toBe('batch');
    expect(entryBaseOffset(entry)).toBe(BATCH.baseOffset);
    expect(entryCount(entry)).toBe(3);
    expect(entryEnd(entry)).toBe(BATCH.baseOffset + 3);
    expect(entryCumulativeCount(entry)).toBe(2 ** 33);
    expect(entryAppendTimeMs(entry)).toBe(BATCH.appendTimeMs);
    expect(entryCheckpointOffset(entry)).toBe(77);
    expect(entryPayloadCrc(entry)).toBe(crc32c(PAYLOAD));
    expect(String(entryMeta(entry))).toBe('meta in pieces');
    expect(entryPayload(entry)).toEqual(PAYLOAD);
    expect(entry).toHaveLength(ENTRY_HEADER_BYTES + 14 + PAYLOAD.length);
  });

  it('of control spans one offset and has no messages', () => {
    const entry = controlEntry();
    expect(checkEntry(entry)).toBeUndefined();
    expect([entryKind(entry), entryCount(entry), entryEnd(entry) - entryBaseOffset(entry)]).toEqual(['control', 0, 1]);
    expect(entryCheckpointOffset(entry)).toBe(-1);
    expect([entrySpan(CONTROL), entrySpan(BATCH)]).toEqual([1, 3]);
  });

  it('is refused when any bit is wrong', () => {
    for (const entry of [batchEntry(), controlEntry()])
      for (let at = 0; at < entry.length; at++)
        for (let bit = 0; bit < 8; bit++) {
          const changed = Buffer.from(entry);
          changed[at] = (changed[at] ?? 0) ^ (1 << bit);
          expect(checkEntry(changed), `bit ${bit} of byte ${at}`).toBeDefined();
        }
  });

  it('is refused when it is cut off or followed by anything', () => {
    const entry = batchEntry();
    for (let length = 0; length < entry.length; length++) expect(checkEntry(entry.subarray(0, length))).toBeDefined();
    expect(checkEntry(Buffer.concat([entry, Buffer.alloc(1)]))).toBeDefined();
  });

  it('can be checked without reading its payload', () => {
    const entry = batchEntry();
    entry[entry.length - 1] = 0;
    expect(checkEntry(entry, { payload: false })).toBeUndefined();
    expect(checkEntry(entry)).toBe("the payload's checksum does not hold");
  });

  it.each([
    ['a batch without messages', (entry: Buffer) => entry.writeUInt32LE(0, 32), 'kind 0 with 0 messages is no entry'],
    ['a kind of tomorrow', (entry: Buffer) => entry.writeUInt8(2, 20), 'kind 2 with 3 messages is no entry'],
    ['flags', (entry: Buffer) => entry.writeUInt8(1, 21), 'kind 256 with 3 messages is no entry'],
    ['an offset over 2^53', (entry: Buffer) => entry.writeUInt32LE(0x200000, 28), 'the number at byte 24 is over 2^53'],
    ['a time over 2^53', (entry: Buffer) => entry.writeUInt32LE(0xffffffff, 52), 'the number at byte 48 is over 2^53'],
  ])('with a right checksum and %s is refused', (_what, change, problem) => {
    expect(resealed(batchEntry(), change)).toBe(problem);
  });

  it('never reads a meta part that is longer than the entry', () => {
    const entry = batchEntry();
    entry.writeUInt32LE(0xffffffff, 12);
    expect(checkEntry(entry)).toBe('the meta part is longer than the entry');
  });

  it('that cannot be is a bug', () => {
    expect(() => encodeEntry({ ...BATCH, count: 0 }, [], PAYLOAD, 0)).toThrow('a batch has messages, a control entry none');
    expect(() => encodeEntry(BATCH, [], Buffer.alloc(ENTRY_BYTES_MAX), 0)).toThrow('is too large');
    expect(() => encodeEntry({ ...BATCH, baseOffset: -1 }, [], PAYLOAD, 0)).toThrow('does not fit a 64-bit field');
  });
});

describe('64-bit numbers', () => {
  it('are written and read over the whole range of safe integers', () => {
    const buffer = Buffer.alloc(8);
    for (const value of [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 52, Number.MAX_SAFE_INTEGER]) {
      writeU64(buffer, value, 0);
      expect(buffer.readBigUInt64LE(0)).toBe(BigInt(value));
      expect(readU64(buffer, 0)).toBe(value);
    }
    expect(() => writeU64(buffer, 2 ** 53, 0)).toThrow();
    expect(() => writeU64(buffer, 0.5, 0)).toThrow();
  });
});
