// Subscriptions of one partition: creating, seeking, deleting (each a control entry, answered once it is acknowledged), the consumer that
// holds each, and what consumers acknowledge.

import type { CursorUpdate } from '#lib/metadata/store.ts';
import { type Offset, offset as toOffset } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import type { PositionFrame, SubscriptionTypeNumber } from '#lib/wire/frames.ts';
import type { CatchUp } from '../cache/read-ahead.ts';
import { type DispatchHost, ExclusiveSession } from '../dispatch/exclusive.ts';
import { judgeHolder, replacedBy } from '../dispatch/holder.ts';
import type { ConsumerAttach, ConsumerSession, ConsumerSink, SubscriptionStatus } from './api.ts';
import { hasChanges, putBack, takeChanges } from './core/merge.ts';
import { normalizeSpans } from './core/spans.ts';
import type { Subscription } from './core/state.ts';
import type { CursorSource, CursorWriter } from './cursor-writer.ts';
import { type Place, type Positions, placeAtEnd } from './positions.ts';
import type { PartitionSettings } from './settings.ts';
import type { PartitionWriter } from './writer.ts';

type Spans = readonly (readonly [number, number])[];
type AcknowledgeReply = ((result: { kind: 'acknowledged' } | Failure) => void) | null;
type SeekReply = (result: { kind: 'sought'; resetEpoch: Offset; markDelete: Offset } | Failure) => void;

/** A seek that is acknowledged; whether another has followed does not matter to it. */
export interface Sought {
  readonly kind: 'sought';
  readonly resetEpoch: Offset;
  readonly markDelete: Offset;
}

const EXCLUSIVE = 1;
const TYPE_NAMES = ['unspecified', 'exclusive', 'failover', 'shared', 'key_shared'];

/** One subscription as its consumer's session sees it. */
class Holding implements DispatchHost {
  readonly subscription: Subscription;
  readonly holesMax: number;
  readonly #all: Subscriptions;
  readonly #writer: PartitionWriter;
  readonly #catchUp: CatchUp;

  constructor(all: Subscriptions, writer: PartitionWriter, catchUp: CatchUp, subscription: Subscription, holesMax: number) {
    this.#all = all;
    this.#writer = writer;
    this.#catchUp = catchUp;
    this.subscription = subscription;
    this.holesMax = holesMax;
  }

  get ackedEnd(): Offset {
    return this.#writer.acked;
  }

  get cursor(): Subscription['cursor'] {
    return this.subscription.cursor;
  }

  get resetEpoch(): Offset {
    return toOffset(this.subscription.resetEpoch);
  }

  get markDelete(): Offset {
    return toOffset(this.cursor.markDelete);
  }

  get endOffset(): Offset {
    return this.#writer.acked;
  }

  get backlog(): number {
    return this.cursor.backlog(this.#writer.state.counts);
  }

  get resetDurable(): boolean {
    return this.subscription.resetEpoch < this.#writer.acked;
  }

  cached(offset: number): Buffer | undefined {
    return this.#writer.tail.get(offset) ?? this.#catchUp.get(offset, Math.min(this.#writer.tail.first, this.#writer.acked));
  }

  load(offset: number): Promise<readonly Buffer[] | Failure> {
    return this.#catchUp.load(offset);
  }

  learn(offset: number, count: number): void {
    const { counts } = this.#writer.state;
    if (counts.at(offset).exact) return;
    counts.learn(offset, count);
    this.cursor.settle(counts);
  }

  soon(run: () => void): void {
    this.#writer.later(run);
  }

  acknowledge(session: ExclusiveSession, resetEpoch: number, upTo: number, spans: Spans, reply: AcknowledgeReply): void {
    this.#all.acknowledge(this.subscription, session, resetEpoch, upTo, spans, reply);
  }

  seek(_session: ExclusiveSession, to: PositionFrame, resetEpoch: number, reply: SeekReply): void {
    void this.#all.seek(this.subscription.name, to, resetEpoch).then(reply);
  }

  detached(session: ExclusiveSession): void {
    this.#all.detached(this.subscription.name, session);
  }
}

export class Subscriptions implements CursorSource {
  readonly #writer: PartitionWriter;
  readonly #catchUp: CatchUp;
  readonly #positions: Positions;
  readonly #cursors: CursorWriter;
  readonly #settings: PartitionSettings;
  /** Who holds what. */
  readonly #sessions = new Map<string, ExclusiveSession>();

