// Crashes at random moments on a disk that keeps, drops or tears whatever was not synced: what was answered stays true.
import { expect, test } from 'vitest';
import type { BookieReply, BookieRequest, SealValue } from '#lib/ledger/protocol.ts';
import { memoryLogger } from '#lib/runtime/loggers.ts';
import type { Clock } from '#lib/runtime/ports.ts';
import { simClock } from '#lib/runtime/sim/clock.ts';
import { simDisk } from '#lib/runtime/sim/disk.ts';
import { simRandom } from '#lib/runtime/sim/random.ts';
import { simWorld } from '#lib/runtime/sim/world.ts';
import { offset } from '#lib/types/brands.ts';
import type { Bookie } from './bookie.ts';
import { createBookie } from './open.ts';
import { appendRequest, smallConfig, testBallot, testDescriptor, testEntry, testLedgerId } from './testing/support.ts';

/** What was answered of one ledger, and what was asked. */
interface Told {
  readonly n: number;
  /** Lowest ballot that may be promised, and the highest that was asked for. */
  promised: number;
  asked: number;
  /** All entries ever sent, by position; `acked` of them were answered. */
  readonly sent: Buffer[];
  acked: number;
  /** The highest `ackedEnd` that was sent: no seal may cut below. */
  known: number;
  sealed: SealValue | null;
  sealAsked: SealValue | null;
  decided: boolean;
  deleted: 'no' | 'asked' | 'yes';
}

class Machine {
  readonly random;
  readonly disk;
  readonly logger = memoryLogger();
  clock = simClock();
  bookie: Bookie | undefined;
  readonly told: Told[] = [];
  pending = 0;

  constructor(seed: number) {
    this.random = simRandom(seed);
    const clock: Clock = {
      now: () => this.clock.now(),
      monotonic: () => this.clock.monotonic(),
      after: (delayMs, run) => this.clock.after(delayMs, run),
      soon: run => this.clock.soon(run),
    };
    this.disk = simDisk(this.random.fork(), { clock, delayMsMax: 2 });
  }

  async settle<T>(promise: Promise<T>): Promise<T> {
    let done = false;
    const finished = promise.finally(() => {
      done = true;
    });
    finished.catch(() => {});
    for (let n = 0; n < 200_000 && !done; n++) {
      for (let turn = 0; turn < 12; turn++) await undefined;
      if (!done) this.clock.step();
    }
    if (!done) throw new Error('it does not end');
    return finished;
  }

  async start(): Promise<void> {
    this.clock = simClock(this.clock.now());
    const world = simWorld(this.random.integer(1e9), { clock: this.clock, disk: this.disk, logger: this.logger });
    this.bookie = await this.settle(createBookie(world, { ...smallConfig(), journalFileBytes: 24 * 1024, journalFilesMax: 12 }));
  }

  crash(): void {
    this.disk.crash();
    this.bookie = undefined;
    this.pending = 0;
  }

  /** Sends; `onReply` is not called any more once the machine has crashed. */
  send(request: BookieRequest, onReply: (reply: BookieReply) => void): void {
    const { bookie } = this;
    this.pending++;
    bookie?.handle(request, reply => {
      if (this.bookie !== bookie) return;
      this.pending--;
      onReply(reply);
    });
  }

  async ask(request: BookieRequest): Promise<BookieReply> {
    return this.settle(new Promise<BookieReply>(resolve => this.bookie?.handle(request, resolve)));
  }

  get id() {
    if (!this.bookie) throw new Error('the machine is down');
    return this.bookie.id;
  }
}

function step(machine: Machine): void {
  const { random, told } = machine;
  const ledger = told.length > 0 ? random.pick(told) : undefined;
  const action = random.next();
  if (!ledger || (action < 0.05 && told.length < 8)) create(machine);
  else if (ledger.deleted !== 'no') return;
  else if (action < 0.8) for (let n = random.integer(8); n >= 0; n--) append(machine, ledger);
  else if (action < 0.85) fence(machine, ledger);
  else if (action < 0.88) seal(machine, ledger);
  else if (action < 0.9) decide(machine, ledger);
  else if (action < 0.92) remove(machine, ledger);
  else if (action < 0.97) takeOver(machine, ledger);
}

