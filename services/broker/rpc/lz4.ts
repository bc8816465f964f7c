// Reads LZ4 frames (format 1.6: blocks linked or not, sizes and checksums optional). Node has no LZ4 of its own, and what must be read
// here is rare: a compressed batch for a client without the codec. Checksums of the frame are passed over, because the batch's CRC-32C
// covers the same bytes. Throws `Lz4Error` at wrong bytes; never reads or writes outside its buffers.

export class Lz4Error extends Error {
  override readonly name = 'Lz4Error';
}

const MAGIC = 0x184d2204;

export function decodeLz4Frame(view: Buffer, bytesMax: number): Buffer {
  if (view.length < 7 || view.readUInt32LE(0) !== MAGIC) throw new Lz4Error('no LZ4 frame begins with these bytes');
  const flags = view[4] ?? 0;
  if (flags >> 6 !== 1) throw new Lz4Error(`LZ4 frames of version ${flags >> 6} are not known`);
  if ((flags & 0x01) !== 0) throw new Lz4Error('LZ4 frames with a dictionary are not known');
  const blockChecksums = (flags & 0x10) !== 0;
  let at = 7 + ((flags & 0x08) !== 0 ? 8 : 0);
  let out = Buffer.allocUnsafe(Math.min(bytesMax, Math.max(64 * 1024, view.length * 4)));
  let filled = 0;
  for (;;) {
    if (at + 4 > view.length) throw new Lz4Error('the frame is cut off');
    const head = view.readUInt32LE(at);
    at += 4;
    if (head === 0) return out.subarray(0, filled);
    const size = head & 0x7fff_ffff;
    if (at + size > view.length) throw new Lz4Error('a block is cut off');
    const block = view.subarray(at, at + size);
    at += size + (blockChecksums ? 4 : 0);
    const room = head >>> 31 === 1 ? size : blockBytes(block);
    if (filled + room > bytesMax) throw new Lz4Error(`more than ${bytesMax} bytes come out`);
    if (filled + room > out.length) {
      const larger = Buffer.allocUnsafe(Math.min(bytesMax, Math.max(out.length * 2, filled + room)));
      out.copy(larger, 0, 0, filled);
      out = larger;
    }
    if (head >>> 31 === 1) {
      block.copy(out, filled);
      filled += size;
    } else filled = decodeBlock(block, out, filled);
  }
}

/** Bytes that a block makes: its lengths alone are read. */
function blockBytes(block: Buffer): number {
  let total = 0;
  walkBlock(
    block,
    (_, literals) => {
      total += literals;
    },
    (_, length) => {
      total += length;
    },
  );
  return total;
}

function decodeBlock(block: Buffer, out: Buffer, start: number): number {
  let to = start;
  walkBlock(
    block,
    (from, length) => {
      block.copy(out, to, from, from + length);
      to += length;
    },
    (distance, length) => {
      if (distance === 0 || distance > to) throw new Lz4Error('a match begins before the first byte');
      // Byte by byte where it overlaps itself: that is how LZ4 repeats.
      if (distance >= length) out.copy(out, to, to - distance, to - distance + length);
      else for (let i = 0; i < length; i++) out[to + i] = out[to + i - distance] ?? 0;
      to += length;
    },
  );
  return to;
}

function walkBlock(
  block: Buffer,
  onLiterals: (from: number, length: number) => void,
  onMatch: (distance: number, length: number) => void,
): void {
  let at = 0;
  const extended = (base: number): number => {
    let length = base;
    for (let byte = 255; base === 15 && byte === 255; ) {
      if (at >= block.length) throw new Lz4Error('a length is cut off');
      byte = block[at++] ?? 0;
      length += byte;
    }
    return length;
  };
  while (at < block.length) {
    const token = block[at++] ?? 0;
    const literals = extended(token >> 4);
    if (at + literals > block.length) throw new Lz4Error('literals are cut off');
    onLiterals(at, literals);
    at += literals;
    if (at === block.length) return;
    if (at + 2 > block.length) throw new Lz4Error('a distance is cut off');
    const distance = block.readUInt16LE(at);
    at += 2;
    onMatch(distance, extended(token & 0x0f) + 4);
  }
}
