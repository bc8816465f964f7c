// What all requests share: the parts of the bookie, and the ways to answer. A request's function (in requests/) returns its answer and when
// it may go out; null means that the answer comes later, through `give`.

import type { BookieReply } from '#lib/ledger/protocol.ts';
import type { World } from '#lib/runtime/ports.ts';
import { unreachable } from '#lib/types/assert.ts';
import type { LedgerId, Offset, PartitionId } from '#lib/types/brands.ts';
import { ENTRY_HEADER_BYTES, entryMeta, entryPayloadCrc } from '#lib/wire/entry.ts';
import type { WriteCache } from './cache/core/write-cache.ts';
import type { Identity } from './identity.ts';
import type { Journal } from './journal/journal.ts';
import type { Keeper } from './keeper.ts';
import type { Reads } from './reads.ts';
import type { HeldLedger, Ledgers } from './replica/core/ledgers.ts';
import { ENTRY_HEAD_BYTES, encodeEntryHead, encodeState, RECORD_ENTRY, RECORD_STATE, type Tombstone } from './replica/core/records.ts';
import type { Outcome } from './replica/core/replica.ts';
import { type OnReply, Replies } from './replies.ts';
import type { Scrubber } from './scrub.ts';
import type { Segments } from './segments/segments.ts';
import type { Space } from './space.ts';

/** `with_record`: when the record that was just given to the journal is durable. */
export interface Answer {
  readonly reply: BookieReply;
  readonly when: 'now' | 'after_durable' | 'with_record';
}

export const now = (reply: BookieReply): Answer => ({ reply, when: 'now' });
export const afterDurable = (reply: BookieReply): Answer => ({ reply, when: 'after_durable' });
export const withRecord = (reply: BookieReply): Answer => ({ reply, when: 'with_record' });

export const OK: BookieReply = { kind: 'ok' };
export const UNKNOWN = now({ kind: 'unknown' });
export const BUSY_QUEUE = now({ kind: 'busy', reason: 'queue' });
export const BUSY_SPACE = now({ kind: 'busy', reason: 'space' });
const NO_LEDGER = afterDurable({ kind: 'refused', reason: 'no_ledger', end: null });

/** Room in the journal for a record that is no entry. */
const STATE_RECORD_BYTES = 4096;

export interface BookieParts {
  readonly world: World;
  readonly folder: string;
  readonly identity: Identity;
  readonly ledgers: Ledgers;
  readonly cache: WriteCache;
  readonly segments: Segments;
  readonly journal: Journal;
  readonly keeper: Keeper;
  readonly reads: Reads;
  readonly space: Space;
  readonly scrubber: Scrubber;
}

export class Desk {
  readonly parts: BookieParts;
  readonly ledgers: Ledgers;
  readonly replies: Replies;
  isClosing = false;
  conflicts = 0;
  appendedEntries = 0;
  appendedBytes = 0;
  readonly #journal: Journal;

  constructor(parts: BookieParts) {
    this.parts = parts;
    this.ledgers = parts.ledgers;
    this.replies = new Replies(parts.world.clock);
    this.#journal = parts.journal;
  }

  give({ reply, when }: Answer, onReply: OnReply): void {
    switch (when) {
      case 'now':
        this.replies.soon(reply, onReply);
        return;
      case 'with_record':
        this.replies.withRecord(reply, onReply);
        return;
      case 'after_durable':
        this.replies.whenDurable(reply, onReply);
        this.#journal.whenDurable(this.replies.onDurable);
        return;
      default:
        unreachable(when);
    }
  }

  /** Why nothing that changes a state can be taken now. */
  refuseChange(): Answer | undefined {
    return this.#refuseRecord(STATE_RECORD_BYTES, true);
  }

  /** Why an entry cannot be taken now. */
  refuseEntry(partition: PartitionId, bytes: number, reserved: boolean): Answer | undefined {
    const { space, cache, keeper } = this.parts;
    if (space.refuses(partition, bytes, reserved)) return BUSY_SPACE;
    if (cache.isFull(reserved)) return keeper.isStalled ? BUSY_SPACE : BUSY_QUEUE;
    return this.#refuseRecord(ENTRY_HEAD_BYTES + bytes, reserved);
  }

