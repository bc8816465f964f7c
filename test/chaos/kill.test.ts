// kill −9 of the real server at random moments under load: every line whose acknowledgement reached the client's record is there, in
// order, and once. Judged by the record that the producing command wrote, and by what is read afterwards, never by the server's word.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { runCli, ServerProcess, SLUICE, temporaryFolder } from '../support/server.ts';
import { packageIndex, sha256 } from '../support/text.ts';

const folders: { remove(): void }[] = [];
const servers: ServerProcess[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.kill();
  for (const folder of folders.splice(0)) folder.remove();
});

async function setUp() {
  const folder = temporaryFolder();
  folders.push(folder);
  const server = await ServerProcess.start({ dataDir: join(folder.path, 'data') });
  servers.push(server);
  return { folder: folder.path, server };
}

function produce(server: ServerProcess, args: readonly string[]) {
  const child = spawn(SLUICE, ['produce', ...args, '--server', server.address], { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', chunk => {
    errors += String(chunk);
  });
  const ended = new Promise<number | null>(resolve => child.once('close', resolve));
  return { child, ended, errors: () => errors };
}

test('twenty kills under load lose no acknowledged line, keep the order, and store each once', { timeout: 300_000 }, async () => {
  const { folder, server } = await setUp();
  const lines = Array.from({ length: 1_000_000 }, (_, n) => `line ${n} ${'x'.repeat(n % 200)}`);
  writeFileSync(join(folder, 'input'), `${lines.join('\n')}\n`);
  const acks = join(folder, 'acks');
  await runCli(['topics', 'create', 'orders', '--server', server.address]);
  const producer = produce(server, ['orders', '--file', join(folder, 'input'), '--acks-file', acks]);
  while (!existsSync(acks) || statSync(acks).size === 0) await sleep(5);
  let kills = 0;
  for (let ended = false; kills < 20 && !ended; kills++) {
    ended = await Promise.race([producer.ended.then(() => true), sleep(100 + Math.random() * 700).then(() => false)]);
    await server.kill();
    await server.start();
  }
  expect(await producer.ended, producer.errors()).toBe(0);
  expect(kills).toBeGreaterThanOrEqual(5);
  const record = readFileSync(acks, 'utf8').trimEnd().split('\n');
  expect(record.length).toBe(lines.length);
  const read = await runCli(['read', 'orders', '--from', 'earliest', '--until-end', '--format', '%o %v\n', '--server', server.address]);
  expect(read.status, read.stderr).toBe(0);
  const stored = read.stdout.toString().trimEnd().split('\n');
  expect(stored.length).toBe(lines.length);
  for (let n = 0; n < lines.length; n++) {
    const [line, , offset] = record[n]?.split(',') ?? [];
    if (Number(line) !== n && Number(line) !== n + 1) throw new Error(`the record's line ${n} is ${record[n]}`);
    if (stored[n] !== `${offset} ${lines[n]}`) throw new Error(`line ${n}, acknowledged @${offset}, is read as ${stored[n]?.slice(0, 80)}`);
  }
});

test('a text of over a million lines goes through a killed and restarted server and comes out the same', { timeout: 300_000 }, async () => {
  const { folder, server } = await setUp();
  const text = packageIndex(1_050_000);
  writeFileSync(join(folder, 'input'), text);
  const producer = produce(server, ['packages', '--file', join(folder, 'input')]);
  await sleep(700);
  await server.kill();
  await server.start();
  expect(await producer.ended, producer.errors()).toBe(0);
  const half = await runCli([
    'consume',
    'packages',
    '--subscription',
    's',
    '--from',
    'earliest',
    '--count',
    '500000',
    '--server',
    server.address,
  ]);
  expect(half.status, half.stderr).toBe(0);
  await server.kill();
  await server.start();
  const rest = await runCli(['consume', 'packages', '--subscription', 's', '--until-end', '--server', server.address]);
  expect(rest.status, rest.stderr).toBe(0);
  expect(sha256(Buffer.concat([half.stdout, rest.stdout]))).toBe(sha256(text));
});
