// The command line against a real server: lines in, the same lines out, whatever they hold and however the commands end.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort, runCli, ServerProcess, SLUICE, temporaryFolder } from '../support/server.ts';
import { packageIndex } from '../support/text.ts';

const folder = temporaryFolder('sluice-cli-');
let server: ServerProcess;
beforeAll(async () => {
  server = await ServerProcess.start({ dataDir: join(folder.path, 'data') });
});
afterAll(async () => {
  await server.kill();
  folder.remove();
});

const cli = (args: readonly string[], input?: Buffer | string) => runCli([...args, '--server', server.address], input);

async function ok(args: readonly string[], input?: Buffer | string): Promise<Buffer> {
  const run = await cli(args, input);
  expect(run.status, `${args.join(' ')}: ${run.stderr}`).toBe(0);
  return run.stdout;
}

/** A command whose ends the test holds. */
function start(args: readonly string[]) {
  const child: ChildProcess = spawn(SLUICE, [...args, '--server', server.address], { stdio: ['pipe', 'pipe', 'pipe'] });
  const out: Buffer[] = [];
  let errors = '';
  child.stderr?.on('data', chunk => {
    errors += String(chunk);
  });
  const read = () => child.stdout?.on('data', (chunk: Buffer) => out.push(chunk));
  const ended = new Promise<number | null>(resolve => child.once('close', resolve));
  return { child, read, ended, output: () => Buffer.concat(out).toString(), errors: () => errors };
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (const deadline = Date.now() + 15_000; !condition(); await sleep(20)) if (Date.now() > deadline) throw new Error(`never: ${what}`);
}

describe('lines', () => {
  test('bytes come out as they went in: empty and long lines, no UTF-8, carriage returns, no newline at the end', async () => {
    const lines = [
      Buffer.from(''),
      Buffer.from([0xff, 0xfe, 0x00, 0x0d]),
      Buffer.alloc(3_000_000, 0x78),
      Buffer.from('ünïcode 消息'),
      Buffer.from(''),
    ];
    const input = Buffer.concat(lines.flatMap(line => [line, Buffer.from('\n')]));
    await ok(['produce', 'odd-lines'], input);
    await ok(['produce', 'odd-lines'], 'the last one');
    const expected = Buffer.concat([input, Buffer.from('the last one\n')]);
    expect((await ok(['read', 'odd-lines', '--until-end'])).equals(expected)).toBe(true);
    expect((await ok(['consume', 'odd-lines', '--subscription', 's', '--from', 'earliest', '--until-end'])).equals(expected)).toBe(true);
  });

  test('no line at all is fine', async () => {
    await ok(['produce', 'nothing'], '');
    expect((await ok(['read', 'nothing', '--until-end'])).length).toBe(0);
  });

  test('a line over 5 MiB is refused by its number; those before it are stored', async () => {
    const run = await cli(
      ['produce', 'too-long'],
      Buffer.concat([Buffer.from('one\ntwo\n'), Buffer.alloc(5 * 2 ** 20 + 1, 0x78), Buffer.from('\nfour\n')]),
    );
    expect([run.status, run.stderr]).toEqual([1, expect.stringMatching(/line 3: .*5 MiB/)]);
    expect((await ok(['read', 'too-long', '--until-end'])).toString()).toBe('one\ntwo\n');
  });

  test('eight partitions: every line once, and in order per key; the record says where each is', async () => {
    const acks = join(folder.path, 'acks');
    await ok(['topics', 'create', 'keyed', '--partitions', '8']);
    const lines = Array.from({ length: 20_000 }, (_, n) => `key-${(n * 7919) % 101} ${n}`);
    await ok(['produce', 'keyed', '--key-from', 'field:1', '--acks-file', acks], lines.join('\n'));
    const stored = (
      await ok(['consume', 'keyed', '--subscription', 's', '--from', 'earliest', '--until-end', '--format', '%p %o %k %v\\n'])
    ).toString();
    const rows = stored
      .trimEnd()
      .split('\n')
      .map(row => row.split(' '));
    expect(rows.length).toBe(lines.length);
    const last = new Map<string, number>();
    const places = new Map<string, string>();
    for (const [partition, offset, key = '', again, number] of rows) {
      expect(again).toBe(key);
      expect(Number(number)).toBeGreaterThan(last.get(key) ?? -1);
      last.set(key, Number(number));
      places.set(number ?? '', `${partition},${offset}`);
    }
    expect(new Set(rows.map(([partition]) => partition)).size).toBe(8);
    const record = readFileSync(acks, 'utf8').trimEnd().split('\n');
    expect(record).toEqual(lines.map((_, n) => `${n + 1},${places.get(String(n))}`));
  });

  test('a large text through a pipe that is read late', { timeout: 60_000 }, async () => {
    const text = packageIndex(200_000);
    await ok(['produce', 'late'], text);
    const consumer = start(['consume', 'late', '--subscription', 's', '--from', 'earliest', '--until-end']);
    await sleep(1_500);
    consumer.read();
    expect(await consumer.ended, consumer.errors()).toBe(0);
    expect(Buffer.from(consumer.output()).equals(text)).toBe(true);
  });
});

