// A random history of one partition under faults, and what must hold after every step: owners that come and go over one log, two producers,
// one subscription, and metadata that rolls back, is emptied, is away, or gets its writes late. The partition is the production one; the log
// is perfect, and of what is in flight when its owner is replaced a prefix survives. One seed is one history.

import type { SimRandom } from '#lib/runtime/sim/random.ts';
import { type Failure, isFailure } from '#lib/types/errors.ts';
import type { PositionFrame } from '#lib/wire/frames.ts';
import type { ConsumerSession, EffectivePolicies, ProducerOpened, StoredBatch } from '../api.ts';
import { mergeCursor } from '../core/merge.ts';
import { batchOf, consumerNamed, FOREVER, type Harness, ModelSink } from './harness.ts';
import { type Mistake, plantInPartition } from './mistakes.ts';
import { canonical, countsHold, decode, isAcknowledged, isChange, lifeOf, replayWhole, type Seen } from './model-log.ts';

const WINDOW = 3;
const IN_HAND_MAX = 6;
const LATE_MAX = 4;
const SUBSCRIPTION = 's';
/** Ledgers expire within a walk, whose steps take a millisecond each. */
const SHORT: EffectivePolicies = { retentionMs: 30, backlogBytesMax: -1, dedupWindowMs: 600_000 };

interface Batch {
  readonly producer: number;
  readonly epoch: number;
  readonly sequence: number;
  readonly prevSequence: number;
  readonly values: readonly string[];
  done: boolean;
}

interface Client {
  readonly id: number;
  epoch: number;
  open: boolean;
  last: number;
  sent: Batch[];
  gone: Batch[];
}

interface InHand {
  readonly message: number;
  readonly resetEpoch: number;
  readonly life: string;
}

type Act = () => string | undefined | Promise<string | undefined>;

export class Model {
  readonly harness: Harness;
  readonly mistake: Mistake;
  readonly rnd: SimRandom;
  /** Some histories change the subscription and lose their owner more often than others. */
  readonly often: number;
  /** Every entry that was ever durable. */
  readonly history: Seen[] = [];
  bad: string | null = null;
  alive = true;
  trims = 0;
  checkpoints = 0;
  takeOvers = 0;
  #metadataUp = true;
  readonly #past: ReturnType<Harness['metadata']['snapshot']>[] = [];
  #late: [string, () => void][] = [];
  readonly #clients: Client[] = [0, 1].map(id => ({ id, epoch: 1, open: false, last: 0, sent: [], gone: [] }));
  readonly #fenced = [0, 0];
  readonly #top = [0, 0];
  readonly #visible = new Map<string, number>();
  readonly #acked = new Set<string>();
  readonly #sends: { readonly id: string; readonly value: string; done: boolean }[] = [];
  // The consumer, as it knows itself.
  #session: ConsumerSession | null = null;
  #hand: InHand[] = [];
  #instance = 0;
  #known = -1;
  #requests = 0;
  readonly #got = new Map<string, Set<number>>();
  readonly #acks = new Map<string, Set<number>>();
  readonly #receipts = new Set<string>();
  readonly #changeOrder = new Map<string, number>();
  #confirmed = { at: -1, request: 0 };
  #arriving: { readonly before: number; readonly request: number } | null = null;

  constructor(harness: Harness, rnd: SimRandom, mistake: Mistake, often: number) {
    this.often = often;
    this.harness = harness;
    this.rnd = rnd;
    this.mistake = mistake;
  }

