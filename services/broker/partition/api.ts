// What the broker's edge (gRPC) may ask of a partition that it owns. Answers are values; nothing here throws for an expected refusal.
// Callbacks run later than the call that caused them, never within it.

import type { Offset } from '#lib/types/brands.ts';
import type { Failure } from '#lib/types/errors.ts';
import type { BatchInfoView, PositionFrame, SubscriptionTypeNumber } from '#lib/wire/frames.ts';

/** `name` '' is a producer without deduplication, which needs no opening. `epoch` 0: the next one (see OpenProducer in the contract). */
export interface ProducerOpening {
  readonly name: string;
  readonly epoch: number;
  readonly instance: string;
  readonly window: number;
  readonly ephemeral: boolean;
}

export interface ProducerOpened {
  readonly kind: 'opened';
  readonly epoch: number;
  readonly lastSequence: number;
  readonly window: number;
}

/** One batch whose structure, count and size the edge has checked. Views are lent until `publish` returns: the partition copies. */
export interface BatchInput {
  /** null: no deduplication. */
  readonly producer: { readonly name: string; readonly epoch: number; readonly instance: string } | null;
  readonly sequence: number;
  readonly prevSequence: number;
  /** '' or an id remembered for the dedup window. */
  readonly idempotencyId: string;
  readonly info: BatchInfoView;
  readonly batchView: Buffer;
  /** CRC-32C of `batchView`, verified or made by the edge. */
  readonly crc: number;
}

export interface StoredBatch {
  readonly kind: 'stored';
  readonly offset: Offset;
  readonly count: number;
  readonly duplicate: boolean;
}

export interface ConsumerIdentity {
  readonly name: string;
  readonly instance: string;
  readonly epoch: number;
  /** Where it connects from, and with what: for people. */
  readonly address: string;
  readonly client: string;
}

export interface ConsumerAttach {
  readonly subscription: string;
  readonly type: SubscriptionTypeNumber;
  readonly consumer: ConsumerIdentity;
  /** Of a new subscription; null: latest. */
  readonly start: PositionFrame | null;
  readonly mustExist: boolean;
}

/** Where a consumer's deliveries go: the stream's outbox. */
export interface ConsumerSink {
  /** Asked before every delivery; false again later is told by `ConsumerSession.resume`. */
  isFull(): boolean;
  /** One stored entry (lent, read-only, may be kept until sent); `ranges` as in Delivery. */
  deliver(entry: Buffer, ranges: readonly (readonly [number, number])[], resetEpoch: Offset, attempt: number): void;
  /** The session is over: replaced, subscription or topic deleted, partition moved. */
  detached(reason: Failure): void;
}

export interface ConsumerSession {
  readonly resetEpoch: Offset;
  readonly markDelete: Offset;
  readonly endOffset: Offset;
  readonly backlog: number;
  addCredit(messages: number, bytes: number): void;
  resume(): void;
  /** `upTo` 0: none. `reply` set: a receipt, given once the acknowledgement is durable in the log. */
  acknowledge(
    resetEpoch: number,
    upTo: number,
    spans: readonly (readonly [number, number])[],
    reply: ((result: { kind: 'acknowledged' } | Failure) => void) | null,
  ): void;
  seek(
    to: PositionFrame,
    resetEpoch: number,
    reply: (result: { kind: 'sought'; resetEpoch: Offset; markDelete: Offset } | Failure) => void,
  ): void;
  detach(): void;
}

export interface SubscriptionStatus {
  readonly name: string;
  readonly type: SubscriptionTypeNumber;
  readonly createdMs: number;
  readonly resetEpoch: Offset;
  readonly markDelete: Offset;
  readonly endOffset: Offset;
  readonly backlog: number;
  readonly holes: number;
  readonly consumers: readonly (ConsumerIdentity & { readonly attachedMs: number })[];
}

export interface PartitionStatusView {
  readonly startOffset: Offset;
  readonly endOffset: Offset;
  readonly messages: number;
  readonly bytes: number;
  readonly ledgers: number;
  readonly producers: number;
  readonly subscriptions: number;
}

/** What the catalog says about this partition's topic, after inheritance. -1: no limit. */
export interface EffectivePolicies {
  readonly retentionMs: number;
  readonly backlogBytesMax: number;
  readonly dedupWindowMs: number;
}

export interface Partition {
  openProducer(opening: ProducerOpening, reply: (result: ProducerOpened | Failure) => void): void;
  publish(batch: BatchInput, reply: (result: StoredBatch | Failure) => void): void;
  /** Creates the subscription where that is allowed; resolves once its entry is acknowledged. */
  attach(attach: ConsumerAttach, sink: ConsumerSink): Promise<ConsumerSession | Failure>;
  createSubscription(name: string, type: SubscriptionTypeNumber, start: PositionFrame | null): Promise<SubscriptionStatus | Failure>;
  /** `known`: the reset epoch that the caller knows; a newer one refuses the change. Absent: whatever it is. */
  seekSubscription(name: string, to: PositionFrame, known?: number | null): Promise<SubscriptionStatus | Failure>;
  deleteSubscription(name: string, known?: number | null): Promise<{ kind: 'deleted' } | Failure>;
  subscriptions(): readonly SubscriptionStatus[];
  status(): PartitionStatusView;
  /** Where a position stands now, in [start, end]. */
  resolve(position: PositionFrame): Promise<Offset | Failure>;
  /** As PartitionLog.read, through the caches, without control entries: { entries, next }: `next` is where to read on. */
  read(offset: Offset, bytesMax: number): Promise<{ readonly entries: readonly Buffer[]; readonly next: Offset } | Failure>;
  /** Calls `wake` once when there is something at or after `offset`; returns what cancels it. */
  whenReadable(offset: Offset, wake: () => void): () => void;
  setPolicies(policies: EffectivePolicies): void;
  /** Retention, roll by age, checkpoint, cursors, expiry: called by the broker about once a second while the partition is open. */
  maintain(nowMs: number): void;
  /** True when nobody uses it and all is saved: the broker may close it to free memory. */
  isIdle(): boolean;
  close(): Promise<void>;
}
