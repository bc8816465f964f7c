// `sluice standalone`: reads the configuration, starts the server, says where it listens and what to try first, and stops it on a signal.
// Exit status: 0 stopped as asked, 1 it could not start or had to end, 2 the configuration is wrong.

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { loadConfig } from '#lib/config/load.ts';
import { paceCollections } from '#lib/runtime/node/heap.ts';
import { createNodeWorld } from '#lib/runtime/node/world.ts';
import { createLogger } from '#lib/telemetry/logger.ts';
import { type StandaloneConfig, standaloneSchema } from './config.ts';
import { reasonOf, type Sluice, startStandalone } from './start.ts';

const STOP_SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Returns once the server has been stopped; ends the process itself when it cannot start. */
export async function runStandalone(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Promise<void> {
  const loaded = loadConfig(standaloneSchema, { argv, env, readFile: path => readFileSync(path, 'utf8') });
  for (const warning of loaded.warnings) process.stderr.write(`warning: ${warning}\n`);
  if (loaded.kind === 'invalid') {
    for (const error of loaded.errors) process.stderr.write(`error: ${error.text}\n`);
    process.exit(2);
  }
  paceCollections();
  const { config } = loaded;
  const logger = createLogger({ level: config.logLevel, format: config.logFormat });
  const world = createNodeWorld({ logger, onFatal: () => process.exit(1) });
  process.on('uncaughtException', error => {
    logger.error('a bug: the process ends', { error });
    process.exit(1);
  });
  const folder = resolve(config.dataDir);
  let sluice: Sluice;
  try {
    sluice = await startStandalone({
      world,
      config,
      folder,
      listen: text(config.listen),
      httpListen: text(config.httpListen),
      isOwnProcess: true,
    });
  } catch (error) {
    process.stderr.write(`error: Sluice did not start: ${reasonOf(error)}\n`);
    process.exit(1);
  }
  announce(sluice, config, folder);
  const signal = await nextSignal();
  logger.info('stopping', { signal });
  await sluice.close();
}

/** The first signal stops the server; a second one ends the process at once. */
function nextSignal(): Promise<string> {
  return new Promise(resolve => {
    for (const signal of STOP_SIGNALS) {
      process.once(signal, () => {
        process.once(signal, () => process.exit(1));
        resolve(signal);
      });
    }
  });
}

function text({ host, port }: StandaloneConfig['listen']): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function announce(sluice: Sluice, config: StandaloneConfig, folder: string): void {
  const server = sluice.address === '127.0.0.1:7650' ? '' : ` --server ${sluice.address}`;
  if (config.logFormat === 'json') return;
  process.stdout.write(`Sluice is running.
  gRPC     ${sluice.address}
  health   http://${sluice.httpAddress}/readyz
  metrics  http://${sluice.httpAddress}/metrics
  data     ${folder}

Publish and consume:
  echo 'hello, world' | bin/sluice produce greetings${server}
  bin/sluice consume greetings --subscription mine --from earliest --count 1${server}
`);
}
