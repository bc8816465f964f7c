// Topics, subscriptions, configuration and benches by the command line, against a real server.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCli, ServerProcess, temporaryFolder } from '../support/server.ts';

const folder = temporaryFolder('sluice-cli-admin-');
let server: ServerProcess;
beforeAll(async () => {
  server = await ServerProcess.start({ dataDir: join(folder.path, 'data') });
});
afterAll(async () => {
  await server.kill();
  folder.remove();
});

const cli = (args: readonly string[], input?: string) => runCli([...args, '--server', server.address], input);

async function ok(args: readonly string[], input?: string): Promise<string> {
  const run = await cli(args, input);
  expect(run.status, `${args.join(' ')}: ${run.stderr}`).toBe(0);
  return run.stdout.toString();
}

const json = async (args: readonly string[]) => JSON.parse(await ok([...args, '--json']));

test('a topic is created, listed, described, changed and deleted', async () => {
  expect(await ok(['topics', 'create', 'orders', '--partitions', '3', '--retention', '1d'])).toContain(
    'public/default/orders created: 3 partitions',
  );
  expect(await ok(['topics', 'create', 'orders', '--partitions', '7', '--if-not-exists'])).toContain('exists: 3 partitions');
  expect((await json(['topics', 'list'])).map((topic: { name: string }) => topic.name)).toContain('public/default/orders');
  const described = await json(['topics', 'describe', 'orders']);
  expect(described).toMatchObject({
    partitions: 3,
    policies: { retentionMs: 86_400_000 },
    partitionStatus: [{ partition: 0 }, { partition: 1 }, { partition: 2 }],
  });
  expect(await ok(['topics', 'describe', 'orders'])).toMatch(/retention 1d[\s\S]*PARTITION {2}START/);

  expect((await json(['topics', 'update', 'orders', '--backlog-quota', '1GiB'])).policies).toEqual({
    retentionMs: 86_400_000,
    backlogBytesMax: 2 ** 30,
  });
  expect((await json(['topics', 'update', 'orders', '--unset', 'retention'])).policies).toEqual({ backlogBytesMax: 2 ** 30 });
  expect((await json(['topics', 'update', 'orders', '--retention', 'forever'])).policies.retentionMs).toBe(-1);
  expect((await cli(['topics', 'update', 'orders'])).stderr).toContain('nothing to change');
  expect((await cli(['topics', 'update', 'orders', '--unset', 'colour'])).status).toBe(2);

  expect(await ok(['topics', 'delete', 'orders'])).toBe('orders deleted\n');
  expect((await cli(['topics', 'delete', 'orders'])).status).toBe(4);
  expect(await json(['topics', 'delete', 'orders', '--if-exists'])).toEqual({ topic: 'orders', deleted: false });
});

test('a subscription is created, listed, described, moved and deleted', async () => {
  await ok(['produce', 'events'], 'a\nb\nc\n');
  expect(await ok(['subscriptions', 'create', 'events', 'audit', '--from', 'earliest'])).toContain('created: backlog 3');
  expect((await json(['subscriptions', 'list', 'events'])).map((one: { name: string }) => one.name)).toEqual(['audit']);
  expect(await json(['subscriptions', 'describe', 'events', 'audit'])).toMatchObject({ name: 'audit', type: 'exclusive', backlog: 3 });
  expect(await ok(['subscriptions', 'seek', 'events', 'audit', '--to', 'latest'])).toContain('moved: backlog 0');
  expect(await ok(['subscriptions', 'seek', 'events', 'audit', '--to', '1h'])).toContain('moved: backlog 3');
  expect((await cli(['subscriptions', 'seek', 'events', 'audit'])).stderr).toContain('--to is missing');
  expect(await ok(['subscriptions', 'delete', 'events', 'audit'])).toContain('deleted');
  expect((await cli(['subscriptions', 'describe', 'events', 'audit'])).status).toBe(4);
  expect(await json(['subscriptions', 'delete', 'events', 'audit', '--if-exists'])).toMatchObject({ deleted: false });
});