describe('where a subscription begins and goes on', () => {
  test('--count acknowledges what was written and no more, also when the server is killed at once', { timeout: 60_000 }, async () => {
    await ok(['produce', 'counted'], Array.from({ length: 1_000 }, (_, n) => n).join('\n'));
    const consume = (...more: string[]) => ok(['consume', 'counted', '--subscription', 's', '--from', 'earliest', ...more]);
    expect((await consume('--count', '3')).toString()).toBe('0\n1\n2\n');
    await server.kill();
    await server.start();
    expect((await consume('--count', '2')).toString()).toBe('3\n4\n');
    expect((await consume('--until-end')).toString().split('\n').length).toBe(996);
    expect((await consume('--until-end')).length).toBe(0);
  });

  test('--until-end does not wait where nothing or only control entries lie at the end', async () => {
    await ok(['topics', 'create', 'empty']);
    expect((await ok(['consume', 'empty', '--subscription', 's', '--until-end'])).length).toBe(0);
    await ok(['produce', 'controls'], 'a\nb');
    for (const name of ['x', 'y', 'z']) await ok(['subscriptions', 'create', 'controls', name, '--from', 'earliest']);
    expect((await ok(['consume', 'controls', '--subscription', 'x', '--until-end'])).toString()).toBe('a\nb\n');
    expect((await ok(['consume', 'controls', '--subscription', 'x', '--until-end'])).length).toBe(0);
    expect((await ok(['read', 'controls', '--until-end'])).toString()).toBe('a\nb\n');
  });

  test('latest by default, or an offset, or a time', async () => {
    await ok(['produce', 'starts'], 'a\nb\nc');
    expect((await ok(['consume', 'starts', '--subscription', 'l', '--until-end'])).length).toBe(0);
    const second = (await ok(['read', 'starts', '--until-end', '--format', '%o\\n'])).toString().split('\n')[1] ?? '';
    expect((await ok(['consume', 'starts', '--subscription', 'o', '--from', second, '--until-end'])).toString()).toBe('b\nc\n');
    expect((await ok(['read', 'starts', '--from', second, '--count', '1'])).toString()).toBe('b\n');
    expect((await ok(['read', 'starts', '--from', '1h', '--until-end'])).toString()).toBe('a\nb\nc\n');
    expect((await ok(['read', 'starts', '--from', '2099-01-01', '--until-end'])).length).toBe(0);
    await ok(['subscriptions', 'seek', 'starts', 'o', '--to', 'earliest']);
    expect((await ok(['consume', 'starts', '--subscription', 'o', '--until-end'])).toString()).toBe('a\nb\nc\n');
  });

  test('--json is one object a line', async () => {
    await ok(['produce', 'objects', '--key-from', 'field:1'], 'k v');
    const [message] = (await ok(['read', 'objects', '--until-end', '--json']))
      .toString()
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line));
    expect(message).toEqual({ partition: 0, offset: expect.any(Number), appendTimeMs: expect.any(Number), key: 'k', payload: 'k v' });
  });
});

