// What 10,000 topics cost one server: the rate at which they are created and first written to, memory of each once idle, a restart after
// kill −9, and what the idle server writes. Prints a table; part of `make bench`.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type SluiceClient } from '#clients/typescript/index.ts';
import { ServerProcess, temporaryFolder } from '../support/server.ts';

const TOPICS = 10_000;
const AT_ONCE = 64;
const IDLE_SECONDS = 20;

/** Runs `work(n)` for every n below `count`, so many at once; resolves to how many a second. */
async function rate(count: number, work: (n: number) => Promise<unknown>): Promise<number> {
  const began = performance.now();
  let next = 0;
  const worker = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return count / ((performance.now() - began) / 1000);
}

async function sendOne(client: SluiceClient, topic: string): Promise<void> {
  const producer = await client.producer({ topic });
  await producer.send('one message');
  await producer.close();
}

const writtenBytes = (server: ServerProcess) =>
  Number(/^write_bytes: (\d+)/m.exec(readFileSync(`/proc/${server.pid}/io`, 'utf8'))?.[1] ?? 0);
const topic = (n: number) => `topic-${n}`;

const folder = temporaryFolder('sluice-topics-');
const server = await ServerProcess.start({ dataDir: join(folder.path, 'data') });
const rows: [string, string, string][] = [];
try {
  const client = connect({ servers: server.address });
  await sendOne(client, 'warm-up');
  await sleep(2_000);
  const empty = server.memory().resident;
  const created = await rate(TOPICS, n => client.admin.createTopic({ topic: topic(n) }));
  rows.push(['create a topic, 64 at a time', '', `${Math.round(created)}/s`]);
  await sleep(3_000);
  rows.push(['memory of a topic never used', '≤ 20 KB', `${((server.memory().resident - empty) / TOPICS / 1e3).toFixed(1)} KB`]);
  const written = await rate(TOPICS, n => sendOne(client, topic(n)));
  rows.push(['first message of a topic, with a producer of its own, 64 at a time', '', `${Math.round(written)}/s`]);
  await client.close();
  await sleep(70_000); // What nobody uses is closed after 60 s.
  rows.push([
    'memory of a topic that was used and is idle',
    '≤ 20 KB',
    `${((server.memory().resident - empty) / TOPICS / 1e3).toFixed(1)} KB`,
  ]);
  const before = writtenBytes(server);
  await sleep(IDLE_SECONDS * 1000);
  rows.push([`bytes that the idle server wrote in ${IDLE_SECONDS} s`, '0', String(writtenBytes(server) - before)]);
  await server.kill();
  const began = performance.now();
  await server.start();
  rows.push(['from process start after kill −9 until ready', '≤ 5 s', `${((performance.now() - began) / 1000).toFixed(2)} s`]);
  const again = connect({ servers: server.address });
  await sendOne(again, topic(TOPICS - 1));
  rows.push(['… until a message is acknowledged', '', `${((performance.now() - began) / 1000).toFixed(2)} s`]);
  await again.close();
} finally {
  await server.kill();
  folder.remove();
}
console.log(`${TOPICS.toLocaleString('en-US')} topics on one server\n\n| what | target | measured |\n|---|---|---|`);
for (const row of rows) console.log(`| ${row.join(' | ')} |`);
