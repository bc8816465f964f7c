// A partition's log: the shell around the ledger protocol's cores. It gives them time and bookies, keeps the chain, publishes its head to
// the metadata store, reads across ledgers and deletes what is trimmed. What is acknowledged here survives this process; what is not
// was never promised. See lib/ledger/README.md for the protocol.

import { Chain, findChain } from '#lib/ledger/core/chain.ts';
import { Owner } from '#lib/ledger/core/own.ts';
import { FAST_TICK_MS, type Lost, type Pace, quicker, SLOW_TICK_MS } from '#lib/ledger/core/pace.ts';
import { Spreads } from '#lib/ledger/core/spread.ts';
import type { BookieReply, BookieRequest, DeleteReason, LedgerDescriptor } from '#lib/ledger/protocol.ts';
import type { Timer } from '#lib/runtime/ports.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import type { BookieId, Offset, PartitionId, TopicId } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure, unknownFate } from '#lib/types/errors.ts';
import { entryAppendTimeMs } from '#lib/wire/entry.ts';
import type { LedgerSummary, LogEvents, PartitionLog } from './api.ts';
import { listPartition } from './ask.ts';
import { HeadPublisher } from './head.ts';
import { hasOthers, type Led, type LogStart, lead, newFirstLedger, nextLedger } from './open.ts';
import { type LogView, lastAppendTime, locateInLog, readLog } from './read.ts';
import type { LogDeps } from './settings.ts';

export { LOG_DEFAULTS, type LogDeps, type LogSettings } from './settings.ts';
export { type LogStart, newFirstLedger };

/**
 * Opens a partition's log as its owner. `new`: this process has just made `firstLedger` with `newFirstLedger`; `existing`: anything else.
 * `firstLedger` is what the catalog recorded for the partition; it is where the search begins when no index and no bookie knows better.
 */
export async function openPartitionLog(
  deps: LogDeps,
  partition: PartitionId,
  topic: TopicId,
  start: LogStart,
  firstLedger: LedgerDescriptor | null,
  events: LogEvents,
): Promise<PartitionLog | Failure> {
  const spreads = new Spreads(deps.transport);
  const led = await lead(deps, { partition, topic }, start, firstLedger, spreads);
  if (isFailure(led)) {
    spreads.stop();
    return led;
  }
  const log = new LedgerLog(deps, partition, topic, led, spreads, events);
  if (!led.fresh) await log.findChain();
  return log;
}

class LedgerLog implements PartitionLog {
  readonly partition: PartitionId;
  readonly ballot: Ballot;
  readonly #deps: LogDeps;
  readonly #topic: TopicId;
  readonly #fresh: boolean;
  readonly #events: LogEvents;
  readonly #spreads: Spreads;
  readonly #owner: Owner;
  readonly #head: HeadPublisher;
  readonly #view: LogView;
  #chain: Chain;
  #state: 'open' | 'closing' | 'closed' | 'lost' = 'open';
  #lost: Failure | null = null;
  #purging = false;
  #timer: Timer | null = null;
  #timerPace: Pace = 'none';
  #spaceless = false;
  #ackDue = false;
  /** Where the newest entry began, and when. */
  #lastAppend = -1;
  #lastAppendTimeMs: number | null = null;
  #timeAsked = false;
  /** Trims and purges that wait for bookies; released when the log ends. */
  readonly #waiting = new Set<() => void>();

  constructor(deps: LogDeps, partition: PartitionId, topic: TopicId, led: Led, spreads: Spreads, events: LogEvents) {
    this.partition = partition;
    this.ballot = led.ballot;
    this.#deps = deps;
    this.#topic = topic;
    this.#fresh = led.fresh;
    this.#events = events;
    this.#spreads = spreads;
    this.#chain = new Chain([{ descriptor: led.descriptor, first: led.first, end: null, bytes: 0, lastAppendTimeMs: null, holders: [] }]);
    this.#head = new HeadPublisher(deps, partition, led.ballot);
    this.#owner = this.#own(led);
    this.#view = this.#newView();
    if (!led.fresh) this.#head.publish({ descriptor: led.descriptor, first: led.first });
    this.#wake();
  }