describe('ends', () => {
  test('a consumer without an end is stopped by a signal: status 0, what it wrote is acknowledged', async () => {
    await ok(['produce', 'followed'], 'a\nb');
    const consumer = start(['consume', 'followed', '--subscription', 's', '--from', 'earliest']);
    consumer.read();
    await until(() => consumer.output() === 'a\nb\n', 'both lines are written');
    await ok(['produce', 'followed'], 'c');
    await until(() => consumer.output() === 'a\nb\nc\n', 'the third line is written');
    consumer.child.kill('SIGINT');
    expect(await consumer.ended, consumer.errors()).toBe(0);
    expect((await ok(['consume', 'followed', '--subscription', 's', '--until-end'])).length).toBe(0);
  });

  test('a producer that is terminated finishes what it has read', async () => {
    const acks = join(folder.path, 'terminated');
    const producer = start(['produce', 'terminated', '--acks-file', acks]);
    producer.child.stdin?.write('a\nb\nhalf a li');
    await until(() => existsSync(acks) && readFileSync(acks, 'utf8').split('\n').length === 3, 'two lines are acknowledged');
    producer.child.kill('SIGTERM');
    expect(await producer.ended, producer.errors()).toBe(143);
    expect((await ok(['read', 'terminated', '--until-end'])).toString()).toBe('a\nb\n');
  });

  test('a reader of the output that goes away ends the command quietly, and what it did not take comes again', {
    timeout: 60_000,
  }, async () => {
    const lines = Array.from({ length: 300_000 }, (_, n) => `line ${n}`);
    await ok(['produce', 'cut-off'], lines.join('\n'));
    const consumer = start(['consume', 'cut-off', '--subscription', 's', '--from', 'earliest']);
    consumer.read();
    await until(() => consumer.output().length > 100, 'something is written');
    consumer.child.stdout?.destroy();
    expect([await consumer.ended, consumer.errors()]).toEqual([0, '']);
    const taken = consumer.output().split('\n').length - 1;
    const rest = (await ok(['consume', 'cut-off', '--subscription', 's', '--until-end'])).toString().split('\n');
    expect(rest.length - 1).toBeGreaterThan(0);
    expect(rest.at(-2)).toBe(lines.at(-1));
    // Nothing between what was taken and what came again is missing; the pipe may have held a little more than was taken.
    expect(lines.length - (rest.length - 1)).toBeLessThanOrEqual(taken + 20_000);
  });

  test('a second consumer is told who holds the subscription, waits, and goes on when it is free', { timeout: 60_000 }, async () => {
    await ok(['produce', 'held'], 'a');
    const holder = start(['consume', 'held', '--subscription', 's', '--from', 'earliest', '--name', 'first']);
    holder.read();
    await until(() => holder.output() === 'a\n', 'the first one holds it');
    const refused = await cli(['consume', 'held', '--subscription', 's', '--wait', 'false', '--until-end']);
    expect([refused.status, refused.stderr]).toEqual([5, expect.stringContaining('first')]);
    const waiting = start(['consume', 'held', '--subscription', 's', '--count', '1']);
    waiting.read();
    await until(() => /waiting.*first/.test(waiting.errors()), 'it says that it waits');
    holder.child.kill('SIGTERM');
    await holder.ended;
    await ok(['produce', 'held'], 'b');
    expect([await waiting.ended, waiting.output()]).toEqual([0, 'b\n']);
  });
});

