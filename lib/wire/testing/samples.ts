// Random frames of every kind for tests: each field takes its usual, its empty and its extreme values.

import { encodeBatch } from '../batch.ts';
import { type BatchInfo, batchInfo, decodeBatchInfoView, encodeBatchInfo } from '../batch-info.ts';
import { encodeProducerMark, type ProducerMark } from '../entry-meta.ts';
import type * as f from '../frames.ts';
import type { Dice } from './random.ts';

const codec = (d: Dice): f.CodecNumber => d.pick([0, 1, 2, 3]);
const pair = (d: Dice): readonly [number, number] => [d.uint32(), d.uint32()];

export function hello(d: Dice): f.HelloFrame {
  return { protocolVersion: d.uint32(), features: d.list(3, () => d.text()), client: d.text(), token: d.text(200) };
}

export function serverHello(d: Dice): f.ServerHelloFrame {
  const features = d.list(3, () => d.text());
  return { protocolVersion: d.uint32(), features, server: d.text(), clusterId: d.text(), keepaliveMs: d.uint32() };
}

export function error(d: Dice): f.ErrorFrame {
  const detail = Object.fromEntries(d.list(3, () => [`k${d.text()}`, d.text()]));
  return { reason: d.errorCode(), message: d.text(), stored: d.pick(['no', 'unknown']), retryAfterMs: d.uint32(), detail };
}

export function moved(d: Dice): f.MovedFrame {
  return { address: d.text(), tlsServerName: d.text(), metadataVersion: d.uint64() };
}

export function position(d: Dice): f.PositionFrame {
  return d.pick([{ kind: 'earliest' }, { kind: 'latest' }, { kind: 'offset', offset: d.uint64() }, { kind: 'time', timeMs: d.int64() }]);
}

export function info(d: Dice): BatchInfo {
  const count = 1 + d.below(5);
  const column = <T>(make: () => T) => Array.from({ length: d.pick([0, 1, count]) }, make);
  const attributes = d.list(2, () => ({ name: d.text(), values: column(() => d.text()) }));
  return batchInfo({
    count,
    codec: codec(d),
    uncompressedBytes: d.uint64(),
    schemaId: d.uint32(),
    encryption: d.bytes(),
    entryFormat: d.uint32(),
    transactionId: d.bytes(),
    keyHashes: new Uint32Array(column(() => d.u32())),
    deliverAtMs: column(() => d.uint64()),
    expireAtMs: column(() => d.uint64()),
    attributes,
  });
}

export function infoView(d: Dice): f.BatchInfoView {
  const view = decodeBatchInfoView(encodeBatchInfo(info(d)));
  if ('kind' in view) throw new Error(view.message);
  return view;
}

export function batch(d: Dice): Buffer {
  return encodeBatch(
    d.list(4, () => ({
      key: d.maybe(() => (d.flip() ? d.bytes() : d.text())),
      payload: d.maybe(() => (d.flip() ? d.bytes(200) : d.text())),
      headers: d.list(2, () => [d.text(), d.bytes()] as const),
      eventTimeMs: d.maybe(() => d.int64()),
    })),
  );
}

export function producerMark(d: Dice): ProducerMark {
  return {
    name: d.text(),
    epoch: d.uint64(),
    sequence: d.uint64(),
    prevSequence: d.uint64(),
    instance: d.hex64(),
    idempotencyId: d.text(),
  };
}

function range(d: Dice): f.StoredRange {
  return { offset: d.uint64(), count: d.uint32(), partition: d.uint32(), duplicate: d.flip() };
}

function outcome(d: Dice): f.PublishResultFrame['outcome'] {
  return d.flip() ? { kind: 'stored', range: range(d) } : { kind: 'error', error: error(d) };
}

export function publishRequest(d: Dice): f.PublishRequestFrame {
  return {
    hello: d.maybe(() => hello(d)),
    open: d.list(2, () => ({
      handle: d.uint32(),
      topic: d.text(),
      partition: d.maybe(() => d.uint32()),
      name: d.text(),
      epoch: d.uint64(),
      instance: d.hex64(),
      window: d.uint32(),
      topicId: d.text(),
      ephemeral: d.flip(),
    })),
    batches: d.list(3, () => ({
      handle: d.uint32(),
      sequence: d.uint64(),
      prevSequence: d.uint64(),
      info: infoView(d),
      crc: d.maybe(() => d.uint32()),
      batchView: batch(d),
      ackNone: d.flip(),
    })),
    close: d.list(2, () => d.uint32()),
  };
}

