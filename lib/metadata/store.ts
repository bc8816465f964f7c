// The metadata port (DESIGN ch. 6): an index beside the log, never the truth. Redis in a cluster, SQLite in standalone; both run the
// suite in `conformance.ts`. Losing all of it costs redelivery and a walk over the bookies, nothing else.

import type { LedgerDescriptor } from '#lib/ledger/protocol.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import type { Offset, PartitionId } from '#lib/types/brands.ts';

/** Who owns a partition: a claim is written before the bookies are fenced. */
export interface Claim {
  readonly ballot: Ballot;
  readonly broker: string;
}

/** The newest ledger that is known to be in the chain: where a take over begins. */
export interface ChainHead {
  readonly descriptor: LedgerDescriptor;
  readonly first: Offset;
}

/** One block of a cursor; it counts only when `resetEpoch` is the log's. `ranges` are [first, end) pairs, ascending, above `markDelete`. */
export interface CursorBlock {
  readonly resetEpoch: Offset;
  readonly markDelete: Offset | null;
  readonly ranges: readonly (readonly [Offset, Offset])[];
}

/** One tick's changes of one subscription's cursor: block name → block, or null to remove it. */
export interface CursorUpdate {
  readonly partition: PartitionId;
  readonly subscription: string;
  readonly blocks: ReadonlyMap<string, CursorBlock | null>;
}

export type MetadataChange =
  | { readonly kind: 'claim'; readonly partition: PartitionId }
  | { readonly kind: 'head'; readonly partition: PartitionId }
  | { readonly kind: 'record'; readonly key: string };

export type Compared<T> = { readonly kind: 'stored' } | { readonly kind: 'lost'; readonly current: T | null };

/** All methods reject with `MetadataError` when the store cannot be reached. Writes carry an operation id, so that a lost reply can be retried. */
export interface MetadataStore {
  /** 1 + the highest epoch ever counted here for the partition or named by `atLeast`. */
  nextEpoch(partition: PartitionId, atLeast: number): Promise<number>;
  claim(partition: PartitionId, claim: Claim, operation: string): Promise<Compared<Claim>>;
  readClaim(partition: PartitionId): Promise<Claim | null>;
  /** Keeps the head with the higher `first`; the ballot guards against a late writer. */
  putHead(partition: PartitionId, head: ChainHead, ballot: Ballot, operation: string): Promise<Compared<ChainHead>>;
  readHead(partition: PartitionId): Promise<ChainHead | null>;
  /** One call a tick, however many subscriptions changed. */
  putCursors(updates: readonly CursorUpdate[]): Promise<void>;
  readCursor(partition: PartitionId, subscription: string): Promise<ReadonlyMap<string, CursorBlock>>;
  dropCursor(partition: PartitionId, subscription: string): Promise<void>;
  /** Forgets everything about a partition, once its topic has been purged. */
  dropPartition(partition: PartitionId): Promise<void>;
  /** Small records by key, compared by version: 0 means "must not exist". */
  putRecord(key: string, value: Buffer, version: number, operation: string): Promise<Compared<{ value: Buffer; version: number }>>;
  readRecord(key: string): Promise<{ value: Buffer; version: number } | null>;
  listRecords(prefix: string): Promise<readonly { key: string; value: Buffer; version: number }[]>;
  /** Tells of changes made by anybody, within 1 s; a lost one is made good within 30 s. Returns what ends the watch. */
  watch(prefix: string, onChange: (change: MetadataChange) => void): () => void;
  close(): Promise<void>;
}

export class MetadataError extends Error {
  override readonly name = 'MetadataError';
}
