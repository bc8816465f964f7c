// Publish and Send frames: bytes to frames and back. Decoded frames hold views into the message; a message that does not keep the
// contract is a Failure that names the field.

import type { Failure } from '#lib/types/errors.ts';
import { readBatchInfoView } from './batch-info.ts';
import {
  readError,
  readHello,
  readMoved,
  readServerHello,
  readStoredRange,
  writeEach,
  writeError,
  writeHello,
  writeMoved,
  writeServerHello,
  writeStoredRange,
} from './common-codec.ts';
import type {
  BatchInfoView,
  ErrorFrame,
  MovedFrame,
  OpenProducerFrame,
  ProducerClosedFrame,
  ProducerOpenedFrame,
  PublishBatchFrame,
  PublishRequestFrame,
  PublishResponseFrame,
  PublishResultFrame,
  SendRequestFrame,
  SendResponseFrame,
  SendResultFrame,
  StoredRange,
} from './frames.ts';
import { EMPTY, NO_ID, ProtoReader, ProtoWriter, RESPONSE_ITEMS_MAX } from './protobuf.ts';

type Outcome = PublishResultFrame['outcome'];

/** Bytes of a batch frame besides info and batch, at most. */
const BATCH_FRAME_BYTES = 64;

export function decodePublishRequest(view: Buffer): PublishRequestFrame | Failure {
  const reader = new ProtoReader(view);
  let hello: PublishRequestFrame['hello'] = null;
  const open: OpenProducerFrame[] = [];
  const batches: PublishBatchFrame[] = [];
  const close: number[] = [];
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 3) batches.push(readBatch(reader));
    else if (field === 2) open.push(readOpen(reader));
    else if (field === 4) close.push(readHandle(reader, 'close'));
    else if (field === 1) hello = readHello(reader, 'hello');
    else reader.skip();
  }
  return reader.failure ?? { hello, open, batches, close };
}

export function encodePublishRequest(frame: PublishRequestFrame): Buffer {
  let bytes = 128 + 256 * frame.open.length + 8 * frame.close.length;
  for (const batch of frame.batches) bytes += batch.batchView.length + batch.info.view.length + BATCH_FRAME_BYTES;
  const writer = new ProtoWriter(bytes);
  writeEach(frame.close, handle => writeHandle(writer, 4, handle));
  writeEach(frame.batches, batch => writeBatch(writer, batch));
  writeEach(frame.open, open => writeOpen(writer, open));
  writeHello(writer, 1, frame.hello);
  return writer.finish();
}

export function decodePublishResponse(view: Buffer): PublishResponseFrame | Failure {
  const reader = new ProtoReader(view, RESPONSE_ITEMS_MAX);
  let hello: PublishResponseFrame['hello'] = null;
  const opened: ProducerOpenedFrame[] = [];
  const results: PublishResultFrame[] = [];
  const closed: ProducerClosedFrame[] = [];
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 3) results.push(readResult(reader));
    else if (field === 2) opened.push(readOpened(reader));
    else if (field === 4) closed.push(readClosed(reader, 'closed'));
    else if (field === 1) hello = readServerHello(reader, 'hello');
    else reader.skip();
  }
  return reader.failure ?? { hello, opened, results, closed };
}

export function encodePublishResponse(frame: PublishResponseFrame): Buffer {
  const writer = new ProtoWriter(64 + 32 * frame.results.length + 128 * (frame.opened.length + frame.closed.length));
  writeEach(frame.closed, closed => writeClosed(writer, 4, closed));
  writeEach(frame.results, result => writeResult(writer, result));
  writeEach(frame.opened, opened => writeOpened(writer, opened));
  writeServerHello(writer, 1, frame.hello);
  return writer.finish();
}

export function decodeSendRequest(view: Buffer): SendRequestFrame | Failure {
  const reader = new ProtoReader(view);
  let topic = '';
  let partition: number | null = null;
  let info: BatchInfoView | null = null;
  let batchView: Buffer = EMPTY;
  let idempotencyId = '';
  let ackNone = false;
  let topicId = '';
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) topic = reader.string('topic');
    else if (field === 2) partition = reader.uint32('partition');
    else if (field === 3) info = readInfo(reader);
    else if (field === 4) batchView = reader.bytes('batch', 'corrupt_batch');
    else if (field === 5) idempotencyId = reader.string('idempotency_id');
    else if (field === 6) ackNone = readAckNone(reader);
    else if (field === 7) topicId = reader.string('topic_id');
    else reader.skip();
  }
  return reader.failure ?? { topic, partition, info, batchView, idempotencyId, ackNone, topicId };
}

