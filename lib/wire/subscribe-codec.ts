// Subscribe and Read frames: bytes to frames and back. A response with deliveries is one buffer into which every stored batch is copied
// once.

import type { Failure } from '#lib/types/errors.ts';
import {
  readError,
  readHello,
  readPosition,
  readServerHello,
  writeEach,
  writeError,
  writeHello,
  writePosition,
  writeServerHello,
} from './common-codec.ts';
import type {
  AcknowledgeFrame,
  AcknowledgeResultFrame,
  AttachConsumerFrame,
  AttachedFrame,
  CodecNumber,
  CreditFrame,
  DeliveryFrame,
  DetachedFrame,
  ErrorFrame,
  PositionFrame,
  ReadRequestFrame,
  ReadResponseFrame,
  SeekFrame,
  SeekResultFrame,
  SubscribeRequestFrame,
  SubscribeResponseFrame,
  SubscriptionTypeNumber,
} from './frames.ts';
import { EMPTY, NO_ID, ProtoReader, ProtoWriter, RESPONSE_ITEMS_MAX } from './protobuf.ts';
import { readClosed, readHandle, writeClosed, writeHandle } from './publish-codec.ts';

/** Stands in for a position that was refused; nobody sees it. */
const LATEST: PositionFrame = { kind: 'latest' };

type Pair = readonly [number, number];

/** Bytes of a delivery besides info, batch, producer and ranges, at most. */
const DELIVERY_BYTES = 96;
const RANGE_BYTES = 14;

export function decodeSubscribeRequest(view: Buffer): SubscribeRequestFrame | Failure {
  const reader = new ProtoReader(view);
  let hello: SubscribeRequestFrame['hello'] = null;
  const attach: AttachConsumerFrame[] = [];
  const credit: CreditFrame[] = [];
  const acknowledge: AcknowledgeFrame[] = [];
  const seek: SeekFrame[] = [];
  const detach: number[] = [];
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) hello = readHello(reader, 'hello');
    else if (field === 2) attach.push(readAttach(reader));
    else if (field === 3) credit.push(readCredit(reader));
    else if (field === 4) acknowledge.push(readAcknowledge(reader));
    else if (field === 5) seek.push(readSeek(reader));
    else if (field === 6) detach.push(readHandle(reader, 'detach'));
    else reader.skip();
  }
  return reader.failure ?? { hello, attach, credit, acknowledge, seek, detach };
}

export function encodeSubscribeRequest(frame: SubscribeRequestFrame): Buffer {
  let bytes = 128 + 256 * frame.attach.length + 32 * frame.credit.length + 128 * frame.seek.length;
  for (const acknowledge of frame.acknowledge) bytes += 96 + 20 * acknowledge.spans.length;
  const writer = new ProtoWriter(bytes);
  writeEach(frame.detach, handle => writeHandle(writer, 6, handle));
  writeEach(frame.seek, seek => writeSeek(writer, seek));
  writeEach(frame.acknowledge, acknowledge => writeAcknowledge(writer, acknowledge));
  writeEach(frame.credit, credit => writeCredit(writer, credit));
  writeEach(frame.attach, attach => writeAttach(writer, attach));
  writeHello(writer, 1, frame.hello);
  return writer.finish();
}

export function decodeSubscribeResponse(view: Buffer): SubscribeResponseFrame | Failure {
  const reader = new ProtoReader(view, RESPONSE_ITEMS_MAX);
  let hello: SubscribeResponseFrame['hello'] = null;
  const attached: AttachedFrame[] = [];
  const deliveries: DeliveryFrame[] = [];
  const acknowledged: AcknowledgeResultFrame[] = [];
  const sought: SeekResultFrame[] = [];
  const detached: DetachedFrame[] = [];
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 3) deliveries.push(readDelivery(reader));
    else if (field === 1) hello = readServerHello(reader, 'hello');
    else if (field === 2) attached.push(readAttached(reader));
    else if (field === 4) acknowledged.push(readAcknowledgeResult(reader));
    else if (field === 5) sought.push(readSeekResult(reader));
    else if (field === 6) detached.push(readClosed(reader, 'detached'));
    else reader.skip();
  }
  return reader.failure ?? { hello, attached, deliveries, acknowledged, sought, detached };
}

