// What users of the client see: options, messages, ids. Defaults stand beside each option and are applied in `options.ts`.

import type { SluiceError } from '#lib/types/errors.ts';

export interface ConnectOptions {
  /** `HOST:PORT`, several as a list or separated by commas. Any of them will do. Default: 127.0.0.1:7650. */
  readonly servers?: string | readonly string[];
  /** How this program is called in the server's logs and in lists of consumers. */
  readonly clientName?: string;
  /** Bytes of unanswered messages over all producers of this client. Default: 256 MiB. */
  readonly memoryBytesMax?: number;
  /** How long calls that open, list or change something are tried before they fail. Default: 10 s. */
  readonly requestTimeoutMs?: number;
}

/** Where to start, and where to seek to. A time is a `Date` or ms since 1970: the first message appended at or after it. */
export type Start = 'earliest' | 'latest' | { readonly offset: number } | { readonly time: Date | number };

export interface ProducerOptions {
  readonly topic: string;
  /** A name that outlives the process: a producer that opens it later fences this one. Default: a random one for this run. */
  readonly name?: string;
  /** A batch is sent when it has so many bytes. Default: 128 KiB. */
  readonly batchBytesMax?: number;
  /** … or so many messages. Default and most: 100,000. */
  readonly batchCountMax?: number;
  /** How long a message may wait for others while batches are under way; with nothing under way it never waits. Default and most: 1. */
  readonly lingerMs?: number;
  /** Batches under way per partition, counted from the oldest unanswered. Default and most: 64. */
  readonly window?: number;
  /** Bytes of unanswered messages of this producer. Default: 64 MiB. */
  readonly memoryBytesMax?: number;
  /** A message without an answer for so long fails; its error says whether it may have been stored. Default: 30 s. */
  readonly sendTimeoutMs?: number;
  /** false: each message is a batch, and so an entry, of its own. Default: true. */
  readonly batching?: boolean;
  /** `none`: at most once. Nobody answers; an offset of −1 means "sent". Default: durable. */
  readonly acks?: 'durable' | 'none';
}

/** Bytes are taken as they are, a string as UTF-8. Absent and null are the same, and differ from empty. */
export interface OutgoingMessage {
  /** Messages with the same key go to the same partition, in order. */
  readonly key?: Uint8Array | string | null;
  readonly payload?: Uint8Array | string | null;
  readonly headers?: readonly (readonly [string, Uint8Array | string])[];
  /** When it happened, ms since 1970. */
  readonly eventTimeMs?: number;
  /** Overrides what the key would choose. */
  readonly partition?: number;
}

/** What `send` and `offer` take: a string or bytes alone are a payload. */
export type Outgoing = OutgoingMessage | Uint8Array | string;

/** Where a message is stored. As text: `topic:partition@offset`. */
export interface MessageId {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  toString(): string;
}

export type OnResult = (result: MessageId | SluiceError) => void;

/** Counted since the producer was opened; `…Pending` and `…InFlight` are of now. */
export interface ProducerStats {
  readonly messagesStored: number;
  readonly messagesFailed: number;
  readonly messagesPending: number;
  readonly bytesPending: number;
  readonly batchesSent: number;
  readonly batchesInFlight: number;
  /** Batches that were sent again, after a lost connection or a refusal. */
  readonly batchesResent: number;
}

export interface ConsumerOptions {
  readonly topic: string | readonly string[];
  /** A durable cursor by name; created unless `mustExist`. */
  readonly subscription: string;
  readonly type?: 'exclusive';
  /** Who this consumer is to people and to other consumers. Default: made from the client's name and chance. */
  readonly name?: string;
  /** Where a new subscription starts. An existing one goes on where it is. Default: latest. */
  readonly start?: Start;
  /** Fail where the subscription does not exist. Default: false. */
  readonly mustExist?: boolean;
  /** Messages that may be under way or waiting here, over all partitions. Default: 1,000,000. */
  readonly creditMessages?: number;
  /** The same in bytes. Default: 16 MiB. */
  readonly creditBytes?: number;
  /** While another consumer holds the subscription: wait and try again, or fail with `subscription_busy`. Default: true. */
  readonly waitForAccess?: boolean;
  /** Told each time that the subscription is found busy. */
  readonly onWaiting?: (holder: Holder) => void;
}

/** Who holds an exclusive subscription: as the server says it; '' where it does not. */
export interface Holder {
  readonly topic: string;
  readonly partition: number;
  readonly name: string;
  readonly address: string;
  readonly since: string;
}

/** One partition that a consumer is attached to, as it stood at the last attach. */
export interface Attachment {
  readonly topic: string;
  readonly partition: number;
  /** All below is acknowledged. */
  readonly markDelete: number;
  readonly endOffset: number;
  readonly backlog: number;
}

export interface ReaderOptions {
  readonly topic: string;
  /** Default: all. */
  readonly partition?: number;
  /** Default: earliest. */
  readonly start?: Start;
  /** Go on with what is published later. Default: true, unless `until` is given. */
  readonly follow?: boolean;
  /** Stop at what is the end when reading begins. */
  readonly until?: 'end';
  /** Bytes that may wait here. Default: 16 MiB. */
  readonly bufferBytes?: number;
}

// ---- administration ----

/** What is left out is as the level above says. −1: no limit. */
export interface Policies {
  readonly retentionMs?: number;
  readonly backlogBytesMax?: number;
  readonly autoCreateTopics?: boolean;
  readonly defaultPartitions?: number;
  readonly dedupWindowMs?: number;
}
export interface Tenant {
  readonly name: string;
  readonly etag: string;
  readonly createdMs: number;
}
export interface Namespace extends Tenant {
  readonly policies: Policies;
}
export interface Topic {
  /** tenant/namespace/topic */
  readonly name: string;
  readonly topicId: string;
  readonly partitions: number;
  readonly policies: Policies;
  readonly etag: string;
  readonly createdMs: number;
}
export interface TopicDescription extends Topic {
  /** After what the levels above set. */
  readonly effective: Policies;
  readonly partitionStatus: readonly PartitionStatus[];
}
export interface PartitionStatus {
  readonly partition: number;
  readonly startOffset: number;
  readonly endOffset: number;
  readonly messages: number;
  readonly bytes: number;
  readonly ledgers: number;
  readonly producers: number;
  readonly subscriptions: number;
  /** Why the numbers are not known. */
  readonly error: SluiceError | null;
}
export type SubscriptionType = 'unspecified' | 'exclusive' | 'failover' | 'shared' | 'key_shared';
export interface Subscription {
  readonly topic: string;
  readonly name: string;
  readonly type: SubscriptionType;
  readonly topicId: string;
  readonly createdMs: number;
  readonly backlog: number;
  readonly partitions: readonly SubscriptionPartition[];
}
export interface SubscriptionPartition {
  readonly partition: number;
  readonly resetEpoch: number;
  readonly markDelete: number;
  readonly backlog: number;
  readonly endOffset: number;
  readonly holes: number;
  readonly consumers: readonly ConsumerStatus[];
}
export interface ConsumerStatus {
  readonly name: string;
  readonly address: string;
  readonly client: string;
  readonly attachedMs: number;
}
export interface ClusterDescription {
  readonly clusterId: string;
  readonly version: string;
  readonly protocolVersion: number;
  readonly features: readonly string[];
  readonly metadataVersion: number;
}