export function encodeSendRequest(frame: SendRequestFrame): Buffer {
  const writer = new ProtoWriter(256 + frame.batchView.length + (frame.info?.view.length ?? 0));
  writer.string(7, frame.topicId);
  writer.bool(6, frame.ackNone);
  writer.string(5, frame.idempotencyId);
  writer.bytes(4, frame.batchView);
  writer.optionalBytes(3, frame.info === null ? null : frame.info.view);
  writer.optionalUint(2, frame.partition);
  writer.string(1, frame.topic);
  return writer.finish();
}

export function decodeSendResponse(view: Buffer): SendResponseFrame | Failure {
  const reader = new ProtoReader(view, RESPONSE_ITEMS_MAX);
  const results: SendResultFrame[] = [];
  let topicId = '';
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) results.push(readSendResult(reader));
    else if (field === 2) topicId = reader.string('topic_id');
    else reader.skip();
  }
  return reader.failure ?? { results, topicId };
}

export function encodeSendResponse(frame: SendResponseFrame): Buffer {
  const writer = new ProtoWriter(64 + 32 * frame.results.length);
  writer.string(2, frame.topicId);
  writeEach(frame.results, result => {
    const mark = writer.mark();
    if (result.outcome.kind === 'stored') writeStoredRange(writer, 2, result.outcome.range);
    else writeError(writer, 4, result.outcome.error);
    writer.uint(1, result.index);
    writer.message(1, mark);
  });
  return writer.finish();
}

// ---- batches ----------------------------------------------------------------------------------------------------------------

function readBatch(reader: ProtoReader): PublishBatchFrame {
  let handle = 0;
  let sequence = 0;
  let prevSequence = 0;
  let info: BatchInfoView | null = null;
  let crc: number | null = null;
  let batchView: Buffer = EMPTY;
  let ackNone = false;
  reader.enterItem('batches');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else if (field === 2) sequence = reader.uint64('sequence');
    else if (field === 3) prevSequence = reader.uint64('prev_sequence');
    else if (field === 4) info = readInfo(reader);
    else if (field === 5) crc = reader.fixed32('crc32c');
    else if (field === 6) batchView = reader.bytes('batch', 'corrupt_batch');
    else if (field === 7) ackNone = readAckNone(reader);
    else reader.skip();
  }
  if (info === null) reader.refuse('info', 'is not given');
  reader.leave();
  return { handle, sequence, prevSequence, info: info ?? NO_INFO, crc, batchView, ackNone };
}

/** Stands in for the info of a batch that was refused; nobody sees it. */
const NO_INFO: BatchInfoView = { view: EMPTY, count: 0, codec: 0, keyHashes: 0 };

function readInfo(reader: ProtoReader): BatchInfoView {
  reader.enter('info');
  const info = readBatchInfoView(reader);
  reader.leave();
  return info;
}

function readAckNone(reader: ProtoReader): boolean {
  const mode = reader.uint32('ack');
  if (mode > 1) reader.refuse('ack', `is ${mode}, which this version does not know`);
  return mode === 1;
}

function writeBatch(writer: ProtoWriter, batch: PublishBatchFrame): void {
  const mark = writer.mark();
  writer.bool(7, batch.ackNone);
  writer.bytes(6, batch.batchView);
  writer.optionalFixed32(5, batch.crc);
  writer.optionalBytes(4, batch.info.view);
  writer.uint(3, batch.prevSequence);
  writer.uint(2, batch.sequence);
  writer.uint(1, batch.handle);
  writer.message(3, mark);
}

// ---- producers --------------------------------------------------------------------------------------------------------------

function readOpen(reader: ProtoReader): OpenProducerFrame {
  let handle = 0;
  let topic = '';
  let partition: number | null = null;
  let name = '';
  let epoch = 0;
  let instance = NO_ID;
  let window = 0;
  let topicId = '';
  let ephemeral = false;
  reader.enterItem('open');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else if (field === 2) topic = reader.string('topic');
    else if (field === 3) partition = reader.uint32('partition');
    else if (field === 4) name = reader.string('name');
    else if (field === 5) epoch = reader.uint64('epoch');
    else if (field === 6) instance = reader.fixed64Hex('instance');
    else if (field === 7) window = reader.uint32('window');
    else if (field === 8) topicId = reader.string('topic_id');
    else if (field === 9) ephemeral = reader.bool('ephemeral');
    else reader.skip();
  }
  reader.leave();
  return { handle, topic, partition, name, epoch, instance, window, topicId, ephemeral };
}

function writeOpen(writer: ProtoWriter, open: OpenProducerFrame): void {
  const mark = writer.mark();
  writer.bool(9, open.ephemeral);
  writer.string(8, open.topicId);
  writer.uint(7, open.window);
  writer.fixed64Hex(6, open.instance);
  writer.uint(5, open.epoch);
  writer.string(4, open.name);
  writer.optionalUint(3, open.partition);
  writer.string(2, open.topic);
  writer.uint(1, open.handle);
  writer.message(2, mark);
}

