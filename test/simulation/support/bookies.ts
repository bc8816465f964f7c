// Bookies in memory over the bookie's own replica core: every request is durable when it is answered. What a network and a disk do to
// requests and answers is the caller's affair.

import type { BookieReply, BookieRequest, LedgerDescriptor, ReplicaState, SealValue } from '#lib/ledger/protocol.ts';
import { unreachable } from '#lib/types/assert.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import type { BookieId, LedgerId, Offset, PartitionId } from '#lib/types/brands.ts';
import { entryAppendTimeMs, entryBaseOffset, entryCount, entryCumulativeCount, entryEnd } from '#lib/wire/entry.ts';
import { type Outcome, Replica, refuseInstall } from '../../../services/bookie/replica/core/replica.ts';

export interface Held {
  readonly replica: Replica;
  entries: Buffer[];
}

/** Mistakes that a test plants into its bookies, to see that its checks find them. */
export type BookieBug = 'none' | 'nofence';

export class MemoryBookie {
  readonly id: BookieId;
  readonly held = new Map<LedgerId, Held>();
  readonly tombstones = new Map<LedgerId, { decided: SealValue | null; partition: PartitionId; first: Offset | null }>();
  readonly floors = new Map<PartitionId, { offset: Offset; firstLive: LedgerId; ballot: Ballot }>();
  readonly bug: BookieBug;
  full = false;
  /** Requests handled, by kind. */
  readonly counts = new Map<string, number>();

  constructor(id: BookieId, bug: BookieBug = 'none') {
    this.id = id;
    this.bug = bug;
  }

