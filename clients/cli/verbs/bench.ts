// What the three benches share: the clock of a run, CPU time of both sides, and the report.

import type { Options } from '../arguments.ts';
import type { Invocation } from '../command.ts';
import { LatencyHistogram } from '../core/histogram.ts';
import type { BENCH_CONSUME } from '../options.ts';
import { metricsAddress, readServerUsage, type ServerUsage } from '../server-metrics.ts';
import { megabytes, thousands } from '../terminal.ts';

type Bench = Pick<Invocation<Pick<typeof BENCH_CONSUME, 'serverHttp'>>, 'values' | 'servers' | 'env'>;

/** One measured run: `start` when the work begins, `finish` when it is done. */
export class Measurement {
  readonly latencies = new LatencyHistogram();
  messages = 0;
  bytes = 0;
  readonly #metrics: string | undefined;
  #started = 0;
  #cpu: NodeJS.CpuUsage = { user: 0, system: 0 };
  #server: ServerUsage | undefined;

  constructor({ values, servers, env }: Bench) {
    this.#metrics = metricsAddress(values.serverHttp ?? env['SLUICE_SERVER_HTTP'], servers);
  }

  /** So many messages of one size so far. */
  count(messages: number, size: number): void {
    this.messages = messages;
    this.bytes = messages * size;
  }

  async start(): Promise<void> {
    this.#server = await readServerUsage(this.#metrics);
    this.#cpu = process.cpuUsage();
    this.#started = performance.now();
  }

  async finish(): Promise<BenchResult> {
    const seconds = (performance.now() - this.#started) / 1_000;
    const { user, system } = process.cpuUsage(this.#cpu);
    const after = this.#server && (await readServerUsage(this.#metrics));
    const ms = (quantile: number) => Math.round(this.latencies.quantile(quantile)) / 1_000;
    return {
      messages: this.messages,
      bytes: this.bytes,
      seconds,
      messagesPerSecond: this.messages / seconds,
      megabytesPerSecond: this.bytes / seconds / 1e6,
      latencyMs: { p50: ms(0.5), p99: ms(0.99), p999: ms(0.999), max: Math.round(this.latencies.max) / 1_000 },
      clientCpuSeconds: (user + system) / 1e6,
      clientResidentBytes: process.memoryUsage.rss(),
      serverCpuSeconds: after && this.#server ? after.cpuSeconds - this.#server.cpuSeconds : null,
      serverResidentBytes: after?.residentBytes ?? null,
    };
  }
}

export interface BenchResult {
  readonly messages: number;
  /** Of payloads. */
  readonly bytes: number;
  readonly seconds: number;
  readonly messagesPerSecond: number;
  readonly megabytesPerSecond: number;
  readonly latencyMs: { readonly p50: number; readonly p99: number; readonly p999: number; readonly max: number };
  readonly clientCpuSeconds: number;
  readonly clientResidentBytes: number;
  /** null: the server's metrics could not be read. */
  readonly serverCpuSeconds: number | null;
  readonly serverResidentBytes: number | null;
}

/** `latency` says of what the latencies are. */
export function reportBench(
  { json, terminal }: Pick<Invocation<Options>, 'json' | 'terminal'>,
  result: BenchResult,
  latency: string,
): void {
  if (json) {
    terminal.printJson(result);
    return;
  }
  const { latencyMs, messages } = result;
  const perMillion = (seconds: number) => ((seconds / Math.max(1, messages)) * 1e6).toFixed(2);
  const server =
    result.serverCpuSeconds === null || result.serverResidentBytes === null
      ? 'unknown: its /metrics did not answer (--server-http)'
      : `${result.serverCpuSeconds.toFixed(2)} s (${perMillion(result.serverCpuSeconds)} s per million), ${megabytes(result.serverResidentBytes)} resident`;
  terminal.print(
    [
      `${thousands(messages)} messages in ${result.seconds.toFixed(2)} s: ${thousands(result.messagesPerSecond)}/s, ${result.megabytesPerSecond.toFixed(1)} MB/s`,
      `${latency}: p50 ${latencyMs.p50} ms, p99 ${latencyMs.p99} ms, p99.9 ${latencyMs.p999} ms, max ${latencyMs.max} ms`,
      `client CPU: ${result.clientCpuSeconds.toFixed(2)} s (${perMillion(result.clientCpuSeconds)} s per million), ${megabytes(result.clientResidentBytes)} resident`,
      `server CPU: ${server}`,
    ].join('\n'),
  );
}
