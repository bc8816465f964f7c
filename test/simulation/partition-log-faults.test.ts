// Whole partition logs of two brokers over unreliable bookies and an index that rolls back: opening, writing, rolling, trimming, closing and
// crashing at random. In the end the world heals, and a fresh owner must have every acknowledged entry that was not trimmed, byte for byte.
// Longer: SLUICE_WALKS=2000 SLUICE_SEED=1 vitest run test/simulation/partition-log-faults.test.ts

import { expect, it } from 'vitest';
import type { BookieReply, BookieTransport, LedgerDescriptor } from '#lib/ledger/protocol.ts';
import { MemoryStore } from '#lib/metadata/memory.ts';
import { simRandom } from '#lib/runtime/sim/random.ts';
import { simWorld } from '#lib/runtime/sim/world.ts';
import { type BookieId, bookieId, offset, partitionId, topicId } from '#lib/types/brands.ts';
import { isFailure } from '#lib/types/errors.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { encodeEntry, entryBaseOffset, entryEnd } from '#lib/wire/entry.ts';
import type { PartitionLog } from '../../services/broker/log/api.ts';
import { LOG_DEFAULTS, type LogDeps, newFirstLedger, openPartitionLog } from '../../services/broker/log/partition-log.ts';
import { MemoryBookie } from './support/bookies.ts';

const WALKS = Number(process.env['SLUICE_WALKS'] ?? 40);
const SEED = Number(process.env['SLUICE_SEED'] ?? 1);
const STEPS = 120;
const TOPIC = topicId('01890000-0000-7000-8000-000000000001');
const PARTITION = partitionId(TOPIC, 0);

interface Owner {
  readonly log: PartitionLog;
  readonly node: Node;
  readonly written: Map<number, Buffer>;
  /** Trims whose control entry is under way: [its offset, up to where]. */
  readonly trims: [number, number][];
}

/** A broker process: after a crash nothing that it sent is answered to it, and its timers do nothing. */
interface Node {
  readonly deps: LogDeps;
  alive: boolean;
}

