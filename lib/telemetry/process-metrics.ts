// Metrics of the process itself, under the names that every Prometheus dashboard knows.

import { readdirSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Metrics } from './metrics.ts';

/** Registers them; the event loop's delay is sampled every 20 ms, which costs nothing that can be measured. */
export function registerProcessMetrics(metrics: Metrics, version: string): void {
  const startSeconds = Math.floor(Date.now() / 1000 - process.uptime());
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  const cpu = { kind: 'counter', name: 'process_cpu_seconds_total', help: 'User and system CPU time in seconds.' } as const;
  metrics.value(cpu, () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  metrics.value(
    { kind: 'gauge', name: 'process_start_time_seconds', help: 'Start of the process, in seconds since 1970.' },
    () => startSeconds,
  );
  metrics.value({ kind: 'gauge', name: 'process_resident_memory_bytes', help: 'Resident memory in bytes.' }, () =>
    process.memoryUsage.rss(),
  );
  metrics.value({ kind: 'gauge', name: 'process_open_fds', help: 'Open file descriptors.' }, openFiles);
  const memory = {
    kind: 'gauge',
    name: 'sluice_process_memory_bytes',
    help: 'Memory of the JavaScript engine in bytes, by use.',
    labels: ['use'],
  } as const;
  metrics.value(memory, () => {
    const { heapUsed, heapTotal, external, arrayBuffers } = process.memoryUsage();
    return Object.entries({ heapUsed, heapTotal, external, arrayBuffers }).map(([use, value]) => ({ labels: { use }, value }));
  });
  const loop = {
    kind: 'gauge',
    name: 'sluice_process_event_loop_delay_seconds',
    help: "Delay of the event loop since the last page, in seconds, by quantile; a healthy loop shows the sampling's 20 ms.",
    labels: ['quantile'],
  } as const;
  metrics.value(loop, () => {
    const quantiles = [50, 99, 100].map(percentile => ({
      labels: { quantile: String(percentile / 100) },
      value: delay.percentile(percentile) / 1e9,
    }));
    delay.reset();
    return quantiles;
  });
  const info = {
    kind: 'gauge',
    name: 'sluice_build_info',
    help: 'Always 1; the labels say what runs.',
    labels: ['version', 'node'],
  } as const;
  metrics.value(info, () => [{ labels: { version, node: process.versions.node }, value: 1 }]);
}

function openFiles(): number {
  try {
    return readdirSync('/proc/self/fd').length;
  } catch {
    return 0; // Not on Linux: there is no cheap way to know.
  }
}
