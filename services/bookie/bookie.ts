// A bookie: takes the requests of lib/ledger/protocol.ts, runs them through the replicas' state machines, journals what changes, and
// answers when that is durable. See README.md for the picture.
//
// What it guarantees: an answer that says something of the state goes out only when the journal has that state; entries that were answered
// `appended` are served, byte for byte, after any crash; what cannot be served is said to be corrupt or unknown, never to be absent.

import type {
  AppendRequest,
  BookieReply,
  BookieRequest,
  CreateRequest,
  DeleteRequest,
  FenceRequest,
  FloorRequest,
  LedgerDescriptor,
  ListRequest,
  LocateRequest,
  PartitionListing,
  ReadRequest,
  RestoreRequest,
  SealValue,
} from '#lib/ledger/protocol.ts';
import type { World } from '#lib/runtime/ports.ts';
import { unreachable } from '#lib/types/assert.ts';
import { compareBallots } from '#lib/types/ballot.ts';
import type { BookieId, LedgerId, Offset, PartitionId } from '#lib/types/brands.ts';
import { ENTRY_HEADER_BYTES, entryBaseOffset, entryEnd, entryMeta, entryPayloadCrc } from '#lib/wire/entry.ts';
import type { WriteCache } from './cache/core/write-cache.ts';
import { type Identity, standing } from './identity.ts';
import type { Journal } from './journal/journal.ts';
import type { Keeper } from './keeper.ts';
import type { Reads } from './reads.ts';
import type { HeldLedger, Ledgers } from './replica/core/ledgers.ts';
import {
  ENTRY_HEAD_BYTES,
  encodeEntryHead,
  encodeFloor,
  encodeState,
  encodeTombstone,
  RECORD_ENTRY,
  RECORD_FLOOR,
  RECORD_STATE,
  RECORD_TOMBSTONE,
  type Tombstone,
} from './replica/core/records.ts';
import { type Outcome, Replica, refuseInstall } from './replica/core/replica.ts';
import { type OnReply, Replies } from './replies.ts';
import type { Segments } from './segments/segments.ts';
import type { Space } from './space.ts';

const READ_BYTES_MAX = 16 * 1024 * 1024;
const LIST_COUNT_MAX = 1000;
/** Room in the journal for a record that is no entry. */
const STATE_RECORD_BYTES = 4096;

const OK: BookieReply = { kind: 'ok' };
const UNKNOWN: BookieReply = { kind: 'unknown' };
const BUSY_QUEUE: BookieReply = { kind: 'busy', reason: 'queue' };
const BUSY_SPACE: BookieReply = { kind: 'busy', reason: 'space' };
const NO_LEDGER: BookieReply = { kind: 'refused', reason: 'no_ledger', end: null };

export interface BookieParts {
  readonly world: World;
  readonly identity: Identity;
  readonly ledgers: Ledgers;
  readonly cache: WriteCache;
  readonly segments: Segments;
  readonly journal: Journal;
  readonly keeper: Keeper;
  readonly reads: Reads;
  readonly space: Space;
  /** Closes what was opened before the bookie: manifest, lock. */
  readonly closeRest: () => Promise<void>;
}

export interface BookieUsage {
  readonly ledgers: number;
  readonly tombstones: number;
  readonly segments: number;
  readonly segmentBytes: number;
  readonly cacheBytes: number;
  readonly journalBytes: number;
  readonly journalLiveBytes: number;
  readonly freeBytes: number;
  readonly isSpaceFull: boolean;
  readonly waitingReplies: number;
  readonly damagedReads: number;
  readonly conflicts: number;
  readonly flushes: number;
  readonly flushedBytes: number;
  readonly doubtfulLedgers: number;
}

export class Bookie {
  readonly #parts: BookieParts;
  readonly #ledgers: Ledgers;
  readonly #journal: Journal;
  readonly #replies: Replies;
  #isClosing = false;
  #conflicts = 0;
  appendedEntries = 0;
  appendedBytes = 0;

