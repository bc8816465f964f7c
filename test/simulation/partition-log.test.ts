// The partition log in one broker over bookies in memory: what is appended is acknowledged, read, and found again by the next owner.

import { describe, expect, it } from 'vitest';
import type { BookieReply, BookieTransport, LedgerDescriptor } from '#lib/ledger/protocol.ts';
import { MemoryStore } from '#lib/metadata/memory.ts';
import { type SimWorld, simWorld } from '#lib/runtime/sim/world.ts';
import { type BookieId, bookieId, ledgerId, type Offset, offset, partitionId, topicId } from '#lib/types/brands.ts';
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

  tryOpen(deps: LogDeps): Promise<PartitionLog | Failure> {
    const events = { onAcked: () => undefined, onLost: () => undefined };
    return this.run(openPartitionLog(deps, PARTITION, TOPIC, { kind: 'existing' }, this.first, events));
  }

  /** Requests that bookies have handled. */
  get requests(): number {
    return this.bookies.reduce((sum, bookie) => sum + [...bookie.counts.values()].reduce((a, b) => a + b, 0), 0);
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

  it('asks no bookie of a new partition before its first entry', async () => {
    const c = cluster();
    const log = await c.open(c.broker(), 'new');
    await c.run(log.close());
    expect(c.requests).toBe(0);
    const again = await c.open(c.broker(), 'existing');
    expect(again.end).toBe(0);
    put(again, 2);
    await c.world.clock.advanceSettled(100);
    expect(await readAll(c, again)).toEqual(upTo(2));
  });

  it('rolls by size, and reads and searches over the ledgers', async () => {
    const c = cluster({ ledgerBytesMax: 600 });
    const log = await c.open(c.broker(), 'new');
    for (let n = 0; n < 40; n++) {
      put(log, 1);
      await c.world.clock.advanceSettled(n % 3);
    }
    await c.world.clock.advanceSettled(500);
    expect(log.ackedEnd).toBe(40);
    expect(log.ledgers().length).toBeGreaterThan(4);
    const sizes = log.ledgers().map(ledger => ledger.bytes);
    expect(sizes.reduce((sum, bytes) => sum + bytes, 0)).toBe(upTo(40).reduce((sum, n) => sum + entry(n).length, 0));
    for (const view of [log, await c.open(c.broker(), 'existing')]) {
      expect(await readAll(c, view)).toEqual(upTo(40));
      expect(view.ledgers().map(ledger => ledger.bytes)).toEqual(view === log ? sizes : [...sizes, 0].slice(0, view.ledgers().length));
      for (const at of [0, 7, 23, 39]) {
        expect(await c.run(view.locate('count', at))).toBe(at);
        expect(await c.run(view.locate('time', 1000 + at))).toBe(at);
      }
      expect(await c.run(view.locate('time', 5))).toBe(0);
      expect(await c.run(view.locate('time', 5000))).toBeNull();
      expect(await c.run(view.locate('count', 40))).toBeNull();
      expect(await c.run(view.read(offset(40), 100))).toEqual([]);
    }
  });

  it('finds what was acknowledged a moment ago by its time', async () => {
    const c = cluster();
    const log = await c.open(c.broker(), 'new');
    put(log, 5);
    for (let turn = 0; log.ackedEnd < 5 && turn < 100; turn++) await c.world.clock.advanceSettled(0.1);
    const found = log.locate('time', 1003);
    for (let turn = 0; turn < 30; turn++) await c.world.clock.advanceSettled(0.1);
    expect(await found).toBe(3);
  });

  it('trims whole ledgers, and the next owner finds the same start, with and without the index', async () => {
    const c = cluster();
    const deps = c.broker();
    const log = await c.open(deps, 'new');
    for (let n = 0; n < 4; n++) {
      put(log, 5);
      await c.world.clock.advanceSettled(100);
      log.roll();
      await c.world.clock.advanceSettled(100);
    }
    await c.run(log.trim(offset(12)));
    expect(log.start).toBe(10);
    expect(await c.run(log.read(offset(9), 100))).toMatchObject({ code: 'invalid_argument' });
    expect(c.bookies.some(bookie => bookie.tombstones.size > 0)).toBe(false);
    for (const wipe of [false, true]) {
      if (wipe) c.metadata.restore();
      const next = await c.open(c.broker(), 'existing');
      expect(next.start).toBe(10);
      expect(await readAll(c, next)).toEqual(upTo(20).slice(10));
    }
  });

  it('goes on after the index has lost or forgotten everything', async () => {
    const c = cluster();
    const log = await c.open(c.broker(), 'new');
    put(log, 5);
    await c.world.clock.advanceSettled(100);
    const early = c.metadata.snapshot();
    log.roll();
    await c.world.clock.advanceSettled(100);
    put(log, 5);
    await c.world.clock.advanceSettled(100);
    for (const state of [early, undefined]) {
      c.metadata.restore(state);
      const next = await c.open(c.broker(), 'existing');
      expect(await readAll(c, next)).toEqual(upTo(next.end));
      expect(next.end).toBeGreaterThanOrEqual(10);
      put(next, 1);
      await c.world.clock.advanceSettled(100);
      expect(next.ackedEnd).toBe(next.end);
    }
    put(log, 1);
    await c.world.clock.advanceSettled(100);
    expect(c.lost?.code).toBe('not_owner');
  });

  it('begins without the index when that leads to a ledger that is gone', async () => {
    const c = cluster();
    const log = await c.open(c.broker(), 'new');
    put(log, 5);
    await c.world.clock.advanceSettled(100);
    log.roll();
    await c.world.clock.advanceSettled(100);
    const early = c.metadata.snapshot();
    put(log, 5);
    log.roll();
    await c.world.clock.advanceSettled(300);
    await c.run(log.trim(offset(10)));
    c.metadata.restore(early);
    const next = await c.open(c.broker(), 'existing');
    expect(next.start).toBe(10);
    expect(next.end).toBe(10);
  });

  it('is refused, as retryable, while the metadata store cannot be reached, and serves on through that', async () => {
    const c = cluster();
    const log = await c.open(c.broker(), 'new');
    c.metadata.setReachable(false);
    put(log, 3);
    log.roll();
    await c.world.clock.advanceSettled(300);
    put(log, 3);
    await c.world.clock.advanceSettled(300);
    expect(log.ackedEnd).toBe(6);
    expect(await c.tryOpen(c.broker())).toMatchObject({ code: 'unavailable' });
    c.metadata.setReachable(true);
    await c.world.clock.advanceSettled(3000);
    expect((await c.metadata.readHead(PARTITION))?.first).toBe(3);
  });

  it('reports full bookies, lets control entries through, and goes on by itself when there is space', async () => {
    const c = cluster();
    const log = await c.open(c.broker(), 'new');
    put(log, 1);
    await c.world.clock.advanceSettled(100);
    put(log, 2);
    for (const bookie of c.bookies) bookie.full = true;
    await c.world.clock.advanceSettled(100);
    expect(log.isFull()).toBe('space');
    expect(log.ackedEnd).toBe(1);
    log.append(entry(log.end), 1, true);
    put(log, 1);
    await c.world.clock.advanceSettled(500);
    expect(log.ackedEnd).toBe(4);
    expect(log.isFull()).toBe('space');
    for (const bookie of c.bookies) bookie.full = false;
    await c.world.clock.advanceSettled(1500);
    expect(log.isFull()).toBe(false);
    expect(log.ackedEnd).toBe(5);
    expect(await readAll(c, log)).toEqual(upTo(5));
  });

  it('deletes everything when it is purged, and is then at its end', async () => {
    const c = cluster();
    const log = await c.open(c.broker(), 'new');
    put(log, 5);
    await c.world.clock.advanceSettled(100);
    log.roll();
    await c.world.clock.advanceSettled(100);
    put(log, 2);
    await c.run(log.purge());
    expect(c.ledgerCount).toBe(0);
    expect(await c.run(log.read(offset(0), 100))).toMatchObject({ kind: 'failure' });
    expect(await c.tryOpen(c.broker())).toMatchObject({ kind: 'failure' });
  });

  it('is refused when too few bookies answer, in the time allowed, and says which', async () => {
    const c = cluster();
    const log = await c.open(c.broker(), 'new');
    put(log, 2);
    await c.world.clock.advanceSettled(100);
    for (const bookie of c.bookies) c.dead.add(bookie.id);
    const began = c.world.clock.monotonic();
    const refusal = await c.tryOpen(c.broker());
    expect(refusal).toMatchObject({ code: 'storage_unavailable', stored: 'no' });
    expect(c.world.clock.monotonic() - began).toBeLessThan(40_000);
    c.dead.clear();
    expect((await c.open(c.broker(), 'existing')).end).toBe(2);
  });

  it('deletes ledgers that an attempt given up has left', async () => {
    const c = cluster();
    const log = await c.open(c.broker(), 'new');
    put(log, 2);
    await c.world.clock.advanceSettled(100);
    const first = c.first;
    if (!first) throw new Error('there is no first ledger');
    const orphan = { ...first, ledger: ledgerId('01990000-0000-7000-8000-00000000000f'), prev: first.ledger };
    for (const bookie of c.bookies)
      bookie.handle({ kind: 'create', descriptor: orphan, ballot: { epoch: 1, incarnation: 'f'.repeat(16) } });
    const next = await c.open(c.broker(), 'existing');
    await c.world.clock.advanceSettled(200);
    expect(next.ledgers()).toHaveLength(2);
    for (const bookie of c.bookies) expect(bookie.held.has(orphan.ledger)).toBe(false);
  });
});

