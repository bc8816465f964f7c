// How the values of the metadata store stand in a row: bytes with a checksum over them and over the row's key. A store that is never
// synced may come back from a power cut with a page that is half old and half new; such a row is noticed, and counts as absent.

import type { LedgerDescriptor } from '#lib/ledger/protocol.ts';
import { assert } from '#lib/types/assert.ts';
import { type BookieId, bookieId, ledgerId, offset, parsePartitionId, partitionId, topicId } from '#lib/types/brands.ts';
import type { ChainHead, CursorBlock } from '../store.ts';

/** u8 has markDelete, u8 0 ×7, f64 resetEpoch, f64 markDelete, then f64 first, f64 end of each range. */
const BLOCK_HEADER_BYTES = 24;

export function encodeBlock(block: CursorBlock): Buffer {
  const bytes = Buffer.alloc(BLOCK_HEADER_BYTES + block.ranges.length * 16);
  bytes[0] = block.markDelete === null ? 0 : 1;
  bytes.writeDoubleLE(block.resetEpoch, 8);
  bytes.writeDoubleLE(block.markDelete ?? 0, 16);
  let at = BLOCK_HEADER_BYTES;
  for (const [first, end] of block.ranges) {
    assert(first < end, 'a range of a cursor is empty');
    bytes.writeDoubleLE(first, at);
    bytes.writeDoubleLE(end, at + 8);
    at += 16;
  }
  return bytes;
}

/** Reads what `encodeBlock` wrote; the checksum has been verified. */
export function decodeBlock(view: Uint8Array): CursorBlock {
  assert(view.length >= BLOCK_HEADER_BYTES && (view.length - BLOCK_HEADER_BYTES) % 16 === 0, 'a cursor block has another length');
  const bytes = Buffer.from(view.buffer, view.byteOffset, view.byteLength);
  const ranges: (readonly [ReturnType<typeof offset>, ReturnType<typeof offset>])[] = [];
  for (let at = BLOCK_HEADER_BYTES; at < bytes.length; at += 16) {
    ranges.push([offset(bytes.readDoubleLE(at)), offset(bytes.readDoubleLE(at + 8))]);
  }
  return {
    resetEpoch: offset(bytes.readDoubleLE(8)),
    markDelete: bytes[0] === 0 ? null : offset(bytes.readDoubleLE(16)),
    ranges,
  };
}

export function encodeHead(head: ChainHead): Buffer {
  return Buffer.from(JSON.stringify(head));
}

/** Reads what `encodeHead` wrote; the checksum has been verified. */
export function decodeHead(view: Uint8Array): ChainHead {
  const { descriptor: found, first } = JSON.parse(Buffer.from(view).toString()) as ChainHead;
  const { topic, partition } = parsePartitionId(found.partition);
  const ensemble: readonly BookieId[] = found.ensemble.map(bookieId);
  const descriptor: LedgerDescriptor = {
    ledger: ledgerId(found.ledger),
    partition: partitionId(topic, partition),
    topic: topicId(found.topic),
    prev: found.prev === null ? null : ledgerId(found.prev),
    ensemble,
    ackQuorum: found.ackQuorum,
    creator: { epoch: found.creator.epoch, incarnation: found.creator.incarnation },
  };
  return { descriptor, first: offset(first) };
}
