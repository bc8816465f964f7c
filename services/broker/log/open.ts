// Opening a partition's log: a claim in the metadata store, then a take over on the bookies, again with a higher ballot while it is
// outbid and still named. What comes out is the open end of the chain, or a refusal; nothing here writes entries.

import { findStart } from '#lib/ledger/core/chain.ts';
import { FAST_TICK_MS, type Lost, SLOW_TICK_MS } from '#lib/ledger/core/pace.ts';
import { bestLiveCount, chooseEnsemble } from '#lib/ledger/core/placement.ts';
import type { Spreads } from '#lib/ledger/core/spread.ts';
import { TakeOver, type TakeOverOutcome } from '#lib/ledger/core/take-over.ts';
import { type LedgerDescriptor, voteQuorum } from '#lib/ledger/protocol.ts';
import { type ChainHead, MetadataError } from '#lib/metadata/store.ts';
import type { Timer } from '#lib/runtime/ports.ts';
import { assert } from '#lib/types/assert.ts';
import { type Ballot, compareBallots } from '#lib/types/ballot.ts';
import { type BookieId, type Offset, offset, type PartitionId, type TopicId } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import { newLedgerId } from '#lib/types/ids.ts';
import { listPartition } from './ask.ts';
import type { LogDeps } from './settings.ts';

/** A partition that this broker leads: the open, empty ledger at the end of its chain. */
export interface Led {
  readonly kind: 'led';
  readonly ballot: Ballot;
  readonly descriptor: LedgerDescriptor;
  readonly first: Offset;
  readonly created: readonly BookieId[];
  /** Nobody but this process has ever known it: no bookie has been asked yet. */
  readonly fresh: boolean;
}

export type LogStart = { readonly kind: 'new' } | { readonly kind: 'existing' };

const ATTEMPTS_MAX = 10;

const NOBODY: ReadonlySet<BookieId> = new Set();

/** What placing a ledger needs. */
export type PlacementDeps = Pick<LogDeps, 'world' | 'transport' | 'settings'>;

/** A ledger descriptor after `prev`, or null while fewer than R bookies are registered. */
export function nextLedger(
  deps: PlacementDeps,
  names: { readonly partition: PartitionId; readonly topic: TopicId; readonly prev: LedgerDescriptor | null; readonly creator: Ballot },
  avoid: ReadonlySet<BookieId>,
): LedgerDescriptor | null {
  const { world, transport, settings } = deps;
  const pick = (count: number): number => Math.floor(world.random.next() * count);
  const ensemble = chooseEnsemble(transport.bookies(), settings.replicas, avoid, pick);
  if (!ensemble) return null;
  const ledger = newLedgerId({ now: () => world.clock.now(), randomBytes: count => world.random.bytes(count) });
  const { partition, topic, prev, creator } = names;
  return { ledger, partition, topic, prev: prev?.ledger ?? null, ensemble, ackQuorum: settings.ackQuorum, creator };
}

/** Would Q of an ensemble without these bookies be alive? */
export function hasOthers(deps: PlacementDeps, without: ReadonlySet<BookieId>): boolean {
  const { replicas, ackQuorum } = deps.settings;
  return bestLiveCount(deps.transport.bookies(), replicas, without) >= voteQuorum(replicas, ackQuorum);
}

/**
 * The first ledger of a partition that does not exist yet: the catalog records it, and it is proven linked by that. Bookies hear of it with
 * its first entry, or with a fence. A partition is new once, so its first ballot needs no counter.
 */
export function newFirstLedger(
  deps: PlacementDeps & Pick<LogDeps, 'incarnation'>,
  partition: PartitionId,
  topic: TopicId,
): LedgerDescriptor | Failure {
  const creator = { epoch: 1, incarnation: deps.incarnation };
  return nextLedger(deps, { partition, topic, prev: null, creator }, NOBODY) ?? tooFewBookies(deps);
}

