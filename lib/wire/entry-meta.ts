// The meta part of a batch entry: EntryMeta of proto/sluice/v1/storage.proto, who sent the batch and its info as it came. Both parts are
// kept as bytes: they are stored and delivered without being decoded in between.

import { type Failure, isFailure } from '#lib/types/errors.ts';
import { EMPTY, LENGTH, NO_ID, ProtoReader, ProtoWriter, putVarint, varintBytes } from './protobuf.ts';

/** Who sent a batch, as its producer numbered it. '' and 0 stand for what it did not say. */
export interface ProducerMark {
  readonly name: string;
  readonly epoch: number;
  readonly sequence: number;
  readonly prevSequence: number;
  readonly instance: string;
  readonly idempotencyId: string;
}

/** The two parts of a stored meta; views into it. */
export interface EntryMetaView {
  readonly producerView: Buffer | null;
  readonly infoView: Buffer;
}

export function encodeProducerMark(mark: ProducerMark): Buffer {
  const writer = new ProtoWriter(64 + mark.name.length + mark.idempotencyId.length);
  writer.string(6, mark.idempotencyId);
  writer.fixed64Hex(5, mark.instance);
  writer.uint(4, mark.prevSequence);
  writer.uint(3, mark.sequence);
  writer.uint(2, mark.epoch);
  writer.string(1, mark.name);
  return writer.finish();
}

export function decodeProducerMark(view: Buffer): ProducerMark | Failure {
  const reader = new ProtoReader(view);
  let name = '';
  let epoch = 0;
  let sequence = 0;
  let prevSequence = 0;
  let instance = NO_ID;
  let idempotencyId = '';
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) name = reader.string('name');
    else if (field === 2) epoch = reader.uint64('epoch');
    else if (field === 3) sequence = reader.uint64('sequence');
    else if (field === 4) prevSequence = reader.uint64('prev_sequence');
    else if (field === 5) instance = reader.fixed64Hex('instance');
    else if (field === 6) idempotencyId = reader.string('idempotency_id');
    else reader.skip();
  }
  return reader.failure ?? { name, epoch, sequence, prevSequence, instance, idempotencyId };
}

/** The meta's bytes in pieces, ready for `encodeEntry`: the info is not copied here. */
export function encodeEntryMeta(producerView: Uint8Array | null, infoView: Uint8Array): readonly Uint8Array[] {
  const producerBytes = producerView === null ? 0 : 1 + varintBytes(producerView.length) + producerView.length;
  const head = Buffer.allocUnsafe(producerBytes + 1 + varintBytes(infoView.length));
  let at = 0;
  if (producerView !== null) {
    head[at++] = 8 * 1 + LENGTH;
    at = putVarint(head, producerView.length, at);
    head.set(producerView, at);
    at += producerView.length;
  }
  head[at++] = 8 * 2 + LENGTH;
  putVarint(head, infoView.length, at);
  return [head, infoView];
}

export function decodeEntryMeta(view: Buffer): EntryMetaView | Failure {
  const reader = new ProtoReader(view);
  let producerView: Buffer | null = null;
  let infoView: Buffer = EMPTY;
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) producerView = reader.bytes('producer');
    else if (field === 2) infoView = reader.bytes('info');
    else reader.skip();
  }
  return reader.failure ?? { producerView, infoView };
}

/** Who sent the batch of a stored meta; null: a producer without a name, and no id. */
export function producerOfMeta(view: Buffer): ProducerMark | null | Failure {
  const meta = decodeEntryMeta(view);
  if (isFailure(meta)) return meta;
  return meta.producerView && decodeProducerMark(meta.producerView);
}