async function walk(seed: number, replicas: number, ackQuorum: number): Promise<string> {
  const random = simRandom(seed);
  const world = simWorld(seed + 1);
  const { clock } = world;
  const metadata = new MemoryStore(clock);
  const snapshots = [metadata.snapshot()];
  const bookies = Array.from({ length: replicas + 1 }, (_, n) => new MemoryBookie(bookieId((n + 1).toString().padStart(32, '0'))));
  const dead = new Set<BookieId>();
  const acked = new Map<number, Buffer>();
  let trimmed = 0;
  let faults = true;
  let starts = 0;
  let writes = 0;
  let opening = 0;
  const owners: Owner[] = [];
  const problems: string[] = [];
  let firstLedger: LedgerDescriptor | null = null;

  function start(): Node {
    const node = { alive: true, deps: null as unknown as LogDeps };
    const transport: BookieTransport = {
      send: (to, request, onReply) => {
        if (!node.alive) return;
        const bookie = bookies.find(found => found.id === to);
        const lost = faults && random.chance(0.04);
        const handled = !lost || random.chance(0.6);
        const later = faults && random.chance(0.03) ? random.next() * 2000 : random.next() * 4;
        let reply: BookieReply = { kind: 'unreachable' };
        clock.after(later, () => {
          if (!bookie || dead.has(to) || !handled) return;
          const answer = bookie.handle(request);
          if (answer.kind === 'conflict') problems.push(answer.what);
          if (!lost) reply = answer;
        });
        clock.after(Math.min(later, 500) + random.next(), () => {
          if (node.alive) onReply(reply);
        });
      },
      bookies: () => bookies.map(({ id }) => ({ id, alive: !dead.has(id), full: false })),
    };
    const incarnation = (random.integer(2 ** 30) * 64 + ++starts).toString(16).padStart(16, '0');
    const settings = {
      ...LOG_DEFAULTS,
      replicas,
      ackQuorum,
      ledgerBytesMax: 900,
      windowCount: 6,
      openTimeoutMs: 8000,
      closeTimeoutMs: 4000,
    };
    const quiet = {
      ...world,
      clock: {
        ...clock,
        after: (ms: number, run: () => void) => clock.after(ms, () => node.alive && run()),
        soon: (run: () => void) => clock.soon(() => node.alive && run()),
      },
    };
    node.deps = { world: quiet, transport, metadata, broker: `broker ${starts % 2}`, incarnation, settings, epochs: new Map() };
    return node;
  }

  function open(node: Node, kind: 'new' | 'existing'): void {
    opening++;
    const written = new Map<number, Buffer>();
    const trims: [number, number][] = [];
    let owner: Owner | null = null;
    const events = {
      onAcked: (end: number) => {
        for (const [at, bytes] of written) {
          if (at >= end) break;
          written.delete(at);
          const was = acked.get(at);
          if (was && !was.equals(bytes)) problems.push(`@${at} is acknowledged twice`);
          acked.set(at, bytes);
        }
        for (const trim of trims.splice(0)) {
          if (trim[0] >= end) trims.push(trim);
          else {
            trimmed = Math.max(trimmed, trim[1]);
            void owner?.log.trim(offset(trim[1]));
          }
        }
      },
      onLost: () => {
        if (owner) owners.splice(owners.indexOf(owner), 1);
      },
    };
    void openPartitionLog(node.deps, PARTITION, TOPIC, { kind }, firstLedger, events).then(log => {
      opening--;
      if (isFailure(log) || !node.alive) return;
      owner = { log, node, written, trims };
      owners.push(owner);
    });
  }

  function append(owner: Owner, reserved: boolean): void {
    const { log, written } = owner;
    const payload = Buffer.from(`${writes++} ${'x'.repeat(random.integer(80))}`);
    const base = log.end;
    const header = { kind: 'batch', baseOffset: base, count: 1, cumulativeCount: base, appendTimeMs: 1, checkpointOffset: -1 } as const;
    const bytes = encodeEntry(header, [], payload, crc32c(payload));
    written.set(base, bytes);
    log.append(bytes, 1, reserved);
  }

  function act(): void {
    if (random.chance(0.05)) {
      if (dead.size > 0) dead.clear();
      else if (replicas > 1) dead.add(random.pick(bookies).id);
    }
    if (random.chance(0.05)) snapshots.push(metadata.snapshot());
    if (random.chance(0.03)) metadata.restore(random.chance(0.2) ? undefined : random.pick(snapshots));
    if (random.chance(0.02)) metadata.setReachable(false);
    else metadata.setReachable(true);
    const owner = owners.length > 0 ? random.pick(owners) : undefined;
    if (!owner || random.chance(0.03)) {
      if (opening < 2) open(random.chance(0.3) && owner ? owner.node : start(), 'existing');
      return;
    }
    const draw = random.next();
    if (draw < 0.04) {
      owner.node.alive = false;
      for (const other of [...owners]) if (other.node === owner.node) owners.splice(owners.indexOf(other), 1);
    } else if (draw < 0.08) {
      owners.splice(owners.indexOf(owner), 1);
      void owner.log.close();
    } else if (draw < 0.16) owner.log.roll();
    else if (draw < 0.24) {
      const to = owner.log.start + random.integer(Math.max(1, owner.log.ackedEnd - owner.log.start + 1));
      owner.trims.push([owner.log.end, to]);
      append(owner, true);
    } else if (owner.log.isFull() === false) append(owner, false);
  }

  const first = start();
  const made = newFirstLedger(first.deps, PARTITION, TOPIC);
  if (isFailure(made)) return made.message;
  firstLedger = made;
  open(first, 'new');
  for (let step = 0; step < STEPS && problems.length === 0; step++) {
    await clock.advanceSettled(random.chance(0.1) ? random.next() * 3000 : random.next() * 30, 12);
    act();
  }
  if (problems[0]) return problems[0];

  faults = false;
  dead.clear();
  metadata.setReachable(true);
  for (const { node } of owners) node.alive = false;
  await clock.advanceSettled(3000, 12);
  let fresh: PartitionLog | null = null;
  let refusal = 'it does not end';
  const events = { onAcked: () => undefined, onLost: () => undefined };
  void openPartitionLog(start().deps, PARTITION, TOPIC, { kind: 'existing' }, firstLedger, events).then(log => {
    if (isFailure(log)) refusal = log.message;
    else fresh = log;
  });
  for (let turn = 0; turn < 600 && !fresh; turn++) await clock.advanceSettled(20, 12);
  const log = fresh as PartitionLog | null;
  if (!log) return `a fresh owner cannot open: ${refusal}`;
  if (log.start > trimmed) return `the log begins at ${log.start}, and was trimmed up to ${trimmed}`;
  // As a partition does that finds a trim in its log: the point of no return was passed.
  void log.trim(offset(trimmed));
  await clock.advanceSettled(500, 12);
  const found = new Map<number, Buffer>();
  for (let at: number = log.start; at < log.end; ) {
    let entries: readonly Buffer[] | null = null;
    let wrong = 'a read does not end';
    void log.read(offset(at), 400).then(result => {
      if (isFailure(result)) wrong = result.message;
      else entries = result;
    });
    for (let turn = 0; turn < 200 && !entries; turn++) await clock.advanceSettled(5, 12);
    const read = (entries ?? []) as readonly Buffer[];
    const last = read.at(-1);
    if (!last) return `@${at}: ${wrong}`;
    for (const entry of read) found.set(entryBaseOffset(entry), entry);
    at = entryEnd(last);
  }
  for (const [at, bytes] of acked) {
    if (at < log.start) continue;
    if (!found.get(at)?.equals(bytes))
      return `@${at} was acknowledged and is ${found.has(at) ? 'another entry' : 'gone'}; the log is [${log.start}, ${log.end}), found ${[...found.keys()].join()}`;
  }
  return problems[0] ?? (acked.size > 0 ? '' : 'nothing was acknowledged at all');
}

it.each([
  { replicas: 1, ackQuorum: 1 },
  { replicas: 3, ackQuorum: 2 },
])(
  'R $replicas: what was acknowledged and not trimmed is there',
  async ({ replicas, ackQuorum }) => {
    for (let seed = SEED; seed < SEED + WALKS; seed++)
      expect(`seed ${seed}: ${await walk(seed, replicas, ackQuorum)}`).toBe(`seed ${seed}: `);
  },
  600_000,
);