test('one signal ends a command that cannot begin: no server, or a subscription that another one holds', { timeout: 60_000 }, async () => {
  const nobody = `127.0.0.1:${await freePort()}`;
  const stuck = spawn(SLUICE, ['produce', 'x', '--server', nobody], { stdio: ['pipe', 'ignore', 'ignore'] });
  const ended = new Promise(resolve => stuck.once('exit', (code, signal) => resolve(signal ?? code)));
  await sleep(1_000);
  stuck.kill('SIGINT');
  expect(await Promise.race([ended, sleep(3_000)])).toBe('SIGINT');
  await ok(['produce', 'occupied'], 'a');
  const holder = start(['consume', 'occupied', '--subscription', 's', '--from', 'earliest']);
  holder.read();
  await until(() => holder.output() === 'a\n', 'the first one holds it');
  const waiting = start(['consume', 'occupied', '--subscription', 's']);
  await until(() => waiting.errors().includes('waiting'), 'it waits');
  waiting.child.kill('SIGINT');
  expect(await Promise.race([waiting.ended.then(() => 'ended'), sleep(3_000)])).toBe('ended');
  holder.child.kill('SIGTERM');
  expect(await holder.ended).toBe(0);
});

describe('refusals', () => {
  test('each kind has its status and says what to do', { timeout: 60_000 }, async () => {
    const nobody = `127.0.0.1:${await freePort()}`;
    const unreachable = await runCli(['topics', 'list', '--server', nobody]);
    expect([unreachable.status, unreachable.stderr]).toEqual([3, expect.stringMatching(new RegExp(`${nobody}[\\s\\S]*sluice standalone`))]);
    const missing = await cli(['read', 'no-such-topic', '--until-end']);
    expect([missing.status, missing.stderr]).toEqual([4, expect.stringContaining('sluice topics list')]);
    expect((await cli(['consume', 'no-such-topic', '--subscription', 's'])).status).toBe(4);
    await ok(['topics', 'create', 'there']);
    expect((await cli(['consume', 'there', '--subscription', 'nobody', '--must-exist'])).status).toBe(4);
    expect((await cli(['topics', 'create', 'there', '--partitions', '3'])).status).toBe(5);
    expect((await cli(['topics', 'create', '../x'])).status).toBe(2);
    expect((await cli(['produce', 'there', '--file', join(folder.path, 'nowhere')], '')).status).toBe(2);
    expect((await cli(['consume', 'there'])).stderr).toContain('--subscription is missing');
    const json = await cli(['read', 'no-such-topic', '--until-end', '--json']);
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: 'topic_not_found', stored: 'no' }, exitCode: 4 });
  });

  test('consuming an unknown topic does not create it', async () => {
    expect((await cli(['consume', 'never-made', '--subscription', 's'])).status).toBe(4);
    expect((await ok(['topics', 'list'])).toString()).not.toContain('never-made');
  });
});

test('a record of acknowledgements stays true through a killed server', { timeout: 60_000 }, async () => {
  const input = join(folder.path, 'many');
  const acks = join(folder.path, 'many-acks');
  const lines = Array.from({ length: 300_000 }, (_, n) => `line ${n} ${'x'.repeat(n % 90)}`);
  writeFileSync(input, `${lines.join('\n')}\n`);
  const producer = start(['produce', 'survivor', '--file', input, '--acks-file', acks]);
  await until(() => existsSync(acks) && readFileSync(acks).length > 0, 'something is acknowledged');
  await server.kill();
  await server.start();
  expect(await producer.ended, producer.errors()).toBe(0);
  const stored = (await ok(['read', 'survivor', '--until-end', '--format', '%p,%o %v\\n'])).toString().trimEnd().split('\n');
  const record = readFileSync(acks, 'utf8').trimEnd().split('\n');
  expect([stored.length, record.length]).toEqual([lines.length, lines.length]);
  record.forEach((row, n) => {
    if (`${row.slice(row.indexOf(',') + 1)} ${lines[n]}` !== stored[n])
      throw new Error(`line ${n + 1}: ${row} is ${stored[n]?.slice(0, 60)}`);
  });
});
