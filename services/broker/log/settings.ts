// What a partition log is built from: the world it runs in and the settings of its ledgers.

import type { BookieTransport } from '#lib/ledger/protocol.ts';
import type { MetadataStore } from '#lib/metadata/store.ts';
import type { World } from '#lib/runtime/ports.ts';
import type { PartitionId } from '#lib/types/brands.ts';
import { MIB } from '#lib/types/limits.ts';

export interface LogSettings {
  /** R: bookies of a ledger. */
  readonly replicas: number;
  /** A: how many must store an entry before it is acknowledged. */
  readonly ackQuorum: number;
  readonly ledgerBytesMax: number;
  /** Entries, and bytes of entries, that may be unacknowledged per partition; also what a lagging replica is caught up from. */
  readonly windowCount: number;
  readonly windowBytes: number;
  /** So long may an opening look for enough bookies before it is refused as retryable. */
  readonly openTimeoutMs: number;
  /** So long does closing wait for what is pending. */
  readonly closeTimeoutMs: number;
}

export const LOG_DEFAULTS: LogSettings = {
  replicas: 1,
  ackQuorum: 1,
  ledgerBytesMax: 256 * MIB,
  windowCount: 1024,
  windowBytes: 32 * MIB,
  openTimeoutMs: 30_000,
  closeTimeoutMs: 10_000,
};

export interface LogDeps {
  readonly world: World;
  readonly transport: BookieTransport;
  readonly metadata: MetadataStore;
  /** This broker's name, as other brokers know it. */
  readonly broker: string;
  /** Random per process start: half of every ballot. */
  readonly incarnation: string;
  readonly settings: LogSettings;
  /**
   * The highest epoch that this process has used or seen, per partition: one map for the whole process, kept through closing and opening.
   * It is what keeps a ballot from repeating when the metadata store rolls back.
   */
  readonly epochs: Map<PartitionId, number>;
}
