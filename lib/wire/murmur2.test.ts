import { describe, expect, it } from 'vitest';
import { murmur2, partitionOfHash, partitionOfKey } from './murmur2.ts';

describe('murmur2', () => {
  // The values of Apache Kafka's own test (UtilsTest.testMurmur2).
  it.each([
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ])('of %s is what Kafka computes', (key, signed) => {
    expect(murmur2(Buffer.from(key))).toBe(signed >>> 0);
  });

  it('hashes a part of a buffer as if it stood alone, at every length', () => {
    const around = Buffer.from('....0123456789abcdef....');
    for (let length = 0; length <= 16; length++) {
      const alone = Buffer.from('0123456789abcdef').subarray(0, length);
      expect(murmur2(around, 4, 4 + length)).toBe(murmur2(alone));
    }
  });

  it('drops the sign before it takes the remainder', () => {
    expect(partitionOfHash(0xffff_ffff, 10)).toBe(0x7fff_ffff % 10);
    expect(partitionOfKey(Buffer.from('foobar'), 8)).toBe((-790332482 & 0x7fff_ffff) % 8);
  });
});
