// The requests and answers between brokers and bookies (DESIGN ch. 3), as values. The bookie's core answers them, the broker's cores
// send them, `lib/wire/bookie-frames.ts` puts them on a socket. Bytes in a request are `owned` by its receiver; bytes in an answer are
// `lent` views of a cache or a file buffer and must not be written.

import type { Ballot } from '#lib/types/ballot.ts';
import type { BookieId, LedgerId, Offset, PartitionId, TopicId } from '#lib/types/brands.ts';

/** Immutable; carried by every request that may meet a replica without it. */
export interface LedgerDescriptor {
  readonly ledger: LedgerId;
  readonly partition: PartitionId;
  readonly topic: TopicId;
  /** The ledger before it in the chain; null for a partition's first. */
  readonly prev: LedgerId | null;
  /** R bookies. */
  readonly ensemble: readonly BookieId[];
  /** A: how many must store an entry before it is acknowledged. */
  readonly ackQuorum: number;
  /** The ballot under which it was made. */
  readonly creator: Ballot;
}

/** A proposed or decided end of a ledger. `next` is null only when the partition ends with it (its topic was deleted). */
export interface SealValue {
  readonly end: Offset;
  readonly next: LedgerDescriptor | null;
}

export interface AcceptedSeal extends SealValue {
  readonly ballot: Ballot;
}

export type DeleteReason = 'trimmed' | 'purged' | 'orphan' | 'offloaded';

/** An entry on its way to a replica: `bytes` is one whole encoded entry (lib/wire/entry.ts). */
export interface AppendRequest {
  readonly kind: 'append';
  readonly ledger: LedgerId;
  readonly ballot: Ballot;
  /** The ledger's first offset; a fresh replica takes it from its first append or fence. */
  readonly first: Offset;
  readonly offset: Offset;
  /** How many offsets the entry spans; 0 with empty `bytes`: only raises `ackedEnd`, without a sync. */
  readonly span: number;
  readonly ackedEnd: Offset;
  readonly bytes: Buffer;
  /** Control entries and a take over's copies still get space when clients' entries do not. */
  readonly reserved: boolean;
}

export interface CreateRequest {
  readonly kind: 'create';
  readonly descriptor: LedgerDescriptor;
  readonly ballot: Ballot;
}
export interface FenceRequest {
  readonly kind: 'fence';
  readonly descriptor: LedgerDescriptor;
  readonly ballot: Ballot;
  readonly first: Offset;
}
export interface SealRequest {
  readonly kind: 'seal';
  readonly ledger: LedgerId;
  readonly ballot: Ballot;
  readonly first: Offset;
  readonly value: SealValue;
}
export interface DecidedRequest {
  readonly kind: 'decided';
  readonly ledger: LedgerId;
  readonly first: Offset;
  readonly value: SealValue;
}
/** `ballot` set: the owner or a take over, which may read up to `end`; null: anybody, below max(ackedEnd, decided end). */
export interface ReadRequest {
  readonly kind: 'read';
  readonly ledger: LedgerId;
  readonly ballot: Ballot | null;
  readonly offset: Offset;
  readonly bytesMax: number;
}
/** Finds, without reading payloads, the entry that covers a time (first with append time ≥) or a cumulative count. */
export interface LocateRequest {
  readonly kind: 'locate';
  readonly ledger: LedgerId;
  readonly by: 'time' | 'count';
  readonly value: number;
}
export interface InspectRequest {
  readonly kind: 'inspect';
  readonly ledger: LedgerId;
}
/** What this bookie holds of `partitions`, newest first; `after` pages on to older ledgers. */
export interface ListRequest {
  readonly kind: 'list';
  readonly partitions: readonly PartitionId[];
  readonly countMax: number;
  readonly after: LedgerId | null;
}
export interface RestoreRequest {
  readonly kind: 'restore';
  readonly descriptor: LedgerDescriptor;
  readonly first: Offset;
  readonly decided: SealValue;
  readonly offset: Offset;
  readonly span: number;
  readonly bytes: Buffer;
}
export interface DeleteRequest {
  readonly kind: 'delete';
  readonly ledger: LedgerId;
  readonly partition: PartitionId;
  readonly reason: DeleteReason;
  readonly ballot: Ballot;
}
/**
 * Folds a partition's tombstones: everything below `firstLive` (which begins at `offset`) is gone. Where a floor is, a `create` or `fence` of
 * an unknown ledger with a ballot below the floor's is `stale`: its owner was followed by the one that trimmed, and what it may still create
 * is what was deleted.
 */
