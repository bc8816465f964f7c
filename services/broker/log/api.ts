// What a partition needs of its log: an ordered, replicated, acknowledged sequence of entries over a chain of ledgers. Implemented by
// `partition-log.ts` over `lib/ledger`'s cores; a partition knows nothing of ledgers but their sizes and ages.

import type { Ballot } from '#lib/types/ballot.ts';
import type { LedgerId, Offset, PartitionId } from '#lib/types/brands.ts';
import type { Failure } from '#lib/types/errors.ts';

export interface LogEvents {
  /** All entries below `ackedEnd` are acknowledged: stored by A replicas, and everything before them too. Called once a turn at most. */
  onAcked(ackedEnd: Offset): void;
  /** Another broker has the partition, or its storage is gone: nothing more will be acknowledged; what is pending ended unknown. */
  onLost(reason: Failure): void;
}

/** One ledger of the chain as trim and status see it. `end` null: still open. */
export interface LedgerSummary {
  readonly ledger: LedgerId;
  readonly first: Offset;
  readonly end: Offset | null;
  readonly bytes: number;
  /** Append time of its newest entry, ms; null while it is not known or the ledger is empty. */
  readonly lastAppendTimeMs: number | null;
}

export interface PartitionLog {
  readonly partition: PartitionId;
  readonly ballot: Ballot;
  /** First offset of the oldest ledger that is still there. */
  readonly start: Offset;
  /** The offset that the next entry must have. */
  readonly end: Offset;
  readonly ackedEnd: Offset;
  /** True: do not append now; clients are refused as retryable. `space`: the bookies are full; `window`: too much is unacknowledged. */
  isFull(): false | 'space' | 'window';
  /** `entry` (given away) must begin at `end`; it takes `span` offsets. `reserved`: control entries, allowed when `isFull()`. */
  append(entry: Buffer, span: number, reserved: boolean): void;
  /**
   * Whole contiguous entries from the one that covers `offset`, about `bytesMax` bytes but at least one, all below `ackedEnd`; [] at
   * `ackedEnd`. Across ledgers. An offset below `start` is `{ kind: 'failure', code: 'invalid_argument' }`. Buffers are lent, read-only,
   * and may be kept.
   */
  read(offset: Offset, bytesMax: number): Promise<readonly Buffer[] | Failure>;
  /** Base offset of the first entry whose append time is ≥ `value` (time), or that covers the cumulative count `value`; null: beyond the end. */
  locate(by: 'time' | 'count', value: number): Promise<Offset | null | Failure>;
  /** Oldest first. */
  ledgers(): readonly LedgerSummary[];
  /** Ends the open ledger and begins another; no-op while one is under way or the open one is empty. */
  roll(): void;
  /** Deletes whole ledgers below `to`. Only after the trim's control entry is acknowledged. Repeats until every holder has answered. */
  trim(to: Offset): Promise<void>;
  /** Deletes every ledger: the topic has been purged in the catalog. */
  purge(): Promise<void>;
  /** Seals and lets go: nothing pending is lost, the next owner need not wait. */
  close(): Promise<void>;
}