  constructor(writer: PartitionWriter, catchUp: CatchUp, positions: Positions, cursors: CursorWriter, settings: PartitionSettings) {
    this.#writer = writer;
    this.#catchUp = catchUp;
    this.#positions = positions;
    this.#cursors = cursors;
    this.#settings = settings;
  }

  get attached(): number {
    return this.#sessions.size;
  }

  async attach(attach: ConsumerAttach, sink: ConsumerSink): Promise<ConsumerSession | Failure> {
    const { subscription: name, consumer } = attach;
    const writer = this.#writer;
    const exists = writer.state.subscriptions.has(name);
    if (!exists && attach.mustExist) return fail('subscription_not_found', `there is no subscription ${name}`, { subscription: name });
    const subscription = await this.create(name, attach.type, attach.start);
    if (isFailure(subscription)) return subscription;
    const holder = this.#sessions.get(name);
    if (holder !== undefined) {
      const verdict = judgeHolder(name, { ...holder.consumer, attachedMs: holder.attachedMs }, consumer);
      if (isFailure(verdict)) return verdict;
      holder.end(replacedBy(name, consumer));
    }
    const holding = new Holding(this, writer, this.#catchUp, subscription, this.#settings.holesMax);
    const session = new ExclusiveSession(holding, sink, consumer, writer.world.clock.now());
    this.#sessions.set(name, session);
    return session;
  }

  /** The subscription, made where it is missing; its entry, and so its resetEpoch, is acknowledged. */
  async create(name: string, type: SubscriptionTypeNumber, start: PositionFrame | null): Promise<Subscription | Failure> {
    if (type > EXCLUSIVE)
      return fail('unsupported', `subscriptions of type ${TYPE_NAMES[type]} are not there yet`, { type: TYPE_NAMES[type] ?? '' });
    const writer = this.#writer;
    if (!writer.state.subscriptions.has(name)) {
      const place = await this.#positions.find(start ?? { kind: 'latest' });
      if (isFailure(place)) return place;
      const refusal = this.#createNow(name, place);
      if (refusal !== undefined) return refusal;
    }
    const subscription = writer.state.subscriptions.get(name);
    if (subscription === undefined) return gone(name);
    if (type !== 0 && subscription.type !== type) return otherType(subscription, type);
    while (subscription.resetEpoch >= writer.acked) {
      const lost = await this.#durable(subscription.resetEpoch);
      if (lost !== null) return lost;
    }
    if (writer.over !== null) return writer.over;
    return writer.state.subscriptions.get(name) === subscription ? subscription : gone(name);
  }

  /** `known`: the last change of the cursor that the client knows; null: whatever it is. */
  async seek(name: string, to: PositionFrame, known: number | null): Promise<Sought | Failure> {
    const writer = this.#writer;
    const place = await this.#positions.find(to);
    if (isFailure(place)) return place;
    const subscription = writer.state.subscriptions.get(name);
    if (subscription === undefined) return gone(name);
    if (writer.refusal !== null) return writer.refusal;
    if (writer.pendingEntries >= this.#settings.pendingEntriesMax) return overloaded();
    if (known !== null && known !== subscription.resetEpoch) return this.#changedSince(subscription, known);
    const { from, count } = placeAtEnd(writer.state, place);
    const resetEpoch = writer.appendControl({ kind: 'sought', name, from, count }, null);
    this.#cursors.touch(this);
    const lost = await this.#durable(resetEpoch);
    if (lost !== null) return lost;
    if (writer.state.subscriptions.get(name) !== subscription) return gone(name);
    // Another seek may be pending by now; its epoch is not told before it is acknowledged.
    if (subscription.resetEpoch === resetEpoch) this.#sessions.get(name)?.restart();
    return { kind: 'sought', resetEpoch, markDelete: toOffset(from) };
  }

  async delete(name: string, known: number | null): Promise<{ kind: 'deleted' } | Failure> {
    const writer = this.#writer;
    if (writer.refusal !== null) return writer.refusal;
    const subscription = writer.state.subscriptions.get(name);
    if (subscription === undefined) return gone(name);
    if (known !== null && known !== subscription.resetEpoch) return this.#changedSince(subscription, known);
    const at = writer.appendControl({ kind: 'unsubscribed', name }, null);
    this.#sessions.get(name)?.end(fail('subscription_not_found', `subscription ${name} has been deleted`, { subscription: name }));
    const lost = await this.#durable(at);
    if (lost !== null) return lost;
    if (!writer.state.subscriptions.has(name)) this.#cursors.drop(writer.log.partition, name);
    return { kind: 'deleted' };
  }

  status(subscription: Subscription): SubscriptionStatus {
    const { counts } = this.#writer.state;
    const { name, type, createdMs, cursor } = subscription;
    cursor.settle(counts);
    const session = this.#sessions.get(name);
    return {
      name,
      type,
      createdMs,
      resetEpoch: toOffset(subscription.resetEpoch),
      markDelete: toOffset(cursor.markDelete),
      endOffset: this.#writer.acked,
      backlog: cursor.backlog(counts),
      holes: cursor.ranges.count,
      consumers: session === undefined ? [] : [{ ...session.consumer, attachedMs: session.attachedMs }],
    };
  }

  acknowledge(
    subscription: Subscription,
    session: ExclusiveSession,
    resetEpoch: number,
    upTo: number,
    spans: Spans,
    reply: AcknowledgeReply,
  ): void {
    const flat = this.#checkAcknowledge(subscription, resetEpoch, upTo, spans, reply !== null);
    if (isFailure(flat)) {
      if (reply !== null) this.#writer.later(() => reply(flat));
      if (flat.code === 'overloaded' && reply === null) session.end(flat);
      return;
    }
    if (reply === null) {
      if (!this.#writer.state.acknowledge(subscription, upTo, flat)) return;
      this.#cursors.touch(this);
      session.wake();
      return;
    }
    // Always an entry of its own: what memory has as acknowledged may be in no log.
    const { name } = subscription;
    this.#writer.appendControl({ kind: 'acknowledged', name, resetEpoch, upTo, spans: flat }, lost =>
      reply(lost ?? { kind: 'acknowledged' }),
    );
    this.#cursors.touch(this);
  }

  detached(name: string, session: ExclusiveSession): void {
    if (this.#sessions.get(name) === session) this.#sessions.delete(name);
  }

  /** More may be delivered. */
  wake(): void {
    for (const session of this.#sessions.values()) session.wake();
  }

  /** All consumers go: the partition moves, or is lost. */
  endAll(reason: Failure): void {
    for (const session of [...this.#sessions.values()]) session.end(reason);
  }

  /** Some cursor differs from what metadata has. */
  get hasUnwritten(): boolean {
    for (const subscription of this.#writer.state.subscriptions.values()) if (hasChanges(subscription)) return true;
    return false;
  }

  touch(): void {
    if (this.hasUnwritten) this.#cursors.touch(this);
  }

  takeCursorUpdates(): { readonly updates: readonly CursorUpdate[]; readonly more: boolean; settled(written: boolean): void } {
    const writer = this.#writer;
    const updates: CursorUpdate[] = [];
    const undo: (() => void)[] = [];
    let more = false;
    for (const subscription of writer.over === null ? writer.state.subscriptions.values() : []) {
      subscription.cursor.settle(writer.state.counts);
      if (!hasChanges(subscription)) continue;
      // Metadata never runs ahead of the log: everything that the cursor reflects is acknowledged first.
      if (subscription.reflects >= writer.acked || subscription.cursor.markDelete > writer.acked) {
        more = true;
        continue;
      }
      const changes = takeChanges(subscription);
      if (changes === undefined) continue;
      updates.push({ partition: writer.log.partition, subscription: subscription.name, blocks: changes.blocks });
      undo.push(() => putBack(subscription, changes));
    }
    return {
      updates,
      more,
      settled: written => {
        if (!written) for (const put of undo) put();
      },
    };
  }

  #createNow(name: string, place: Place): Failure | undefined {
    const writer = this.#writer;
    const { subscriptions } = writer.state;
    if (writer.refusal !== null) return writer.refusal;
    if (subscriptions.has(name)) return undefined;
    if (writer.pendingEntries >= this.#settings.pendingEntriesMax) return overloaded();
    if (subscriptions.size >= this.#settings.subscriptionsMax)
      return fail('overloaded', `this partition has ${subscriptions.size} subscriptions, and no more`, { subscription: name });
    writer.appendControl({ kind: 'subscribed', name, type: EXCLUSIVE, ...placeAtEnd(writer.state, place) }, null);
    this.#cursors.touch(this);
    return undefined;
  }

  /** Names the newer change only once it is acknowledged: an offset that is lost with its owner may come again as another change. */
  async #changedSince(subscription: Subscription, known: number): Promise<Failure> {
    const { name, resetEpoch } = subscription;
    const lost = await this.#durable(resetEpoch);
    if (lost !== null) return lost;
    const detail = { subscription: name, resetEpoch: String(resetEpoch) };
    return fail('changed', `subscription ${name} was changed @${resetEpoch}, after @${known}`, detail);
  }

  /** The spans in order, or why the acknowledgement is not taken. */
  #checkAcknowledge(subscription: Subscription, resetEpoch: number, upTo: number, spans: Spans, receipt: boolean): number[] | Failure {
    const writer = this.#writer;
    const { name, cursor } = subscription;
    const detail = { subscription: name };
    if (writer.refusal !== null) return writer.refusal;
    // An acknowledgement of another life of the cursor says nothing about this one.
    if (resetEpoch !== subscription.resetEpoch || writer.state.subscriptions.get(name) !== subscription)
      return fail('changed', `subscription ${name} has been created or sought since @${resetEpoch}`, detail);
    const flat = spans.length > this.#settings.spansPerAckMax ? undefined : normalizeSpans(spans, writer.acked);
    if (flat === undefined || !Number.isSafeInteger(upTo) || upTo < 0 || upTo > writer.acked)
      return fail('invalid_argument', `what is acknowledged was never delivered: the end is ${writer.acked}`, detail);
    if (cursor.ranges.count + flat.length / 2 > this.#settings.holesMax * 4)
      return fail('overloaded', `subscription ${name} has ${cursor.ranges.count} holes between what is acknowledged`, detail);
    if (receipt && writer.pendingEntries >= this.#settings.pendingEntriesMax)
      return fail('overloaded', 'too many receipts are under way on this partition', detail, 20);
    return flat;
  }

  /** Resolves once the entry at `offset` is acknowledged, or to why it may never be. */
  #durable(offset: number): Promise<Failure | null> {
    const writer = this.#writer;
    if (offset < writer.acked && writer.over === null) return Promise.resolve(null);
    return new Promise(resolve => writer.whenAllAcked(resolve));
  }
}

function overloaded(): Failure {
  return fail('overloaded', 'too much is unacknowledged on this partition', {}, 20);
}

function gone(name: string): Failure {
  return fail('subscription_not_found', `there is no subscription ${name}`, { subscription: name });
}

function otherType(subscription: Subscription, type: SubscriptionTypeNumber): Failure {
  const is = TYPE_NAMES[subscription.type];
  return fail('already_exists', `subscription ${subscription.name} is ${is}, not ${TYPE_NAMES[type]}`, { subscription: subscription.name });
}
