// Thousands of seeded histories of several lives each, ended by power cuts and kills at any moment, also while the journal opens. The
// model knows what was appended and acknowledged; each restart must give back everything acknowledged, in order, once, and nothing that
// an earlier restart had cut.
import { expect, test } from 'vitest';
import { mortalClock, type SimClock, simClock } from '#lib/runtime/sim/clock.ts';
import { simDisk } from '#lib/runtime/sim/disk.ts';
import { type SimRandom, simRandom } from '#lib/runtime/sim/random.ts';
import { type SimWorld, simWorld } from '#lib/runtime/sim/world.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import {
  compareJournalPositions,
  type Journal,
  type JournalOptions,
  type JournalPosition,
  openJournal,
  type ReplayedRecord,
} from './journal.ts';

const OPTIONS = { folder: '/data/journal', fileBytes: 32_768, filesMax: 6, groupBytesMax: 16_384, queueBytesMax: 131_072 };
/** Small ones make files of one record, and files of none. */
const FILE_BYTES = [16_384, 20_480, 32_768, 32_768, 65_536];

interface Appended {
  readonly number: number;
  readonly bytes: Buffer;
  readonly position: JournalPosition;
  isAcknowledged: boolean;
}

/** What many histories met, so that the test shows that it went where it should. */
interface Coverage {
  restarts: number;
  replayed: number;
  tailsCut: number;
  trims: number;
  opensCutShort: number;
  fullSpace: number;
  fullQueue: number;
  appended: number;
  lost: number;
  keptUnacknowledged: number;
  filesUsed: number;
}

class History {
  readonly #random: SimRandom;
  readonly #clock: SimClock;
  readonly #world: SimWorld;
  /** The clock of the present life. */
  #life: ReturnType<typeof mortalClock>;
  readonly #coverage: Coverage;
  readonly #options: JournalOptions;
  /** Records that a restart has given back and that are not trimmed: every later one must, too. */
  #survivors: Appended[] = [];
  /** Records of the present life. */
  #appended: Appended[] = [];
  #acknowledgedOutOfOrder = false;
  #trimmed: JournalPosition | null = null;
  #number = 0;
  #asked = 0;
  #answered = 0;

