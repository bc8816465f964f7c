// Bookies in memory for the broker's tests: the rules of DESIGN ch. 3 without disks, whole enough for one broker that comes and goes. A
// bookie may be put away (`alive` false: it does not answer), and survives brokers as a real one does.

import type {
  AcceptedSeal,
  BookieReply,
  BookieRequest,
  BookieTransport,
  LedgerDescriptor,
  PartitionListing,
  ReplicaState,
  SealValue,
} from '#lib/ledger/protocol.ts';
import type { Clock } from '#lib/runtime/ports.ts';
import { unreachable } from '#lib/types/assert.ts';
import { type Ballot, compareBallots } from '#lib/types/ballot.ts';
import { type BookieId, bookieId, type LedgerId, type Offset, offset } from '#lib/types/brands.ts';
import { entryAppendTimeMs, entryBaseOffset, entryCount, entryCumulativeCount, entryEnd } from '#lib/wire/entry.ts';

interface Replica {
  readonly descriptor: LedgerDescriptor;
  promised: Ballot;
  first: Offset | null;
  ackedEnd: number;
  accepted: AcceptedSeal | null;
  decided: SealValue | null;
  entries: Buffer[];
  gone: boolean;
}

export class MemoryBookie {
  readonly id: BookieId;
  alive = true;
  full = false;
  /** Nothing can be deleted for now. */
  refusesDeletes = false;
  readonly replicas = new Map<LedgerId, Replica>();
  requests = 0;

  constructor(n: number) {
    this.id = bookieId(n.toString(16).padStart(32, '0'));
  }

  get bytes(): number {
    let bytes = 0;
    for (const replica of this.replicas.values()) for (const entry of replica.entries) bytes += entry.length;
    return bytes;
  }

  answer(request: BookieRequest): BookieReply {
    this.requests += 1;
    switch (request.kind) {
      case 'create':
        return this.#create(request.descriptor, request.ballot);
      case 'append':
        return this.#append(request);
      case 'fence':
        return this.#fence(request.descriptor, request.ballot, request.first);
      case 'seal':
        return this.#with(request.ledger, replica => {
          if (compareBallots(request.ballot, replica.promised) < 0) return { kind: 'stale', promised: replica.promised };
          replica.promised = request.ballot;
          replica.accepted = { ...request.value, ballot: request.ballot };
          truncate(replica, request.value.end);
          return { kind: 'ok' };
        });
      case 'decided':
        return this.#with(request.ledger, replica => {
          replica.first ??= request.first;
          replica.decided = request.value;
          truncate(replica, request.value.end);
          return { kind: 'ok' };
        });
      case 'read':
        return this.#with(request.ledger, replica => {
          const visible = request.ballot ? endOf(replica) : Math.max(replica.ackedEnd, replica.decided?.end ?? 0);
          const entries: Buffer[] = [];
          let bytes = 0;
          for (const entry of replica.entries) {
            if (entryEnd(entry) <= request.offset || entryEnd(entry) > visible) continue;
            if (bytes > 0 && bytes + entry.length > request.bytesMax) break;
            entries.push(entry);
            bytes += entry.length;
          }
          return { kind: 'entries', entries, end: offset(visible) };
        });
      case 'locate':
        return this.#with(request.ledger, replica => {
          for (const entry of replica.entries) {
            const found =
              request.by === 'time'
                ? entryAppendTimeMs(entry) >= request.value
                : entryCumulativeCount(entry) + entryCount(entry) > request.value;
            if (found) return { kind: 'located', offset: offset(entryBaseOffset(entry)) };
          }
          return { kind: 'located', offset: null };
        });
      case 'inspect':
        return this.#with(request.ledger, replica => ({ kind: 'state', state: stateOf(replica) }));
      case 'list':
        return {
          kind: 'list',
          partitions: request.partitions.map((partition): PartitionListing => {
            const ledgers = [...this.replicas.values()]
              .filter(replica => replica.descriptor.partition === partition && !replica.gone)
              .map(stateOf)
              .reverse();
            return { partition, floor: null, ledgers, more: false };
          }),
        };
      case 'delete':
        if (this.refusesDeletes) return { kind: 'unreachable' };
        return this.#with(request.ledger, replica => {
          replica.gone = true;
          replica.entries = [];
          return { kind: 'ok' };
        });
      case 'restore':
      case 'floor':
        return { kind: 'ok' };
      default:
        return unreachable(request);
    }
  }

  #create(descriptor: LedgerDescriptor, ballot: Ballot): BookieReply {
    const known = this.replicas.get(descriptor.ledger);
    if (known?.gone) return { kind: 'gone', decided: known.decided, floor: null };
    if (known && compareBallots(ballot, known.promised) < 0) return { kind: 'stale', promised: known.promised };
    const replica = known ?? fresh(descriptor, ballot);
    replica.promised = ballot;
    this.replicas.set(descriptor.ledger, replica);
    return { kind: 'ok' };
  }

  #append(request: Extract<BookieRequest, { kind: 'append' }>): BookieReply {
    return this.#with(request.ledger, replica => {
      if (compareBallots(request.ballot, replica.promised) < 0) return { kind: 'stale', promised: replica.promised };
      if (compareBallots(request.ballot, replica.promised) > 0) return { kind: 'refused', reason: 'not_promised', end: null };
      if (replica.decided || replica.accepted) return { kind: 'refused', reason: 'sealed', end: offset(endOf(replica)) };
      if (this.full && !request.reserved && request.span > 0) return { kind: 'busy', reason: 'space' };
      replica.first ??= request.first;
      replica.ackedEnd = Math.max(replica.ackedEnd, request.ackedEnd);
      if (request.span > 0) {
        if (request.offset > endOf(replica)) return { kind: 'refused', reason: 'gap', end: offset(endOf(replica)) };
        if (request.offset === endOf(replica)) replica.entries.push(Buffer.from(request.bytes));
      }
      return { kind: 'appended', end: offset(endOf(replica)) };
    });
  }

  #fence(descriptor: LedgerDescriptor, ballot: Ballot, first: Offset): BookieReply {
    const replica = this.replicas.get(descriptor.ledger) ?? fresh(descriptor, ballot);
    if (replica.gone) return { kind: 'gone', decided: replica.decided, floor: null };
    if (compareBallots(ballot, replica.promised) < 0) return { kind: 'stale', promised: replica.promised };
    this.replicas.set(descriptor.ledger, replica);
    replica.promised = ballot;
    replica.first ??= first;
    const { ackedEnd, accepted, decided } = replica;
    return { kind: 'fenced', end: offset(endOf(replica)), ackedEnd: offset(ackedEnd), accepted, decided };
  }

  #with(ledger: LedgerId, act: (replica: Replica) => BookieReply): BookieReply {
    const replica = this.replicas.get(ledger);
    if (!replica) return { kind: 'refused', reason: 'no_ledger', end: null };
    if (replica.gone) return { kind: 'gone', decided: replica.decided, floor: null };
    return act(replica);
  }
}

