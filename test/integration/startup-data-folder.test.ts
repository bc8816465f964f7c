// Data folders that must not be served: read-only, of another cluster, of a newer version. Each is refused with words and left as it is.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, expect, test } from 'vitest';
import { connect } from '#clients/typescript/index.ts';
import { defaultsOf } from '#lib/config/schema.ts';
import { nullLogger } from '#lib/runtime/loggers.ts';
import { createNodeWorld } from '#lib/runtime/node/world.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { bookieSchema } from '../../services/bookie/config.ts';
import { createBookie } from '../../services/bookie/open.ts';
import { startSluice } from '../../services/standalone/start.ts';
import { temporaryFolder } from '../support/server.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

/** A data folder with a message in the topic `t`. */
async function dataFolder(payload = 'kept'): Promise<string> {
  const folder = temporaryFolder();
  undo.push(() => folder.remove());
  const dataDir = join(folder.path, 'data');
  const sluice = await startSluice({ dataDir });
  const client = connect({ servers: sluice.address });
  await (await client.producer({ topic: 't' })).send(payload);
  await client.close();
  await sluice.close();
  return dataDir;
}

async function payloads(dataDir: string): Promise<string[]> {
  const sluice = await startSluice({ dataDir });
  const client = connect({ servers: sluice.address });
  try {
    const texts: string[] = [];
    for await (const message of await client.reader({ topic: 't', start: 'earliest', until: 'end' })) texts.push(`${message.payload}`);
    return texts;
  } finally {
    await client.close();
    await sluice.close();
  }
}

/** Every file but the lock's, with a hash of its bytes. */
function snapshot(dataDir: string): Map<string, string> {
  const names = readdirSync(dataDir, { recursive: true, encoding: 'utf8' }).sort();
  const files = names.filter(name => !/lock|-wal$|-shm$/.test(name) && statSync(join(dataDir, name)).isFile());
  return new Map(
    files.map(name => [
      name,
      createHash('sha256')
        .update(readFileSync(join(dataDir, name)))
        .digest('hex'),
    ]),
  );
}

test('a folder whose format is newer', async () => {
  const dataDir = await dataFolder();
  const files = ['identity', 'identity.copy'].map(name => join(dataDir, 'bookie', name));
  const good = files.map(name => readFileSync(name));
  files.forEach((name, index) => {
    const bytes = Buffer.from(good[index] ?? '');
    bytes.writeUInt32LE(2, 4);
    bytes.writeUInt32LE(crc32c(bytes.subarray(0, -4)), bytes.length - 4);
    writeFileSync(name, bytes);
  });
  const before = snapshot(dataDir);
  await expect(startSluice({ dataDir })).rejects.toThrow(/newer Sluice \(format 2/);
  expect(snapshot(dataDir)).toEqual(before);
  files.forEach((name, index) => {
    writeFileSync(name, good[index] ?? '');
  });
  expect(await payloads(dataDir)).toEqual(['kept']);
});

test('a metadata index whose format is newer', async () => {
  const dataDir = await dataFolder();
  const index = new DatabaseSync(join(dataDir, 'index.sqlite'));
  index.exec('PRAGMA user_version = 99');
  index.close();
  await expect(startSluice({ dataDir })).rejects.toThrow(/newer version.*99/);
  rmSync(join(dataDir, 'index.sqlite'));
  expect(await payloads(dataDir)).toEqual(['kept']);
});

test('a folder of another cluster', async () => {
  const dataDir = await dataFolder();
  const before = snapshot(dataDir);
  const world = createNodeWorld({ logger: nullLogger(), onFatal: () => undefined });
  const config = { ...defaultsOf(bookieSchema), folder: join(dataDir, 'bookie'), clusterId: '01890000-0000-4000-8000-000000000001' };
  await expect(createBookie(world, config)).rejects.toThrow(/holds data of cluster .* and this is cluster 01890000/);
  expect(snapshot(dataDir)).toEqual(before);
  expect(await payloads(dataDir)).toEqual(['kept']);
});

test('a metadata index of another cluster', async () => {
  const [mine, theirs] = [await dataFolder('mine'), await dataFolder('theirs')];
  const index = join(mine, 'index.sqlite');
  cpSync(join(theirs, 'index.sqlite'), index);
  await expect(startSluice({ dataDir: mine })).rejects.toThrow(/index\.sqlite is of cluster .* move it away/);
  rmSync(index);
  expect(await payloads(mine)).toEqual(['mine']);
});

test.skipIf(process.getuid?.() !== 0)('a read-only file system', async () => {
  const dataDir = await dataFolder();
  execFileSync('mount', ['--bind', dataDir, dataDir]);
  execFileSync('mount', ['-o', 'remount,bind,ro', dataDir]);
  try {
    await expect(startSluice({ dataDir })).rejects.toThrow(/cannot be written .*read-only/i);
  } finally {
    execFileSync('umount', [dataDir]);
  }
  expect(await payloads(dataDir)).toEqual(['kept']);
});
