// Turns stored entries into deliveries that fit one client: as they are, where they fit; cut at message boundaries where a response would
// be larger than the client takes; unpacked where it cannot. A single message that is too large is an error that names the option to
// raise, and never a stuck subscription.

import { assert } from '#lib/types/assert.ts';
import type { Offset } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import { RESPONSE_BYTES_MAX } from '#lib/types/limits.ts';
import { BatchCursor, type BatchInfo, countMessages } from '#lib/wire/batch.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import {
  ENTRY_BYTES_MAX,
  entryAppendTimeMs,
  entryBaseOffset,
  entryCount,
  entryMeta,
  entryPayload,
  entryPayloadCrc,
} from '#lib/wire/entry.ts';
import { decodeEntryMeta } from '#lib/wire/entry-meta.ts';
import type { CodecNumber, DeliveryFrame } from '#lib/wire/frames.ts';
import { deliveryBytes } from '#lib/wire/messaging-codec.ts';
import { infoCodec, sliceInfo, storedInfo } from './batch-info.ts';
import { unpack } from './unpack.ts';

/** What one client can take. */
export interface Appetite {
  readonly handle: number;
  readonly responseBytesMax: number;
  readonly codecs: readonly CodecNumber[];
}

/** Room that a response needs besides its deliveries: hello, results, lengths. */
const RESPONSE_OVERHEAD_BYTES = 4096;
const RESPONSE_BYTES_MIN = 16 * 1024;

/** The largest response for a client that asked for `asked` bytes; 0: it said nothing. */
export function responseLimit(asked: number): number {
  if (asked === 0) return RESPONSE_BYTES_MAX;
  return Math.min(Math.max(asked, RESPONSE_BYTES_MIN), ENTRY_BYTES_MAX);
}

/** One entry's deliveries, in order; a promise only where it has to be unpacked. */
export function toDeliveries(
  entry: Buffer,
  ranges: readonly (readonly [number, number])[],
  resetEpoch: Offset | 0,
  attempt: number,
  appetite: Appetite,
): readonly DeliveryFrame[] | Failure | Promise<readonly DeliveryFrame[] | Failure> {
  const meta = decodeEntryMeta(entryMeta(entry));
  if (isFailure(meta)) return fail('data_loss', `the entry at ${entryBaseOffset(entry)} has a meta part that cannot be read`);
  const whole: DeliveryFrame = {
    handle: appetite.handle,
    resetEpoch,
    baseOffset: entryBaseOffset(entry),
    infoView: meta.infoView,
    crc: entryPayloadCrc(entry),
    batchView: entryPayload(entry),
    appendTimeMs: entryAppendTimeMs(entry),
    ranges,
    attempt,
    producerView: meta.producerView,
  };
  const fits = deliveryBytes(whole) + RESPONSE_OVERHEAD_BYTES <= appetite.responseBytesMax;
  const codec = infoCodec(meta.infoView);
  const readable = codec === 0 || appetite.codecs.includes(codec);
  if (fits && readable) return [whole];
  return reshape(whole, entryCount(entry), codec, readable, appetite);
}

function reshape(
  whole: DeliveryFrame,
  count: number,
  codec: CodecNumber,
  readable: boolean,
  appetite: Appetite,
): readonly DeliveryFrame[] | Failure | Promise<readonly DeliveryFrame[] | Failure> {
  const info = storedInfo(whole.infoView);
  // What nobody but the client understands goes as it is, or not at all.
  if (info.encryption.length > 0 || info.entryFormat !== 0) return readable ? tooLarge(whole, appetite) : [whole];
  if (codec === 0) return slices(whole, whole.batchView, appetite);
  return unpack(codec, whole.batchView, info.uncompressedBytes).then(batch => {
    if (isFailure(batch)) return { ...batch, message: `the batch at ${whole.baseOffset}: ${batch.message}` };
    const found = countMessages(batch);
    if (found !== count)
      return fail('corrupt_batch', `the batch at ${whole.baseOffset} says ${count} messages, and its compressed bytes hold others`, {
        offset: String(whole.baseOffset),
      });
    return slices(whole, batch, appetite);
  });
}

