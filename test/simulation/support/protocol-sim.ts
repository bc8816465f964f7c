// One partition, several brokers that compete for it, bookies with the real replica core: the broker's production cores under a random
// schedule of lost answers, late requests, crashes, a disk that is lost for good and an index that rolls back. Everything happens in
// single steps, one seed is one history, and after each step the rules that must always hold are checked from outside.

import { Owner } from '#lib/ledger/core/own.ts';
import { bestLiveCount, chooseEnsemble } from '#lib/ledger/core/placement.ts';
import type { SealedLedger } from '#lib/ledger/core/seal.ts';
import { Spreads } from '#lib/ledger/core/spread.ts';
import { TakeOver } from '#lib/ledger/core/take-over.ts';
import {
  type BookieReply,
  type BookieRequest,
  type BookieTransport,
  type LedgerDescriptor,
  type SealValue,
  voteQuorum,
} from '#lib/ledger/protocol.ts';
import { type SimRandom, simRandom } from '#lib/runtime/sim/random.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import { type BookieId, bookieId, type LedgerId, ledgerId, type Offset, offset, partitionId, topicId } from '#lib/types/brands.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { encodeEntry, entryBaseOffset, entryPayload } from '#lib/wire/entry.ts';
import { MemoryBookie } from './bookies.ts';

/** Known mistakes that the wiring below can make, so that the checks are seen to fail. */
export type PlantedBug = 'none' | 'nofence' | 'nobackfill' | 'eagerack' | 'reseal' | 'thinadopt' | 'reuse';

export interface SimOptions {
  readonly seed: number;
  readonly steps: number;
  readonly replicas: number;
  readonly ackQuorum: number;
  readonly bug: PlantedBug;
}

export interface SimResult {
  /** What was violated; null: nothing. */
  readonly violation: string | null;
  readonly trace: readonly string[];
  readonly acked: number;
  readonly sealed: number;
  readonly adopted: number;
  readonly rolls: number;
}

const TOPIC = topicId('01890000-0000-7000-8000-000000000001');
const PARTITION = partitionId(TOPIC, 0);
const BROKERS = 3;
const LEDGERS_MAX = 14;
const LATE_MAX = 3;
const ENTRY_TIME = { appendTimeMs: 1, checkpointOffset: -1 } as const;

interface Message {
  readonly broker: Broker;
  readonly life: number;
  readonly to: MemoryBookie;
  readonly request: BookieRequest;
  readonly onReply: (reply: BookieReply) => void;
}

interface Broker {
  readonly name: string;
  /** Counts crashes and acts given up: answers to an earlier life reach nobody. */
  life: number;
  incarnation: string;
  high: number;
  now: number;
  ballot: Ballot | null;
  takeOver: TakeOver | null;
  owner: Owner | null;
  spreads: Spreads;
  written: number;
  /** What it wrote and does not know to be acknowledged: [offset, value]. */
  pending: [number, string][];
  /** Which bookies answered which offset of an unlinked ledger: the planted eager acknowledgement counts them. */
  eager: Map<string, Set<BookieId>>;
}

export class ProtocolSim {
  readonly #options: SimOptions;
  readonly #random: SimRandom;
  readonly #bookies: MemoryBookie[];
  readonly #lostDisks = new Set<BookieId>();
  readonly #brokers: Broker[];
  readonly #genesis: SealedLedger;
  readonly #descriptors = new Map<LedgerId, LedgerDescriptor>();
  #messages: Message[] = [];
  #late: Message[] = [];
  #index: SealedLedger;
  readonly #indexPast: SealedLedger[];
  #epoch = 0;
  readonly #acked = new Map<number, string>();
  readonly #votes = new Map<string, Set<BookieId>>();
  readonly #chosen = new Map<LedgerId, SealValue>();
  readonly #trace: string[] = [];
  #violation: string | null = null;
  #ledgers = 0;
  #incarnations = 0;
  #adopted = 0;
  #rolls = 0;
  #healing = false;