export function encodeSubscribeResponse(frame: SubscribeResponseFrame): Buffer {
  const others = frame.attached.length + frame.sought.length + frame.detached.length;
  const writer = new ProtoWriter(64 + deliveriesBytes(frame.deliveries) + 128 * others + 32 * frame.acknowledged.length);
  writeEach(frame.detached, detached => writeClosed(writer, 6, detached));
  writeEach(frame.sought, sought => writeSeekResult(writer, sought));
  writeEach(frame.acknowledged, acknowledged => writeAcknowledgeResult(writer, acknowledged));
  writeEach(frame.deliveries, delivery => writeDelivery(writer, 3, delivery));
  writeEach(frame.attached, attached => writeAttached(writer, attached));
  writeServerHello(writer, 1, frame.hello);
  return writer.finish();
}

export function decodeReadRequest(view: Buffer): ReadRequestFrame | Failure {
  const reader = new ProtoReader(view);
  let topic = '';
  let partition = 0;
  let start: PositionFrame | null = null;
  let follow = false;
  let messagesMax = 0;
  let responseBytesMax = 0;
  let topicId = '';
  const codecs: number[] = [];
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) topic = reader.string('topic');
    else if (field === 2) partition = reader.uint32('partition');
    else if (field === 3) start = readPosition(reader, 'start');
    else if (field === 4) follow = reader.bool('follow');
    else if (field === 5) messagesMax = reader.uint64('messages_max');
    else if (field === 6) responseBytesMax = reader.uint32('response_bytes_max');
    else if (field === 7) topicId = reader.string('topic_id');
    else if (field === 8) reader.uint32Items('codecs', codecs);
    else if (field === 9) readHello(reader, 'hello');
    else reader.skip();
  }
  if (start === null) reader.refuse('start', 'is not given');
  const known = codecs.filter(isCodec);
  return reader.failure ?? { topic, partition, start: start ?? LATEST, follow, messagesMax, responseBytesMax, topicId, codecs: known };
}

export function encodeReadRequest(frame: ReadRequestFrame): Buffer {
  const writer = new ProtoWriter(512);
  writeCodecs(writer, 8, frame.codecs);
  writer.string(7, frame.topicId);
  writer.uint(6, frame.responseBytesMax);
  writer.uint(5, frame.messagesMax);
  writer.bool(4, frame.follow);
  writePosition(writer, 3, frame.start);
  writer.uint(2, frame.partition);
  writer.string(1, frame.topic);
  return writer.finish();
}

export function decodeReadResponse(view: Buffer): ReadResponseFrame | Failure {
  const reader = new ProtoReader(view, RESPONSE_ITEMS_MAX);
  const deliveries: DeliveryFrame[] = [];
  let nextOffset = 0;
  let endOffset = 0;
  let topicId = '';
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) deliveries.push(readDelivery(reader));
    else if (field === 2) nextOffset = reader.uint64('next_offset');
    else if (field === 3) endOffset = reader.uint64('end_offset');
    else if (field === 4) topicId = reader.string('topic_id');
    else reader.skip();
  }
  return reader.failure ?? { deliveries, nextOffset, endOffset, topicId };
}

export function encodeReadResponse(frame: ReadResponseFrame): Buffer {
  const writer = new ProtoWriter(96 + deliveriesBytes(frame.deliveries));
  writer.string(4, frame.topicId);
  writer.uint(3, frame.endOffset);
  writer.uint(2, frame.nextOffset);
  writeEach(frame.deliveries, delivery => writeDelivery(writer, 1, delivery));
  return writer.finish();
}

// ---- deliveries -------------------------------------------------------------------------------------------------------------

/** How many bytes a delivery adds to a response, at most: what a response's limit is counted with. */
export function deliveryBytes(delivery: DeliveryFrame): number {
  const views = delivery.batchView.length + delivery.infoView.length + (delivery.producerView?.length ?? 0);
  return DELIVERY_BYTES + views + RANGE_BYTES * delivery.ranges.length;
}

function deliveriesBytes(deliveries: readonly DeliveryFrame[]): number {
  let bytes = 0;
  for (const delivery of deliveries) bytes += deliveryBytes(delivery);
  return bytes;
}

