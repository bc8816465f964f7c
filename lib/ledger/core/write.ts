// Write: one open ledger, one ballot, appends pipelined to all R replicas. An entry is acknowledged when A replicas have it and all before
// it; since a replica holds a prefix, that is the A-th highest of the replicas' ends. A replica that lags is caught up from the window;
// one that has fallen out of it stays behind until the ledger is rolled. `stale` ends everything at once.
//
//   ring:   head ........ unacked ........ tail        head: not yet held by every replica that keeps up
//           acknowledged  | not yet                    per replica: held (it has all before), next (to send)

import { assert, unreachable } from '#lib/types/assert.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import { type BookieId, type Offset, offset } from '#lib/types/brands.ts';
import type { AppendRequest, BookieReply, BookieTransport, LedgerDescriptor } from '../protocol.ts';
import { FAST_TICK_MS, type Lost, longerWait, type Pace, SLOW_TICK_MS } from './pace.ts';

export interface WriterDeps {
  readonly transport: BookieTransport;
  readonly ballot: Ballot;
  readonly windowCount: number;
  readonly windowBytes: number;
  /** `ackedEnd` has risen. */
  onAcked(): void;
  onLost(lost: Lost): void;
  alarm(what: string): void;
}

export interface WriterStart {
  readonly descriptor: LedgerDescriptor;
  readonly first: Offset;
  /** Bookies that know the ledger under this ballot. */
  readonly created: readonly BookieId[];
  /** The rest are told of it with the first entry, not before: a fresh partition costs its bookies nothing. */
  readonly lazy: boolean;
  /** False: the seal that names it is not chosen yet, so nothing is acknowledged. */
  readonly linked: boolean;
}

type Trouble = 'space' | 'queue' | 'gap' | 'unreachable' | 'absent' | 'doubt';

interface Replica {
  readonly id: BookieId;
  readonly onReply: (reply: BookieReply) => void;
  /** `absent`: it does not know the ledger yet. `behind`, `failed`: out of this ledger for good. */
  state: 'absent' | 'creating' | 'ready' | 'behind' | 'failed';
  end: Offset;
  held: number;
  next: number;
  inflight: number;
  /** The highest `ackedEnd` that it was sent. */
  told: Offset;
  trouble: Trouble | null;
  /** After trouble one entry goes ahead, and the rest when that was taken. */
  probing: boolean;
  /** Its last answer to an entry was that it has no space. */
  spaceless: boolean;
  /** Entries before one that has a right to the reserve are sent with that right too: else it could never be reached. */
  useReserve: boolean;
  waitMs: number;
  dueMs: number | null;
  badSinceMs: number | null;
}

const NOTHING = Buffer.alloc(0);
const RING_MIN = 16;

export class LedgerWriter {
  readonly descriptor: LedgerDescriptor;
  readonly first: Offset;
  readonly #deps: WriterDeps;
  readonly #replicas: readonly Replica[];
  #ring: (AppendRequest | undefined)[] = new Array(RING_MIN).fill(undefined);
  #head = 0;
  #unacked = 0;
  #tail = 0;
  #ringBytes = 0;
  #unackedBytes = 0;
  #end: Offset;
  #ackedEnd: Offset;
  #bytes = 0;
  #linked: boolean;
  #lazy: boolean;
  #stopped = false;
  /** Sequence of the newest entry with a right to the reserve: what stands before it may use the reserve too. */
  #reservedTail = -1;
  #tickTail = -1;