describe('with R 3 and one bookie away', () => {
  it('goes on, replaces it by a roll when there is another, and reads around it', async () => {
    const c = new Cluster(3, { replicas: 3, ackQuorum: 2 });
    const log = await c.open(c.broker(), 'new');
    put(log, 5);
    await c.world.clock.advanceSettled(100);
    const away = c.bookies[0]?.id;
    if (away) c.dead.add(away);
    put(log, 5);
    await c.world.clock.advanceSettled(5000);
    expect(log.ackedEnd).toBe(10);
    expect(log.ledgers()).toHaveLength(1);
    expect(await readAll(c, log)).toEqual(upTo(10));
    c.bookies.push(new MemoryBookie(bookieId('9'.padStart(32, '0'))));
    await c.world.clock.advanceSettled(5000);
    expect(log.ledgers().map(ledger => [ledger.first, ledger.end])).toEqual([
      [0, 10],
      [10, null],
    ]);
    put(log, 5);
    await c.world.clock.advanceSettled(100);
    expect(log.ackedEnd).toBe(15);
    c.dead.clear();
    const next = await c.open(c.broker(), 'existing');
    expect(await readAll(c, next)).toEqual(upTo(15));
  });

  it('does not grow a chain of empty ledgers once it is back', async () => {
    const c = new Cluster(4, { replicas: 3, ackQuorum: 2 });
    let log = await c.open(c.broker(), 'new');
    put(log, 3);
    await c.run(log.close());
    const away = c.bookies[0]?.id;
    if (away) c.dead.add(away);
    for (let n = 0; n < 3; n++) log = await c.open(c.broker(), 'existing');
    c.dead.clear();
    const before = log.ledgers().length;
    for (let n = 0; n < 3; n++) log = await c.open(c.broker(), 'existing');
    expect(log.ledgers().length).toBeLessThanOrEqual(before);
    expect(before).toBeLessThanOrEqual(3);
  });
});
