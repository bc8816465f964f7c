// What a server says of its own CPU time and memory, from its /metrics page. A bench works without it.

import { get } from 'node:http';
import { formatAddress, parseAddress } from '#lib/config/units.ts';

export interface ServerUsage {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
}

const PAGE_BYTES_MAX = 8 * 1024 * 1024;

/** `named`: from --server-http; otherwise the port after the first server's, as standalone has it by default. */
export function metricsAddress(named: string | undefined, servers: string): string | undefined {
  if (named !== undefined) return named;
  const result = parseAddress(servers.split(',')[0] ?? '');
  return result.kind === 'value' ? formatAddress({ host: result.value.host, port: result.value.port + 1 }) : undefined;
}

/** Undefined where nobody answers, or something else does. */
export async function readServerUsage(address: string | undefined): Promise<ServerUsage | undefined> {
  if (address === undefined) return undefined;
  const page = await fetchPage(address);
  const cpuSeconds = metric(page, 'process_cpu_seconds_total');
  const residentBytes = metric(page, 'process_resident_memory_bytes');
  // Another server may sit on that port: only ours says what it is.
  const ours = /^sluice_/m.test(page);
  return ours && cpuSeconds !== undefined && residentBytes !== undefined ? { cpuSeconds, residentBytes } : undefined;
}

function metric(page: string, name: string): number | undefined {
  const text = new RegExp(`^${name} (\\S+)`, 'm').exec(page)?.[1];
  return text === undefined ? undefined : Number(text);
}

function fetchPage(address: string): Promise<string> {
  return new Promise(resolve => {
    const request = get(`http://${address}/metrics`, { timeout: 2_000, agent: false }, response => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
        if (text.length > PAGE_BYTES_MAX) request.destroy();
      });
      response.on('end', () => resolve(response.statusCode === 200 ? text : ''));
      response.on('close', () => resolve(''));
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(''));
  });
}