  constructor(options: SimOptions) {
    this.#options = options;
    this.#random = simRandom(options.seed);
    const bug = options.bug === 'nofence' ? 'nofence' : 'none';
    this.#bookies = Array.from(
      { length: options.replicas + 1 },
      (_, n) => new MemoryBookie(bookieId((n + 1).toString(16).padStart(32, '0')), bug),
    );
    const descriptor = this.#newDescriptor(null, { epoch: 1, incarnation: '0000000000000001' }, new Set());
    this.#genesis = { descriptor, first: offset(0) };
    this.#index = this.#genesis;
    this.#indexPast = [this.#genesis];
    this.#brokers = Array.from({ length: BROKERS }, (_, n) => this.#newBroker(`broker ${n}`));
  }

  run(): SimResult {
    for (let step = 0; step < this.#options.steps && this.#violation === null; step++) this.#step();
    if (this.#violation === null) this.#heal();
    return {
      violation: this.#violation,
      trace: this.#trace,
      acked: this.#acked.size,
      sealed: this.#chosen.size,
      adopted: this.#adopted,
      rolls: this.#rolls,
    };
  }

  get #quorum(): number {
    return voteQuorum(this.#options.replicas, this.#options.ackQuorum);
  }

  // ---- the schedule ---------------------------------------------------------------------------------------------------------------

  #step() {
    const random = this.#random;
    if (random.chance(0.006)) return this.#loseDisk();
    if (random.chance(0.01)) return this.#rollBackIndex();
    if (this.#late.length > 0 && random.chance(0.08)) return this.#deliverLate();
    if (this.#messages.length > 0 && random.chance(0.72)) return this.#deliverOne();
    const broker = random.pick(this.#brokers);
    if (!broker.takeOver && !broker.owner) {
      const led = this.#brokers.some(other => other.owner);
      if (random.chance(led ? 0.05 : 0.5)) this.#begin(broker);
      return;
    }
    if (random.chance(0.02)) return this.#crash(broker, random.chance(0.5));
    if (broker.owner && random.chance(0.5)) return this.#act(broker, broker.owner);
    this.#tick(broker, random.pick([20, 20, 50, 1000]));
  }

  #act(broker: Broker, owner: Owner): void {
    const random = this.#random;
    if (owner.isStopped || this.#closing.has(broker)) return;
    if (random.chance(0.12) && this.#ledgers < LEDGERS_MAX) {
      this.#note(broker, 'rolls');
      owner.roll();
    } else if (random.chance(0.04)) {
      this.#note(broker, 'closes');
      this.#closing.add(broker);
      owner.close(() => this.#letGo(broker));
    } else if (broker.written < 6) this.#write(broker, owner);
  }

  #write(broker: Broker, owner: Owner): void {
    const value = `${broker.incarnation}.${broker.written++}`;
    const payload = Buffer.from(value);
    const at = owner.end;
    const header = { kind: 'batch', baseOffset: at, count: 1, cumulativeCount: at, ...ENTRY_TIME } as const;
    this.#note(broker, `writes ${value} @${at}`);
    broker.pending.push([at, value]);
    owner.append(encodeEntry(header, [], payload, crc32c(payload)), 1, false);
  }

  readonly #closing = new Set<Broker>();

  #tick(broker: Broker, ms: number): void {
    broker.now += ms;
    broker.takeOver?.tick(broker.now);
    broker.owner?.tick(broker.now);
    broker.spreads.tick(broker.now);
  }

  #loseDisk(): void {
    if (this.#options.replicas < 3 || this.#lostDisks.size > 0) return;
    const bookie = this.#random.pick(this.#bookies);
    this.#lostDisks.add(bookie.id);
    this.#trace.push(`the disk of ${short(bookie.id)} is lost`);
  }

  #rollBackIndex(): void {
    this.#epoch = this.#random.integer(this.#epoch + 1);
    this.#index = this.#random.pick(this.#indexPast);
    this.#trace.push(`the index rolls back to epoch ${this.#epoch}`);
  }

  #publish(ledger: SealedLedger): void {
    if (!this.#random.chance(0.7)) return;
    this.#index = ledger;
    this.#indexPast.push(ledger);
  }

  // ---- messages -------------------------------------------------------------------------------------------------------------------

  #deliverOne() {
    const [message] = this.#messages.splice(this.#random.integer(this.#messages.length), 1);
    if (!message) return;
    const fate = this.#random.next();
    if (fate < 0.03) return this.#answer(message, { kind: 'unreachable' });
    if (fate < 0.08) {
      this.#handle(message);
      return this.#answer(message, { kind: 'unreachable' });
    }
    if (fate < 0.16 && this.#late.length < LATE_MAX) {
      this.#late.push(message);
      return this.#answer(message, { kind: 'unreachable' });
    }
    this.#answer(message, this.#handle(message));
  }

  #deliverLate(): void {
    const [message] = this.#late.splice(this.#random.integer(this.#late.length), 1);
    if (message) this.#handle(message);
  }

  #answer(message: Message, reply: BookieReply): void {
    if (message.broker.life !== message.life) return;
    this.#trace.push(`${message.broker.name} hears ${describe(reply)} from ${short(message.to.id)} to ${message.request.kind}`);
    message.onReply(reply);
    this.#check();
  }

  #handle(message: Message): BookieReply {
    const { to, request, broker } = message;
    if (this.#lostDisks.has(to.id)) return { kind: 'unreachable' };
    const reply = to.handle(request);
    this.#trace.push(`${short(to.id)} gets ${describeRequest(request)} of ${broker.name}: ${describe(reply)}`);
    if (reply.kind === 'conflict') this.#violate(reply.what);
    if (request.kind === 'seal' && reply.kind === 'ok') this.#vote(to.id, request);
    if (request.kind === 'append' && reply.kind === 'appended' && this.#options.bug === 'eagerack') this.#eagerAck(message, reply.end);
    this.#check();
    return reply;
  }

  #vote(at: BookieId, request: BookieRequest & { kind: 'seal' }): void {
    const { value, ledger, ballot } = request;
    const key = `${ledger} ${ballot.epoch}.${ballot.incarnation} ${value.end} ${value.next?.ledger}`;
    const votes = this.#votes.get(key) ?? new Set();
    this.#votes.set(key, votes.add(at));
    if (votes.size < this.#quorum) return;
    const was = this.#chosen.get(ledger);
    if (was && (was.end !== value.end || was.next?.ledger !== value.next?.ledger))
      this.#violate(`two seals of ${ledger} are chosen: ${was.end} and ${value.end}, or other successors`);
    this.#chosen.set(ledger, value);
  }

  /** Planted: an entry counts as acknowledged with A answers, linked or not. */
  #eagerAck(message: Message, end: Offset): void {
    const { request, broker, to } = message;
    if (request.kind !== 'append' || request.span === 0 || broker.life !== message.life || !broker.owner) return;
    for (const [at, value] of broker.pending) {
      if (at < request.first || at >= end) continue;
      const key = `${request.ledger} ${at}`;
      const answered = broker.eager.get(key) ?? new Set();
      broker.eager.set(key, answered.add(to.id));
      if (answered.size >= this.#options.ackQuorum) this.#acknowledge(at, value);
    }
  }

  #transport(broker: Broker): BookieTransport {
    const life = broker.life;
    const sealed = new Set<string>();
    return {
      send: (to, request, onReply) => {
        if (broker.life !== life) return;
        const bookie = this.#bookies.find(found => found.id === to);
        if (!bookie) throw new Error('no such bookie');
        this.#messages.push({ broker, life, to: bookie, ...this.#plant(broker, request, onReply, sealed) });
      },
      bookies: () => this.#bookies.map(({ id }) => ({ id, alive: !this.#lostDisks.has(id), full: false })),
    };
  }

  /** Where a planted mistake changes what is sent, or what is believed to have been answered. */
  #plant(
    broker: Broker,
    request: BookieRequest,
    onReply: (reply: BookieReply) => void,
    sealed: Set<string>,
  ): { readonly request: BookieRequest; readonly onReply: (reply: BookieReply) => void } {
    const { bug } = this.#options;
    if (bug === 'nobackfill' && request.kind === 'append' && broker.takeOver && !broker.owner) {
      const end = offset(request.offset + request.span);
      return { request: { kind: 'inspect', ledger: request.ledger }, onReply: () => onReply({ kind: 'appended', end }) };
    }
    if (bug === 'thinadopt' && request.kind === 'fence') {
      const empty: BookieReply = { kind: 'fenced', end: request.first, ackedEnd: request.first, accepted: null, decided: null };
      return { request, onReply: reply => onReply(reply.kind === 'unreachable' ? empty : reply) };
    }
    if (bug === 'reseal' && request.kind === 'seal' && request.value.next) {
      const key = request.ledger;
      if (sealed.has(key) && this.#ledgers < LEDGERS_MAX * 2) {
        const prev = this.#descriptors.get(request.ledger);
        if (prev && broker.ballot) {
          const next = this.#newDescriptor(prev, broker.ballot, new Set());
          return { request: { ...request, value: { ...request.value, next } }, onReply };
        }
      }
      sealed.add(key);
    }
    return { request, onReply };
  }

  // ---- brokers --------------------------------------------------------------------------------------------------------------------

  #newBroker(name: string): Broker {
    const broker: Broker = {
      name,
      life: 0,
      incarnation: this.#newIncarnation(),
      high: 0,
      now: 0,
      ballot: null,
      takeOver: null,
      owner: null,
      spreads: new Spreads({ send: () => undefined, bookies: () => [] }),
      written: 0,
      pending: [],
      eager: new Map(),
    };
    return broker;
  }

  #newIncarnation(): string {
    // Shuffled, so that later processes are not always the higher ones.
    return `${this.#random.integer(0x10000).toString(16).padStart(4, '0')}${(++this.#incarnations).toString(16).padStart(12, '0')}`;
  }

  #newDescriptor(prev: LedgerDescriptor | null, creator: Ballot, avoid: ReadonlySet<BookieId>): LedgerDescriptor {
    const candidates = this.#bookies.map(({ id }) => ({ id, alive: !this.#lostDisks.has(id), full: false }));
    // A broker need not know that a disk is lost.
    const seen = this.#random.chance(0.3) ? candidates.map(({ id }) => ({ id, alive: true, full: false })) : candidates;
    const ensemble = chooseEnsemble(seen, this.#options.replicas, avoid, count => this.#random.integer(count)) ?? [];
    const ledger = ledgerId(`00000000-0000-7000-8000-${(++this.#ledgers).toString(16).padStart(12, '0')}`);
    const { ackQuorum } = this.#options;
    const descriptor = { ledger, partition: PARTITION, topic: TOPIC, prev: prev?.ledger ?? null, ensemble, ackQuorum, creator };
    this.#descriptors.set(ledger, descriptor);
    return descriptor;
  }

  #begin(broker: Broker): void {
    const seen = this.#options.bug === 'reuse' ? 0 : broker.high;
    const epoch = Math.max(this.#epoch, seen, 1) + 1;
    this.#epoch = epoch;
    broker.high = Math.max(broker.high, epoch);
    const ballot = { epoch, incarnation: broker.incarnation };
    broker.ballot = ballot;
    broker.life++;
    this.#note(broker, `takes over with ${epoch}.${broker.incarnation} from ${short(this.#index.descriptor.ledger)}`);
    const transport = this.#transport(broker);
    broker.spreads = new Spreads(transport);
    const placing = {
      nextLedger: (prev: LedgerDescriptor, avoid: ReadonlySet<BookieId>) =>
        this.#ledgers < LEDGERS_MAX || this.#healing ? this.#newDescriptor(prev, ballot, avoid) : null,
      hasOthers: (without: ReadonlySet<BookieId>) => bestLiveCount(transport.bookies(), this.#options.replicas, without) >= this.#quorum,
    };
    broker.takeOver = new TakeOver(
      {
        transport,
        ballot,
        spreads: broker.spreads,
        ...placing,
        alarm: what => this.#trace.push(`${broker.name}: ${what}`),
        onOutcome: outcome => {
          broker.takeOver = null;
          if (outcome.kind === 'leads') {
            const linked = { descriptor: outcome.ledger, first: outcome.first };
            if (outcome.created.length === outcome.ledger.ensemble.length && outcome.ledger.creator !== ballot) this.#adopted++;
            this.#lead(broker, linked, outcome.created, ballot, transport, placing);
          } else if (outcome.kind === 'lost') this.#onLost(broker, outcome.lost);
          else this.#violate(`a take over ends with ${outcome.kind}`);
        },
      },
      this.#index,
    );
  }

  #lead(
    broker: Broker,
    linked: SealedLedger,
    created: readonly BookieId[],
    ballot: Ballot,
    transport: BookieTransport,
    placing: {
      nextLedger(prev: LedgerDescriptor, avoid: ReadonlySet<BookieId>): LedgerDescriptor | null;
      hasOthers(without: ReadonlySet<BookieId>): boolean;
    },
  ): void {
    this.#note(broker, `leads with ${short(linked.descriptor.ledger)} from ${linked.first}`);
    this.#checkLinked(linked);
    this.#publish(linked);
    broker.pending = [];
    broker.eager = new Map();
    broker.owner = new Owner(
      {
        transport,
        ballot,
        spreads: broker.spreads,
        windowCount: 4,
        windowBytes: 1 << 20,
        ledgerBytesMax: 1 << 20,
        ...placing,
        onAcked: () => this.#onAcked(broker),
        onLinked: (_sealed, end, _bytes, next) => {
          this.#rolls++;
          if (!next) return;
          this.#checkLinked({ descriptor: next, first: end });
          this.#publish({ descriptor: next, first: end });
        },
        onLost: lost => this.#onLost(broker, lost),
        alarm: what => this.#trace.push(`${broker.name}: ${what}`),
      },
      { descriptor: linked.descriptor, first: linked.first, created, lazy: false, linked: true },
    );
  }

  #onAcked(broker: Broker): void {
    const end = broker.owner?.ackedEnd ?? 0;
    while (broker.pending[0] && broker.pending[0][0] < end) {
      const [at, value] = broker.pending.shift() ?? [0, ''];
      this.#acknowledge(at, value);
    }
  }

  #acknowledge(at: number, value: string): void {
    const was = this.#acked.get(at);
    if (was !== undefined && was !== value) this.#violate(`@${at} is acknowledged as ${was} and as ${value}`);
    this.#acked.set(at, value);
    this.#trace.push(`@${at} is acknowledged as ${value}`);
  }

  #onLost(broker: Broker, lost: { kind: string; promised?: Ballot }): void {
    this.#note(broker, `loses: ${lost.kind}`);
    if (lost.promised) broker.high = Math.max(broker.high, lost.promised.epoch);
    if (lost.kind === 'broken') this.#violate(`${broker.name} met a broken rule: ${JSON.stringify(lost)}`);
    this.#letGo(broker);
  }

  #letGo(broker: Broker): void {
    broker.life++;
    broker.takeOver?.stop();
    broker.owner?.stop();
    broker.takeOver = null;
    broker.owner = null;
    this.#closing.delete(broker);
  }

  #crash(broker: Broker, process: boolean): void {
    this.#note(broker, process ? 'crashes' : 'lets go');
    this.#letGo(broker);
    if (process) {
      broker.incarnation = this.#newIncarnation();
      broker.high = 0;
    } else if (broker.ballot && this.#random.chance(0.3)) {
      // The counter forgets just this act, and the same process begins again.
      this.#epoch = Math.min(this.#epoch, broker.ballot.epoch - 1);
      this.#trace.push(`the index rolls back to epoch ${this.#epoch}`);
      this.#begin(broker);
    }
  }

  // ---- what must always hold ------------------------------------------------------------------------------------------------------

  #violate(what: string): void {
    this.#violation ??= what;
    this.#trace.push(`VIOLATED: ${what}`);
  }

  #checkLinked(ledger: SealedLedger): void {
    if (ledger.descriptor.ledger === this.#genesis.descriptor.ledger) return;
    const prev = ledger.descriptor.prev;
    const seal = prev === null ? undefined : this.#chosen.get(prev);
    if (!seal || seal.next?.ledger !== ledger.descriptor.ledger || seal.end !== ledger.first)
      this.#violate(`${ledger.descriptor.ledger} is used before the seal that names it is chosen`);
  }

  /** Copies of what stands at an offset of a ledger, on disks that are not lost. */
  #copies(descriptor: LedgerDescriptor, at: number): { readonly values: readonly string[]; readonly lost: number } {
    const values: string[] = [];
    let lost = 0;
    for (const bookie of this.#bookies) {
      if (!descriptor.ensemble.includes(bookie.id)) continue;
      if (this.#lostDisks.has(bookie.id)) lost++;
      else {
        const entry = bookie.held.get(descriptor.ledger)?.entries.find(found => entryBaseOffset(found) === at);
        if (entry) values.push(entryPayload(entry).toString());
      }
    }
    return { values, lost };
  }

  #check() {
    if (this.#violation !== null) return;
    const { ackQuorum } = this.#options;
    let ledger: LedgerDescriptor | null = this.#genesis.descriptor;
    let from = 0;
    const passed = new Set<number>();
    while (ledger) {
      const seal: SealValue | undefined = this.#chosen.get(ledger.ledger);
      const end: number = seal?.end ?? Number.POSITIVE_INFINITY;
      for (let at = from; seal && at < end; at++) {
        const { values, lost } = this.#copies(ledger, at);
        const need = Math.max(1, Math.min(ackQuorum, this.#quorum) - lost);
        if (values.length < need || new Set(values).size > 1)
          return this.#violate(`${ledger.ledger} is sealed at ${end}, and @${at} is held as ${JSON.stringify(values)} (${lost} lost)`);
      }
      for (const [at, value] of this.#acked) {
        if (at < from || at >= end) continue;
        passed.add(at);
        const { values, lost } = this.#copies(ledger, at);
        if (values.some(found => found !== value)) return this.#violate(`@${at} was acknowledged as ${value} and is ${values.join()}`);
        if (values.length < Math.max(1, ackQuorum - lost))
          return this.#violate(`@${at}, acknowledged as ${value}, has ${values.length} copies (${lost} lost)`);
      }
      from = seal ? seal.end : end;
      ledger = seal?.next ?? null;
    }
    for (const at of this.#acked.keys())
      if (!passed.has(at)) return this.#violate(`@${at} was acknowledged, and lies in no ledger of the chain`);
  }

  // ---- healing --------------------------------------------------------------------------------------------------------------------

  /** Every request is answered from now on; a fresh broker must lead, and write. The lost disk stays lost. */
  #heal(): void {
    this.#trace.push('the world heals');
    this.#healing = true;
    this.#late = [];
    this.#messages = [];
    for (const broker of this.#brokers) this.#letGo(broker);
    const fresh = this.#newBroker('fresh broker');
    for (let round = 0; round < 4000 && this.#violation === null; round++) {
      if (!fresh.takeOver && !fresh.owner) {
        this.#begin(fresh);
      }
      const message = this.#messages.shift();
      if (message) this.#answer(message, this.#handle(message));
      else this.#tick(fresh, 20);
      if (fresh.owner && fresh.written < 3) this.#write(fresh, fresh.owner);
      if (fresh.owner && fresh.written === 3 && fresh.owner.ackedEnd === fresh.owner.end) return;
    }
    this.#violation ??= 'stuck: a fresh broker does not come to lead and write';
  }

  #note(broker: Broker, what: string): void {
    this.#trace.push(`${broker.name} ${what}`);
  }
}

const short = (id: string): string => id.replace(/^0[0-]*/, '').slice(-12);

function describe(reply: BookieReply): string {
  switch (reply.kind) {
    case 'appended':
      return `appended ${reply.end}`;
    case 'fenced':
      return `fenced ${reply.end} acked ${reply.ackedEnd}${reply.accepted ? ` accepted ${reply.accepted.end}` : ''}${reply.decided ? ' decided' : ''}`;
    case 'refused':
      return `refused ${reply.reason}`;
    default:
      return reply.kind;
  }
}

function describeRequest(request: BookieRequest): string {
  switch (request.kind) {
    case 'append':
      return `append ${short(request.ledger)} @${request.offset}+${request.span} b${request.ballot.epoch}`;
    case 'fence':
    case 'create':
      return `${request.kind} ${short(request.descriptor.ledger)} b${request.ballot.epoch}`;
    case 'seal':
      return `seal ${short(request.ledger)} at ${request.value.end} next ${short(request.value.next?.ledger ?? '')} b${request.ballot.epoch}`;
    default:
      return request.kind;
  }
}
