// The contract through protobufjs, which comes with the gRPC libraries: what our hand-written codec is compared with. `toContract` turns
// our frames into plain objects with the contract's field names, so that a swapped field number cannot hide in a round trip.

import { fileURLToPath } from 'node:url';
import protobuf from 'protobufjs';
import type * as f from '../frames.ts';

type Plain = Record<string, unknown>;

const root = new protobuf.Root();
root.resolvePath = (_origin, target) => fileURLToPath(new URL(`../../../proto/${target}`, import.meta.url));
root.loadSync('sluice/v1/storage.proto', { keepCase: true });

export function contractType(name: string): protobuf.Type {
  return root.lookupType(`sluice.v1.${name}`);
}

/** A generated stub's bytes for `plain`. */
export function referenceEncode(type: string, plain: Plain): Buffer {
  const found = contractType(type);
  const problem = found.verify(plain);
  if (problem) throw new Error(`${type}: ${problem}`);
  return Buffer.from(found.encode(found.fromObject(plain)).finish());
}

export function referenceDecode(type: string, view: Buffer): Plain {
  const found = contractType(type);
  return found.toObject(found.decode(view), { longs: Number, arrays: false });
}

/** Drops what proto3 leaves out: zeros, empty text, bytes and lists, null. */
function compact(fields: Plain): Plain {
  return Object.fromEntries(
    Object.entries(fields).filter(
      ([, value]) =>
        value !== 0 && value !== '' && value !== false && value !== null && !(hasLength(value) && value.length === 0) && !isZeroId(value),
    ),
  );
}

const hasLength = (value: unknown): value is { length: number } => Array.isArray(value) || Buffer.isBuffer(value);
const isZeroId = (value: unknown): boolean => typeof value === 'object' && value !== null && 'low' in value && isZero(value);
const isZero = (value: object): boolean => 'high' in value && 'low' in value && value.low === 0 && value.high === 0;
const optional = (name: string, value: unknown): Plain => (value === null ? {} : { [name]: value });

function id(hex: string): Plain {
  return { low: Number.parseInt(hex.slice(8), 16) | 0, high: Number.parseInt(hex.slice(0, 8), 16) | 0, unsigned: true };
}

const batchOf = (view: Buffer): Plain | null => (view.length === 0 ? null : embedded('Batch', view));

/** A message inside a message, as protobufjs wants it. */
function embedded(type: string, view: Buffer): Plain {
  const found = contractType(type);
  return found.toObject(found.decode(view), {});
}

const helloOf = (h: f.HelloFrame | null): Plain =>
  h === null ? {} : { hello: compact({ protocol_version: h.protocolVersion, features: h.features, client: h.client, token: h.token }) };

const serverHelloOf = (h: f.ServerHelloFrame | null): Plain =>
  h === null
    ? {}
    : {
        hello: compact({
          protocol_version: h.protocolVersion,
          features: h.features,
          server: h.server,
          cluster_id: h.clusterId,
          keepalive_ms: h.keepaliveMs,
        }),
      };

function errorOf(e: f.ErrorFrame): Plain {
  const detail = Object.keys(e.detail).length === 0 ? null : e.detail;
  return compact({
    reason: e.reason,
    message: e.message,
    stored: e.stored === 'no' ? 0 : 1,
    retry_after_ms: e.retryAfterMs,
    detail,
  });
}

const movedOf = (m: f.MovedFrame): Plain =>
  compact({ address: m.address, tls_server_name: m.tlsServerName, metadata_version: m.metadataVersion });

function positionOf(p: f.PositionFrame): Plain {
  if (p.kind === 'offset') return { offset: p.offset };
  if (p.kind === 'time') return { time_ms: p.timeMs };
  return { [p.kind]: true };
}

const rangeOf = (r: f.StoredRange): Plain => compact({ offset: r.offset, count: r.count, partition: r.partition, duplicate: r.duplicate });

const outcomeOf = (o: f.PublishResultFrame['outcome']): Plain =>
  o.kind === 'stored' ? { stored: rangeOf(o.range) } : { error: errorOf(o.error) };

const closedOf = (c: f.ProducerClosedFrame): Plain => ({
  ...compact({ handle: c.handle }),
  ...(c.error === null ? {} : { error: errorOf(c.error) }),
  ...(c.moved === null ? {} : { moved: movedOf(c.moved) }),
});

const handleOf = (handle: number): Plain => compact({ handle });

