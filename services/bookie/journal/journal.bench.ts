// Measures the journal on a real disk, by hand: node services/bookie/journal/journal.bench.ts [folder]
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nullLogger } from '#lib/runtime/loggers.ts';
import { createNodeWorld } from '#lib/runtime/node/world.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { type Journal, type JournalPosition, openJournal } from './journal.ts';

const MIB = 1024 * 1024;
const SECONDS = 2;
const folder = mkdtempSync(join(process.argv[2] ?? tmpdir(), 'sluice-journal-bench-'));
const world = createNodeWorld({
  logger: nullLogger(),
  onFatal: (reason, error) => {
    console.error(reason, error);
    process.exit(1);
  },
});

interface Row {
  readonly name: string;
  readonly bytes: number;
  readonly inFlight: number;
  /** Whether the caller knows the payload's checksum. */
  readonly knowsCrc: boolean;
}

const ROWS: readonly Row[] = [
  { name: '100 B, one at a time', bytes: 100, inFlight: 1, knowsCrc: true },
  { name: '200 B, 1,000 callers', bytes: 200, inFlight: 1000, knowsCrc: true },
  { name: '4 KiB, 16 callers', bytes: 4096, inFlight: 16, knowsCrc: true },
  { name: '64 KiB, 32 in flight', bytes: 65_536, inFlight: 32, knowsCrc: true },
  { name: '64 KiB, checksum made', bytes: 65_536, inFlight: 32, knowsCrc: false },
  { name: '128 KiB, 32 in flight', bytes: 131_072, inFlight: 32, knowsCrc: true },
  { name: '1 MiB, 8 in flight', bytes: MIB, inFlight: 8, knowsCrc: true },
];

/** Keeps `inFlight` records under way for a while; trims as a bookie does, a little behind. */
async function run(journal: Journal, row: Row): Promise<void> {
  const payload = Buffer.alloc(row.bytes, 7);
  const head = Buffer.alloc(48, 1);
  const crc = crc32c(payload);
  const latencies: number[] = [];
  let done = 0;
  let pushedBack = 0;
  const started = performance.now();
  const cpu = process.cpuUsage();
  let trimTo: JournalPosition = journal.end;
  await new Promise<void>(resolve => {
    let running = 0;
    const ended = (since: number) => () => {
      latencies.push(performance.now() - since);
      done++;
      running--;
      if (performance.now() - started < SECONDS * 1000) fill();
      else if (running === 0) resolve();
    };
    const fill = (): void => {
      while (running < row.inFlight) {
        if (journal.isFull(false, row.bytes + 48)) {
          pushedBack++;
          setTimeout(fill, 1);
          return;
        }
        running++;
        journal.append(1, [head, payload], ended(performance.now()), row.knowsCrc ? crc : undefined);
      }
    };
    const trimmer = setInterval(() => {
      journal.trim(trimTo);
      trimTo = journal.durableEnd;
      if (performance.now() - started > SECONDS * 1000) clearInterval(trimmer);
    }, 100);
    fill();
  });
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  latencies.sort((a, b) => a - b);
  const at = (share: number) => (latencies[Math.floor(latencies.length * share)] ?? 0).toFixed(2);
  console.log(
    `${row.name.padEnd(24)} ${Math.round(done / seconds)
      .toString()
      .padStart(8)}/s ${((done * row.bytes) / seconds / 1e6).toFixed(0).padStart(6)} MB/s  p50 ${at(0.5)} p99 ${at(0.99)} ms  ` +
      `${((user + system) / done).toFixed(1)} µs CPU each  ${pushedBack} pushed back  ${journal.usage().files} files`,
  );
}

const opened = performance.now();
const { journal } = await openJournal(
  world,
  { folder, fileBytes: 64 * MIB, filesMax: 12, groupBytesMax: MIB, queueBytesMax: 32 * MIB },
  null,
  () => {},
);
console.log(`open: ${(performance.now() - opened).toFixed(0)} ms`);
for (const row of ROWS) await run(journal, row);
const position = journal.end;
await journal.close();
const again = performance.now();
let records = 0;
const second = await openJournal(
  world,
  { folder, fileBytes: 64 * MIB, filesMax: 12, groupBytesMax: MIB, queueBytesMax: 32 * MIB },
  { file: Math.max(0, position.file - 8), at: 0 },
  () => {
    records++;
  },
);
console.log(`open again, ${records} records: ${(performance.now() - again).toFixed(0)} ms, ${second.opening.kind}`);
await second.journal.close();
rmSync(folder, { recursive: true });