test('bench prints one object: rate, latencies, CPU time of both sides', { timeout: 60_000 }, async () => {
  const http = ['--server-http', server.httpAddress];
  const shape = {
    messages: expect.any(Number),
    messagesPerSecond: expect.any(Number),
    latencyMs: { p50: expect.any(Number), p99: expect.any(Number), p999: expect.any(Number), max: expect.any(Number) },
    clientCpuSeconds: expect.any(Number),
    serverCpuSeconds: expect.any(Number),
    serverResidentBytes: expect.any(Number),
  };
  const batched = await json(['bench', 'produce', '--topic', 'b', '--messages', '20000', '--size', '1KiB', ...http]);
  expect(batched).toMatchObject({ ...shape, messages: 20_000, bytes: 20_000 * 1024 });
  expect(batched.messagesPerSecond).toBeGreaterThan(1_000);
  const awaited = await json(['bench', 'produce', '--topic', 'b', '--messages', '2000', '--in-flight', '100', '--unbatched', ...http]);
  expect(awaited).toMatchObject({ ...shape, messages: 2_000 });
  expect(await json(['bench', 'latency', '--topic', 'b', '--messages', '50', ...http])).toMatchObject({ ...shape, messages: 50 });
  const consumed = await json(['bench', 'consume', '--topic', 'b', '--messages', '20000', ...http]);
  expect(consumed).toMatchObject(shape);
  expect(consumed.messages).toBeGreaterThanOrEqual(20_000);
  expect(await json(['subscriptions', 'list', 'b'])).toEqual([]);
  expect(await ok(['bench', 'latency', '--messages', '10', ...http])).toMatch(/p99\.9 .* ms[\s\S]*server CPU: \d/);
});

test('a bench without the metrics of its server says so', async () => {
  const result = await json(['bench', 'latency', '--messages', '10', '--server-http', '127.0.0.1:1']);
  expect([result.serverCpuSeconds, result.messages]).toEqual([null, 10]);
});

test('config check and config show', async () => {
  const good = join(folder.path, 'good.yaml');
  writeFileSync(good, 'retention: 3d\nstorageLimit: 1GiB\n');
  expect(await ok(['config', 'check', good])).toContain('is valid: 2 keys set');
  const bad = join(folder.path, 'bad.yaml');
  writeFileSync(bad, 'retention: 3\n\nstorageLimt: 1GiB\n');
  const refused = await cli(['config', 'check', bad]);
  expect([refused.status, refused.stderr]).toEqual([
    2,
    expect.stringMatching(/bad\.yaml:1: retention: "3" is not a duration[\s\S]*bad\.yaml:3: .*storageLimit\?/),
  ]);
  expect((await runCli(['config', 'check', join(folder.path, 'none.yaml')])).stderr).toContain('cannot be read');

  const shown = await runCli(['config', 'show', '--config', good, '--storage-limit', '2GiB', '--json']);
  expect(JSON.parse(shown.stdout.toString())).toMatchObject({
    retention: { value: '3d', source: `${good}:1` },
    storageLimit: { value: '2GiB', source: '--storage-limit' },
    logLevel: { value: 'info', source: 'default' },
  });
  const text = await runCli(['config', 'show']);
  expect(text.stdout.toString()).toMatch(/^KEY +VALUE +SOURCE\ndataDir +\.\/data +default$/m);
  expect((await runCli(['config', 'show', '--colour', 'x'])).status).toBe(2);
});

test('version, help and what is no command', async () => {
  expect(await ok(['version'])).toMatch(/^sluice \d+\.\d+\.\d+ /);
  const topics = await runCli(['topics', '--help']);
  expect([topics.status, `${topics.stdout}`]).toEqual([0, expect.stringContaining('topics create TOPIC')]);
  const help = await runCli(['help', 'consume']);
  expect(help.stdout.toString()).toContain('--until-end');
  const unknown = await runCli(['consum']);
  expect([unknown.status, unknown.stderr]).toEqual([2, expect.stringContaining('did you mean sluice consume?')]);
  expect((await runCli([])).status).toBe(2);
});