function readDelivery(reader: ProtoReader): DeliveryFrame {
  let handle = 0;
  let resetEpoch = 0;
  let baseOffset = 0;
  let infoView: Buffer = EMPTY;
  let crc = 0;
  let batchView: Buffer = EMPTY;
  let appendTimeMs = 0;
  let ranges: Pair[] | null = null;
  let attempt = 0;
  let producerView: Buffer | null = null;
  reader.enterItem('deliveries');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else if (field === 2) resetEpoch = reader.uint64('reset_epoch');
    else if (field === 3) baseOffset = reader.uint64('base_offset');
    else if (field === 4) infoView = reader.bytes('info');
    else if (field === 5) crc = reader.fixed32('crc32c');
    else if (field === 6) batchView = reader.bytes('batch', 'corrupt_batch');
    else if (field === 7) appendTimeMs = reader.int64('append_time_ms');
    else if (field === 8) ranges = withPair(ranges, readPair(reader, 'ranges', 'first', 'count'));
    else if (field === 9) attempt = reader.uint32('attempt');
    else if (field === 11) producerView = reader.bytes('producer');
    else reader.skip();
  }
  reader.leave();
  return { handle, resetEpoch, baseOffset, infoView, crc, batchView, appendTimeMs, ranges: ranges ?? NO_PAIRS, attempt, producerView };
}

const NO_PAIRS: readonly Pair[] = [];

function withPair(pairs: Pair[] | null, pair: Pair): Pair[] {
  if (pairs === null) return [pair];
  pairs.push(pair);
  return pairs;
}

function writeDelivery(writer: ProtoWriter, id: number, delivery: DeliveryFrame): void {
  const mark = writer.mark();
  writer.optionalBytes(11, delivery.producerView);
  writer.uint(9, delivery.attempt);
  for (let index = delivery.ranges.length - 1; index >= 0; index--) writePair(writer, 8, delivery.ranges[index]);
  writer.int64(7, delivery.appendTimeMs);
  writer.bytes(6, delivery.batchView);
  if (delivery.crc !== 0) writer.optionalFixed32(5, delivery.crc);
  writer.bytes(4, delivery.infoView);
  writer.uint(3, delivery.baseOffset);
  writer.uint(2, delivery.resetEpoch);
  writer.uint(1, delivery.handle);
  writer.message(id, mark);
}

/** Messages of two numbers: IndexRange, OffsetSpan. */
function readPair(reader: ProtoReader, name: string, firstName: string, secondName: string): Pair {
  let first = 0;
  let second = 0;
  reader.enterItem(name);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) first = reader.uint64(firstName);
    else if (field === 2) second = reader.uint64(secondName);
    else reader.skip();
  }
  reader.leave();
  return [first, second];
}

function writePair(writer: ProtoWriter, id: number, pair: Pair | undefined): void {
  if (pair === undefined) return;
  const mark = writer.mark();
  writer.uint(2, pair[1]);
  writer.uint(1, pair[0]);
  writer.message(id, mark);
}

// ---- consumers --------------------------------------------------------------------------------------------------------------

function readAttach(reader: ProtoReader): AttachConsumerFrame {
  let handle = 0;
  let topic = '';
  let partition = 0;
  let subscription = '';
  let type: SubscriptionTypeNumber = 0;
  let consumer = '';
  let instance = NO_ID;
  let epoch = 0;
  let start: PositionFrame | null = null;
  let mustExist = false;
  let topicId = '';
  let responseBytesMax = 0;
  const codecs: number[] = [];
  reader.enterItem('attach');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else if (field === 2) topic = reader.string('topic');
    else if (field === 3) partition = reader.uint32('partition');
    else if (field === 4) subscription = reader.string('subscription');
    else if (field === 5) type = readType(reader);
    else if (field === 6) consumer = reader.string('consumer');
    else if (field === 7) instance = reader.fixed64Hex('instance');
    else if (field === 8) epoch = reader.uint64('epoch');
    else if (field === 9) start = readPosition(reader, 'start');
    else if (field === 10) mustExist = reader.bool('must_exist');
    else if (field === 11) topicId = reader.string('topic_id');
    else if (field === 12) responseBytesMax = reader.uint32('response_bytes_max');
    else if (field === 13) reader.uint32Items('codecs', codecs);
    else reader.skip();
  }
  reader.leave();
  const known = codecs.filter(isCodec);
  return {
    handle,
    topic,
    partition,
    subscription,
    type,
    consumer,
    instance,
    epoch,
    start,
    mustExist,
    topicId,
    responseBytesMax,
    codecs: known,
  };
}