  get #storage(): Harness['storage'] {
    return this.harness.storage;
  }

  get #pending(): Seen[] {
    return this.#storage.pending.map(decode);
  }

  /** What is durable or in flight. */
  get all(): Seen[] {
    return [...this.history, ...this.#pending];
  }

  #note(what: string): void {
    this.bad ??= what;
  }

  // ---- what must hold ------------------------------------------------------------------------------------------------------------

  /** Looks at every entry that has become durable since the last look. */
  witness(): void {
    const end = this.history.at(-1)?.end ?? 0;
    for (const entry of this.#storage.entries) {
      const seen = decode(entry);
      if (seen.base < end) continue;
      this.history.push(seen);
      this.#witnessOne(seen);
    }
  }

  #witnessOne(seen: Seen): void {
    if (seen.control?.kind === 'trim') this.trims++;
    if (seen.control?.kind === 'commit') this.checkpoints++;
    if (isChange(seen)) {
      const request = this.#changeOrder.get(lifeOf(seen)) ?? 0;
      if (request < this.#confirmed.request)
        this.#note(`request ${request} changes the subscription after ${this.#confirmed.request} was confirmed`);
    }
    const producer = seen.mark === null || seen.mark.name === '' ? -1 : Number(seen.mark.name.slice(1));
    if (seen.mark !== null && producer >= 0) {
      if (seen.mark.epoch < (this.#fenced[producer] ?? 0))
        this.#note(`@${seen.base} is of a fenced epoch ${seen.mark.epoch} of p${producer}`);
      const rank = seen.mark.epoch * 1000 + seen.mark.sequence;
      if (rank <= (this.#top[producer] ?? 0)) this.#note(`@${seen.base} breaks the order of p${producer}`);
      this.#top[producer] = rank;
    }
    seen.values.forEach((value, index) => {
      const before = this.#visible.get(value);
      if (before !== undefined) this.#note(`${value} is visible @${before} and @${seen.base + index}`);
      this.#visible.set(value, seen.base + index);
    });
  }

  /** The cursor may pass only what was acknowledged in this life of it. */
  violation(): string | null {
    if (this.bad !== null || !this.alive) return this.bad;
    const { state } = this.harness.partition;
    const all = this.all;
    const change = all.findLast(isChange);
    const subscription = state.subscriptions.get(SUBSCRIPTION);
    const shouldBe = change === undefined || change.control?.kind === 'unsubscribed' ? undefined : change.base;
    if (subscription?.resetEpoch !== shouldBe)
      return `the subscription's last change is @${shouldBe}, and its owner has @${subscription?.resetEpoch}`;
    if ((change?.base ?? -1) < this.#confirmed.at) return `the confirmed change @${this.#confirmed.at} is forgotten`;
    if (subscription === undefined || change === undefined) return null;
    const { cursor } = subscription;
    const from = change.control?.kind === 'subscribed' || change.control?.kind === 'sought' ? change.control.from : 0;
    const mine = this.#acks.get(lifeOf(change));
    for (const seen of all)
      for (let message = seen.base; message < seen.base + seen.count; message++) {
        if (message < from || message < state.start || mine?.has(message) || !isAcknowledged(cursor, message)) continue;
        return `@${message} counts as acknowledged (markDelete ${cursor.markDelete}), and was not since the cursor began at ${from}`;
      }
    return countsHold(state, cursor, all);
  }

  /** The owner's state must be what a replay of the whole history gives, with what metadata has of this life. */
  async #compareWithWhole(): Promise<void> {
    const whole = replayWhole(this.history, this.harness.settings.idempotencyIdsMax);
    const subscription = whole.subscriptions.get(SUBSCRIPTION);
    if (this.#metadataUp && subscription !== undefined)
      mergeCursor(whole, subscription, await this.harness.metadata.readCursor(this.#storage.partition, SUBSCRIPTION));
    whole.settle();
    const is = canonical(this.harness.partition.state, this.history);
    const should = canonical(whole, this.history);
    if (is !== should) this.#note(`a take over arrives at\n    ${is}, and the whole log gives\n    ${should}`);
  }

  /** A request has arrived and what it appended is there: which request it was. */
  attribute(): void {
    if (this.#arriving === null) return;
    const { before, request } = this.#arriving;
    this.#arriving = null;
    for (const seen of this.all)
      if (seen.base >= before && isChange(seen) && !this.#changeOrder.has(lifeOf(seen))) this.#changeOrder.set(lifeOf(seen), request);
  }

  // ---- requests ------------------------------------------------------------------------------------------------------------------

  /** Four fates: answered; done with its reply lost; done later; lost. The last three look alike to the sender. */
  #send(label: string, act: (told: boolean) => void, mayBeLate = true): string {
    const fate = this.rnd.next();
    if (fate < 0.75) {
      const told = fate < 0.62;
      if (this.alive) act(told);
      return told ? label : `${label} (reply lost)`;
    }
    if (fate > 0.93 || this.#late.length >= LATE_MAX || !mayBeLate) return `${label} (lost)`;
    this.#late.push([label, () => this.alive && act(true)]);
    return `${label} (late)`;
  }

  #settled(batch: Batch, result: StoredBatch): void {
    const seen = this.history.find(({ base }) => base === result.offset);
    if (seen?.values.join() !== batch.values.join())
      this.#note(`${batch.values} is acknowledged @${result.offset}, which is ${seen?.values ?? 'not durable'}`);
    for (const value of batch.values) this.#acked.add(value);
    batch.done = true;
    const { sent } = this.#clients[batch.producer] ?? { sent: [] };
    while (sent[0]?.done) sent.shift();
  }

  publish(batch: Batch, told: boolean): void {
    const { epoch, sequence, prevSequence, values } = batch;
    const producer = { name: `p${batch.producer}`, epoch, instance: instanceOf(batch.producer, epoch) };
    this.harness.partition.publish(batchOf(values, { producer, sequence, prevSequence }), result => {
      this.witness();
      if (isFailure(result)) this.#refused(batch, result);
      else if (told && !batch.done) this.#settled(batch, result);
    });
  }

  #refused(batch: Batch, failure: Failure): void {
    if (failure.stored === 'unknown') return;
    const stored = this.all.some(({ values }) => values.join() === batch.values.join());
    if (stored && failure.code !== 'not_owner')
      this.#note(`${batch.values} is called certainly not stored (${failure.code}), and is in the log`);
  }

  open(client: Client, epoch: number, told: boolean): void {
    const opening = { name: `p${client.id}`, epoch, instance: instanceOf(client.id, epoch), window: WINDOW, ephemeral: false };
    this.harness.partition.openProducer(opening, result => {
      this.witness();
      if (told && !isFailure(result) && !client.open && client.epoch === epoch) this.#opened(client, result);
    });
  }

  #opened(client: Client, { epoch, lastSequence }: ProducerOpened): void {
    client.open = true;
    client.last = lastSequence;
    this.#fenced[client.id] = epoch;
    for (const { sequence, values } of client.gone.splice(0)) {
      const stored = this.#visible.has(values[0] ?? '');
      if (stored !== sequence <= lastSequence)
        this.#note(`p${client.id} is told that ${lastSequence} is its last, and ${values} is ${stored ? '' : 'not '}in the log`);
    }
  }

  // ---- what can happen ---------------------------------------------------------------------------------------------------------------

  acts(): readonly (readonly [number, Act])[] {
    return [
      [26, () => this.#makeDurable()],
      [6, () => this.#arriveLate()],
      [0.7, () => this.#kill()],
      [0.7 * this.often, async () => (this.alive ? this.takeOver() : undefined)],
      [8, async () => (this.alive ? undefined : this.takeOver())],
      [0.5, () => this.#metadataFault('rolls back')],
      [0.3, () => this.#metadataFault('is emptied')],
      [0.3, () => this.#metadataFault('goes or comes')],
      [6, () => this.#maintain()],
      [1, () => this.#roll()],
      [4 * this.often, () => this.#tick()],
      [0.6, () => this.#restart()],
      [5, () => this.#openOne()],
      [9, () => this.#create()],
      [22, () => this.#publishOne()],
      [3, () => this.#sendOne()],
      [1.4 * this.often, () => this.#subscribe()],
      [3, () => this.#attach()],
      [0.8, () => this.#reconnect()],
      [10, () => this.#credit()],
      [12, () => this.#acknowledge()],
    ];
  }

  #makeDurable(): string | undefined {
    if (!this.alive || this.#storage.pending.length === 0) return undefined;
    this.#storage.owner?.acknowledge(1 + this.rnd.integer(2));
    return `log is durable to @${this.#storage.durableEnd}`;
  }

  #arriveLate(): string | undefined {
    if (this.#late.length === 0) return undefined;
    const [late] = this.#late.splice(this.rnd.integer(this.#late.length), 1);
    late?.[1]();
    return `late: ${late?.[0]}`;
  }

  #kill(): string | undefined {
    if (!this.alive) return undefined;
    this.alive = false;
    this.#session = null;
    return 'owner is killed';
  }

  async takeOver(): Promise<string> {
    const surviving = this.rnd.integer(this.#storage.pending.length + 1);
    this.#session = null;
    this.#hand = [];
    this.takeOvers++;
    const next = await this.harness.takeOver(surviving);
    this.alive = true;
    this.witness();
    if (isFailure(next)) {
      this.#note(`the take over fails: ${next.message}`);
      return 'a take over fails';
    }
    plantInPartition(this.mistake, next, this.harness);
    if (this.bad === null) await this.#compareWithWhole();
    return `an owner takes over ${this.history.length} entries`;
  }

  #metadataFault(what: 'rolls back' | 'is emptied' | 'goes or comes'): string | undefined {
    const { metadata } = this.harness;
    if (what === 'goes or comes') this.setMetadata(!this.#metadataUp);
    else if (what === 'is emptied') metadata.restore();
    else if (this.#past.length === 0) return undefined;
    else metadata.restore(this.rnd.pick(this.#past));
    return `metadata ${what}`;
  }

  setMetadata(up: boolean): void {
    this.#metadataUp = up;
    this.harness.metadata.setReachable(up);
  }

  #maintain(): string | undefined {
    if (!this.alive) return undefined;
    const short = this.rnd.chance(0.3);
    this.harness.partition.setPolicies(short ? SHORT : FOREVER);
    this.harness.partition.maintain(this.harness.world.clock.now());
    return `owner maintains${short ? ', with a short retention' : ''}`;
  }

  #roll(): string | undefined {
    if (!this.alive) return undefined;
    this.#storage.owner?.roll();
    return 'ledger is rolled';
  }

  async #tick(): Promise<string> {
    this.#past.push(this.harness.metadata.snapshot());
    await this.harness.advance(250);
    return 'time passes';
  }

  #restart(): string | undefined {
    const client = this.rnd.pick(this.#clients);
    if (!client.open) return undefined;
    client.gone.push(...client.sent.filter(batch => !batch.done));
    client.epoch++;
    client.open = false;
    client.sent = [];
    return `p${client.id} restarts`;
  }

  #openOne(): string | undefined {
    const client = this.#clients.find(({ open }) => !open);
    if (client === undefined) return undefined;
    const { epoch } = client;
    return this.#send(`p${client.id} opens epoch ${epoch}`, told => this.open(client, epoch, told));
  }

  #create(): string | undefined {
    const ready = this.#clients.filter(client => client.open && client.sent.length < WINDOW);
    if (ready.length === 0) return undefined;
    const client = this.rnd.pick(ready);
    const prevSequence = client.last;
    const sequence = prevSequence + 1 + this.rnd.integer(2);
    const values = Array.from({ length: 1 + this.rnd.integer(3) }, (_, n) => `${client.id}.${client.epoch}.${sequence}.${n}`);
    client.sent.push({ producer: client.id, epoch: client.epoch, sequence, prevSequence, values, done: false });
    client.last = sequence;
    return `p${client.id} has ${values}`;
  }

  #publishOne(): string | undefined {
    const unanswered = this.#clients.flatMap(client => client.sent).filter(batch => !batch.done);
    if (unanswered.length === 0) return undefined;
    const batch = this.rnd.pick(unanswered);
    return this.#send(`publish ${batch.values} after ${batch.prevSequence}`, told => this.publish(batch, told));
  }

  /** A `Send` with an id, tried again under the same id until it is answered. */
  #sendOne(): string | undefined {
    let request = this.#sends.find(({ done }) => !done);
    if (request === undefined) {
      const value = `send${this.#sends.length}`;
      request = { id: `id-${value}`, value, done: false };
      this.#sends.push(request);
    }
    const { id, value } = request;
    return this.#send(`send ${value}`, told =>
      this.harness.partition.publish(batchOf([value], { idempotencyId: id }), result => {
        this.witness();
        if (isFailure(result) || !told) return;
        if (this.history.find(({ base }) => base === result.offset)?.values[0] !== value)
          this.#note(`${value} is acknowledged, and is not @${result.offset}`);
        this.#acked.add(value);
        const open = this.#sends.find(send => send.id === id);
        if (open !== undefined) open.done = true;
      }),
    );
  }

  #subscribe(): string | undefined {
    if (!this.alive) return undefined;
    const { partition } = this.harness;
    const request = ++this.#requests;
    const known = this.#known;
    const exists = partition.state.subscriptions.has(SUBSCRIPTION);
    const to = this.#somewhere();
    const gone = exists && this.rnd.chance(0.12);
    const label = `${gone ? 'unsubscribe' : exists ? 'seek' : 'subscribe'} ${to.kind === 'offset' ? `@${to.offset}` : to.kind}, knowing @${known}`;
    const act = (told: boolean): void => {
      const owner = this.harness.partition;
      const before = this.#storage.end;
      const work = gone
        ? owner.deleteSubscription(SUBSCRIPTION, known)
        : exists
          ? owner.seekSubscription(SUBSCRIPTION, to, this.mistake === 'lateseek' ? null : known)
          : owner.createSubscription(SUBSCRIPTION, 1, to);
      this.#arriving = { before, request };
      void work.then(result => {
        this.witness();
        if (isFailure(result)) {
          if (result.code === 'changed') this.#known = Number(result.detail['resetEpoch']);
          return;
        }
        if (!told) return;
        const at = 'kind' in result ? (this.history.findLast(isChange)?.base ?? -1) : result.resetEpoch;
        this.#known = at;
        this.#confirmed = { at: Math.max(at, this.#confirmed.at), request: Math.max(request, this.#confirmed.request) };
      });
    };
    return this.#send(label, act, exists);
  }

  #somewhere(): PositionFrame {
    const { state } = this.harness.partition;
    const kind = this.rnd.pick(['earliest', 'latest', 'offset', 'offset'] as const);
    return kind === 'offset' ? { kind, offset: this.rnd.integer(state.end + 3) } : { kind };
  }

  async #attach(): Promise<string | undefined> {
    const { partition } = this.harness;
    if (!this.alive || this.#session !== null || !partition.state.subscriptions.has(SUBSCRIPTION)) return undefined;
    const consumer = consumerNamed('c', String(++this.#instance));
    const sink = new ModelSink(
      entry => this.delivered(partition, entry.offset, entry.resetEpoch),
      () => this.sessionEnded(),
    );
    const attaching = partition.attach({ subscription: SUBSCRIPTION, type: 1, consumer, start: null, mustExist: true }, sink);
    void attaching.then(session => {
      if (isFailure(session) || partition !== this.harness.partition || !this.alive) return;
      this.#session = session;
      this.#hand = [];
      this.#known = session.resetEpoch;
    });
    return 'consumer attaches';
  }

  #reconnect(): string | undefined {
    if (this.#session === null) return undefined;
    if (this.rnd.chance(0.5)) this.#session.detach();
    this.#session = null;
    this.#hand = [];
    return 'consumer reconnects';
  }

  #credit(): string | undefined {
    if (this.#session === null || this.#hand.length >= IN_HAND_MAX) return undefined;
    this.#session.addCredit(2, 1_000_000);
    return 'consumer gives credit';
  }

  /** Called by the sink for every message. */
  delivered(partition: Harness['partition'], message: number, resetEpoch: number): void {
    if (partition !== this.harness.partition || !this.alive) return;
    const change = this.all.find(({ base }) => base === resetEpoch);
    if (change === undefined) {
      this.#note(`@${message} is delivered under @${resetEpoch}, which is nothing`);
      return;
    }
    const life = lifeOf(change);
    if (change.base >= this.#storage.durableEnd)
      this.#note(`@${message} is delivered under the change @${resetEpoch}, which is not durable`);
    if (message >= this.#storage.durableEnd) this.#note(`@${message} is delivered, and is not durable`);
    if (message < partition.state.start) this.#note(`@${message} is delivered, and the log begins at ${partition.state.start}`);
    if (this.#receipts.has(`${life} ${message}`)) this.#note(`@${message} is delivered again after the receipt of its acknowledgement`);
    setOf(this.#got, life).add(message);
    this.#hand.push({ message, resetEpoch, life });
  }

  sessionEnded(): void {
    this.#session = null;
    this.#hand = [];
  }

  #acknowledge(): string | undefined {
    if (this.#hand.length === 0) return undefined;
    return this.acknowledgeOne(this.rnd.pick(this.#hand), this.rnd.chance(0.2), this.rnd.chance(0.3));
  }

  acknowledgeOne(hand: InHand, many: boolean, receipt: boolean): string {
    const { message, resetEpoch, life } = hand;
    const covers = many ? [...setOf(this.#got, life)].filter(other => other <= message) : [message];
    this.#hand = this.#hand.filter(other => other.life !== life || !covers.includes(other.message));
    for (const covered of covers) setOf(this.#acks, life).add(covered);
    const act = (told: boolean): void => {
      const session = this.#session;
      if (session === null) return;
      const reply = (result: { kind: 'acknowledged' } | Failure): void => {
        if (told && !isFailure(result)) for (const covered of covers) this.#receipts.add(`${life} ${covered}`);
      };
      const epoch = this.mistake === 'lateack' ? session.resetEpoch : resetEpoch;
      const short = receipt && this.mistake === 'receiptmemory';
      session.acknowledge(epoch, many ? message + 1 : 0, many ? [] : [[message, message + 1]], receipt && !short ? reply : null);
      if (short) reply({ kind: 'acknowledged' });
    };
    return this.#send(`ack ${many ? 'up to ' : ''}@${message}${receipt ? ' with receipt' : ''}`, act);
  }

  // ---- after the faults ------------------------------------------------------------------------------------------------------------

  /** What is late arrives, requests are answered, everything is consumed; then the idle partition must append nothing, through a take over too. */
  async heal(): Promise<string | null> {
    this.setMetadata(true);
    while (this.#late.length > 0) {
      this.#late.shift()?.[1]();
      await this.harness.settle();
      this.attribute();
      await this.harness.flush();
      this.witness();
    }
    if (!this.alive) await this.takeOver();
    await this.drain();
    if (this.bad !== null || this.violation() !== null) return this.violation();
    const before = this.#storage.end;
    await this.takeOver();
    await this.drain();
    if (this.violation() !== null) return this.violation();
    if (this.#storage.end !== before) return `the idle partition grows from @${before} to @${this.#storage.end} with a take over`;
    return this.#afterAll();
  }

  async drain(): Promise<void> {
    this.harness.partition.setPolicies(FOREVER);
    this.#session?.detach();
    this.#session = null;
    for (let round = 0, was = ''; round < 30 && this.bad === null; round++) {
      for (const client of this.#clients) {
        if (!client.open) this.open(client, client.epoch, true);
        for (const batch of client.sent.slice()) if (!batch.done) this.publish(batch, true);
      }
      await this.harness.flush();
      await this.#consumeAll();
      await this.harness.advance(300);
      this.harness.partition.maintain(this.harness.world.clock.now());
      await this.harness.flush();
      this.witness();
      const is = `${this.#storage.end} ${this.#hand.length} ${this.#clients.map(({ sent }) => sent.length)}`;
      if (is === was) return;
      was = is;
    }
    this.#note('the partition goes on appending');
  }

  async #consumeAll(): Promise<void> {
    await this.#attach();
    await this.harness.flush();
    this.#session?.addCredit(1_000_000, 1_000_000_000);
    await this.harness.flush();
    for (const { message, resetEpoch, life } of this.#hand.splice(0)) {
      setOf(this.#acks, life).add(message);
      this.#session?.acknowledge(resetEpoch, 0, [[message, message + 1]], null);
    }
  }

  #afterAll(): string | null {
    for (const { id, sent } of this.#clients) if (sent.length > 0) return `stuck: p${id} with ${sent[0]?.values}`;
    for (const value of this.#acked) if (!this.#visible.has(value)) return `${value} is acknowledged, and not in the log`;
    const { state } = this.harness.partition;
    const cursor = state.subscriptions.get(SUBSCRIPTION)?.cursor;
    const last = this.history.findLast(({ count }) => count > 0);
    if (cursor !== undefined && last !== undefined && cursor.markDelete < last.end)
      return `stuck: markDelete is ${cursor.markDelete} of ${last.end}`;
    if (cursor !== undefined && cursor.backlog(state.counts) !== 0)
      return `everything is acknowledged, and the backlog is ${cursor.backlog(state.counts)}`;
    return this.harness.partition.isIdle() || this.#session !== null ? null : 'the partition does not come to rest';
  }
}

function setOf(map: Map<string, Set<number>>, key: string): Set<number> {
  const found = map.get(key) ?? new Set<number>();
  map.set(key, found);
  return found;
}

const instanceOf = (id: number, epoch: number): string => (id * 1_000_000 + epoch).toString(16).padStart(16, '0');