  get start(): Offset {
    return this.#chain.start;
  }
  get end(): Offset {
    return this.#owner.end;
  }
  get ackedEnd(): Offset {
    return this.#owner.ackedEnd;
  }

  isFull(): false | 'space' | 'window' {
    // While entries are under way, ticks look at the bookies; before the first one of a burst it is looked at here.
    if (this.#timerPace !== 'fast') this.#spaceless = this.#isWithoutSpace();
    return this.#spaceless ? 'space' : this.#owner.isFull();
  }

  append(entry: Buffer, span: number, reserved: boolean): void {
    if (this.#state !== 'open') return;
    this.#lastAppend = this.#owner.end;
    this.#lastAppendTimeMs = entryAppendTimeMs(entry);
    this.#owner.append(entry, span, reserved);
    if (this.#timerPace !== 'fast') this.#wake();
  }

  async read(offset: Offset, bytesMax: number): Promise<readonly Buffer[] | Failure> {
    return this.#refusal() ?? readLog(this.#view, offset, bytesMax);
  }

  async locate(by: 'time' | 'count', value: number): Promise<Offset | null | Failure> {
    return this.#refusal() ?? locateInLog(this.#view, by, value);
  }

  ledgers(): readonly LedgerSummary[] {
    this.#learnOldestTime();
    return this.#chain.ledgers.map(ledger => ({
      ledger: ledger.descriptor.ledger,
      first: ledger.first,
      end: ledger.end,
      bytes: ledger.end === null ? this.#owner.writer.ackedBytes : ledger.bytes,
      lastAppendTimeMs: ledger.end === null && this.ackedEnd > ledger.first ? this.#lastAppendTimeMs : ledger.lastAppendTimeMs,
    }));
  }

