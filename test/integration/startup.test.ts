// What can be wrong when a server starts: each ends with exit status 1 or more and words that say what to do.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { freePort, ServerProcess, SLUICE, temporaryFolder } from '../support/server.ts';

const folders: { remove(): void }[] = [];
const servers: ServerProcess[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.kill();
  for (const folder of folders.splice(0)) folder.remove();
});

function folder(): string {
  const made = temporaryFolder();
  folders.push(made);
  return made.path;
}

async function start(dataDir: string): Promise<ServerProcess> {
  const server = await ServerProcess.start({ dataDir });
  servers.push(server);
  return server;
}

/** Starts a server that must not come up. */
async function refused(dataDir: string, flags: readonly string[] = []) {
  const listen = `127.0.0.1:${await freePort()}`;
  const http = `127.0.0.1:${await freePort()}`;
  const args = ['standalone', '--data-dir', dataDir, '--listen', listen, '--http-listen', http, ...flags];
  const run = spawnSync(SLUICE, args, { timeout: 15_000, encoding: 'utf8' });
  expect(run.error, 'it did not end by itself').toBeUndefined();
  expect(run.status).toBeGreaterThan(0);
  expect(run.stderr).not.toMatch(/\n\s+at /);
  return run.stdout + run.stderr;
}

test('a port in use is named', async () => {
  const blocker = createServer().listen(0, '127.0.0.1');
  await new Promise(resolve => blocker.once('listening', resolve));
  const { port } = blocker.address() as { port: number };
  expect(await refused(join(folder(), 'data'), ['--listen', `127.0.0.1:${port}`])).toMatch(new RegExp(`${port}.*in use|in use.*${port}`));
  blocker.close();
});

test('a data folder in use by another process is refused, and free after kill -9', { timeout: 60_000 }, async () => {
  const data = join(folder(), 'data');
  const server = await start(data);
  expect(await refused(data)).toMatch(/in use/);
  await server.kill();
  await server.start();
});

test('a data folder that is a file, and one that cannot be made', async () => {
  const path = join(folder(), 'data');
  writeFileSync(path, 'x');
  expect(await refused(path)).toContain(path);
  expect(await refused('/dev/null/sluice')).toContain('/dev/null/sluice');
});

test('a data folder whose identity is damaged is refused and left as it is', async () => {
  const data = join(folder(), 'data');
  const server = await start(data);
  await server.stop();
  const files = readdirSync(data, { recursive: true, encoding: 'utf8' }).filter(name => /identity/.test(name));
  const good = files.map(name => readFileSync(join(data, name)));
  for (const name of files) writeFileSync(join(data, name), 'rubbish');
  expect(await refused(data)).toMatch(/identity/);
  for (const name of files) expect(readFileSync(join(data, name), 'utf8')).toBe('rubbish');
  files.forEach((name, index) => {
    writeFileSync(join(data, name), good[index] ?? '');
  });
  await server.start();
});

test('wrong flags and values name themselves', async () => {
  const data = join(folder(), 'data');
  expect(await refused(data, ['--storage-limit', 'lots'])).toMatch(/storage-?limit/i);
  expect(await refused(data, ['--listne', '1'])).toMatch(/listne.*listen/s);
  const file = join(folder(), 'sluice.yaml');
  writeFileSync(file, 'storageLimt: 1GiB\n');
  expect(await refused(data, ['--config', file])).toMatch(/storageLimt.*storageLimit/s);
});