function create(machine: Machine): void {
  const told: Told = {
    n: machine.told.length + 1,
    promised: 0,
    asked: 1,
    sent: [],
    acked: 0,
    known: 0,
    sealed: null,
    sealAsked: null,
    decided: false,
    deleted: 'no',
  };
  machine.told.push(told);
  machine.send({ kind: 'create', descriptor: testDescriptor(told.n, machine.id), ballot: testBallot(1) }, reply => {
    expect(['ok', 'busy']).toContain(reply.kind);
    if (reply.kind === 'ok') told.promised = Math.max(told.promised, 1);
  });
}

function append(machine: Machine, told: Told): void {
  if (told.sealAsked) return;
  const at = told.sent.length;
  const entry = testEntry(at, machine.random.bytes(machine.random.pick([0, 10, 300, 5000])));
  told.sent.push(entry);
  told.known = Math.max(told.known, told.acked - machine.random.integer(30));
  const request = appendRequest(told.n, told.asked, entry, at, 0, told.known, machine.random.chance(0.1));
  machine.send(request, reply => {
    if (reply.kind === 'appended') {
      expect(reply.end).toBe(at + 1);
      // A seal that is under way may cut what is answered meanwhile.
      if (!told.sealAsked) told.acked = Math.max(told.acked, at + 1);
    } else {
      expect(['busy', 'refused', 'stale']).toContain(reply.kind);
      // Certainly not stored, and nothing after it: the positions are free again.
      if (told.sent[at] === entry) told.sent.length = at;
    }
  });
}

function fence(machine: Machine, told: Told): void {
  const epoch = ++told.asked;
  machine.send({ kind: 'fence', descriptor: testDescriptor(told.n, machine.id), ballot: testBallot(epoch), first: offset(0) }, reply => {
    expect(['fenced', 'stale', 'busy']).toContain(reply.kind);
    if (reply.kind !== 'fenced') return;
    told.promised = Math.max(told.promised, epoch);
    expect(reply.end).toBeGreaterThanOrEqual(told.acked);
    if (told.sealed) expect(reply.accepted ?? reply.decided).toMatchObject({ end: told.sealed.end });
  });
}

function seal(machine: Machine, told: Told): void {
  if (told.sealAsked) return;
  // What was answered, but is not known to be acknowledged, may be cut.
  const value = { end: offset(told.known + machine.random.integer(told.acked - told.known + 1)), next: null };
  told.sealAsked = value;
  told.acked = value.end;
  machine.send({ kind: 'seal', ledger: testLedgerId(told.n), ballot: testBallot(told.asked), first: offset(0), value }, reply => {
    expect(['ok', 'busy', 'stale', 'refused']).toContain(reply.kind);
    if (reply.kind === 'ok') told.sealed = value;
  });
}

/** A higher ballot that goes on behind a seal which nobody chose: what was cut is written again, by other bytes here. */
function takeOver(machine: Machine, told: Told): void {
  if (machine.pending > 0 || !told.sealed || told.decided) return;
  told.sealed = null;
  const epoch = ++told.asked;
  machine.send({ kind: 'fence', descriptor: testDescriptor(told.n, machine.id), ballot: testBallot(epoch), first: offset(0) }, reply => {
    if (reply.kind !== 'fenced') return;
    told.promised = Math.max(told.promised, epoch);
    told.sent.length = reply.end;
    told.acked = reply.end;
    told.sealAsked = null;
  });
}

function decide(machine: Machine, told: Told): void {
  if (!told.sealed) return;
  machine.send({ kind: 'decided', ledger: testLedgerId(told.n), first: offset(0), value: told.sealed }, reply => {
    expect(['ok', 'busy']).toContain(reply.kind);
    if (reply.kind === 'ok') told.decided = true;
  });
}

