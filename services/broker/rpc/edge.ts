// What the calls' handlers need of the broker: topics by name, partitions that it owns, and the limits that all streams share. The broker
// implements it; tests have a small one of their own.

import type { Clock, Logger } from '#lib/runtime/ports.ts';
import type { TopicId } from '#lib/types/brands.ts';
import type { Failure } from '#lib/types/errors.ts';
import type { Partition } from '../partition/api.ts';
import type { BytePool } from './byte-pool.ts';

/** A topic as the catalog knows it; immutable, a change makes another one. */
export interface TopicView {
  readonly id: TopicId;
  /** tenant/namespace/topic */
  readonly name: string;
  readonly partitions: number;
  /** Of the catalog's change that made it as it is. */
  readonly version: number;
}

/** An open partition that is in use: it stays open until `release`. */
export interface PartitionLease {
  readonly partition: Partition;
  release(): void;
}

export interface Edge {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly clusterId: string;
  readonly limits: EdgeLimits;
  /** Batches that were taken in and not yet answered, of all streams. */
  readonly intakePool: BytePool;
  /** Responses on their way, of all streams. */
  readonly outboxPool: BytePool;
  readonly metrics: EdgeMetrics;
  /** Calls that run until their client ends them; a server that stops ends them itself. */
  readonly streams: Set<LongCall>;
  /** Uniform in [0, 1). */
  random(): number;
  /** For consumers without a name. */
  randomName(): string;
  /** `id` '' or the topic that is meant: another one of that name is `topic_not_found`. */
  findTopic(name: string, id: string): Promise<TopicView | Failure>;
  /** Creates it where the namespace's policy says so. */
  findOrCreateTopic(name: string, id: string): Promise<TopicView | Failure>;
  /** `onClosed`: the partition went away under the lease (moved, deleted, its log lost); the lease is over then. */
  leasePartition(topic: TopicView, index: number, onClosed: (reason: Failure) => void): Promise<PartitionLease | Failure>;
}

export interface LongCall {
  /** Writes what it still has to say, and ends with this status. */
  stop(reason: Failure): void;
}

export interface EdgeLimits {
  /** Batches of one stream without an answer. */
  readonly streamIntakeBytesMax: number;
  readonly streamIntakeBatchesMax: number;
  /** Responses of one stream that the client has not taken. */
  readonly streamOutboxBytesMax: number;
  /** Producers or consumers of one stream. */
  readonly handlesMax: number;
  /** Receipts and seeks of one stream that wait for their answers. */
  readonly streamRequestsMax: number;
  /** A response is packed up to so many bytes when there is more to say. */
  readonly responsePackBytes: number;
  readonly keepaliveMs: number;
}

/** Counters since the start; plain numbers, so that the hot path adds and nothing else. */
export interface EdgeMetrics {
  publishStreams: number;
  subscribeStreams: number;
  readStreams: number;
  publishedBatches: number;
  publishedMessages: number;
  publishedBytes: number;
  refusedBatches: number;
  deliveredEntries: number;
  deliveredBytes: number;
  acknowledgements: number;
  responses: number;
  requests: number;
}
