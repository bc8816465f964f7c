// The partition log in one broker over bookies in memory: what is appended is acknowledged, read, and found again by the next owner.

import { describe, expect, it } from 'vitest';
import type { BookieReply, BookieTransport, LedgerDescriptor } from '#lib/ledger/protocol.ts';
import { MemoryStore } from '#lib/metadata/memory.ts';
import { type SimWorld, simWorld } from '#lib/runtime/sim/world.ts';
import { type BookieId, bookieId, type Offset, offset, partitionId, topicId } from '#lib/types/brands.ts';
import { type Failure, isFailure } from '#lib/types/errors.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { encodeEntry, entryBaseOffset } from '#lib/wire/entry.ts';
import type { PartitionLog } from '../../services/broker/log/api.ts';
import { LOG_DEFAULTS, type LogDeps, type LogSettings, newFirstLedger, openPartitionLog } from '../../services/broker/log/partition-log.ts';
import { MemoryBookie } from './support/bookies.ts';

const TOPIC = topicId('01890000-0000-7000-8000-000000000001');
const PARTITION = partitionId(TOPIC, 0);

class Cluster {
  readonly world: SimWorld;
  readonly metadata: MemoryStore;
  readonly bookies: MemoryBookie[];
  readonly dead = new Set<BookieId>();
  readonly settings: LogSettings;
  first: LedgerDescriptor | null = null;
  acked = 0;
  lost: Failure | null = null;
  #restarts = 0;

  constructor(bookies: number, settings: Partial<LogSettings> = {}) {
    this.world = simWorld(1);
    this.metadata = new MemoryStore(this.world.clock);
    this.settings = { ...LOG_DEFAULTS, ...settings };
    this.bookies = Array.from({ length: bookies }, (_, n) => new MemoryBookie(bookieId(String(n).padStart(32, '0'))));
  }

  /** A broker process of its own: another incarnation, no memory of epochs. */
  broker(name = 'a'): LogDeps {
    const transport: BookieTransport = {
      send: (to, request, onReply) => {
        this.world.clock.after(0.1, () => {
          const bookie = this.bookies.find(found => found.id === to);
          const reply: BookieReply = !bookie || this.dead.has(to) ? { kind: 'unreachable' } : bookie.handle(request);
          this.world.clock.after(0.1, () => onReply(reply));
        });
      },
      bookies: () => this.bookies.map(bookie => ({ id: bookie.id, alive: !this.dead.has(bookie.id), full: bookie.full })),
    };
    const incarnation = String(++this.#restarts).padStart(16, '0');
    return { world: this.world, transport, metadata: this.metadata, broker: name, incarnation, settings: this.settings, epochs: new Map() };
  }

  async open(deps: LogDeps, kind: 'new' | 'existing'): Promise<PartitionLog> {
    if (kind === 'new') {
      const first = newFirstLedger(deps, PARTITION, TOPIC);
      if (isFailure(first)) throw new Error(first.message);
      this.first = first;
    }
    const log = await this.run(
      openPartitionLog(deps, PARTITION, TOPIC, { kind }, this.first, {
        onAcked: end => {
          this.acked = end;
        },
        onLost: reason => {
          this.lost = reason;
        },
      }),
    );
    if (isFailure(log)) throw new Error(log.message);
    return log;
  }

  async run<T>(work: Promise<T>): Promise<T> {
    let done = false;
    void work.finally(() => {
      done = true;
    });
    for (let turn = 0; turn < 3000 && !done; turn++) await this.world.clock.advanceSettled(20);
    if (!done) throw new Error('does not end');
    return work;
  }

  get ledgerCount(): number {
    return new Set(this.bookies.flatMap(bookie => [...bookie.held.keys()])).size;
  }
}

function entry(base: number, count = 1, text = `message ${base}`): Buffer {
  const payload = Buffer.from(text);
  const header = {
    kind: 'batch',
    baseOffset: base,
    count,
    cumulativeCount: base,
    appendTimeMs: 1000 + base,
    checkpointOffset: -1,
  } as const;
  return encodeEntry(header, [], payload, crc32c(payload));
}

function put(log: PartitionLog, count: number): void {
  for (let n = 0; n < count; n++) log.append(entry(log.end), 1, false);
}

async function readAll(cluster: Cluster, log: PartitionLog, from: Offset = log.start): Promise<number[]> {
  const offsets: number[] = [];
  for (let at: number = from; at < log.ackedEnd; ) {
    const entries = await cluster.run(log.read(offset(at), 300));
    if (isFailure(entries)) throw new Error(entries.message);
    expect(entries.length).toBeGreaterThan(0);
    for (const found of entries) offsets.push(entryBaseOffset(found));
    at = (offsets.at(-1) ?? at) + 1;
  }
  return offsets;
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

describe.each([
  { bookies: 1, replicas: 1, ackQuorum: 1 },
  { bookies: 4, replicas: 3, ackQuorum: 2 },
])('with R $replicas of $bookies bookies', ({ bookies, replicas, ackQuorum }) => {
  const cluster = (settings: Partial<LogSettings> = {}) => new Cluster(bookies, { replicas, ackQuorum, ...settings });

  it('acknowledges, reads, and finds everything again after a crash of the broker', async () => {
    const c = cluster();
    const log = await c.open(c.broker(), 'new');
    put(log, 20);
    await c.world.clock.advanceSettled(100);
    expect(c.acked).toBe(20);
    expect(await readAll(c, log)).toEqual(upTo(20));

    const next = await c.open(c.broker(), 'existing');
    expect(next.end).toBe(20);
    expect(await readAll(c, next)).toEqual(upTo(20));
    put(next, 5);
    await c.world.clock.advanceSettled(100);
    expect(await readAll(c, next)).toEqual(upTo(25));
    expect(next.ledgers().map(ledger => [ledger.first, ledger.end])).toEqual([
      [0, 20],
      [20, null],
    ]);
    put(log, 1);
    await c.world.clock.advanceSettled(100);
    expect(c.lost?.code).toBe('not_owner');
  });

  it('adds no ledger when an idle partition is opened and closed again and again', async () => {
    const c = cluster();
    let log = await c.open(c.broker(), 'new');
    put(log, 3);
    await c.run(log.close());
    const before = c.ledgerCount;
    for (let n = 0; n < 5; n++) {
      log = await c.open(c.broker(), 'existing');
      if (n % 2 === 1) await c.run(log.close());
    }
    expect(c.ledgerCount).toBe(before);
    expect(await readAll(c, log)).toEqual(upTo(3));
  });
});