function readOpened(reader: ProtoReader): ProducerOpenedFrame {
  let handle = 0;
  let topicId = '';
  let partition = 0;
  let partitions = 0;
  let name = '';
  let epoch = 0;
  let lastSequence = 0;
  let window = 0;
  let metadataVersion = 0;
  reader.enterItem('opened');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else if (field === 2) topicId = reader.string('topic_id');
    else if (field === 3) partition = reader.uint32('partition');
    else if (field === 4) partitions = reader.uint32('partitions');
    else if (field === 5) name = reader.string('name');
    else if (field === 6) epoch = reader.uint64('epoch');
    else if (field === 7) lastSequence = reader.uint64('last_sequence');
    else if (field === 8) window = reader.uint32('window');
    else if (field === 9) metadataVersion = reader.uint64('metadata_version');
    else reader.skip();
  }
  reader.leave();
  return { handle, topicId, partition, partitions, name, epoch, lastSequence, window, metadataVersion };
}

function writeOpened(writer: ProtoWriter, opened: ProducerOpenedFrame): void {
  const mark = writer.mark();
  writer.uint(9, opened.metadataVersion);
  writer.uint(8, opened.window);
  writer.uint(7, opened.lastSequence);
  writer.uint(6, opened.epoch);
  writer.string(5, opened.name);
  writer.uint(4, opened.partitions);
  writer.uint(3, opened.partition);
  writer.string(2, opened.topicId);
  writer.uint(1, opened.handle);
  writer.message(2, mark);
}

/** Messages that consist of a handle: CloseProducer, DetachConsumer. */
export function readHandle(reader: ProtoReader, name: string): number {
  let handle = 0;
  reader.enterItem(name);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else reader.skip();
  }
  reader.leave();
  return handle;
}

export function writeHandle(writer: ProtoWriter, id: number, handle: number): void {
  const mark = writer.mark();
  writer.uint(1, handle);
  writer.message(id, mark);
}

/** Messages that end something: ProducerClosed, Detached. */
export function readClosed(reader: ProtoReader, name: string): ProducerClosedFrame {
  let handle = 0;
  let error: ErrorFrame | null = null;
  let moved: MovedFrame | null = null;
  reader.enterItem(name);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else if (field === 2) error = readError(reader, 'error');
    else if (field === 3) moved = readMoved(reader, 'moved');
    else reader.skip();
  }
  reader.leave();
  return { handle, error, moved };
}

export function writeClosed(writer: ProtoWriter, id: number, closed: ProducerClosedFrame): void {
  const mark = writer.mark();
  writeMoved(writer, 3, closed.moved);
  writeError(writer, 2, closed.error);
  writer.uint(1, closed.handle);
  writer.message(id, mark);
}

// ---- results ----------------------------------------------------------------------------------------------------------------

function readResult(reader: ProtoReader): PublishResultFrame {
  let handle = 0;
  let sequence = 0;
  let outcome: Outcome | null = null;
  reader.enterItem('results');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) handle = reader.uint32('handle');
    else if (field === 2) sequence = reader.uint64('sequence');
    else if (field === 3) outcome = one(reader, outcome, stored(readStoredRange(reader, 'stored')));
    else if (field === 5) outcome = one(reader, outcome, { kind: 'error', error: readError(reader, 'error') });
    else reader.skip();
  }
  if (outcome === null) reader.refuse('outcome', 'is not one that this version knows');
  reader.leave();
  return { handle, sequence, outcome: outcome ?? NO_OUTCOME };
}

function writeResult(writer: ProtoWriter, result: PublishResultFrame): void {
  const mark = writer.mark();
  if (result.outcome.kind === 'stored') writeStoredRange(writer, 3, result.outcome.range);
  else writeError(writer, 5, result.outcome.error);
  writer.uint(2, result.sequence);
  writer.uint(1, result.handle);
  writer.message(3, mark);
}

function readSendResult(reader: ProtoReader): SendResultFrame {
  let index = 0;
  let outcome: Outcome | null = null;
  reader.enterItem('results');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) index = reader.uint32('index');
    else if (field === 2) outcome = one(reader, outcome, stored(readStoredRange(reader, 'stored')));
    else if (field === 4) outcome = one(reader, outcome, { kind: 'error', error: readError(reader, 'error') });
    else reader.skip();
  }
  if (outcome === null) reader.refuse('outcome', 'is not one that this version knows');
  reader.leave();
  return { index, outcome: outcome ?? NO_OUTCOME };
}

/** Stands in for the outcome of a result that was refused; nobody sees it. */
const NO_OUTCOME: Outcome = { kind: 'stored', range: { offset: 0, count: 0, partition: 0, duplicate: false } };

const stored = (range: StoredRange): Outcome => ({ kind: 'stored', range });

function one(reader: ProtoReader, before: Outcome | null, outcome: Outcome): Outcome {
  if (before !== null) reader.refuse('outcome', 'is given twice');
  return outcome;
}