export const toContract = {
  PublishRequest: (r: f.PublishRequestFrame): Plain => ({
    ...helloOf(r.hello),
    ...compact({
      open: r.open.map(o => ({
        ...compact({
          handle: o.handle,
          topic: o.topic,
          name: o.name,
          epoch: o.epoch,
          instance: id(o.instance),
          window: o.window,
          topic_id: o.topicId,
          ephemeral: o.ephemeral,
        }),
        ...optional('partition', o.partition),
      })),
      batches: r.batches.map(b => ({
        ...compact({ handle: b.handle, sequence: b.sequence, prev_sequence: b.prevSequence, ack: b.ackNone ? 1 : 0 }),
        ...optional('crc32c', b.crc),
        ...optional('batch', batchOf(b.batchView)),
        info: embedded('BatchInfo', b.info.view),
      })),
      close: r.close.map(handleOf),
    }),
  }),

  PublishResponse: (r: f.PublishResponseFrame): Plain => ({
    ...serverHelloOf(r.hello),
    ...compact({
      opened: r.opened.map(o =>
        compact({
          handle: o.handle,
          topic_id: o.topicId,
          partition: o.partition,
          partitions: o.partitions,
          name: o.name,
          epoch: o.epoch,
          last_sequence: o.lastSequence,
          window: o.window,
          metadata_version: o.metadataVersion,
        }),
      ),
      results: r.results.map(o => ({ ...compact({ handle: o.handle, sequence: o.sequence }), ...outcomeOf(o.outcome) })),
      closed: r.closed.map(closedOf),
    }),
  }),

  SendRequest: (r: f.SendRequestFrame): Plain => ({
    ...compact({ topic: r.topic, idempotency_id: r.idempotencyId, ack: r.ackNone ? 1 : 0, topic_id: r.topicId }),
    ...optional('partition', r.partition),
    ...(r.info === null ? {} : { info: embedded('BatchInfo', r.info.view) }),
    ...optional('batch', batchOf(r.batchView)),
  }),

  SendResponse: (r: f.SendResponseFrame): Plain =>
    compact({ results: r.results.map(o => ({ ...compact({ index: o.index }), ...outcomeOf(o.outcome) })), topic_id: r.topicId }),

  SubscribeRequest: (r: f.SubscribeRequestFrame): Plain => ({
    ...helloOf(r.hello),
    ...compact({
      attach: r.attach.map(a => ({
        ...compact({
          handle: a.handle,
          topic: a.topic,
          partition: a.partition,
          subscription: a.subscription,
          type: a.type,
          consumer: a.consumer,
          instance: id(a.instance),
          epoch: a.epoch,
          must_exist: a.mustExist,
          topic_id: a.topicId,
          response_bytes_max: a.responseBytesMax,
          codecs: a.codecs,
        }),
        ...(a.start === null ? {} : { start: positionOf(a.start) }),
      })),
      credit: r.credit.map(c => compact({ handle: c.handle, messages: c.messages, bytes: c.bytes })),
      acknowledge: r.acknowledge.map(a =>
        compact({
          handle: a.handle,
          reset_epoch: a.resetEpoch,
          up_to: a.upTo,
          spans: a.spans.map(([first, end]) => compact({ first, end })),
          request_id: a.requestId,
          topic_id: a.topicId,
        }),
      ),
      seek: r.seek.map(s => ({
        ...compact({ handle: s.handle, request_id: s.requestId, reset_epoch: s.resetEpoch, topic_id: s.topicId }),
        to: positionOf(s.to),
      })),
      detach: r.detach.map(handleOf),
    }),
  }),

  SubscribeResponse: (r: f.SubscribeResponseFrame): Plain => ({
    ...serverHelloOf(r.hello),
    ...compact({
      attached: r.attached.map(a =>
        compact({
          handle: a.handle,
          topic_id: a.topicId,
          consumer: a.consumer,
          reset_epoch: a.resetEpoch,
          mark_delete: a.markDelete,
          end_offset: a.endOffset,
          backlog: a.backlog,
          partitions: a.partitions,
          metadata_version: a.metadataVersion,
        }),
      ),
      deliveries: r.deliveries.map(deliveryOf),
      acknowledged: r.acknowledged.map(a => ({
        ...compact({ handle: a.handle, request_id: a.requestId }),
        ...(a.error === null ? {} : { error: errorOf(a.error) }),
      })),
      sought: r.sought.map(s => ({
        ...compact({ handle: s.handle, request_id: s.requestId, reset_epoch: s.resetEpoch, mark_delete: s.markDelete }),
        ...(s.error === null ? {} : { error: errorOf(s.error) }),
      })),
      detached: r.detached.map(closedOf),
    }),
  }),

  ReadRequest: (r: f.ReadRequestFrame): Plain => ({
    ...compact({
      topic: r.topic,
      partition: r.partition,
      follow: r.follow,
      messages_max: r.messagesMax,
      response_bytes_max: r.responseBytesMax,
      topic_id: r.topicId,
      codecs: r.codecs,
    }),
    start: positionOf(r.start),
  }),

  ReadResponse: (r: f.ReadResponseFrame): Plain =>
    compact({
      deliveries: r.deliveries.map(deliveryOf),
      next_offset: r.nextOffset,
      end_offset: r.endOffset,
      topic_id: r.topicId,
    }),
};

function deliveryOf(d: f.DeliveryFrame): Plain {
  return {
    ...compact({
      handle: d.handle,
      reset_epoch: d.resetEpoch,
      base_offset: d.baseOffset,
      crc32c: d.crc,
      append_time_ms: d.appendTimeMs,
      ranges: d.ranges.map(([first, count]) => compact({ first, count })),
      attempt: d.attempt,
    }),
    ...(d.infoView.length === 0 ? {} : { info: embedded('BatchInfo', d.infoView) }),
    ...optional('batch', batchOf(d.batchView)),
    ...(d.producerView === null ? {} : { producer: embedded('ProducerMark', d.producerView) }),
  };
}