/** Drives claim and take over until this broker leads, is told that another one does, or too few bookies answer for too long. */
export async function lead(
  deps: LogDeps,
  names: { readonly partition: PartitionId; readonly topic: TopicId },
  start: LogStart,
  firstLedger: LedgerDescriptor | null,
  spreads: Spreads,
): Promise<Led | Failure> {
  try {
    return await new Opening(deps, names, firstLedger, spreads).run(start);
  } catch (error) {
    if (error instanceof MetadataError) return fail('unavailable', `the metadata store cannot be reached: ${error.message}`);
    throw error;
  }
}

class Opening {
  readonly #deps: LogDeps;
  readonly #names: { readonly partition: PartitionId; readonly topic: TopicId };
  readonly #firstLedger: LedgerDescriptor | null;
  readonly #spreads: Spreads;
  readonly #deadline: number;
  /** The index named a ledger that leads nowhere: begin as without it. */
  #withoutIndex = false;

  constructor(
    deps: LogDeps,
    names: { readonly partition: PartitionId; readonly topic: TopicId },
    firstLedger: LedgerDescriptor | null,
    spreads: Spreads,
  ) {
    this.#deps = deps;
    this.#names = names;
    this.#firstLedger = firstLedger;
    this.#spreads = spreads;
    this.#deadline = deps.world.clock.monotonic() + deps.settings.openTimeoutMs;
  }