function remove(machine: Machine, told: Told): void {
  if (!told.decided) return;
  told.deleted = 'asked';
  const request = { kind: 'delete', ledger: testLedgerId(told.n), ballot: testBallot(told.asked), reason: 'trimmed' } as const;
  machine.send({ ...request, partition: testDescriptor(told.n, machine.id).partition }, reply => {
    expect(['ok', 'busy']).toContain(reply.kind);
    if (reply.kind === 'ok') told.deleted = 'yes';
    else told.deleted = 'no';
  });
}

/** Everything that was answered is still so; what was under way may have happened or not. */
async function check(machine: Machine): Promise<void> {
  for (const told of machine.told) {
    const reply = await machine.ask({ kind: 'inspect', ledger: testLedgerId(told.n) });
    if (told.deleted === 'yes') {
      expect(reply).toMatchObject({ kind: 'gone', decided: { end: told.sealed?.end } });
      continue;
    }
    if (reply.kind === 'gone' && told.deleted === 'asked') {
      told.deleted = 'yes';
      continue;
    }
    if (told.deleted === 'asked') told.deleted = 'no';
    if (reply.kind !== 'state') {
      expect(told.promised).toBe(0);
      expect(reply).toMatchObject({ kind: 'refused', reason: 'no_ledger' });
      told.sent.length = 0;
      continue;
    }
    const { state } = reply;
    expect(state.promised.epoch).toBeGreaterThanOrEqual(told.promised);
    expect(state.promised.epoch).toBeLessThanOrEqual(told.asked);
    const end = state.end ?? 0;
    expect(end).toBeGreaterThanOrEqual(told.acked);
    expect(end).toBeLessThanOrEqual(told.sent.length);
    if (told.sealed && !told.decided) expect(state.accepted ?? state.decided).toMatchObject({ end: told.sealed.end });
    if (told.decided) expect(state.decided?.end).toBe(told.sealed?.end);
    for (let at = 0; at < end; ) {
      const read = await machine.ask({
        kind: 'read',
        ledger: testLedgerId(told.n),
        ballot: state.promised,
        offset: offset(at),
        bytesMax: 9000,
      });
      if (read.kind !== 'entries') throw new Error(`read at ${at} of ${end}: ${JSON.stringify(read)}`);
      for (const entry of read.entries) expect(entry.equals(told.sent[at++] ?? Buffer.alloc(0))).toBe(true);
      expect(read.entries.length).toBeGreaterThan(0);
    }
    // From here on the truth is what the replica has.
    told.promised = state.promised.epoch;
    told.asked = Math.max(told.asked, told.promised);
    told.sent.length = end;
    told.acked = end;
    told.known = Math.max(told.known, state.ackedEnd ?? 0);
    const isCurrent = state.accepted?.ballot.epoch === state.promised.epoch;
    const sealed = state.decided ?? (isCurrent ? state.accepted : null);
    told.sealed = sealed && { end: sealed.end, next: sealed.next };
    told.sealAsked = told.sealed;
    told.decided = state.decided !== null;
  }
}

async function history(seed: number, lives: number): Promise<Machine> {
  const machine = new Machine(seed);
  await machine.start();
  const id = machine.id;
  for (let life = 0; life < lives; life++) {
    for (let n = machine.random.integer(120); n >= 0; n--) {
      if (machine.pending < 200) step(machine);
      await machine.clock.advanceSettled(machine.random.next() * 4);
    }
    if (machine.random.chance(0.2)) await machine.settle(machine.bookie?.close() ?? Promise.resolve());
    machine.crash();
    await machine.start();
    expect(machine.id).toBe(id);
    await check(machine);
  }
  return machine;
}

test('what was answered stays true over crashes', async () => {
  let flushes = 0;
  const first = Number(process.env['SEED'] ?? 1);
  for (let seed = first; seed < first + Number(process.env['SEEDS'] ?? 10); seed++) {
    try {
      const machine = await history(seed, 6);
      flushes += machine.bookie?.usage().segments ?? 0;
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
  expect(flushes).toBeGreaterThan(0);
}, 600_000);