function readType(reader: ProtoReader): SubscriptionTypeNumber {
  const value = reader.uint32('type');
  if (value === 0 || value === 1 || value === 2 || value === 3 || value === 4) return value;
  reader.refuse('type', `is ${value}, which this version does not know`);
  return 0;
}

/** A codec that a newer client can unpack and this server does not have is of no use here. */
const isCodec = (value: number): value is CodecNumber => value === 0 || value === 1 || value === 2 || value === 3;

function writeCodecs(writer: ProtoWriter, id: number, codecs: readonly CodecNumber[]): void {
  if (codecs.length === 0) return;
  const mark = writer.mark();
  writeEach(codecs, codec => writer.rawVarint(codec));
  writer.message(id, mark);
}

function writeAttach(writer: ProtoWriter, attach: AttachConsumerFrame): void {
  const mark = writer.mark();
  writeCodecs(writer, 13, attach.codecs);
  writer.uint(12, attach.responseBytesMax);
  writer.string(11, attach.topicId);
  writer.bool(10, attach.mustExist);
  writePosition(writer, 9, attach.start);
  writer.uint(8, attach.epoch);
  writer.fixed64Hex(7, attach.instance);
  writer.string(6, attach.consumer);
  writer.uint(5, attach.type);
  writer.string(4, attach.subscription);
  writer.uint(3, attach.partition);
  writer.string(2, attach.topic);
  writer.uint(1, attach.handle);
  writer.message(2, mark);
}

function readCredit(reader: ProtoReader): CreditFrame {
  let handle = 0;
  let messages = 0;
  let bytes = 0;
  reader.enterItem('credit');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else if (field === 2) messages = reader.uint32('messages');
    else if (field === 3) bytes = reader.uint64('bytes');
    else reader.skip();
  }
  reader.leave();
  return { handle, messages, bytes };
}

function writeCredit(writer: ProtoWriter, credit: CreditFrame): void {
  const mark = writer.mark();
  writer.uint(3, credit.bytes);
  writer.uint(2, credit.messages);
  writer.uint(1, credit.handle);
  writer.message(3, mark);
}

function readAcknowledge(reader: ProtoReader): AcknowledgeFrame {
  let handle = 0;
  let resetEpoch = 0;
  let upTo = 0;
  let spans: Pair[] | null = null;
  let requestId = 0;
  let topicId = '';
  reader.enterItem('acknowledge');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else if (field === 2) resetEpoch = reader.uint64('reset_epoch');
    else if (field === 3) upTo = reader.uint64('up_to');
    else if (field === 4) spans = withPair(spans, readSpan(reader));
    else if (field === 5) requestId = reader.uint64('request_id');
    else if (field === 6) topicId = reader.string('topic_id');
    else if (field === 7) refuseTransaction(reader);
    else reader.skip();
  }
  reader.leave();
  return { handle, resetEpoch, upTo, spans: spans ?? NO_PAIRS, requestId, topicId };
}

function readSpan(reader: ProtoReader): Pair {
  const span = readPair(reader, 'spans', 'first', 'end');
  if (span[1] <= span[0]) reader.refuse('spans', `has [${span[0]}, ${span[1]}), in which there is nothing`);
  return span;
}

function refuseTransaction(reader: ProtoReader): void {
  if (reader.bytes('transaction_id').length > 0)
    reader.refuse('transaction_id', 'is kept for a later version of the server', 'unsupported');
}

function writeAcknowledge(writer: ProtoWriter, acknowledge: AcknowledgeFrame): void {
  const mark = writer.mark();
  writer.string(6, acknowledge.topicId);
  writer.uint(5, acknowledge.requestId);
  for (let index = acknowledge.spans.length - 1; index >= 0; index--) writePair(writer, 4, acknowledge.spans[index]);
  writer.uint(3, acknowledge.upTo);
  writer.uint(2, acknowledge.resetEpoch);
  writer.uint(1, acknowledge.handle);
  writer.message(4, mark);
}

