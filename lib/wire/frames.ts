// The frames of proto/sluice/v1/messaging.proto as the hot path handles them: hand-coded by `messaging-codec.ts`, the same bytes as any
// generated stub. 64-bit counts are safe integers (a decoder refuses more), random 64-bit ids are 16 hex digits, an absent optional is
// `undefined` or null as written here. A field named `…View` is lent: it lies in the received message.

import type { ErrorCode, Stored } from '#lib/types/errors.ts';

/** 0 none, 1 lz4, 2 zstd, 3 gzip. */
export type CodecNumber = 0 | 1 | 2 | 3;
/** 1 exclusive, 2 failover, 3 shared, 4 key_shared; 0: unspecified. */
export type SubscriptionTypeNumber = 0 | 1 | 2 | 3 | 4;

export interface HelloFrame {
  readonly protocolVersion: number;
  readonly features: readonly string[];
  readonly client: string;
  readonly token: string;
}
export interface ServerHelloFrame {
  readonly protocolVersion: number;
  readonly features: readonly string[];
  readonly server: string;
  readonly clusterId: string;
  readonly keepaliveMs: number;
}

/** A refusal inside a stream (message Error). */
export interface ErrorFrame {
  readonly reason: ErrorCode;
  readonly message: string;
  readonly stored: Stored;
  readonly retryAfterMs: number;
  readonly detail: Readonly<Record<string, string>>;
}
export interface MovedFrame {
  readonly address: string;
  readonly tlsServerName: string;
  readonly metadataVersion: number;
}

export type PositionFrame =
  | { readonly kind: 'earliest' }
  | { readonly kind: 'latest' }
  | { readonly kind: 'offset'; readonly offset: number }
  | { readonly kind: 'time'; readonly timeMs: number };

/** What is read of a BatchInfo; `view` are its bytes, stored and delivered as they came. */
export interface BatchInfoView {
  readonly view: Buffer;
  readonly count: number;
  readonly codec: CodecNumber;
  /** Values in each column: 0, 1 or `count`, checked by the decoder. */
  readonly keyHashes: number;
}

export interface OpenProducerFrame {
  readonly handle: number;
  readonly topic: string;
  readonly partition: number | null;
  readonly name: string;
  readonly epoch: number;
  readonly instance: string;
  readonly window: number;
  readonly topicId: string;
  readonly ephemeral: boolean;
}
export interface PublishBatchFrame {
  readonly handle: number;
  readonly sequence: number;
  readonly prevSequence: number;
  readonly info: BatchInfoView;
  readonly crc: number | null;
  readonly batchView: Buffer;
  readonly ackNone: boolean;
}
export interface PublishRequestFrame {
  readonly hello: HelloFrame | null;
  readonly open: readonly OpenProducerFrame[];
  readonly batches: readonly PublishBatchFrame[];
  readonly close: readonly number[];
}

export interface StoredRange {
  readonly offset: number;
  readonly count: number;
  readonly partition: number;
  readonly duplicate: boolean;
}
export interface ProducerOpenedFrame {
  readonly handle: number;
  readonly topicId: string;
  readonly partition: number;
  readonly partitions: number;
  readonly name: string;
  readonly epoch: number;
  readonly lastSequence: number;
  readonly window: number;
  readonly metadataVersion: number;
}
export interface PublishResultFrame {
  readonly handle: number;
  readonly sequence: number;
  readonly outcome: { readonly kind: 'stored'; readonly range: StoredRange } | { readonly kind: 'error'; readonly error: ErrorFrame };
}
export interface ProducerClosedFrame {
  readonly handle: number;
  readonly error: ErrorFrame | null;
  readonly moved: MovedFrame | null;
}
export interface PublishResponseFrame {
  readonly hello: ServerHelloFrame | null;
  readonly opened: readonly ProducerOpenedFrame[];
  readonly results: readonly PublishResultFrame[];
  readonly closed: readonly ProducerClosedFrame[];
}

