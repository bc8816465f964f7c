// Unpacks a compressed batch for a client that cannot, off the main loop where Node has the codec. Nothing larger than a batch may come
// out, whatever the bytes claim.

import { promisify } from 'node:util';
import { gunzip, zstdDecompress } from 'node:zlib';
import { unreachable } from '#lib/types/assert.ts';
import { type Failure, fail } from '#lib/types/errors.ts';
import { BATCH_BYTES_MAX } from '#lib/types/limits.ts';
import type { CodecNumber } from '#lib/wire/frames.ts';
import { decodeLz4Frame } from './lz4.ts';

const unzip = promisify(gunzip);
const unzstd = promisify(zstdDecompress);

/** `uncompressedBytes` is the producer's word; 0: it said nothing. */
export async function unpack(codec: CodecNumber, packedView: Buffer, uncompressedBytes: number): Promise<Buffer | Failure> {
  const maxOutputLength = BATCH_BYTES_MAX;
  const unpacked = await unpackWith(codec, packedView, maxOutputLength).catch((error: unknown) => error);
  if (!(unpacked instanceof Buffer))
    return fail(
      'corrupt_batch',
      `its compressed bytes cannot be unpacked: ${unpacked instanceof Error ? unpacked.message : 'wrong bytes'}`,
    );
  if (uncompressedBytes !== 0 && unpacked.length !== uncompressedBytes)
    return fail('corrupt_batch', `its info says ${uncompressedBytes} bytes before compression, and there are ${unpacked.length}`);
  return unpacked;
}

async function unpackWith(codec: CodecNumber, packedView: Buffer, maxOutputLength: number): Promise<Buffer> {
  switch (codec) {
    case 0:
      return packedView;
    case 1:
      return decodeLz4Frame(packedView, maxOutputLength);
    case 2:
      return await unzstd(packedView, { maxOutputLength });
    case 3:
      return await unzip(packedView, { maxOutputLength });
    default:
      return unreachable(codec);
  }
}