function readSeek(reader: ProtoReader): SeekFrame {
  let handle = 0;
  let requestId = 0;
  let to: PositionFrame | null = null;
  let resetEpoch = 0;
  let topicId = '';
  reader.enterItem('seek');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else if (field === 2) requestId = reader.uint64('request_id');
    else if (field === 3) to = readPosition(reader, 'to');
    else if (field === 4) resetEpoch = reader.uint64('reset_epoch');
    else if (field === 5) topicId = reader.string('topic_id');
    else reader.skip();
  }
  if (to === null) reader.refuse('to', 'is not given');
  reader.leave();
  return { handle, requestId, to: to ?? LATEST, resetEpoch, topicId };
}

function writeSeek(writer: ProtoWriter, seek: SeekFrame): void {
  const mark = writer.mark();
  writer.string(5, seek.topicId);
  writer.uint(4, seek.resetEpoch);
  writePosition(writer, 3, seek.to);
  writer.uint(2, seek.requestId);
  writer.uint(1, seek.handle);
  writer.message(5, mark);
}

// ---- answers ----------------------------------------------------------------------------------------------------------------

function readAttached(reader: ProtoReader): AttachedFrame {
  let handle = 0;
  let topicId = '';
  let consumer = '';
  let resetEpoch = 0;
  let markDelete = 0;
  let endOffset = 0;
  let backlog = 0;
  let partitions = 0;
  let metadataVersion = 0;
  reader.enterItem('attached');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else if (field === 2) topicId = reader.string('topic_id');
    else if (field === 3) consumer = reader.string('consumer');
    else if (field === 4) resetEpoch = reader.uint64('reset_epoch');
    else if (field === 5) markDelete = reader.uint64('mark_delete');
    else if (field === 6) endOffset = reader.uint64('end_offset');
    else if (field === 7) backlog = reader.uint64('backlog');
    else if (field === 8) partitions = reader.uint32('partitions');
    else if (field === 9) metadataVersion = reader.uint64('metadata_version');
    else reader.skip();
  }
  reader.leave();
  return { handle, topicId, consumer, resetEpoch, markDelete, endOffset, backlog, partitions, metadataVersion };
}

function writeAttached(writer: ProtoWriter, attached: AttachedFrame): void {
  const mark = writer.mark();
  writer.uint(9, attached.metadataVersion);
  writer.uint(8, attached.partitions);
  writer.uint(7, attached.backlog);
  writer.uint(6, attached.endOffset);
  writer.uint(5, attached.markDelete);
  writer.uint(4, attached.resetEpoch);
  writer.string(3, attached.consumer);
  writer.string(2, attached.topicId);
  writer.uint(1, attached.handle);
  writer.message(2, mark);
}

function readAcknowledgeResult(reader: ProtoReader): AcknowledgeResultFrame {
  let handle = 0;
  let requestId = 0;
  let error: ErrorFrame | null = null;
  reader.enterItem('acknowledged');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else if (field === 2) requestId = reader.uint64('request_id');
    else if (field === 3) error = readError(reader, 'error');
    else reader.skip();
  }
  reader.leave();
  return { handle, requestId, error };
}

function writeAcknowledgeResult(writer: ProtoWriter, result: AcknowledgeResultFrame): void {
  const mark = writer.mark();
  writeError(writer, 3, result.error);
  writer.uint(2, result.requestId);
  writer.uint(1, result.handle);
  writer.message(4, mark);
}

function readSeekResult(reader: ProtoReader): SeekResultFrame {
  let handle = 0;
  let requestId = 0;
  let resetEpoch = 0;
  let markDelete = 0;
  let error: ErrorFrame | null = null;
  reader.enterItem('sought');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else if (field === 2) requestId = reader.uint64('request_id');
    else if (field === 3) resetEpoch = reader.uint64('reset_epoch');
    else if (field === 4) markDelete = reader.uint64('mark_delete');
    else if (field === 5) error = readError(reader, 'error');
    else reader.skip();
  }
  reader.leave();
  return { handle, requestId, resetEpoch, markDelete, error };
}

function writeSeekResult(writer: ProtoWriter, result: SeekResultFrame): void {
  const mark = writer.mark();
  writeError(writer, 5, result.error);
  writer.uint(4, result.markDelete);
  writer.uint(3, result.resetEpoch);
  writer.uint(2, result.requestId);
  writer.uint(1, result.handle);
  writer.message(5, mark);
}