  constructor(seed: number, coverage: Coverage) {
    this.#random = simRandom(seed);
    const clock = simClock();
    this.#clock = clock;
    this.#life = mortalClock(clock);
    const disk = simDisk(this.#random.fork(), { clock, delayMsMax: this.#random.pick([0.1, 1, 5]) });
    this.#world = simWorld(seed, { clock, disk });
    this.#coverage = coverage;
    this.#options = { ...OPTIONS, fileBytes: this.#random.pick(FILE_BYTES), filesMax: 4 + this.#random.integer(5) };
  }

  async run(lives: number): Promise<void> {
    for (let life = 0; life < lives; life++) {
      await this.#live();
      this.#life.end();
      this.#life = mortalClock(this.#clock);
      if (this.#random.chance(0.7)) this.#world.disk.crash();
      else this.#world.disk.kill();
    }
    // The last life is let alone until it is open.
    expect(await this.#open(Number.POSITIVE_INFINITY)).not.toBeNull();
  }

  async #live(): Promise<void> {
    const journal = await this.#open(this.#random.chance(0.15) ? this.#random.integer(40) : Number.POSITIVE_INFINITY);
    if (!journal) {
      this.#coverage.opensCutShort++;
      return;
    }
    const acts = this.#random.integer(60);
    for (let act = 0; act < acts; act++) {
      await this.#pass(this.#random.integer(3));
      await this.#act(journal);
    }
    await this.#pass(this.#random.pick([0, 0.5, 2, 5, 200]));
    expect(this.#world.fatals).toEqual([]);
    expect(this.#acknowledgedOutOfOrder).toBe(false);
  }

  async #act(journal: Journal): Promise<void> {
    const drawn = this.#random.next();
    if (drawn < 0.1) this.#trim(journal);
    else if (drawn < 0.15) await this.#pass(this.#random.integer(60));
    else if (drawn < 0.2) this.#whenDurable(journal);
    else for (let count = 1 + this.#random.integer(5); count > 0; count--) this.#append(journal);
  }

  #append(journal: Journal): void {
    const isReserved = this.#random.chance(0.1);
    const size = Math.min(this.#random.pick([0, 10, 100, 300, 3000, 5000, 20_000]), journal.recordBytesMax - 8);
    const full = journal.isFull(isReserved, size + 8);
    if (full) {
      if (full === 'space') this.#coverage.fullSpace++;
      else this.#coverage.fullQueue++;
      if (this.#random.chance(0.2)) this.#trim(journal);
      return;
    }
    const number = this.#number++;
    const bytes = Buffer.alloc(size + 8, this.#random.bytes(13));
    bytes.writeUInt32LE(number, 0);
    const cut = this.#random.integer(bytes.length);
    const parts = this.#random.chance(0.5) ? [bytes] : [bytes.subarray(0, cut), bytes.subarray(cut)];
    const crc = this.#random.chance(0.5) ? crc32c(parts[parts.length - 1] ?? bytes) : undefined;
    const waits = this.#random.chance(0.8);
    const life = this.#appended;
    const acknowledge = () => {
      const index = life.findIndex(record => record.number === number);
      if (life.slice(index).some(record => record.isAcknowledged)) this.#acknowledgedOutOfOrder = true;
      for (const record of life.slice(0, index + 1)) record.isAcknowledged = true;
    };
    const position = journal.append(1 + (number % 3), parts, waits ? acknowledge : null, crc);
    const before = life[life.length - 1]?.position ?? this.#survivors[this.#survivors.length - 1]?.position;
    if (before) expect(compareJournalPositions(before, position)).toBeLessThan(0);
    this.#coverage.appended++;
    life.push({ number, bytes, position, isAcknowledged: false });
    expect(compareJournalPositions(position, journal.end)).toBeLessThan(0);
  }

  #whenDurable(journal: Journal): void {
    const life = this.#appended;
    const count = life.length;
    const order = this.#asked++;
    journal.whenDurable(() => {
      if (order < this.#answered) this.#acknowledgedOutOfOrder = true;
      this.#answered = order;
      for (const record of life.slice(0, count)) record.isAcknowledged = true;
    });
  }

  /** The caller's own store keeps the trim position before the journal hears of it. */
  #trim(journal: Journal): void {
    const durable = [...this.#survivors, ...this.#appended]
      .map(({ position }) => position)
      .filter(position => compareJournalPositions(position, journal.durableEnd) < 0);
    const to = this.#random.chance(0.3) ? journal.durableEnd : durable[this.#random.integer(Math.max(1, durable.length))];
    if (!to || (this.#trimmed && compareJournalPositions(to, this.#trimmed) < 0)) return;
    this.#trimmed = to;
    this.#coverage.trims++;
    journal.trim(to);
  }

  /** Opens and compares; null when `stepsMax` steps of the clock were not enough. */
  async #open(stepsMax: number): Promise<Journal | null> {
    const replayed: ReplayedRecord[] = [];
    let opened: Awaited<ReturnType<typeof openJournal>> | null = null;
    let failure: unknown = null;
    openJournal({ ...this.#world, clock: this.#life, disk: this.#world.disk.forLife() }, this.#options, this.#trimmed, record =>
      replayed.push({ ...record, bytes: Buffer.from(record.bytes) }),
    ).then(
      result => {
        opened = result;
      },
      error => {
        failure = error;
      },
    );
    for (let step = 0; opened === null && step < stepsMax; step++) {
      await settle();
      if (failure !== null) throw failure;
      if (!opened && !this.#clock.step() && step > 10_000) throw new Error('the journal does not open');
    }
    const done = opened as Awaited<ReturnType<typeof openJournal>> | null;
    if (!done) return null;
    if (done.opening.kind === 'corrupt') throw new Error(`corrupt: ${JSON.stringify(done.opening)}`);
    if (done.opening.kind === 'tail_cut') this.#coverage.tailsCut++;
    this.#compare(replayed);
    this.#coverage.restarts++;
    this.#coverage.filesUsed = Math.max(this.#coverage.filesUsed, done.journal.usage().files);
    return done.journal;
  }

  #compare(replayed: readonly ReplayedRecord[]): void {
    const trimmed = this.#trimmed;
    const isLive = ({ position }: Appended) => !trimmed || compareJournalPositions(position, trimmed) >= 0;
    const survivors = this.#survivors.filter(isLive);
    const appended = this.#appended.filter(isLive);
    const mustHave = appended.findLastIndex(record => record.isAcknowledged) + 1;
    const expected = [...survivors, ...appended].slice(0, replayed.length);
    expect(replayed.length).toBeGreaterThanOrEqual(survivors.length + mustHave);
    expect(replayed.map(({ bytes }) => bytes.readUInt32LE(0))).toEqual(expected.map(({ number }) => number));
    for (const [index, { bytes, position, type, afterDamage }] of replayed.entries()) {
      const record = expected[index];
      if (!record?.bytes.equals(bytes)) throw new Error(`record ${record?.number} has other bytes`);
      expect(position).toEqual(record.position);
      expect(type).toBe(1 + (record.number % 3));
      expect(afterDamage).toBe(false);
    }
    this.#coverage.replayed += replayed.length;
    const kept = replayed.length - survivors.length;
    this.#coverage.lost += appended.length - kept;
    this.#coverage.keptUnacknowledged += kept - mustHave;
    this.#survivors = expected;
    this.#appended = [];
  }

  async #pass(ms: number): Promise<void> {
    const end = this.#clock.monotonic() + ms;
    await settle();
    for (let next = this.#clock.nextAt(); next !== null && next <= end; next = this.#clock.nextAt()) {
      this.#clock.step();
      await settle();
    }
    this.#clock.advance(Math.max(0, end - this.#clock.monotonic()));
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 12; turn++) await undefined;
}

const SEEDS = Number(process.env['JOURNAL_SEEDS'] ?? 1500);
const FIRST = Number(process.env['JOURNAL_FIRST_SEED'] ?? 0);

test(`every acknowledged record survives, in order and once, through ${SEEDS} histories of crashes`, { timeout: 600_000 }, async () => {
  const coverage: Coverage = {
    restarts: 0,
    replayed: 0,
    tailsCut: 0,
    trims: 0,
    opensCutShort: 0,
    fullSpace: 0,
    fullQueue: 0,
    appended: 0,
    lost: 0,
    keptUnacknowledged: 0,
    filesUsed: 0,
  };
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    try {
      await new History(seed, coverage).run(2 + (seed % 5));
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.message : error}`, { cause: error });
    }
  }
  console.log(JSON.stringify(coverage));
  expect(coverage.restarts).toBeGreaterThan(SEEDS * 2);
  expect(coverage.replayed).toBeGreaterThan(SEEDS * 50);
  expect(coverage.tailsCut).toBeGreaterThan(SEEDS / 20);
  expect(coverage.trims).toBeGreaterThan(SEEDS);
  expect(coverage.opensCutShort).toBeGreaterThan(SEEDS / 20);
  expect(coverage.lost).toBeGreaterThan(SEEDS);
  expect(coverage.keptUnacknowledged).toBeGreaterThan(SEEDS / 4);
  expect(coverage.fullSpace).toBeGreaterThan(0);
});