export interface FloorRequest {
  readonly kind: 'floor';
  readonly partition: PartitionId;
  readonly offset: Offset;
  readonly firstLive: LedgerId;
  readonly ballot: Ballot;
}

export type BookieRequest =
  | CreateRequest
  | AppendRequest
  | FenceRequest
  | SealRequest
  | DecidedRequest
  | ReadRequest
  | LocateRequest
  | InspectRequest
  | ListRequest
  | RestoreRequest
  | DeleteRequest
  | FloorRequest;

/** What a replica holds. `end` is null while it has no first offset. */
export interface ReplicaState {
  readonly descriptor: LedgerDescriptor;
  readonly promised: Ballot;
  readonly first: Offset | null;
  readonly end: Offset | null;
  readonly ackedEnd: Offset | null;
  readonly accepted: AcceptedSeal | null;
  readonly decided: SealValue | null;
  /** Bytes of the entries that it holds: retention and quotas of a partition that is opened again. */
  readonly bytes: number;
}

export type BookieReply =
  | { readonly kind: 'ok' }
  /** Answer to append and restore: the next offset that the replica expects. */
  | { readonly kind: 'appended'; readonly end: Offset }
  /** Answer to fence. `end` is the descriptor's first offset where nothing is held. */
  | {
      readonly kind: 'fenced';
      readonly end: Offset;
      readonly ackedEnd: Offset;
      readonly accepted: AcceptedSeal | null;
      readonly decided: SealValue | null;
    }
  /** The ballot is lower than the promised one: the sender has lost the partition. */
  | { readonly kind: 'stale'; readonly promised: Ballot }
  /** Does not fit the replica's state: a gap (with its `end`), a sealed ledger, no such ledger. Certainly not stored. */
  | {
      readonly kind: 'refused';
      readonly reason: 'gap' | 'sealed' | 'no_ledger' | 'not_promised' | 'not_decided' | 'invalid';
      readonly end: Offset | null;
    }
  /** The same offset or ballot with other bytes or another value: a broken rule, which both sides report loudly. */
  | { readonly kind: 'conflict'; readonly what: string }
  /** The replica is in doubt about its own data (ch. 4): no vote. */
  | { readonly kind: 'unknown' }
  /** No space, or a full queue: certainly not stored, try again. */
  | { readonly kind: 'busy'; readonly reason: 'space' | 'queue' }
  /** The ledger was deleted here; `decided` is its seal where there was one. Below a floor: `floor`. */
  | {
      readonly kind: 'gone';
      readonly decided: SealValue | null;
      readonly floor: { readonly offset: Offset; readonly firstLive: LedgerId } | null;
    }
  /** Contiguous whole entries from the one that covers the wanted offset; `end`: what may be read at present. */
  | { readonly kind: 'entries'; readonly entries: readonly Buffer[]; readonly end: Offset }
  /** Answer to locate: the entry's base offset, or null when it lies beyond the ledger. */
  | { readonly kind: 'located'; readonly offset: Offset | null }
  | { readonly kind: 'state'; readonly state: ReplicaState }
  | { readonly kind: 'list'; readonly partitions: readonly PartitionListing[] }
  /** Stored bytes that fail their checksum. Never "no entry". */
  | { readonly kind: 'corrupt'; readonly offset: Offset; readonly what: string }
  /** The sender could not reach the bookie, or it went away meanwhile: what became of the request is not known. */
  | { readonly kind: 'unreachable' };

export interface PartitionListing {
  readonly partition: PartitionId;
  readonly floor: { readonly offset: Offset; readonly firstLive: LedgerId } | null;
  readonly ledgers: readonly ReplicaState[];
  readonly more: boolean;
}

/** How a broker reaches bookies: in the same process, over TCP, or in the simulator. `onReply` is called exactly once, never within `send`. */
export interface BookieTransport {
  send(to: BookieId, request: BookieRequest, onReply: (reply: BookieReply) => void): void;
  /** Bookies that are registered; whether each is alive now, and whether its disk is too full for clients' entries. */
  bookies(): readonly { readonly id: BookieId; readonly alive: boolean; readonly full: boolean }[];
}

/** Q: who must create, answer a fence and accept a seal. */
export function voteQuorum(replicas: number, ackQuorum: number): number {
  return Math.max(replicas - ackQuorum + 1, Math.floor(replicas / 2) + 1);
}
