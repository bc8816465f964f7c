// Composes one process: an embedded index, one bookie, one broker, and the HTTP page of health and metrics. `startSluice` is also what
// users' tests call: in memory, on a random port, without a trace on disk.

import { resolve } from 'node:path';
import { defaultsOf } from '#lib/config/schema.ts';
import { MemoryStore } from '#lib/metadata/memory.ts';
import type { MetadataStore } from '#lib/metadata/store.ts';
import { nullLogger } from '#lib/runtime/loggers.ts';
import { memoryDisk } from '#lib/runtime/memory-disk.ts';
import { createNodeWorld } from '#lib/runtime/node/world.ts';
import { DiskError, type World } from '#lib/runtime/ports.ts';
import { type HttpPage, startHttpPage } from '#lib/telemetry/http.ts';
import { createMetrics } from '#lib/telemetry/metrics.ts';
import { registerProcessMetrics } from '#lib/telemetry/process-metrics.ts';
import { VERSION } from '#lib/types/version.ts';
import type { Bookie } from '../bookie/bookie.ts';
import { inProcessTransport } from '../bookie/in-process.ts';
import { declareBookieMetrics } from '../bookie/metrics.ts';
import { createBookie } from '../bookie/open.ts';
import { type Broker, createBroker } from '../broker/broker.ts';
import { brokerSettings } from './broker-settings.ts';
import { type StandaloneConfig, standaloneSchema } from './config.ts';

/** In the index: which cluster it is of. */
const CLUSTER_KEY = 'cluster';

/** A server in this process. */
export interface Sluice {
  /** gRPC, HOST:PORT. */
  readonly address: string;
  /** Health and metrics, HOST:PORT; null: not asked for. */
  readonly httpAddress: string | null;
  /** Stops it cleanly. What was acknowledged is on disk; what was in memory is gone. */
  close(): Promise<void>;
}

export interface StartOptions {
  /** Where the data lies. Without it everything stays in memory. */
  readonly dataDir?: string;
  /** HOST:PORT for gRPC; 127.0.0.1 and any free port unless given. */
  readonly listen?: string;
  /** HOST:PORT for health and metrics; none unless given. */
  readonly httpListen?: string;
  /** Any other key of docs/config/standalone.md, as in code: bytes and milliseconds are numbers. */
  readonly config?: Partial<Omit<StandaloneConfig, 'dataDir' | 'listen' | 'httpListen'>>;
}

/** Starts Sluice in this process; resolves when it serves. Rejects when an address is taken or a data folder cannot be used. */
export function startSluice(options: StartOptions = {}): Promise<Sluice> {
  const { dataDir, listen = '127.0.0.1:0', httpListen = null } = options;
  const node = createNodeWorld({
    logger: nullLogger(),
    // Somebody's test runs in this process: an error that nobody catches, instead of an exit.
    onFatal: (reason, cause) => {
      throw new Error(`Sluice stopped: ${reason}`, { cause });
    },
  });
  const world: World = dataDir === undefined ? { ...node, disk: memoryDisk() } : node;
  return startStandalone({
    world,
    config: { ...defaultsOf(standaloneSchema), ...options.config },
    folder: dataDir === undefined ? null : resolve(dataDir),
    listen,
    httpListen,
    isOwnProcess: false,
  });
}

export interface StandaloneParts {
  readonly world: World;
  readonly config: StandaloneConfig;
  /** Absolute; null: the world's disk is memory, and so is the index. */
  readonly folder: string | null;
  readonly listen: string;
  readonly httpListen: string | null;
  /** False: this process belongs to somebody else, and so do its CPU time and memory. */
  readonly isOwnProcess: boolean;
}

/** Opens the parts one after the other; when one fails, those before it are closed again. */
export async function startStandalone(parts: StandaloneParts): Promise<Sluice> {
  const { world, config, folder } = parts;
  const metrics = createMetrics();
  if (parts.isOwnProcess) registerProcessMetrics(metrics, VERSION);
  const closers: (() => Promise<void>)[] = [];
  let isReady = false;
  const closeAll = async () => {
    isReady = false;
    for (const close of closers.splice(0).reverse()) await close();
  };
  try {
    const page = parts.httpListen === null ? null : await startPage(parts.httpListen, metrics, () => isReady);
    if (page) closers.push(() => page.close());
    const bookie = await openBookie(world, config, folder);
    closers.push(() => bookie.close());
    const metadata = await openMetadata(world, folder);
    closers.push(() => metadata.close());
    await checkCluster(metadata, bookie.clusterId, folder);
    const broker = await openBroker(parts, bookie, metadata, metrics);
    closers.push(() => broker.close());
    declareBookieMetrics(metrics, bookie);
    isReady = true;
    return { address: broker.address, httpAddress: page && `${page.host}:${page.port}`, close: closeAll };
  } catch (error) {
    await closeAll();
    throw error;
  }
}

async function openBookie(world: World, config: StandaloneConfig, folder: string | null): Promise<Bookie> {
  const root = folder ?? '/memory';
  await world.disk.makeFolder(root);
  return createBookie(world, { ...config, folder: `${root}/bookie`, clusterId: null });
}

/** SQLite is loaded only where there is a file for it. */
async function openMetadata(world: World, folder: string | null): Promise<MetadataStore> {
  if (folder === null) return new MemoryStore(world.clock);
  const { openSqliteStore } = await import('#lib/metadata/sqlite.ts');
  return openSqliteStore(world, `${folder}/index.sqlite`);
}

/** An index of another cluster, copied into this folder, would lead to ledgers that are not here. */
async function checkCluster(metadata: MetadataStore, clusterId: string, folder: string | null): Promise<void> {
  if (folder === null) return;
  const found = await metadata.readRecord(CLUSTER_KEY);
  if (found === null) await metadata.putRecord(CLUSTER_KEY, Buffer.from(clusterId), 0, clusterId);
  else if (found.value.toString() !== clusterId)
    throw new StartError(
      `${folder}/index.sqlite is of cluster ${found.value}, and this folder holds cluster ${clusterId}: move it away, it is only an index and is made again`,
    );
}

function openBroker(
  parts: StandaloneParts,
  bookie: Bookie,
  metadata: MetadataStore,
  metrics: ReturnType<typeof createMetrics>,
): Promise<Broker> {
  const deps = { transport: inProcessTransport(bookie), metadata, clusterId: bookie.clusterId, name: 'standalone', metrics };
  return createBroker(parts.world, brokerSettings(parts.config, parts.listen), deps);
}

async function startPage(listen: string, metrics: ReturnType<typeof createMetrics>, isReady: () => boolean): Promise<HttpPage> {
  const at = listen.lastIndexOf(':');
  const [host, port] = [listen.slice(0, at).replace(/^\[|\]$/g, ''), Number(listen.slice(at + 1))];
  const readiness = () => (isReady() ? ({ kind: 'ready' } as const) : ({ kind: 'not_ready', reason: 'starting or stopping' } as const));
  try {
    return await startHttpPage({ host, port, metrics, readiness });
  } catch (error) {
    throw new StartError(`cannot serve HTTP on ${listen}: ${reasonOf(error)}`, { cause: error });
  }
}

/** Why a server did not start, in words for the person who started it. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** One sentence of any error that a start can end with. */
export function reasonOf(error: unknown): string {
  if (error instanceof DiskError) return `${error.message} (${error.path})`;
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') return 'the address is in use by another process';
  return error instanceof Error ? error.message : String(error);
}