  roll(): void {
    if (this.#state !== 'open') return;
    this.#owner.roll();
    this.#wake();
  }

  async trim(to: Offset): Promise<void> {
    if (this.#state !== 'open') return;
    const trimmed = this.#chain.trim(to);
    if (trimmed.length === 0) return;
    const floor = {
      kind: 'floor',
      partition: this.partition,
      offset: this.#chain.start,
      firstLive: this.#chain.oldest.descriptor.ledger,
      ballot: this.ballot,
    } as const;
    const told = new Set<BookieId>();
    const deletions = trimmed.map(({ ledger, seal }) => {
      const targets = [...new Set([...ledger.descriptor.ensemble, ...ledger.holders])];
      for (const target of targets) told.add(target);
      const value = seal;
      const decided = { kind: 'decided', ledger: ledger.descriptor.ledger, first: ledger.first, value } as const;
      return this.#tell(targets, [decided, this.#deletion(ledger.descriptor, 'trimmed')]);
    });
    await Promise.all(deletions);
    await this.#tell([...told], [floor]);
  }

  async purge(): Promise<void> {
    // A partition that was never written to is known to no bookie.
    if (this.#fresh && this.#state === 'open' && this.end === this.start) return this.#letGo('closed');
    this.#purging = true;
    if (this.#state === 'open') await this.#finish(done => this.#owner.endPartition(done));
    if (this.#state === 'lost') return;
    const deletions = this.#chain.ledgers.map(ledger =>
      this.#tell([...new Set([...ledger.descriptor.ensemble, ...ledger.holders])], [this.#deletion(ledger.descriptor, 'purged')]),
    );
    this.#wake();
    await Promise.all(deletions);
    this.#letGo('closed');
  }

  async close(): Promise<void> {
    // A purge that waits for bookies is given up here; the catalog knows that it is not done.
    if (this.#purging) return this.#letGo('closed');
    if (this.#state !== 'open') return;
    await this.#finish(done => this.#owner.close(done));
    await this.#head.settled();
    this.#letGo('closed');
  }

  /** What the chain was before this opening: told by bookies, completed where an outcome did not reach all. */
  async findChain(): Promise<void> {
    const { listings, complete } = await listPartition(this.#deps.transport, this.partition);
    const open = this.#chain.open;
    if (this.#state !== 'open') return;
    const found = findChain(listings, open);
    this.#chain = found.chain;
    const logger = this.#deps.world.logger;
    if (found.missing && !complete)
      logger.warn('a ledger is not listed by the bookies that answer', { partition: this.partition, ledger: found.missing });
    for (const { descriptor, first, value, to } of found.untold)
      void this.#tell(to, [{ kind: 'decided', ledger: descriptor.ledger, first, value }]);
    for (const { descriptor, on } of found.orphans) void this.#tell(on, [this.#deletion(descriptor, 'orphan')]);
    this.#wake();
  }

  // ---- the owner ------------------------------------------------------------------------------------------------------------------

  #own(led: Led): Owner {
    const { transport, settings } = this.#deps;
    const names = { partition: this.partition, topic: this.#topic, creator: this.ballot };
    return new Owner(
      {
        transport,
        ballot: led.ballot,
        spreads: this.#spreads,
        windowCount: settings.windowCount,
        windowBytes: settings.windowBytes,
        ledgerBytesMax: settings.ledgerBytesMax,
        nextLedger: (prev, avoid) => nextLedger(this.#deps, { ...names, prev }, avoid),
        hasOthers: without => hasOthers(this.#deps, without),
        onAcked: () => this.#onAcked(),
        onLinked: (_sealed, end, bytes, next) => this.#onLinked(end, bytes, next),
        onLost: lost => this.#onLost(lost),
        alarm: what => this.#deps.world.logger.error('ledger alarm', { partition: this.partition, what }),
      },
      { descriptor: led.descriptor, first: led.first, created: led.created, lazy: led.fresh, linked: true },
    );
  }

  #newView(): LogView {
    const log = this;
    return {
      transport: this.#deps.transport,
      ballot: this.ballot,
      clock: this.#deps.world.clock,
      get chain() {
        return log.#chain;
      },
      get writer() {
        return log.#owner.writer;
      },
      get ackedEnd() {
        return log.#owner.ackedEnd;
      },
    };
  }

  #onAcked(): void {
    if (this.#ackDue) return;
    this.#ackDue = true;
    this.#deps.world.clock.soon(() => {
      this.#ackDue = false;
      if (this.#state === 'open' || this.#state === 'closing') this.#events.onAcked(this.#owner.ackedEnd);
    });
  }

  #onLinked(end: Offset, bytes: number, next: LedgerDescriptor | null) {
    this.#chain.open.lastAppendTimeMs = this.#lastAppend < end ? this.#lastAppendTimeMs : null;
    if (!next) return this.#chain.end(end, bytes);
    this.#chain.link(end, bytes, next);
    this.#head.publish({ descriptor: next, first: end });
  }

  #onLost(lost: Lost): void {
    if (this.#state === 'lost' || this.#state === 'closed') return;
    const failure = describeLoss(this.partition, lost);
    if (lost.kind === 'broken')
      this.#deps.world.logger.error('a rule of the ledger protocol was broken', { partition: this.partition, ...lost });
    if (lost.kind === 'stale') {
      const seen = this.#deps.epochs.get(this.partition) ?? 0;
      this.#deps.epochs.set(this.partition, Math.max(seen, lost.promised.epoch));
    }
    this.#lost = failure;
    this.#letGo('lost');
    this.#deps.world.clock.soon(() => this.#events.onLost(failure));
  }

  // ---- letting go -----------------------------------------------------------------------------------------------------------------

  /** Resolves when `act` is done, when the log is lost, or after the time allowed for it. */
  #finish(act: (done: () => void) => void): Promise<void> {
    this.#state = 'closing';
    return new Promise(resolve => {
      const { clock, logger } = this.#deps.world;
      const timer = clock.after(this.#deps.settings.closeTimeoutMs, () => {
        logger.warn('a partition is let go before its last ledger is sealed', { partition: this.partition });
        done();
      });
      const done = (): void => {
        timer.cancel();
        this.#waiting.delete(done);
        resolve();
      };
      this.#waiting.add(done);
      act(done);
      this.#wake();
    });
  }

  #letGo(state: 'closed' | 'lost'): void {
    if (this.#state === 'lost' || this.#state === 'closed') return;
    this.#state = state;
    this.#owner.stop();
    this.#head.stop();
    this.#spreads.stop();
    this.#timer?.cancel();
    for (const release of this.#waiting) release();
    this.#waiting.clear();
  }

  #refusal(): Failure | null {
    if (this.#state === 'open' || this.#state === 'closing') return null;
    return this.#lost ?? fail('not_owner', `partition ${this.partition} is closed here`);
  }

  // ---- what is told to bookies beside the writing ---------------------------------------------------------------------------------

  #deletion(descriptor: LedgerDescriptor, reason: DeleteReason): BookieRequest {
    return { kind: 'delete', ledger: descriptor.ledger, partition: this.partition, reason, ballot: this.ballot };
  }

  /** Resolves when each target has answered every request, or the log has ended. */
  #tell(targets: readonly BookieId[], requests: readonly BookieRequest[]): Promise<void> {
    return new Promise(resolve => {
      const done = (): void => {
        this.#waiting.delete(done);
        resolve();
      };
      this.#waiting.add(done);
      this.#spreads.add(targets, requests, (from, reply) => this.#onTold(from, reply), done);
      this.#wake();
    });
  }

  #onTold(from: BookieId, reply: BookieReply): void {
    if (reply.kind === 'stale') this.#onLost(reply);
    else if (reply.kind === 'conflict') this.#onLost({ kind: 'broken', what: `bookie ${from}: ${reply.what}` });
  }

  /** Retention asks for the age of the oldest ledgers only: after an opening it is read when it is first wanted. */
  #learnOldestTime(): void {
    const ledger = this.#chain.ledgers.find(found => found.end !== null && found.end > found.first);
    if (!ledger || ledger.lastAppendTimeMs !== null || this.#timeAsked || this.#state !== 'open') return;
    this.#timeAsked = true;
    void lastAppendTime(this.#view, ledger).then(time => {
      this.#timeAsked = false;
      ledger.lastAppendTimeMs = time;
    });
  }

  /** Do fewer than A bookies of the open ledger have space for clients' entries? */
  #isWithoutSpace(): boolean {
    const { ensemble, ackQuorum } = this.#owner.writer.descriptor;
    let full = 0;
    for (const bookie of this.#deps.transport.bookies()) if (bookie.full && ensemble.includes(bookie.id)) full++;
    return ensemble.length - full < ackQuorum;
  }

  // ---- time -----------------------------------------------------------------------------------------------------------------------

  /** Makes sure that the cores are ticked as often as they want; called after everything that may give them something to wait for. */
  #wake(): void {
    if (this.#state === 'closed' || this.#state === 'lost') return;
    const pace = quicker(this.#owner.pace(), this.#spreads.pace());
    if (pace === 'none' || pace === this.#timerPace || this.#timerPace === 'fast') return;
    this.#timer?.cancel();
    this.#timerPace = pace;
    this.#timer = this.#deps.world.clock.after(pace === 'fast' ? FAST_TICK_MS : SLOW_TICK_MS, () => {
      this.#timerPace = 'none';
      this.#spaceless = this.#isWithoutSpace();
      const now = this.#deps.world.clock.monotonic();
      this.#owner.tick(now);
      this.#spreads.tick(now);
      this.#wake();
    });
  }
}

function describeLoss(partition: PartitionId, lost: Lost): Failure {
  switch (lost.kind) {
    case 'stale':
      return unknownFate('not_owner', `partition ${partition} was taken over under epoch ${lost.promised.epoch}`);
    case 'gone':
      return unknownFate('not_owner', `partition ${partition}: its open ledger was sealed or deleted by another owner`);
    case 'broken':
      return unknownFate('internal', `partition ${partition}: ${lost.what}`);
  }
}