  async run(start: LogStart): Promise<Led | Failure> {
    if (start.kind === 'new') {
      const led = await this.#leadFresh();
      if (led) return led;
    }
    const claim = await this.#deps.metadata.readClaim(this.#names.partition);
    if (claim) this.#note(claim.ballot.epoch);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const ballot = await this.#claim();
      if (isFailure(ballot)) return ballot;
      if (ballot === null) continue;
      const outcome = await this.#takeOver(ballot);
      const led = isFailure(outcome) ? outcome : await this.#onOutcome(outcome, ballot);
      if (led) return led;
    }
    return fail('storage_unavailable', `partition ${this.#names.partition} could not be taken over in ${ATTEMPTS_MAX} attempts`);
  }

  /** A partition that this very process has just made, and not used: its creator's ballot is still good, and no bookie need be asked. */
  async #leadFresh(): Promise<Led | null> {
    const { partition } = this.#names;
    const descriptor = this.#firstLedger;
    if (!descriptor || descriptor.creator.incarnation !== this.#deps.incarnation || this.#deps.epochs.has(partition)) return null;
    const ballot = descriptor.creator;
    this.#note(ballot.epoch);
    const claimed = await this.#deps.metadata.claim(partition, { ballot, broker: this.#deps.broker }, this.#operation());
    if (claimed.kind === 'lost') return null;
    return { kind: 'led', ballot, descriptor, first: offset(0), created: [], fresh: true };
  }

  /** A ballot that no act has had, claimed in the metadata store; null: outbid by an act of this broker, try again. */
  async #claim(): Promise<Ballot | Failure | null> {
    const { metadata, incarnation, broker, epochs } = this.#deps;
    const { partition } = this.#names;
    const seen = epochs.get(partition) ?? 0;
    const epoch = await metadata.nextEpoch(partition, seen);
    assert(epoch > seen, 'the counter names an epoch that this process has not seen');
    this.#note(epoch);
    const ballot = { epoch, incarnation };
    const claimed = await metadata.claim(partition, { ballot, broker }, this.#operation());
    if (claimed.kind === 'stored') return ballot;
    if (!claimed.current) return null;
    this.#note(claimed.current.ballot.epoch);
    return claimed.current.broker === broker ? null : this.#notOwner(claimed.current.broker);
  }

  async #onOutcome(outcome: TakeOverOutcome, ballot: Ballot): Promise<Led | Failure | null> {
    switch (outcome.kind) {
      case 'leads':
        return { kind: 'led', ballot, descriptor: outcome.ledger, first: outcome.first, created: outcome.created, fresh: false };
      case 'nowhere':
        if (this.#withoutIndex) return fail('storage_unavailable', `no bookie that answers knows where ${this.#names.partition} goes on`);
        this.#withoutIndex = true;
        return null;
      case 'ended':
        return fail('topic_not_found', `partition ${this.#names.partition} was deleted with its topic`);
      case 'lost':
        return this.#onLost(outcome.lost, ballot);
    }
  }

  /** Outbid: only the metadata store says who may try again. */
  async #onLost(lost: Lost, ballot: Ballot): Promise<Failure | null> {
    if (lost.kind === 'broken') return fail('internal', `partition ${this.#names.partition}: ${lost.what}`);
    if (lost.kind === 'stale') this.#note(lost.promised.epoch);
    const claim = await this.#deps.metadata.readClaim(this.#names.partition);
    const outbid = claim !== null && compareBallots(claim.ballot, ballot) > 0 && claim.broker !== this.#deps.broker;
    return outbid ? this.#notOwner(claim.broker) : null;
  }

  async #takeOver(ballot: Ballot): Promise<TakeOverOutcome | Failure> {
    const start = await this.#findStart();
    return isFailure(start) ? start : this.#drive(ballot, start);
  }

  async #findStart(): Promise<ChainHead | Failure> {
    const { metadata, transport, world } = this.#deps;
    const head = this.#withoutIndex ? null : await metadata.readHead(this.#names.partition);
    if (head) return head;
    for (;;) {
      const { listings } = await listPartition(transport, this.#names.partition);
      const start = findStart(listings, this.#firstLedger);
      if (start) return start;
      if (world.clock.monotonic() >= this.#deadline)
        return fail('storage_unavailable', `no bookie that answers knows partition ${this.#names.partition}`, {}, SLOW_TICK_MS);
      await new Promise<void>(resolve => world.clock.after(SLOW_TICK_MS, resolve));
    }
  }

  #drive(ballot: Ballot, start: { readonly descriptor: LedgerDescriptor; readonly first: Offset }): Promise<TakeOverOutcome | Failure> {
    const { transport, world } = this.#deps;
    return new Promise(resolve => {
      let timer: Timer | null = null;
      const done = (outcome: TakeOverOutcome | Failure): void => {
        timer?.cancel();
        resolve(outcome);
      };
      const act = new TakeOver(
        {
          transport,
          ballot,
          spreads: this.#spreads,
          nextLedger: (prev, avoid) => nextLedger(this.#deps, { ...this.#names, prev, creator: ballot }, avoid),
          hasOthers: without => hasOthers(this.#deps, without),
          onOutcome: done,
          alarm: what => world.logger.error('take over is stopped by a broken rule', { partition: this.#names.partition, what }),
        },
        start,
      );
      const tick = () => {
        const now = world.clock.monotonic();
        if (now >= this.#deadline) {
          act.stop();
          return done(tooFewBookies(this.#deps, act.at));
        }
        act.tick(now);
        if (!act.isFinished) timer = world.clock.after(act.pace() === 'slow' ? SLOW_TICK_MS : FAST_TICK_MS, tick);
      };
      timer = world.clock.after(FAST_TICK_MS, tick);
    });
  }

  #note(epoch: number): void {
    const { epochs } = this.#deps;
    if (epoch > (epochs.get(this.#names.partition) ?? 0)) epochs.set(this.#names.partition, epoch);
  }

  #operation(): string {
    return this.#deps.world.random.bytes(8).toString('hex');
  }

  #notOwner(owner: string): Failure {
    return fail('not_owner', `partition ${this.#names.partition} belongs to ${owner}`, { owner });
  }
}

function tooFewBookies(deps: PlacementDeps, at?: LedgerDescriptor): Failure {
  const bookies = deps.transport.bookies();
  const alive = bookies.filter(bookie => bookie.alive).length;
  const where = at ? `, of which too few answer for ledger ${at.ledger} on ${at.ensemble.join(', ')}` : '';
  const message = `a ledger needs ${deps.settings.replicas} bookies; ${bookies.length} are registered, ${alive} alive${where}`;
  return fail('storage_unavailable', message, {}, SLOW_TICK_MS);
}
