// Limits and rhythms of one partition, with their defaults. The broker's configuration fills them; tests make them small.

import { GIB, KIB, MIB } from '#lib/types/limits.ts';

export interface PartitionSettings {
  /** Published and not yet acknowledged, per partition; beyond: `overloaded`. */
  readonly pendingEntriesMax: number;
  readonly pendingBytesMax: number;
  /** A batch that arrives before its predecessor waits so long for it. */
  readonly holdMs: number;
  readonly checkpointIntervalMs: number;
  readonly checkpointBytes: number;
  /** Idle producers are forgotten after these; a name made for one run goes sooner. */
  readonly producerIdleMs: number;
  readonly ephemeralIdleMs: number;
  readonly producersMax: number;
  readonly idempotencyIdsMax: number;
  readonly subscriptionsMax: number;
  /** Ranges above markDelete at which delivery pauses; at four times as many the consumer is detached. */
  readonly holesMax: number;
  readonly spansPerAckMax: number;
  /** The open ledger is rolled when its first message is so old, so that retention can free it. */
  readonly rollAgeMs: number;
  /** A trim that frees no message and less than this is not worth its entries. */
  readonly trimBytesMin: number;
  /** Largest control entry for a receipt or checkpoint chunk. */
  readonly checkpointInFlightBytes: number;
}

const SECOND = 1000;
const HOUR = 3600 * SECOND;

export const PARTITION_DEFAULTS: PartitionSettings = {
  pendingEntriesMax: 16_384,
  pendingBytesMax: 32 * MIB,
  holdMs: 200,
  checkpointIntervalMs: 5 * SECOND,
  checkpointBytes: 32 * MIB,
  producerIdleMs: 7 * 24 * HOUR,
  ephemeralIdleMs: HOUR,
  producersMax: 5_000,
  idempotencyIdsMax: 20_000,
  subscriptionsMax: 10_000,
  holesMax: 100_000,
  spansPerAckMax: 10_000,
  rollAgeMs: 4 * HOUR,
  trimBytesMin: MIB,
  checkpointInFlightBytes: 4 * MIB,
};

/** Defaults of a topic that sets nothing itself. */
export const RETENTION_DEFAULT_MS = 7 * 24 * HOUR;
export const BACKLOG_QUOTA_DEFAULT_BYTES = 10 * GIB;
export const DEDUP_WINDOW_DEFAULT_MS = 600 * SECOND;
/** One read of the log while it is replayed. */
export const REPLAY_READ_BYTES = 512 * KIB;