export interface AttachConsumerFrame {
  readonly handle: number;
  readonly topic: string;
  readonly partition: number;
  readonly subscription: string;
  readonly type: SubscriptionTypeNumber;
  readonly consumer: string;
  readonly instance: string;
  readonly epoch: number;
  readonly start: PositionFrame | null;
  readonly mustExist: boolean;
  readonly topicId: string;
  readonly responseBytesMax: number;
  readonly codecs: readonly CodecNumber[];
}
export interface CreditFrame {
  readonly handle: number;
  readonly messages: number;
  readonly bytes: number;
}
/** `spans` are [first, end) pairs. */
export interface AcknowledgeFrame {
  readonly handle: number;
  readonly resetEpoch: number;
  readonly upTo: number;
  readonly spans: readonly (readonly [number, number])[];
  readonly requestId: number;
  readonly topicId: string;
}
export interface SeekFrame {
  readonly handle: number;
  readonly requestId: number;
  readonly to: PositionFrame;
  readonly resetEpoch: number;
  readonly topicId: string;
}
export interface SubscribeRequestFrame {
  readonly hello: HelloFrame | null;
  readonly attach: readonly AttachConsumerFrame[];
  readonly credit: readonly CreditFrame[];
  readonly acknowledge: readonly AcknowledgeFrame[];
  readonly seek: readonly SeekFrame[];
  readonly detach: readonly number[];
}

export interface AttachedFrame {
  readonly handle: number;
  readonly topicId: string;
  readonly consumer: string;
  readonly resetEpoch: number;
  readonly markDelete: number;
  readonly endOffset: number;
  readonly backlog: number;
  readonly partitions: number;
  readonly metadataVersion: number;
}
/** `infoView` and `batchView` lie in the stored entry (server) or in the received message (client). `ranges`: (first, count) by index; [] means all. */
export interface DeliveryFrame {
  readonly handle: number;
  readonly resetEpoch: number;
  readonly baseOffset: number;
  readonly infoView: Buffer;
  readonly crc: number;
  readonly batchView: Buffer;
  readonly appendTimeMs: number;
  readonly ranges: readonly (readonly [number, number])[];
  readonly attempt: number;
  readonly producerView: Buffer | null;
}
export interface AcknowledgeResultFrame {
  readonly handle: number;
  readonly requestId: number;
  readonly error: ErrorFrame | null;
}
export interface SeekResultFrame {
  readonly handle: number;
  readonly requestId: number;
  readonly resetEpoch: number;
  readonly markDelete: number;
  readonly error: ErrorFrame | null;
}
export interface DetachedFrame {
  readonly handle: number;
  readonly error: ErrorFrame | null;
  readonly moved: MovedFrame | null;
}
export interface SubscribeResponseFrame {
  readonly hello: ServerHelloFrame | null;
  readonly attached: readonly AttachedFrame[];
  readonly deliveries: readonly DeliveryFrame[];
  readonly acknowledged: readonly AcknowledgeResultFrame[];
  readonly sought: readonly SeekResultFrame[];
  readonly detached: readonly DetachedFrame[];
}

export interface ReadRequestFrame {
  readonly topic: string;
  readonly partition: number;
  readonly start: PositionFrame;
  readonly follow: boolean;
  readonly messagesMax: number;
  readonly responseBytesMax: number;
  readonly topicId: string;
  readonly codecs: readonly CodecNumber[];
}
export interface ReadResponseFrame {
  readonly deliveries: readonly DeliveryFrame[];
  readonly nextOffset: number;
  readonly endOffset: number;
  readonly topicId: string;
}

export interface SendRequestFrame {
  readonly topic: string;
  readonly partition: number | null;
  readonly info: BatchInfoView | null;
  readonly batchView: Buffer;
  readonly idempotencyId: string;
  readonly ackNone: boolean;
  readonly topicId: string;
}
export interface SendResultFrame {
  readonly index: number;
  readonly outcome: { readonly kind: 'stored'; readonly range: StoredRange } | { readonly kind: 'error'; readonly error: ErrorFrame };
}
export interface SendResponseFrame {
  readonly results: readonly SendResultFrame[];
  readonly topicId: string;
}

/** One message as it stands in a batch; views lie in the batch. `key` and `payload` null: absent, which is not empty. */
export interface MessageView {
  readonly key: Buffer | null;
  readonly payload: Buffer | null;
  readonly headers: readonly (readonly [string, Buffer])[];
  readonly eventTimeMs: number | null;
}
