// Requests and replies of the ledger protocol on a TCP connection between a broker and a bookie. Little-endian.
//
//   frame   0  u32  length of all that follows
//           4  u32  CRC-32C of the head, [8, 8 + headBytes)
//           8  u32  headBytes: this field to the head's end
//          12  u8   kind        13 u8 0        14 u16 0
//          16  u32  request id: a reply has its request's
//          20  …    fields of the kind
//          ..  tail: entries' bytes, one after the other, as they are stored (they have their own checksums)
//
// A connection begins with one hello each way, itself a frame of the same shape (kinds `HELLO` and `WELCOME`). Requests are pipelined;
// replies come in any order. A frame that does not hold is answered by closing the connection, never by guessing.

import { assert } from '#lib/types/assert.ts';
import { readReply, replyKind, type ServerMessage, writeReply } from './bookie-replies.ts';
import { type ClientMessage, readRequest, requestKind, writeRequest } from './bookie-requests.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { crc32c } from './crc32c.ts';
import { ENTRY_BYTES_MAX } from './entry.ts';

/** The versions that this code speaks. */
export const BOOKIE_VERSION_MIN = 1;
export const BOOKIE_VERSION_MAX = 1;

/** Bytes behind the length: the smallest frame, and the largest of each direction. */
export const FRAME_BYTES_MIN = 16;
export const REQUEST_BYTES_MAX = ENTRY_BYTES_MAX + 64 * 1024;
export const REPLY_BYTES_MAX = 16 * 1024 * 1024 + ENTRY_BYTES_MAX + 64 * 1024;
/** No peer is trusted with more before it has said who it is. */
export const HELLO_BYTES_MAX = 1024;

const HEAD_AT = 8;
const FIELDS_AT = 20;
export interface Framed<M> {
  readonly requestId: number;
  readonly message: M;
}

/** A frame as the buffers to write; entries' bytes are not copied. */
export function encodeRequest(requestId: number, message: ClientMessage): Buffer[] {
  const writer = begin(requestId, requestKind(message));
  const tail = writeRequest(writer, message);
  return finish(writer, tail);
}

export function encodeReply(requestId: number, message: ServerMessage): Buffer[] {
  const writer = begin(requestId, replyKind(message));
  const tail = writeReply(writer, message);
  return finish(writer, tail);
}

/** Reads what FrameParser cut (without the length). Buffers in the message are views of `view`. A text says what is wrong. */
export function decodeRequest(view: Buffer): Framed<ClientMessage> | string {
  return decode(view, readRequest);
}

export function decodeReply(view: Buffer): Framed<ServerMessage> | string {
  return decode(view, readReply);
}

function begin(requestId: number, kind: number): ByteWriter {
  const writer = new ByteWriter(192);
  writer.u32(0);
  writer.u32(0);
  writer.u32(0);
  writer.u32(kind);
  writer.u32(requestId);
  return writer;
}

function finish(writer: ByteWriter, tail: readonly Buffer[]): Buffer[] {
  let bytes = writer.length;
  for (const view of tail) bytes += view.length;
  assert(bytes - 4 <= REPLY_BYTES_MAX, `a frame of ${bytes} bytes is too large`);
  writer.patchU32(0, bytes - 4);
  writer.patchU32(HEAD_AT, writer.length - HEAD_AT);
  writer.patchU32(4, crc32c(writer.view().subarray(HEAD_AT)));
  return [writer.view(), ...tail];
}

function decode<M>(view: Buffer, read: (kind: number, reader: ByteReader, tail: Buffer) => M): Framed<M> | string {
  // Without the length, which the parser took off, everything stands 4 bytes earlier.
  if (view.length < FRAME_BYTES_MIN) return 'a frame without its head';
  const headEnd = HEAD_AT - 4 + view.readUInt32LE(HEAD_AT - 4);
  if (headEnd > view.length || headEnd < FIELDS_AT - 4) return 'a frame whose head does not fit';
  if (crc32c(view.subarray(HEAD_AT - 4, headEnd)) !== view.readUInt32LE(0)) return 'a frame whose checksum does not hold';
  const reader = new ByteReader(view.subarray(0, headEnd), HEAD_AT);
  const kind = reader.u32();
  const requestId = reader.u32();
  const message = read(kind, reader, view.subarray(headEnd));
  reader.end();
  return reader.problem ?? { requestId, message };
}