  #refuseRecord(bytes: number, reserved: boolean): Answer | undefined {
    const full = this.#journal.isFull(reserved, bytes);
    if (full === false) return undefined;
    if (full === 'queue') return BUSY_QUEUE;
    this.parts.keeper.relieve();
    return this.isSpaceFull() ? BUSY_SPACE : BUSY_QUEUE;
  }

  isSpaceFull(): boolean {
    return this.parts.space.isFull || this.parts.keeper.isStalled;
  }

  /** The replica's outcome, with its state journalled where it changed. */
  settle(ledger: HeldLedger, { reply, when, change }: Extract<Outcome, { kind: 'answer' }>): Answer {
    if (reply.kind === 'conflict') this.alarm(ledger, reply.what);
    if (change !== 'state') return when === 'now' ? now(reply) : afterDurable(reply);
    return this.recordState(ledger, reply);
  }

  recordState(ledger: HeldLedger, reply: BookieReply): Answer {
    this.ledgers.changed(ledger);
    return this.record(RECORD_STATE, encodeState(ledger.replica.state()), reply);
  }

  record(type: number, record: Buffer, reply: BookieReply): Answer {
    this.#journal.append(type, [record], this.replies.onRecord);
    this.parts.keeper.recorded(record.length);
    return withRecord(reply);
  }

  /** An entry that the replica has taken (`put`), or that lies over a damaged one (`patch`): into journal and cache. */
  recordEntry(ledger: HeldLedger, how: 'put' | 'patch', bytes: Buffer, place: EntryPlace, reply: BookieReply): Answer {
    const { cache, keeper, space } = this.parts;
    const head = encodeEntryHead(ledger.idView, place.first, place.ackedEnd);
    const payloadAt = ENTRY_HEADER_BYTES + entryMeta(bytes).length;
    // The payload's checksum is known, so that the journal need not read the bytes once more.
    if (payloadAt < bytes.length)
      this.#journal.append(
        RECORD_ENTRY,
        [head, bytes.subarray(0, payloadAt), bytes.subarray(payloadAt)],
        this.replies.onRecord,
        entryPayloadCrc(bytes),
      );
    else this.#journal.append(RECORD_ENTRY, [head, bytes], this.replies.onRecord);
    cache[how](ledger, place.at, bytes);
    this.ledgers.changed(ledger);
    this.appendedEntries++;
    this.appendedBytes += bytes.length;
    space.wrote(ledger.partition, bytes.length);
    keeper.recorded(ENTRY_HEAD_BYTES + bytes.length);
    return withRecord(reply);
  }

  /** A broken rule of the protocol: counted and said loudly. */
  alarm(ledger: HeldLedger, what: string): void {
    this.conflicts++;
    this.parts.world.logger.error('a rule of the ledger protocol was broken', { ledger: ledger.id, partition: ledger.partition, what });
  }

  /** About a ledger that is not here: deleted, never seen, or perhaps forgotten. */
  absent(ledger: LedgerId): Answer {
    const tombstone = this.ledgers.tombstone(ledger);
    if (tombstone) return this.gone(tombstone);
    return this.parts.identity.former.some(({ accepted }) => !accepted) ? UNKNOWN : NO_LEDGER;
  }

  gone({ partition, decided }: Pick<Tombstone, 'partition' | 'decided'>): Answer {
    const floor = this.ledgers.floor(partition);
    return afterDurable({ kind: 'gone', decided, floor: floor && { offset: floor.offset, firstLive: floor.firstLive } });
  }

  /** A ledger that was deleted here, or lies below the floor. */
  refuseGone(ledger: LedgerId, partition: PartitionId, first: number | null): Answer | undefined {
    const tombstone = this.ledgers.tombstone(ledger);
    if (tombstone) return this.gone(tombstone);
    const floor = this.ledgers.floor(partition);
    return floor && first !== null && first < floor.offset ? this.gone({ partition, decided: null }) : undefined;
  }
}

interface EntryPlace {
  readonly at: Offset;
  readonly first: Offset;
  readonly ackedEnd: Offset;
}