function tooLarge(delivery: DeliveryFrame, appetite: Appetite): Failure {
  return fail(
    'response_too_large',
    `the message at ${delivery.baseOffset} makes a response of ${deliveryBytes(delivery)} bytes, and the client takes ` +
      `${appetite.responseBytesMax}: raise response_bytes_max and the channel option grpc.max_receive_message_length`,
    { offset: String(delivery.baseOffset), bytes: String(deliveryBytes(delivery)), option: 'grpc.max_receive_message_length' },
  );
}

/** The messages of an uncompressed batch in few deliveries that fit; slices of which no message is meant are left out. */
function slices(whole: DeliveryFrame, batch: Buffer, appetite: Appetite): readonly DeliveryFrame[] | Failure {
  const info = storedInfo(whole.infoView);
  const bounds = messageBounds(batch, info.count);
  const out: DeliveryFrame[] = [];
  const emit = (first: number, end: number): Failure | null => {
    const slice = sliceOf(whole, info, batch, bounds, first, end);
    if (slice === null) return null;
    if (deliveryBytes(slice) + RESPONSE_OVERHEAD_BYTES <= appetite.responseBytesMax) {
      out.push(slice);
      return null;
    }
    if (end - first === 1) return tooLarge(slice, appetite);
    const middle = (first + end) >> 1;
    return emit(first, middle) ?? emit(middle, end);
  };
  // What is not the batch's bytes is guessed here, and `emit` halves where the guess was too low.
  const room =
    appetite.responseBytesMax - RESPONSE_OVERHEAD_BYTES - deliveryBytes({ ...whole, infoView: EMPTY, batchView: EMPTY, ranges: [] });
  const perMessage = (whole.infoView.length + 14 * whole.ranges.length) / info.count;
  let first = 0;
  for (let end = 1; end <= info.count; end++) {
    const next = end < info.count ? at(bounds, end + 1) - at(bounds, first) + perMessage * (end + 1 - first) : Number.POSITIVE_INFINITY;
    if (next <= room) continue;
    const failure = emit(first, end);
    if (failure) return failure;
    first = end;
  }
  return out;
}

function sliceOf(
  whole: DeliveryFrame,
  info: BatchInfo,
  batch: Buffer,
  bounds: Uint32Array,
  first: number,
  end: number,
): DeliveryFrame | null {
  const ranges = rangesWithin(whole.ranges, first, end);
  if (ranges === null) return null;
  const batchView = batch.subarray(at(bounds, first), at(bounds, end));
  const infoView = sliceInfo(info, first, end - first, info.codec !== 0);
  return { ...whole, baseOffset: whole.baseOffset + first, infoView, crc: crc32c(batchView), batchView, ranges };
}

/** Where each message begins, and behind the last one where it ends. */
function messageBounds(batch: Buffer, count: number): Uint32Array {
  const bounds = new Uint32Array(count + 1);
  const cursor = new BatchCursor(batch);
  while (cursor.next()) bounds[cursor.count] = cursor.end;
  assert(cursor.failure === null && cursor.count === count, 'a stored batch is what the edge accepted');
  return bounds;
}

const at = (bounds: Uint32Array, index: number): number => bounds[index] ?? 0;

const EMPTY: Buffer = Buffer.alloc(0);

/** Of a batch's ranges those within [first, end), counted from `first`; [] means all of them, null none. */
export function rangesWithin(
  ranges: readonly (readonly [number, number])[],
  first: number,
  end: number,
): readonly (readonly [number, number])[] | null {
  if (ranges.length === 0) return ranges;
  const within: (readonly [number, number])[] = [];
  for (const [from, count] of ranges) {
    const low = Math.max(from, first);
    const high = Math.min(from + count, end);
    if (low < high) within.push([low - first, high - low]);
  }
  if (within.length === 0) return null;
  return within.length === 1 && within[0]?.[0] === 0 && within[0][1] === end - first ? [] : within;
}
