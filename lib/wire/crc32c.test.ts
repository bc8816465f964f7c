import { describe, expect, it } from 'vitest';
import { crc32c, crc32cInScript } from './crc32c.ts';
import { Dice } from './testing/random.ts';

/** Bit by bit, as the polynomial is defined. */
function slowly(view: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of view) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function randomBytes(seed: number, length: number): Buffer {
  const dice = new Dice(seed);
  return Buffer.from(Array.from({ length }, () => dice.below(256)));
}

describe.each([
  ['with native code', crc32c],
  ['in script', crc32cInScript],
])('crc32c %s', (_way, crc32c) => {
  // RFC 3720, appendix B.4, and the usual check value.
  it.each([
    ['32 zeros', Buffer.alloc(32), 0x8a9136aa],
    ['32 bytes of ones', Buffer.alloc(32, 0xff), 0x62a8ab43],
    ['0 … 31', Buffer.from(Array.from({ length: 32 }, (_, index) => index)), 0x46dd794e],
    ['31 … 0', Buffer.from(Array.from({ length: 32 }, (_, index) => 31 - index)), 0x113fdb5c],
    ['123456789', Buffer.from('123456789'), 0xe3069283],
    ['nothing', Buffer.alloc(0), 0],
  ])('of %s is the published value', (_what, bytes, checksum) => {
    expect(crc32c(bytes)).toBe(checksum);
  });

  it('is right at every length and alignment, on both ways through', () => {
    const bytes = randomBytes(1, 700);
    for (let length = 0; length <= 600; length++) {
      const start = length % 17;
      const view = bytes.subarray(start, start + length);
      expect(crc32c(view), `${length} bytes from ${start}`).toBe(slowly(view));
    }
  });

  it('continues from the checksum of what stands before', () => {
    const bytes = randomBytes(2, 1500);
    const whole = crc32c(bytes);
    for (let cut = 0; cut <= bytes.length; cut += 7) expect(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut)))).toBe(whole);
  });

  it('changes with every bit', () => {
    const bytes = randomBytes(3, 600);
    const whole = crc32c(bytes);
    for (let at = 0; at < bytes.length; at++)
      for (let bit = 0; bit < 8; bit++) {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ (1 << bit);
        expect(crc32c(changed)).not.toBe(whole);
      }
  });
});
