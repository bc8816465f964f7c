// CRC-32C (Castagnoli, RFC 3720). The server has native code for it, about 6 GB/s on long views; `#crc32c-native` of package.json says
// where, and in the client's package that there is none. In plain JavaScript: table look-ups for sixteen bytes at a time, of which only
// four wait for the step before. Long views are read as words, about 1.7 GB/s; for short ones the DataView that this needs would cost more
// than it saves.

import { crc32c as installed } from '#crc32c-native';

const native: ((view: Uint8Array, seed?: number) => number) | null = installed;
const POLYNOMIAL = 0x82f63b78;
const SLICES = 16;
/** Below it, bytes are read one by one. */
const WORDS_FROM_BYTES = 256;
/** Below it, a call into native code costs more than it saves. */
const NATIVE_FROM_BYTES = 512;

/** Slice n holds what a byte contributes when n more bytes follow it. */
const TABLE = makeTable();

function makeTable(): Int32Array {
  const table = new Int32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    table[byte] = crc;
  }
  for (let index = 256; index < table.length; index++) {
    const previous = table[index - 256] ?? 0;
    table[index] = (previous >>> 8) ^ (table[previous & 0xff] ?? 0);
  }
  return table;
}

/** The checksum of `view`, 0 … 2^32 − 1; `seed` continues the checksum of the bytes before it. */
export function crc32c(view: Uint8Array, seed = 0): number {
  if (native !== null && view.length >= NATIVE_FROM_BYTES) return native(view, seed);
  return crc32cInScript(view, seed);
}

/** The same without native code. */
export function crc32cInScript(view: Uint8Array, seed = 0): number {
  const inverted = view.length < WORDS_FROM_BYTES ? byBytes(view, ~seed, 0) : byWords(view, ~seed);
  return ~inverted >>> 0;
}

function byWords(view: Uint8Array, seed: number): number {
  const words = new DataView(view.buffer, view.byteOffset, view.length);
  const t = TABLE;
  let crc = seed;
  let at = 0;
  for (const end = view.length - 15; at < end; at += 16) {
    const a = words.getInt32(at, true) ^ crc;
    const b = words.getInt32(at + 4, true);
    const c = words.getInt32(at + 8, true);
    const d = words.getInt32(at + 12, true);
    crc =
      (t[3840 + (a & 0xff)] ?? 0) ^
      (t[3584 + ((a >>> 8) & 0xff)] ?? 0) ^
      (t[3328 + ((a >>> 16) & 0xff)] ?? 0) ^
      (t[3072 + (a >>> 24)] ?? 0) ^
      ((t[2816 + (b & 0xff)] ?? 0) ^
        (t[2560 + ((b >>> 8) & 0xff)] ?? 0) ^
        (t[2304 + ((b >>> 16) & 0xff)] ?? 0) ^
        (t[2048 + (b >>> 24)] ?? 0)) ^
      ((t[1792 + (c & 0xff)] ?? 0) ^
        (t[1536 + ((c >>> 8) & 0xff)] ?? 0) ^
        (t[1280 + ((c >>> 16) & 0xff)] ?? 0) ^
        (t[1024 + (c >>> 24)] ?? 0)) ^
      ((t[768 + (d & 0xff)] ?? 0) ^ (t[512 + ((d >>> 8) & 0xff)] ?? 0) ^ (t[256 + ((d >>> 16) & 0xff)] ?? 0) ^ (t[d >>> 24] ?? 0));
  }
  return byBytes(view, crc, at);
}

/** Eight at a time, then one by one. */
function byBytes(view: Uint8Array, seed: number, start: number): number {
  const t = TABLE;
  const v = view;
  let crc = seed;
  let at = start;
  for (const end = v.length - 7; at < end; at += 8) {
    crc ^= (v[at] ?? 0) | ((v[at + 1] ?? 0) << 8) | ((v[at + 2] ?? 0) << 16) | ((v[at + 3] ?? 0) << 24);
    crc =
      (t[1792 + (crc & 0xff)] ?? 0) ^
      (t[1536 + ((crc >>> 8) & 0xff)] ?? 0) ^
      (t[1280 + ((crc >>> 16) & 0xff)] ?? 0) ^
      (t[1024 + (crc >>> 24)] ?? 0) ^
      (t[768 + (v[at + 4] ?? 0)] ?? 0) ^
      (t[512 + (v[at + 5] ?? 0)] ?? 0) ^
      (t[256 + (v[at + 6] ?? 0)] ?? 0) ^
      (t[v[at + 7] ?? 0] ?? 0);
  }
  for (; at < v.length; at++) crc = (crc >>> 8) ^ (t[(crc ^ (v[at] ?? 0)) & 0xff] ?? 0);
  return crc;
}
