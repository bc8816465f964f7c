import { describe, expect, it } from 'vitest';
import { decodeLz4Frame, Lz4Error } from './lz4.ts';

/** A frame around blocks: without checksums and sizes, or as `flags` say. */
function frame(blocks: readonly Buffer[], flags = 0x60): Buffer {
  const head = Buffer.from([0x04, 0x22, 0x4d, 0x18, flags, 0x40, 0]);
  const size = (flags & 0x08) !== 0 ? [Buffer.alloc(8)] : [];
  const sized = blocks.flatMap(block => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(block.length);
    return [length, block, ...((flags & 0x10) !== 0 ? [Buffer.alloc(4)] : [])];
  });
  return Buffer.concat([head.subarray(0, 6), ...size, head.subarray(6), ...sized, Buffer.alloc(4)]);
}

const literals = (text: string): Buffer => Buffer.concat([Buffer.from([text.length << 4]), Buffer.from(text)]);

/** What `lz4 -9 --content-size` 1.9 makes of the lines 1 … 60, three times. */
const REFERENCE =
  'BCJNGGxAAQIAAAAAAABJtwAAAP+cMQoyCjMKNAo1CjYKNwo4CjkKMTAKMTEKMTIKMTMKMTQKMTUKMTYKMTcKMTgKMTkKMjAKMjEKMjIKMjMKMjQKMjUKMjYKMjcKMjgKMjkKMzAKMzEKMzIKMzMKMzQKMzUKMzYKMzcKMzgKMzkKNDAKNDEKNDIKNDMKNDQKNDUKNDYKNDcKNDgKNDkKNTAKNTEKNTIKNTMKNTQKNTUKNTYKNTcKNTgKNTkKNjAKqwD/P1A5CjYwCgAAAAAclxbF';

describe('lz4', () => {
  it('reads what the reference tool wrote', () => {
    const lines = Array.from({ length: 60 }, (_, i) => `${i + 1}\n`).join('');
    expect(decodeLz4Frame(Buffer.from(REFERENCE, 'base64'), 1000).toString()).toBe(lines.repeat(3));
  });

  it('reads literals, matches, and matches that overlap themselves', () => {
    // "abc" then 12 bytes from 3 back, then "!" as the last literals.
    const block = Buffer.concat([Buffer.from([0x38]), Buffer.from('abc'), Buffer.from([3, 0]), literals('!')]);
    expect(decodeLz4Frame(frame([block]), 1000).toString()).toBe('abcabcabcabcabc!');
  });

  it('reads lengths of more than 15, several blocks, and blocks that look back into earlier ones', () => {
    const long = 'x'.repeat(300);
    const first = Buffer.concat([Buffer.from([0xf0, 255, 30]), Buffer.from(long)]);
    const second = Buffer.concat([
      Buffer.from([0x1f]),
      Buffer.from('y'),
      Buffer.from([301 & 255, 301 >> 8]),
      Buffer.from([21]),
      literals('z'),
    ]);
    expect(decodeLz4Frame(frame([first, second]), 10_000).toString()).toBe(`${long}y${'x'.repeat(40)}z`);
    expect(decodeLz4Frame(frame([first], 0x78), 10_000).toString()).toBe(long);
  });

  it('refuses what is cut off, looks back too far, or makes too much, whatever the bytes', () => {
    const block = Buffer.concat([Buffer.from([0x38]), Buffer.from('abc'), Buffer.from([3, 0]), literals('!')]);
    const good = frame([block]);
    for (let cut = 0; cut < good.length; cut++) expect(() => decodeLz4Frame(good.subarray(0, cut), 1000)).toThrow(Lz4Error);
    expect(() => decodeLz4Frame(good, 15)).toThrow(/more than 15/);
    const far = Buffer.concat([Buffer.from([0x38]), Buffer.from('abc'), Buffer.from([4, 0]), literals('!')]);
    expect(() => decodeLz4Frame(frame([far]), 1000)).toThrow(/before the first/);
    for (let at = 0; at < good.length; at++)
      for (let bit = 0; bit < 8; bit++) {
        const bad = Buffer.from(good);
        bad[at] = (bad[at] ?? 0) ^ (1 << bit);
        try {
          expect(decodeLz4Frame(bad, 1000).length).toBeLessThanOrEqual(1000);
        } catch (error) {
          expect(error).toBeInstanceOf(Lz4Error);
        }
      }
  });
});
