// CRC-32C (Castagnoli, RFC 3720), slicing by eight: eight table look-ups for eight bytes at a time.

const POLYNOMIAL = 0x82f63b78;

function makeTables(): Uint32Array {
  const tables = new Uint32Array(8 * 256);
  for (let n = 0; n < 256; n++) {
    let crc = n;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    tables[n] = crc >>> 0;
  }
  for (let n = 256; n < 8 * 256; n++) {
    const previous = tables[n - 256] as number;
    tables[n] = (previous >>> 8) ^ (tables[previous & 0xff] as number);
  }
  return tables;
}

const TABLES = makeTables();

/** The checksum of `view`, 0 … 2^32 − 1; `seed` continues the checksum of the bytes before it. */
export function crc32c(view: Uint8Array, seed = 0): number {
  const t = TABLES as unknown as { readonly [index: number]: number };
  const b = view as unknown as { readonly [index: number]: number };
  let crc = ~seed;
  let at = 0;
  for (const end = view.length - 7; at < end; at += 8) {
    const low = crc ^ (b[at]! | (b[at + 1]! << 8) | (b[at + 2]! << 16) | (b[at + 3]! << 24));
    crc =
      t[1792 + (low & 0xff)]! ^
      t[1536 + ((low >>> 8) & 0xff)]! ^
      t[1280 + ((low >>> 16) & 0xff)]! ^
      t[1024 + (low >>> 24)]! ^
      t[768 + b[at + 4]!]! ^
      t[512 + b[at + 5]!]! ^
      t[256 + b[at + 6]!]! ^
      t[b[at + 7]!]!;
  }
  for (; at < view.length; at++) crc = (crc >>> 8) ^ t[(crc ^ b[at]!) & 0xff]!;
  return ~crc >>> 0;
}