  constructor(parts: BookieParts) {
    this.#parts = parts;
    this.#ledgers = parts.ledgers;
    this.#journal = parts.journal;
    this.#replies = new Replies(parts.world.clock);
  }

  get id(): BookieId {
    return this.#parts.identity.id;
  }
  get clusterId(): string {
    return this.#parts.identity.clusterId;
  }

  /** Every id under which requests may come: its own, and those from before a damage. */
  get ids(): readonly BookieId[] {
    return [this.id, ...this.#parts.identity.former.map(({ id }) => id)];
  }

  isSpaceFull(): boolean {
    return this.#parts.space.isFull || this.#parts.keeper.isStalled;
  }

  /** Bytes in the request are given away. `onReply` is called once, in a later turn. The payload's checksum must have been checked. */
  handle(request: BookieRequest, onReply: OnReply): void {
    if (this.#isClosing || this.#replies.isFull) return this.#replies.soon(BUSY_QUEUE, onReply);
    switch (request.kind) {
      case 'append':
        return this.#append(request, onReply);
      case 'read':
        return this.#read(request, onReply);
      case 'locate':
        return this.#locate(request, onReply);
      case 'inspect':
        return this.#inspect(request.ledger, onReply);
      case 'list':
        return this.#whenDurable({ kind: 'list', partitions: this.#list(request) }, onReply);
      case 'create':
      case 'fence':
      case 'seal':
      case 'decided':
      case 'restore':
      case 'delete':
      case 'floor':
        break;
      default:
        return unreachable(request);
    }
    const full = this.#journal.isFull(true, STATE_RECORD_BYTES);
    if (full !== false) return this.#replies.soon(full === 'space' ? BUSY_SPACE : BUSY_QUEUE, onReply);
    switch (request.kind) {
      case 'create':
        return this.#create(request, onReply);
      case 'fence':
        return this.#fence(request, onReply);
      case 'seal':
        return this.#end(request.ledger, request.first, request.value, onReply, replica =>
          replica.seal(request.ballot, request.first, request.value),
        );
      case 'decided':
        return this.#end(request.ledger, request.first, request.value, onReply, replica => replica.decide(request.first, request.value));
      case 'restore':
        return this.#restore(request, onReply);
      case 'delete':
        return this.#delete(request, onReply);
      case 'floor':
        return this.#floor(request, onReply);
      default:
        return unreachable(request);
    }
  }

  /** For whoever stands between a sender and the bookie. */
  replySoon(reply: BookieReply, onReply: OnReply): void {
    this.#replies.soon(reply, onReply);
  }

  usage(): BookieUsage {
    const { cache, segments, journal, space, reads, keeper } = this.#parts;
    let segmentBytes = 0;
    for (const { fileBytes } of segments.all()) segmentBytes += fileBytes;
    const { bytes, liveBytes } = journal.usage();
    return {
      ledgers: this.#ledgers.count,
      tombstones: this.#ledgers.tombstoneCount,
      segments: segments.count,
      segmentBytes,
      cacheBytes: cache.cost,
      journalBytes: bytes,
      journalLiveBytes: liveBytes,
      freeBytes: space.freeBytes,
      isSpaceFull: this.isSpaceFull(),
      waitingReplies: this.#replies.waiting,
      damagedReads: reads.damaged,
      conflicts: this.#conflicts,
      flushes: keeper.flushes,
      flushedBytes: keeper.flushedBytes,
      doubtfulLedgers: this.doubtful().length,
    };
  }

  /** Ledgers that give no vote, because a damage may have cost some of them. */
  doubtful(): readonly HeldLedger[] {
    const found: HeldLedger[] = [];
    for (const ledger of this.#ledgers.held()) if (ledger.replica.inDoubt && !ledger.replica.decided) found.push(ledger);
    return found;
  }

  /** Puts all that is in memory into segments. */
  async flush(): Promise<void> {
    await this.#parts.keeper.flush();
  }

  /** Takes no more requests, answers those under way, flushes, and closes its files. A second call does nothing. */
  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    const { keeper, space, segments, journal, closeRest } = this.#parts;
    space.close();
    await new Promise<void>(resolve => journal.whenDurable(resolve));
    if (!keeper.isStalled) await keeper.flush();
    await keeper.stop();
    await journal.close();
    await segments.close();
    await closeRest();
  }

  // ---- the hot path ----

  #append(request: AppendRequest, onReply: OnReply): void {
    const ledger = this.#ledgers.get(request.ledger);
    if (!ledger) return this.#absent(request.ledger, onReply);
    const { offset: at, span, bytes } = request;
    if (!isWhole(at, span, bytes)) return this.#whenDurable({ kind: 'refused', reason: 'invalid', end: ledger.replica.end }, onReply);
    const outcome = ledger.replica.append(request);
    if (outcome.kind === 'compare') return this.#compare(ledger, request, false, onReply);
    if (outcome.change !== 'entry') return this.#answer(ledger, outcome, onReply);
    const busy = this.#refusal(ledger.partition, bytes.length, request.reserved);
    if (busy) return this.#replies.soon(busy, onReply);
    ledger.replica.appended(request.first, at, span, request.ackedEnd);
    this.#replies.withRecord(outcome.reply, onReply);
    this.#store(ledger, at, bytes, request.first, request.ackedEnd);
  }