  constructor(deps: WriterDeps, start: WriterStart) {
    this.#deps = deps;
    this.descriptor = start.descriptor;
    this.first = start.first;
    this.#end = start.first;
    this.#ackedEnd = start.first;
    this.#linked = start.linked;
    this.#lazy = start.lazy;
    this.#replicas = start.descriptor.ensemble.map(id => this.#newReplica(id, start.created.includes(id)));
    if (!this.#lazy) this.#createAbsent();
  }

  get end(): Offset {
    return this.#end;
  }
  get ackedEnd(): Offset {
    return this.#ackedEnd;
  }
  /** Bytes of all its entries. */
  get bytes(): number {
    return this.#bytes;
  }
  get isEmpty(): boolean {
    return this.#end === this.first;
  }
  /** Bytes of its acknowledged entries. */
  get ackedBytes(): number {
    return this.#bytes - this.#unackedBytes;
  }
  get unackedCount(): number {
    return this.#tail - this.#unacked;
  }
  get unackedBytes(): number {
    return this.#unackedBytes;
  }

  /** Asked before `append`: false, or why clients' entries should wait. */
  isFull(): false | 'space' | 'window' {
    if (this.#isOutOfSpace()) return 'space';
    return this.unackedCount >= this.#deps.windowCount || this.#unackedBytes >= this.#deps.windowBytes ? 'window' : false;
  }

  /** Takes the entry that begins at `end`. */
  append(bytes: Buffer, span: number, reserved: boolean): void {
    assert(span > 0 && bytes.length > 0, 'an entry has bytes and takes offsets');
    assert(!this.#stopped, 'a frozen ledger takes no entries');
    const request: AppendRequest = {
      kind: 'append',
      ledger: this.descriptor.ledger,
      ballot: this.#deps.ballot,
      first: this.first,
      offset: this.#end,
      span,
      ackedEnd: this.#ackedEnd,
      bytes,
      reserved,
    };
    const seq = this.#push(request);
    if (reserved) this.#reservedTail = seq;
    this.#end = offset(this.#end + span);
    if (this.#lazy) {
      this.#lazy = false;
      this.#createAbsent();
    }
    for (const replica of this.#replicas) {
      if (replica.state !== 'ready' || replica.trouble !== null || replica.next !== seq || replica.probing) continue;
      replica.next = seq + 1;
      replica.told = request.ackedEnd;
      replica.inflight++;
      this.#deps.transport.send(replica.id, request, replica.onReply);
    }
    if (this.#tail - this.#head > this.#deps.windowCount || this.#ringBytes > this.#deps.windowBytes) this.#shrink();
  }

  /** The seal that names this ledger is chosen: what A replicas hold is acknowledged from now on. */
  link(): void {
    assert(!this.#linked, 'a ledger is linked once');
    this.#linked = true;
    if (!this.#stopped) this.#updateAcked();
  }

  /** Stops for good. Returns what is not acknowledged, in order: it goes to the next ledger. */
  freeze(): readonly AppendRequest[] {
    this.#stopped = true;
    const rest: AppendRequest[] = [];
    for (let seq = this.#unacked; seq < this.#tail; seq++) rest.push(this.#at(seq));
    return rest;
  }

  tick(nowMs: number): void {
    if (this.#stopped) return;
    const quiet = this.#tickTail === this.#tail;
    this.#tickTail = this.#tail;
    for (const replica of this.#replicas) {
      this.#watch(replica, nowMs);
      if (replica.inflight > 0) continue;
      if (replica.trouble !== null) this.#retry(replica, nowMs);
      else if (quiet && this.#isUntold(replica)) this.#tell(replica);
      if (this.#stopped) return;
    }
  }

  pace(): Pace {
    if (this.#stopped) return 'none';
    let pace: Pace = 'none';
    for (const replica of this.#replicas) {
      if (replica.state === 'behind' || replica.state === 'failed') continue;
      const soon = replica.trouble === null ? replica.inflight > 0 || this.#isUntold(replica) : replica.waitMs < SLOW_TICK_MS;
      if (soon) return 'fast';
      if (replica.trouble !== null) pace = 'slow';
    }
    return pace;
  }

  /** Bookies that do not keep up: a roll should replace them, if there are others. */
  unhealthy(): ReadonlySet<BookieId> {
    const ids = new Set<BookieId>();
    for (const replica of this.#replicas) if (replica.state === 'behind' || replica.state === 'failed') ids.add(replica.id);
    for (const replica of this.#replicas) if (replica.badSinceMs !== null && replica.waitMs >= SLOW_TICK_MS) ids.add(replica.id);
    return ids;
  }

  /** Those of the unhealthy ones that would be no better in another ledger. */
  unreachable(): ReadonlySet<BookieId> {
    const ids = new Set<BookieId>();
    for (const replica of this.#replicas)
      if (replica.state !== 'behind' && replica.state !== 'failed' && replica.badSinceMs !== null) ids.add(replica.id);
    return ids;
  }

  /** Bookies that cannot be written to at present, healthy or not: not to be read from first either. */
  isTroubled(id: BookieId): boolean {
    return this.#replicas.some(replica => replica.id === id && (replica.trouble !== null || replica.state !== 'ready'));
  }

  /** Does this replica hold the entry at `at`? */
  holds(id: BookieId, at: Offset): boolean {
    return this.#replicas.some(replica => replica.id === id && replica.end > at);
  }

  // ---- the ring -------------------------------------------------------------------------------------------------------------------

  #at(seq: number): AppendRequest {
    const request = this.#ring[seq & (this.#ring.length - 1)];
    assert(request !== undefined, 'the window holds what is asked of it');
    return request;
  }

  #push(request: AppendRequest): number {
    if (this.#tail - this.#head === this.#ring.length) this.#grow();
    const seq = this.#tail++;
    this.#ring[seq & (this.#ring.length - 1)] = request;
    this.#ringBytes += request.bytes.length;
    this.#unackedBytes += request.bytes.length;
    this.#bytes += request.bytes.length;
    return seq;
  }

  #grow(): void {
    const ring: (AppendRequest | undefined)[] = new Array(this.#ring.length * 2).fill(undefined);
    for (let seq = this.#head; seq < this.#tail; seq++) ring[seq & (ring.length - 1)] = this.#at(seq);
    this.#ring = ring;
  }

  #dropHead(): void {
    this.#ringBytes -= this.#at(this.#head).bytes.length;
    this.#ring[this.#head & (this.#ring.length - 1)] = undefined;
    this.#head++;
  }

  /** Forgets entries that are acknowledged and that nobody needs for catching up. */
  #trim(): void {
    let needed = this.#unacked;
    for (const replica of this.#replicas)
      if (replica.state !== 'behind' && replica.state !== 'failed' && replica.held < needed) needed = replica.held;
    while (this.#head < needed) this.#dropHead();
  }

  /** The window is over its bounds: acknowledged entries go, and replicas that still needed them are left behind. */
  #shrink(): void {
    while (this.#head < this.#unacked && (this.#tail - this.#head > this.#deps.windowCount || this.#ringBytes > this.#deps.windowBytes))
      this.#dropHead();
    for (const replica of this.#replicas) {
      if (replica.held >= this.#head || replica.state === 'behind' || replica.state === 'failed') continue;
      replica.state = 'behind';
      this.#deps.alarm(`bookie ${replica.id} fell out of the window of ledger ${this.descriptor.ledger}`);
    }
  }

  // ---- replicas -------------------------------------------------------------------------------------------------------------------

  #newReplica(id: BookieId, created: boolean): Replica {
    const replica: Replica = {
      id,
      onReply: reply => this.#onReply(replica, reply),
      state: created ? 'ready' : 'absent',
      end: this.first,
      held: 0,
      next: 0,
      inflight: 0,
      told: this.first,
      trouble: null,
      probing: false,
      spaceless: false,
      useReserve: false,
      waitMs: 0,
      dueMs: null,
      badSinceMs: null,
    };
    return replica;
  }

  #createAbsent(): void {
    for (const replica of this.#replicas) if (replica.state === 'absent') this.#create(replica);
  }

  #create(replica: Replica): void {
    replica.state = 'creating';
    replica.trouble = null;
    replica.inflight++;
    this.#deps.transport.send(replica.id, { kind: 'create', descriptor: this.descriptor, ballot: this.#deps.ballot }, replica.onReply);
  }

  #onReply(replica: Replica, reply: BookieReply) {
    replica.inflight--;
    if (this.#stopped) return;
    switch (reply.kind) {
      case 'appended':
        return this.#onAppended(replica, reply.end);
      case 'ok':
        return this.#onCreated(replica);
      case 'stale':
        return this.#lose(reply);
      case 'conflict':
        return this.#lose({ kind: 'broken', what: reply.what });
      case 'gone':
        return this.#lose({ kind: 'gone' });
      case 'refused':
        return this.#onRefused(replica, reply.reason, reply.end);
      case 'busy':
        return this.#onTrouble(replica, reply.reason);
      case 'unreachable':
        return this.#onTrouble(replica, 'unreachable');
      case 'unknown':
      case 'corrupt':
        return this.#onTrouble(replica, 'doubt');
      case 'fenced':
      case 'entries':
      case 'located':
      case 'state':
      case 'list':
        return this.#lose({ kind: 'broken', what: `an append was answered by ${reply.kind}` });
      default:
        return unreachable(reply);
    }
  }

  #onAppended(replica: Replica, end: Offset) {
    if (end > this.#end) return this.#lose({ kind: 'broken', what: `bookie ${replica.id} holds ${end}, and only ${this.#end} was sent` });
    if (end > replica.end) {
      replica.end = end;
      if (replica.state === 'behind') this.#rejoin(replica);
      if (replica.state !== 'behind' && replica.state !== 'failed') this.#advance(replica);
      if (replica.held > this.#reservedTail) replica.useReserve = false;
      this.#updateAcked();
      if (this.#stopped) return;
    }
    replica.spaceless = false;
    if (replica.probing && replica.trouble === null) {
      replica.probing = false;
      replica.waitMs = 0;
      replica.badSinceMs = null;
      this.#pump(replica);
    }
  }

  #endOf(seq: number): number {
    const request = this.#at(seq);
    return request.offset + request.span;
  }

  #advance(replica: Replica): void {
    while (replica.held < this.#tail && this.#endOf(replica.held) <= replica.end) replica.held++;
    if (replica.next < replica.held) replica.next = replica.held;
  }

  /** Answers that were under way when it fell out of the window may show that it did not miss anything after all. */
  #rejoin(replica: Replica): void {
    const windowFirst = this.#head < this.#tail ? this.#at(this.#head).offset : this.#end;
    if (replica.end < windowFirst) return;
    replica.state = 'ready';
    replica.held = this.#head;
    // What was refused meanwhile was not noted: begin again from what it holds.
    replica.trouble = 'gap';
    replica.waitMs = longerWait(replica.waitMs);
    replica.dueMs = null;
  }

  #onCreated(replica: Replica): void {
    if (replica.state !== 'creating') return;
    replica.state = 'ready';
    replica.probing = false;
    replica.waitMs = 0;
    replica.badSinceMs = null;
    replica.next = replica.held;
    this.#pump(replica);
  }

  #onRefused(replica: Replica, reason: string, end: Offset | null) {
    if (reason === 'sealed') return this.#lose({ kind: 'gone' });
    if (reason === 'gap') {
      // The answer to a probe belongs to it alone: the replica has less than it once answered.
      const forgot = replica.probing && end !== null && end < replica.end;
      return forgot ? this.#onForgotten(replica) : this.#onTrouble(replica, 'gap');
    }
    // It has known the ledger, and a bookie forgets nothing but what was deleted: another owner has trimmed it. Creating it again would
    // raise the dead.
    if (reason === 'no_ledger') return this.#lose({ kind: 'gone' });
    if (reason === 'not_promised') return this.#onTrouble(replica, 'absent');
    this.#deps.alarm(`bookie ${replica.id} refuses ledger ${this.descriptor.ledger}: ${reason}`);
    return this.#onTrouble(replica, 'doubt');
  }

  #onForgotten(replica: Replica): void {
    replica.state = 'failed';
    this.#deps.alarm(`bookie ${replica.id} has lost entries of ledger ${this.descriptor.ledger} that it had stored`);
    this.#trim();
  }

  /** The first trouble of a burst says what it is; the gaps that follow are its consequence. */
  #onTrouble(replica: Replica, trouble: Trouble): void {
    if (replica.state === 'behind' || replica.state === 'failed') return;
    if (replica.trouble !== null && (trouble === 'gap' || replica.trouble !== 'gap')) return;
    if (replica.trouble === null) {
      replica.waitMs = longerWait(replica.waitMs);
      replica.dueMs = null;
    }
    if (replica.state === 'creating') replica.state = 'absent';
    replica.trouble = trouble;
    if (trouble === 'space') {
      replica.spaceless = true;
      replica.useReserve = true;
    }
    replica.told = this.first;
  }

  #retry(replica: Replica, nowMs: number) {
    if (replica.state === 'behind' || replica.state === 'failed') return;
    // Ticks are not finer than the shortest pause.
    replica.dueMs ??= nowMs + Math.max(0, replica.waitMs - FAST_TICK_MS);
    if (replica.dueMs > nowMs) return;
    if (replica.state === 'absent' || replica.trouble === 'absent') return this.#create(replica);
    replica.trouble = null;
    replica.next = replica.held;
    replica.probing = true;
    if (replica.next < this.#tail) this.#send(replica);
    else this.#tell(replica);
  }

  #watch(replica: Replica, nowMs: number): void {
    if (replica.trouble !== null || replica.probing) replica.badSinceMs ??= nowMs;
    else replica.badSinceMs = null;
  }

  /** Sends what the replica does not have. */
  #pump(replica: Replica): void {
    while (replica.next < this.#tail && replica.trouble === null && replica.state === 'ready') this.#send(replica);
  }

  #send(replica: Replica): void {
    const seq = replica.next++;
    let request = this.#at(seq);
    if (replica.useReserve && !request.reserved && seq < this.#reservedTail) request = { ...request, reserved: true };
    replica.told = request.ackedEnd;
    replica.inflight++;
    this.#deps.transport.send(replica.id, request, replica.onReply);
  }

  // ---- acknowledgement ------------------------------------------------------------------------------------------------------------

  /** The end that at least A replicas have reached. */
  #quorumEnd(): Offset {
    if (this.#replicas.length === 1) return this.#replicas[0]?.end ?? this.first;
    let best = this.first;
    for (const candidate of this.#replicas) {
      if (candidate.end <= best) continue;
      let count = 0;
      for (const replica of this.#replicas) if (replica.end >= candidate.end) count++;
      if (count >= this.descriptor.ackQuorum) best = candidate.end;
    }
    return best;
  }

  #updateAcked(): void {
    if (!this.#linked) return;
    const end = this.#quorumEnd();
    if (end > this.#ackedEnd) {
      this.#ackedEnd = end;
      while (this.#unacked < this.#tail && this.#endOf(this.#unacked) <= end) {
        this.#unackedBytes -= this.#at(this.#unacked).bytes.length;
        this.#unacked++;
      }
      this.#deps.onAcked();
    }
    this.#trim();
  }

  #isUntold(replica: Replica): boolean {
    return replica.state === 'ready' && replica.trouble === null && replica.told < this.#ackedEnd && replica.held === this.#tail;
  }

  /** An empty append: nothing follows, and readers may know what is acknowledged. */
  #tell(replica: Replica): void {
    replica.told = this.#ackedEnd;
    replica.inflight++;
    const { ballot } = this.#deps;
    const { first } = this;
    this.#deps.transport.send(
      replica.id,
      {
        kind: 'append',
        ledger: this.descriptor.ledger,
        ballot,
        first,
        offset: replica.end,
        span: 0,
        ackedEnd: this.#ackedEnd,
        bytes: NOTHING,
        reserved: true,
      },
      replica.onReply,
    );
  }

  #isOutOfSpace(): boolean {
    let writable = 0;
    let full = false;
    for (const replica of this.#replicas) {
      if (replica.spaceless) full = true;
      else if (replica.state === 'ready') writable++;
    }
    return full && writable < this.descriptor.ackQuorum;
  }

  #lose(lost: Lost): void {
    this.#stopped = true;
    this.#deps.onLost(lost);
  }
}
