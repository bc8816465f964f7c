// `make bench`: starts a real standalone server for every round, drives it with the same `sluice bench` that a user has, and prints the
// table of docs/performance.md: medians and ranges of three rounds, CPU seconds of both sides per million messages, memory.
import { execFileSync } from 'node:child_process';
import { cpus, totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runCli, ServerProcess, temporaryFolder } from '../support/server.ts';

interface Cell {
  readonly name: string;
  readonly target: string;
  readonly args: readonly string[];
  /** Which number of the result the target is about. */
  readonly of: 'rate' | 'p50';
}

const CELLS: readonly Cell[] = [
  {
    name: 'publish 100 B, batched',
    target: '≥ 1.5 M/s',
    of: 'rate',
    args: ['produce', '--topic', 'b100', '--size', '100', '--messages', '12000000'],
  },
  { name: 'consume that backlog', target: '≥ 2 M/s', of: 'rate', args: ['consume', '--topic', 'b100', '--messages', '12000000'] },
  {
    name: 'publish 1 KiB, batched',
    target: '≥ 250 k/s',
    of: 'rate',
    args: ['produce', '--topic', 'b1k', '--size', '1024', '--messages', '1500000'],
  },
  {
    name: 'publish 100 B, awaited by 1,000 callers',
    target: '≥ 150 k/s',
    of: 'rate',
    args: ['produce', '--topic', 'u100', '--size', '100', '--messages', '1000000', '--in-flight', '1000', '--unbatched'],
  },
  {
    name: 'publish 100 B, one at a time',
    target: 'p50 ≤ 0.6 ms',
    of: 'p50',
    args: ['latency', '--topic', 'l100', '--size', '100', '--messages', '4000'],
  },
];

interface Result {
  readonly messagesPerSecond: number;
  readonly latencyMs: { readonly p50: number; readonly p99: number; readonly p999: number; readonly max: number };
  readonly clientCpuSeconds: number;
  readonly messages: number;
}

interface Sample {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
  readonly clientCpu: number;
  readonly serverCpu: number;
  readonly memory: number;
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
const thousands = (value: number) => Math.round(value).toLocaleString('en-US');

async function measure(server: ServerProcess, cell: Cell): Promise<Sample> {
  const before = server.cpuSeconds();
  const run = await runCli(['bench', ...cell.args, '--json', '--server', server.address]);
  if (run.status !== 0) throw new Error(`${cell.name}: ${run.stderr}`);
  const result = JSON.parse(run.stdout.toString()) as Result;
  const millions = result.messages / 1e6;
  return {
    rate: result.messagesPerSecond,
    p50: result.latencyMs.p50,
    p99: result.latencyMs.p99,
    clientCpu: result.clientCpuSeconds / millions,
    serverCpu: (server.cpuSeconds() - before) / millions,
    memory: server.memory().peak,
  };
}

async function round(samples: Map<Cell, Sample[]>, cells: readonly Cell[]): Promise<void> {
  const folder = temporaryFolder('sluice-bench-');
  const server = await ServerProcess.start({ dataDir: join(folder.path, 'data') });
  try {
    for (const cell of cells) {
      const sample = await measure(server, cell);
      samples.get(cell)?.push(sample);
      process.stderr.write(`${cell.name}: ${thousands(sample.rate)}/s, p50 ${sample.p50.toFixed(2)} ms\n`);
    }
  } finally {
    await server.kill();
    folder.remove();
  }
}

function row(cell: Cell, all: readonly Sample[]): string {
  const of = (key: keyof Sample) => median(all.map(sample => sample[key]));
  const rates = all.map(sample => sample.rate);
  const reached =
    cell.of === 'rate'
      ? `**${thousands(of('rate'))}/s** (${thousands(Math.min(...rates))} … ${thousands(Math.max(...rates))})`
      : `${thousands(of('rate'))}/s`;
  const p50 = cell.of === 'p50' ? `**${of('p50').toFixed(2)}**` : of('p50').toFixed(2);
  return `| ${cell.name} | ${cell.target} | ${reached} | ${p50} / ${of('p99').toFixed(2)} | ${of('clientCpu').toFixed(2)} / ${of('serverCpu').toFixed(2)} | ${thousands(of('memory') / 1e6)} |`;
}

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '3' }, only: { type: 'string', default: '' } } });
const cells = CELLS.filter(cell => cell.name.includes(values.only));
const samples = new Map<Cell, Sample[]>(cells.map(cell => [cell, []]));
for (let n = 0; n < Number(values.rounds); n++) await round(samples, cells);
const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
console.log(
  `${new Date().toISOString().slice(0, 10)}, ${commit}, Node ${process.versions.node}, ${cpus().length} × ${cpus()[0]?.model}, ${Math.round(totalmem() / 2 ** 30)} GiB\n`,
);
console.log(
  '| cell | target | messages/s: median (range) | p50 / p99 ms | CPU s per million: client / server | server peak MB |\n|---|---|---|---|---|---|',
);
for (const [cell, all] of samples) console.log(row(cell, all));