  /** Why an entry cannot be taken now. */
  #refusal(partition: PartitionId, bytes: number, reserved: boolean): BookieReply | undefined {
    const { space, cache, keeper } = this.#parts;
    if (space.refuses(partition, bytes, reserved)) return BUSY_SPACE;
    if (cache.isFull(reserved)) return keeper.isStalled ? BUSY_SPACE : BUSY_QUEUE;
    const full = this.#journal.isFull(reserved, ENTRY_HEAD_BYTES + bytes);
    if (full === 'space') return this.isSpaceFull() ? BUSY_SPACE : BUSY_QUEUE;
    return full === 'queue' ? BUSY_QUEUE : undefined;
  }

  /** Journal and cache get the entry. Its reply must wait already. */
  #store(ledger: HeldLedger, at: Offset, bytes: Buffer, first: Offset, ackedEnd: Offset): void {
    const { cache, keeper, space } = this.#parts;
    const head = encodeEntryHead(ledger.idView, first, ackedEnd);
    const payloadAt = ENTRY_HEADER_BYTES + entryMeta(bytes).length;
    // The payload's checksum is known, so that the journal need not read the bytes once more.
    if (payloadAt < bytes.length)
      this.#journal.append(
        RECORD_ENTRY,
        [head, bytes.subarray(0, payloadAt), bytes.subarray(payloadAt)],
        this.#replies.onRecord,
        entryPayloadCrc(bytes),
      );
    else this.#journal.append(RECORD_ENTRY, [head, bytes], this.#replies.onRecord);
    const isNext = at === (ledger.active ?? ledger.flushing)?.end || entryEnd(bytes) === ledger.replica.end;
    if (isNext) cache.put(ledger, at, bytes);
    else cache.patch(ledger, at, bytes);
    this.#ledgers.changed(ledger);
    this.appendedEntries++;
    this.appendedBytes += bytes.length;
    space.wrote(ledger.partition, bytes.length);
    keeper.recorded(bytes.length);
  }

  // ---- answers ----

  #whenDurable(reply: BookieReply, onReply: OnReply): void {
    this.#replies.whenDurable(reply, onReply);
    this.#journal.whenDurable(this.#replies.onDurable);
  }

  /** For an outcome that stores no entry. */
  #answer(ledger: HeldLedger, outcome: Extract<Outcome, { kind: 'answer' }>, onReply: OnReply): void {
    if (outcome.reply.kind === 'conflict') this.#alarm(ledger, outcome.reply.what);
    if (outcome.change === 'state') return this.#record(RECORD_STATE, this.#stateOf(ledger), outcome.reply, onReply);
    if (outcome.when === 'now') this.#replies.soon(outcome.reply, onReply);
    else this.#whenDurable(outcome.reply, onReply);
  }

  #record(type: number, record: Buffer, reply: BookieReply, onReply: OnReply): void {
    this.#replies.withRecord(reply, onReply);
    this.#journal.append(type, [record], this.#replies.onRecord);
    this.#parts.keeper.recorded(record.length);
  }

  #stateOf(ledger: HeldLedger): Buffer {
    this.#ledgers.changed(ledger);
    return encodeState(ledger.replica.state());
  }

  #alarm(ledger: HeldLedger, what: string): void {
    this.#conflicts++;
    this.#parts.world.logger.error('a rule of the ledger protocol was broken', { ledger: ledger.id, partition: ledger.partition, what });
  }

  /** Answer to what is about a ledger that is not here. */
  #absent(ledger: LedgerId, onReply: OnReply): void {
    const tombstone = this.#ledgers.tombstone(ledger);
    if (tombstone) return this.#whenDurable(this.#gone(tombstone), onReply);
    if (this.#hasDoubt()) return this.#replies.soon(UNKNOWN, onReply);
    this.#whenDurable(NO_LEDGER, onReply);
  }

  #gone({ partition, decided }: Pick<Tombstone, 'partition' | 'decided'>): BookieReply {
    const floor = this.#ledgers.floor(partition);
    return { kind: 'gone', decided, floor: floor && { offset: floor.offset, firstLive: floor.firstLive } };
  }

  /** After a damage nobody can tell what else was known. */
  #hasDoubt(): boolean {
    return this.#parts.identity.former.some(({ accepted }) => !accepted);
  }

  // ---- requests that change a ledger's state ----

  #create({ descriptor, ballot }: CreateRequest, onReply: OnReply): void {
    const ledger = this.#ledgers.get(descriptor.ledger);
    if (ledger) return this.#run(ledger, onReply, replica => replica.create(descriptor, ballot));
    const refused = this.#refuseInstall(descriptor, null, onReply) ?? refuseInstall(descriptor, ballot);
    if (refused === 'answered') return;
    if (refused) return this.#replies.soon(refused.kind === 'answer' ? refused.reply : UNKNOWN, onReply);
    this.#install(Replica.installed(descriptor, ballot, null), OK, onReply);
  }

  #fence({ descriptor, ballot, first }: FenceRequest, onReply: OnReply): void {
    const ledger = this.#ledgers.get(descriptor.ledger);
    if (ledger) return this.#run(ledger, onReply, replica => replica.fence(descriptor, ballot, first));
    const refused = this.#refuseInstall(descriptor, first, onReply) ?? refuseInstall(descriptor, ballot);
    if (refused === 'answered') return;
    if (refused) return this.#replies.soon(refused.kind === 'answer' ? refused.reply : UNKNOWN, onReply);
    const replica = Replica.installed(descriptor, ballot, first);
    this.#install(replica, replica.fenced(first), onReply);
  }

  /** A ledger that is not here: deleted, below the floor, or not ours to vote on? Then it is answered. */
  #refuseInstall(descriptor: LedgerDescriptor, first: Offset | null, onReply: OnReply): 'answered' | undefined {
    const tombstone = this.#ledgers.tombstone(descriptor.ledger);
    const floor = this.#ledgers.floor(descriptor.partition);
    if (tombstone) this.#whenDurable(this.#gone(tombstone), onReply);
    else if (floor && first !== null && first < floor.offset)
      this.#whenDurable(this.#gone({ partition: descriptor.partition, decided: null }), onReply);
    else if (standing(this.#parts.identity, descriptor.ensemble) !== 'member') this.#replies.soon(UNKNOWN, onReply);
    else return undefined;
    return 'answered';
  }

  #install(replica: Replica, reply: BookieReply, onReply: OnReply): void {
    const ledger = this.#ledgers.add(replica);
    this.#record(RECORD_STATE, this.#stateOf(ledger), reply, onReply);
  }

  #run(ledger: HeldLedger, onReply: OnReply, step: (replica: Replica) => Outcome): void {
    const outcome = step(ledger.replica);
    if (outcome.kind === 'answer') this.#answer(ledger, outcome, onReply);
    else this.#replies.soon(UNKNOWN, onReply);
  }

  /** `seal` and `decided`: may cut. */
  #end(id: LedgerId, first: Offset, value: SealValue, onReply: OnReply, step: (replica: Replica) => Outcome): void {
    const ledger = this.#ledgers.get(id);
    if (!ledger) return this.#absent(id, onReply);
    if (isWithinEntry(ledger, value.end)) {
      const what = `a seal at ${value.end}, within an entry`;
      this.#alarm(ledger, what);
      return this.#whenDurable({ kind: 'conflict', what }, onReply);
    }
    const { replica } = ledger;
    const before = replica.end;
    const outcome = step(replica);
    this.#cutAfter(ledger, before);
    if (outcome.kind === 'answer') this.#answer(ledger, outcome, onReply);
    else this.#replies.soon(UNKNOWN, onReply);
  }

  #cutAfter(ledger: HeldLedger, before: Offset | null): void {
    const { end } = ledger.replica;
    if (end === null || before === null || end >= before) return;
    this.#parts.cache.cut(ledger, end);
    this.#parts.keeper.sweep();
  }

  // ---- restore, and the comparison of what is held already ----

  #restore(request: RestoreRequest, onReply: OnReply): void {
    const { descriptor, first, decided, bytes } = request;
    const tombstone = this.#ledgers.tombstone(descriptor.ledger);
    const floor = this.#ledgers.floor(descriptor.partition);
    if (tombstone) return this.#whenDurable(this.#gone(tombstone), onReply);
    if (floor && first < floor.offset) return this.#whenDurable(this.#gone({ partition: descriptor.partition, decided: null }), onReply);
    if (!isWhole(request.offset, request.span, bytes)) return this.#whenDurable({ kind: 'refused', reason: 'invalid', end: null }, onReply);
    const busy = request.span > 0 ? this.#refusal(descriptor.partition, bytes.length, false) : undefined;
    if (busy) return this.#replies.soon(busy, onReply);
    const ledger = this.#ledgers.get(descriptor.ledger) ?? this.#ledgers.add(Replica.installed(descriptor, descriptor.creator, first));
    if (!this.#adoptSeal(ledger, first, decided, onReply)) return;
    const outcome = ledger.replica.restore(request);
    if (outcome.kind === 'compare') return this.#compare(ledger, request, true, onReply);
    if (outcome.change !== 'entry') return this.#answer(ledger, outcome, onReply);
    ledger.replica.appended(first, request.offset, request.span, first);
    this.#replies.withRecord(outcome.reply, onReply);
    this.#store(ledger, request.offset, bytes, first, first);
  }

  /** True when the ledger has this decided seal now; else it has been answered. */
  #adoptSeal(ledger: HeldLedger, first: Offset, decided: SealValue, onReply: OnReply): boolean {
    const before = ledger.replica.end;
    const outcome = ledger.replica.decide(first, decided);
    this.#cutAfter(ledger, before);
    if (outcome.kind !== 'answer' || outcome.reply.kind !== 'ok') {
      if (outcome.kind === 'answer') this.#answer(ledger, outcome, onReply);
      return false;
    }
    if (outcome.change === 'state') this.#journal.append(RECORD_STATE, [this.#stateOf(ledger)], null);
    return true;
  }

  /** The offset is held already: the same bytes are fine, others are a broken rule; damaged ones are replaced by repair. */
  #compare(ledger: HeldLedger, request: AppendRequest | RestoreRequest, repairs: boolean, onReply: OnReply): void {
    const { reads } = this.#parts;
    if (reads.isFull) return this.#replies.soon(BUSY_QUEUE, onReply);
    const end = ledger.replica.end;
    if (end === null) return this.#replies.soon(UNKNOWN, onReply);
    reads.entryAt(ledger, request.offset, end, held => {
      if (held !== undefined && 'kind' in held) {
        if (repairs && !this.#isClosing && this.#ledgers.get(ledger.id) === ledger) return this.#patch(ledger, request, onReply);
        return this.#replies.soon(held, onReply);
      }
      if (held?.equals(request.bytes)) return this.#whenDurable({ kind: 'appended', end: ledger.replica.end ?? end }, onReply);
      const what = `another entry at ${request.offset}`;
      this.#alarm(ledger, what);
      this.#whenDurable({ kind: 'conflict', what }, onReply);
    });
  }

  #patch(ledger: HeldLedger, request: AppendRequest | RestoreRequest, onReply: OnReply): void {
    const busy = this.#refusal(ledger.partition, request.bytes.length, false);
    if (busy) return this.#replies.soon(busy, onReply);
    const { first, end } = ledger.replica;
    if (first === null || end === null) return this.#replies.soon(UNKNOWN, onReply);
    this.#replies.withRecord({ kind: 'appended', end }, onReply);
    this.#store(ledger, request.offset, request.bytes, first, first);
    this.#parts.world.logger.info('a damaged entry was replaced', { ledger: ledger.id, offset: request.offset });
  }

  // ---- reading ----

  #read({ ledger: id, ballot, offset: from, bytesMax }: ReadRequest, onReply: OnReply): void {
    const ledger = this.#ledgers.get(id);
    if (!ledger) return this.#absent(id, onReply);
    const { replica } = ledger;
    if (ballot !== null && !replica.decided && compareBallots(ballot, replica.promised) < 0)
      return this.#replies.soon({ kind: 'stale', promised: replica.promised }, onReply);
    const limit = replica.readableEnd(ballot);
    if (from >= limit || replica.first === null) {
      const known = replica.decided?.end ?? replica.ackedEnd ?? limit;
      // There is such an entry, elsewhere: not "no entry".
      const reply: BookieReply =
        from < known ? { kind: 'refused', reason: 'gap', end: replica.end } : { kind: 'entries', entries: [], end: limit };
      return this.#whenDurable(reply, onReply);
    }
    if (from < replica.first) return this.#whenDurable({ kind: 'refused', reason: 'invalid', end: replica.end }, onReply);
    const { reads } = this.#parts;
    if (reads.isFull) return this.#replies.soon(BUSY_QUEUE, onReply);
    reads.read(ledger, from, limit, Math.min(Math.max(bytesMax, 1), READ_BYTES_MAX), result => {
      if ('kind' in result) return this.#replies.soon(this.#ledgers.get(id) === ledger ? result : NO_LEDGER, onReply);
      const reply: BookieReply = { kind: 'entries', entries: result, end: limit };
      // What is acknowledged is durable where it counts; the rest only once the journal here has it.
      if (limit > (replica.ackedEnd ?? limit) && !replica.decided) this.#whenDurable(reply, onReply);
      else this.#replies.soon(reply, onReply);
    });
  }

  #locate({ ledger: id, by, value }: LocateRequest, onReply: OnReply): void {
    const ledger = this.#ledgers.get(id);
    if (!ledger) return this.#absent(id, onReply);
    const { reads } = this.#parts;
    if (reads.isFull) return this.#replies.soon(BUSY_QUEUE, onReply);
    reads.locate(ledger, by, value, ledger.replica.readableEnd(null), result => {
      if (typeof result === 'object' && result !== null) this.#replies.soon(result, onReply);
      else this.#replies.soon({ kind: 'located', offset: result }, onReply);
    });
  }

  #inspect(id: LedgerId, onReply: OnReply): void {
    const ledger = this.#ledgers.get(id);
    if (ledger) this.#whenDurable({ kind: 'state', state: ledger.state() }, onReply);
    else this.#absent(id, onReply);
  }

  #list({ partitions, countMax, after }: ListRequest): readonly PartitionListing[] {
    const count = Math.min(Math.max(countMax, 1), LIST_COUNT_MAX);
    return partitions.map(partition => {
      const floor = this.#ledgers.floor(partition);
      const older = this.#ledgers.ofPartition(partition).filter(({ id }) => after === null || id < after);
      return {
        partition,
        floor: floor && { offset: floor.offset, firstLive: floor.firstLive },
        ledgers: older.slice(0, count).map(ledger => ledger.state()),
        more: older.length > count,
      };
    });
  }

  // ---- deletion ----

  #delete({ ledger: id, partition, reason, ballot }: DeleteRequest, onReply: OnReply): void {
    if (this.#ledgers.tombstone(id)) return this.#whenDurable(OK, onReply);
    const ledger = this.#ledgers.get(id);
    const replica = ledger?.replica;
    if (replica) {
      if (ledger.partition !== partition) return this.#whenDurable({ kind: 'refused', reason: 'invalid', end: replica.end }, onReply);
      if (compareBallots(ballot, replica.promised) < 0) return this.#replies.soon({ kind: 'stale', promised: replica.promised }, onReply);
      const needsSeal = reason === 'trimmed' || reason === 'offloaded';
      if (needsSeal && !replica.decided) return this.#whenDurable({ kind: 'refused', reason: 'not_decided', end: replica.end }, onReply);
    }
    const tombstone: Tombstone = { ledger: id, partition, first: replica?.first ?? null, decided: replica?.decided ?? null, reason };
    if (ledger) this.#parts.cache.drop(ledger);
    this.#ledgers.bury(tombstone);
    this.#record(RECORD_TOMBSTONE, encodeTombstone(tombstone), OK, onReply);
    this.#parts.keeper.sweep();
  }

  #floor({ partition, offset: at, firstLive, ballot }: FloorRequest, onReply: OnReply): void {
    const current = this.#ledgers.floor(partition);
    if (current && compareBallots(ballot, current.ballot) < 0)
      return this.#replies.soon({ kind: 'stale', promised: current.ballot }, onReply);
    if (current && at <= current.offset) return this.#whenDurable(OK, onReply);
    const floor = { partition, offset: at, firstLive, ballot };
    for (const ledger of this.#ledgers.raise(floor)) this.#parts.cache.drop(ledger);
    this.#record(RECORD_FLOOR, encodeFloor(floor), OK, onReply);
    this.#parts.keeper.sweep();
  }
}

/** True when `bytes` is one entry with this place, or nothing at all. Its checksums were checked where it came in. */
function isWhole(at: Offset, span: number, bytes: Buffer): boolean {
  if (span === 0) return bytes.length === 0;
  if (bytes.length < ENTRY_HEADER_BYTES || bytes.readUInt32LE(8) !== bytes.length) return false;
  if (ENTRY_HEADER_BYTES + bytes.readUInt32LE(12) > bytes.length) return false;
  return entryBaseOffset(bytes) === at && entryEnd(bytes) === at + span;
}

/** True when `end` would cut an entry in two. Only entries in memory are looked at: a seal is about the newest ones. */
function isWithinEntry(ledger: HeldLedger, end: Offset): boolean {
  for (const list of [ledger.flushing, ledger.active]) {
    const index = list?.indexOf(end) ?? -1;
    const entry = index < 0 ? undefined : list?.entries[index];
    if (entry && entryBaseOffset(entry) !== end) return true;
  }
  return false;
}