export function publishResponse(d: Dice): f.PublishResponseFrame {
  return {
    hello: d.maybe(() => serverHello(d)),
    opened: d.list(2, () => ({
      handle: d.uint32(),
      topicId: d.text(),
      partition: d.uint32(),
      partitions: d.uint32(),
      name: d.text(),
      epoch: d.uint64(),
      lastSequence: d.uint64(),
      window: d.uint32(),
      metadataVersion: d.uint64(),
    })),
    results: d.list(3, () => ({ handle: d.uint32(), sequence: d.uint64(), outcome: outcome(d) })),
    closed: d.list(2, () => closed(d)),
  };
}

function closed(d: Dice): f.ProducerClosedFrame {
  return { handle: d.uint32(), error: d.maybe(() => error(d)), moved: d.maybe(() => moved(d)) };
}

export function sendRequest(d: Dice): f.SendRequestFrame {
  return {
    topic: d.text(),
    partition: d.maybe(() => d.uint32()),
    info: d.maybe(() => infoView(d)),
    batchView: batch(d),
    idempotencyId: d.text(),
    ackNone: d.flip(),
    topicId: d.text(),
  };
}

export function sendResponse(d: Dice): f.SendResponseFrame {
  return { results: d.list(3, () => ({ index: d.uint32(), outcome: outcome(d) })), topicId: d.text() };
}

export function subscribeRequest(d: Dice): f.SubscribeRequestFrame {
  return {
    hello: d.maybe(() => hello(d)),
    attach: d.list(2, () => ({
      handle: d.uint32(),
      topic: d.text(),
      partition: d.uint32(),
      subscription: d.text(),
      type: d.pick([0, 1, 2, 3, 4] as const),
      consumer: d.text(),
      instance: d.hex64(),
      epoch: d.uint64(),
      start: d.maybe(() => position(d)),
      mustExist: d.flip(),
      topicId: d.text(),
      responseBytesMax: d.uint32(),
      codecs: d.list(4, () => codec(d)),
    })),
    credit: d.list(2, () => ({ handle: d.uint32(), messages: d.uint32(), bytes: d.uint64() })),
    acknowledge: d.list(2, () => ({
      handle: d.uint32(),
      resetEpoch: d.uint64(),
      upTo: d.uint64(),
      spans: d.list(4, () => span(d)),
      requestId: d.uint64(),
      topicId: d.text(),
    })),
    seek: d.list(2, () => ({
      handle: d.uint32(),
      requestId: d.uint64(),
      to: position(d),
      resetEpoch: d.uint64(),
      topicId: d.text(),
    })),
    detach: d.list(2, () => d.uint32()),
  };
}

function span(d: Dice): readonly [number, number] {
  const first = d.uint32();
  return [first, first + 1 + d.below(1000)];
}

export function subscribeResponse(d: Dice): f.SubscribeResponseFrame {
  return {
    hello: d.maybe(() => serverHello(d)),
    attached: d.list(2, () => ({
      handle: d.uint32(),
      topicId: d.text(),
      consumer: d.text(),
      resetEpoch: d.uint64(),
      markDelete: d.uint64(),
      endOffset: d.uint64(),
      backlog: d.uint64(),
      partitions: d.uint32(),
      metadataVersion: d.uint64(),
    })),
    deliveries: d.list(3, () => delivery(d)),
    acknowledged: d.list(2, () => ({ handle: d.uint32(), requestId: d.uint64(), error: d.maybe(() => error(d)) })),
    sought: d.list(2, () => ({
      handle: d.uint32(),
      requestId: d.uint64(),
      resetEpoch: d.uint64(),
      markDelete: d.uint64(),
      error: d.maybe(() => error(d)),
    })),
    detached: d.list(2, () => closed(d)),
  };
}

export function delivery(d: Dice): f.DeliveryFrame {
  return {
    handle: d.uint32(),
    resetEpoch: d.uint64(),
    baseOffset: d.uint64(),
    infoView: infoView(d).view,
    crc: d.uint32(),
    batchView: batch(d),
    appendTimeMs: d.int64(),
    ranges: d.list(3, () => pair(d)),
    attempt: d.uint32(),
    producerView: d.maybe(() => encodeProducerMark(producerMark(d))),
  };
}

export function readRequest(d: Dice): f.ReadRequestFrame {
  return {
    topic: d.text(),
    partition: d.uint32(),
    start: position(d),
    follow: d.flip(),
    messagesMax: d.uint64(),
    responseBytesMax: d.uint32(),
    topicId: d.text(),
    codecs: d.list(4, () => codec(d)),
  };
}

export function readResponse(d: Dice): f.ReadResponseFrame {
  return { deliveries: d.list(3, () => delivery(d)), nextOffset: d.uint64(), endOffset: d.uint64(), topicId: d.text() };
}