/** Answers come in a later turn, as they do from a real one. */
export class MemoryBookies implements BookieTransport {
  readonly all: readonly MemoryBookie[];

  readonly #clock: Clock;
  #held: (() => void)[] | null = null;

  /** Appends are not answered until `release`. */
  hold(): void {
    this.#held ??= [];
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const act of held) this.#clock.soon(act);
  }

  constructor(clock: Clock, count = 1) {
    this.#clock = clock;
    this.all = Array.from({ length: count }, (_, n) => new MemoryBookie(n + 1));
  }

  send(to: BookieId, request: BookieRequest, onReply: (reply: BookieReply) => void): void {
    const bookie = this.all.find(known => known.id === to);
    const act = (): void => onReply(bookie?.alive ? bookie.answer(request) : { kind: 'unreachable' });
    if (this.#held && request.kind === 'append') this.#held.push(act);
    else this.#clock.soon(act);
  }

  bookies(): readonly MemoryBookie[] {
    return this.all;
  }
}

function fresh(descriptor: LedgerDescriptor, ballot: Ballot): Replica {
  return { descriptor, promised: ballot, first: null, ackedEnd: 0, accepted: null, decided: null, entries: [], gone: false };
}

function endOf(replica: Replica): number {
  const last = replica.entries.at(-1);
  return last ? entryEnd(last) : (replica.first ?? 0);
}

function truncate(replica: Replica, end: number): void {
  replica.entries = replica.entries.filter(entry => entryEnd(entry) <= end);
}

function stateOf(replica: Replica): ReplicaState {
  let bytes = 0;
  for (const entry of replica.entries) bytes += entry.length;
  return {
    descriptor: replica.descriptor,
    promised: replica.promised,
    first: replica.first,
    end: replica.first === null ? null : offset(endOf(replica)),
    ackedEnd: replica.first === null ? null : offset(replica.ackedEnd),
    accepted: replica.accepted,
    decided: replica.decided,
    bytes,
  };
}