  handle(request: BookieRequest): BookieReply {
    this.counts.set(request.kind, (this.counts.get(request.kind) ?? 0) + 1);
    switch (request.kind) {
      case 'create':
        return this.#install(request.descriptor, request.ballot, null, held => held.replica.create(request.descriptor, request.ballot));
      case 'fence': {
        const { descriptor, ballot, first } = request;
        return this.#install(descriptor, ballot, first, held => held.replica.fence(descriptor, ballot, first));
      }
      case 'append':
        return this.#append(request);
      case 'seal':
        return this.#onHeld(request.ledger, held => {
          // An owner that was outbid on the others may propose beside an outcome that this replica has learned: no broken rule.
          const { decided, promised, end } = held.replica;
          if (
            decided &&
            compare(request.ballot, promised) >= 0 &&
            (decided.end !== request.value.end || decided.next?.ledger !== request.value.next?.ledger)
          )
            return { kind: 'refused', reason: 'sealed', end };
          const reply = settled(held.replica.seal(request.ballot, request.first, request.value));
          cut(held);
          return reply;
        });
      case 'decided':
        return this.#onHeld(request.ledger, held => {
          const reply = settled(held.replica.decide(request.first, request.value));
          cut(held);
          return reply;
        });
      case 'read':
        return this.#onHeld(request.ledger, held => {
          const limit = held.replica.readableEnd(request.ballot);
          const entries: Buffer[] = [];
          let bytes = 0;
          for (const entry of held.entries) {
            if (entryEnd(entry) <= request.offset) continue;
            if (entryEnd(entry) > limit || (bytes > 0 && bytes + entry.length > request.bytesMax)) break;
            bytes += entry.length;
            entries.push(entry);
          }
          return { kind: 'entries', entries, end: limit };
        });
      case 'locate':
        return this.#onHeld(request.ledger, held => {
          const limit = held.replica.readableEnd(null);
          const readable = held.entries.filter(candidate => entryEnd(candidate) <= limit);
          const entry = readable.find(candidate =>
            request.by === 'time'
              ? entryAppendTimeMs(candidate) >= request.value
              : entryCumulativeCount(candidate) + entryCount(candidate) > request.value,
          );
          return { kind: 'located', offset: entry ? (entryBaseOffset(entry) as Offset) : null };
        });
      case 'inspect':
        return this.#onHeld(request.ledger, held => ({ kind: 'state', state: stateOf(held) }));
      case 'list':
        return { kind: 'list', partitions: request.partitions.map(partition => this.#list(partition, request.countMax, request.after)) };
      case 'restore':
        return { kind: 'refused', reason: 'invalid', end: null };
      case 'delete':
        return this.#delete(request.ledger, request.partition, request.ballot);
      case 'floor':
        if (request.offset <= (this.floors.get(request.partition)?.offset ?? -1)) return { kind: 'ok' };
        this.floors.set(request.partition, { offset: request.offset, firstLive: request.firstLive, ballot: request.ballot });
        for (const [id, tombstone] of this.tombstones)
          if (tombstone.partition === request.partition && tombstone.first !== null && tombstone.first < request.offset)
            this.tombstones.delete(id);
        return { kind: 'ok' };
      default:
        return unreachable(request);
    }
  }

  #gone(ledger: LedgerId): BookieReply | null {
    const tombstone = this.tombstones.get(ledger);
    return tombstone ? { kind: 'gone', decided: tombstone.decided, floor: null } : null;
  }

  #install(descriptor: LedgerDescriptor, ballot: Ballot, first: Offset | null, act: (held: Held) => Outcome): BookieReply {
    const gone = this.#gone(descriptor.ledger);
    if (gone) return gone;
    const floor = this.floors.get(descriptor.partition);
    if (!this.held.has(descriptor.ledger) && floor && first !== null && first < floor.offset) return { kind: 'gone', decided: null, floor };
    const held = this.held.get(descriptor.ledger);
    if (held) return settled(act(held));
    if (floor && compare(ballot, floor.ballot) < 0) return { kind: 'stale', promised: floor.ballot };
    const refusal = refuseInstall(descriptor, ballot);
    if (refusal) return settled(refusal);
    const replica = Replica.installed(descriptor, ballot, first);
    this.held.set(descriptor.ledger, { replica, entries: [] });
    return first === null ? { kind: 'ok' } : replica.fenced(first);
  }

  #onHeld(ledger: LedgerId, act: (held: Held) => BookieReply): BookieReply {
    const held = this.held.get(ledger);
    return held ? act(held) : (this.#gone(ledger) ?? { kind: 'refused', reason: 'no_ledger', end: null });
  }

  #append(request: BookieRequest & { kind: 'append' }): BookieReply {
    return this.#onHeld(request.ledger, held => {
      if (this.full && !request.reserved && request.span > 0) return { kind: 'busy', reason: 'space' };
      const { replica } = held;
      // The planted mistake: the promise is not looked at.
      const ballot = this.bug === 'nofence' && !replica.decided ? replica.promised : request.ballot;
      const outcome = replica.append({ ...request, ballot });
      if (outcome.kind === 'compare') {
        const known = held.entries.find(entry => entryBaseOffset(entry) === request.offset);
        if (known?.equals(request.bytes)) return { kind: 'appended', end: replica.end ?? request.first };
        return { kind: 'conflict', what: `other bytes for offset ${request.offset} of ledger ${request.ledger}` };
      }
      if (outcome.change === 'entry') {
        replica.appended(request.first, request.offset, request.span, request.ackedEnd);
        held.entries.push(request.bytes);
      }
      return outcome.reply;
    });
  }

  #delete(ledger: LedgerId, partition: PartitionId, ballot: Ballot): BookieReply {
    const held = this.held.get(ledger);
    if (held && compare(ballot, held.replica.promised) < 0) return { kind: 'stale', promised: held.replica.promised };
    if (held || !this.tombstones.has(ledger))
      this.tombstones.set(ledger, { decided: held?.replica.decided ?? null, partition, first: held?.replica.first ?? null });
    this.held.delete(ledger);
    return { kind: 'ok' };
  }

  #list(partition: PartitionId, countMax: number, after: LedgerId | null) {
    const states = [...this.held.values()].map(stateOf).filter(state => state.descriptor.partition === partition);
    states.sort((a, b) => (a.descriptor.ledger < b.descriptor.ledger ? 1 : -1));
    const rest = after === null ? states : states.filter(state => state.descriptor.ledger < after);
    return { partition, floor: this.floors.get(partition) ?? null, ledgers: rest.slice(0, countMax), more: rest.length > countMax };
  }
}

function stateOf(held: Held): ReplicaState {
  return { ...held.replica.state(), bytes: held.entries.reduce((sum, entry) => sum + entry.length, 0) };
}

function cut(held: Held): void {
  const end = held.replica.end;
  if (end !== null) held.entries = held.entries.filter(entry => entryEnd(entry) <= end);
}

function settled(outcome: Outcome): BookieReply {
  if (outcome.kind === 'compare') throw new Error('only an append compares');
  return outcome.reply;
}

function compare(a: Ballot, b: Ballot): number {
  return a.epoch !== b.epoch ? a.epoch - b.epoch : a.incarnation < b.incarnation ? -1 : a.incarnation > b.incarnation ? 1 : 0;
}
