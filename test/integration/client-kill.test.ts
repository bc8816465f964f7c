// kill −9 of a server under a producer and a consumer that stay: they find it again by themselves. Every acknowledged message is there,
// every message once, in order; the consumer sees all of them.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { connect, type MessageId } from '#clients/typescript/index.ts';
import { ServerProcess, temporaryFolder } from '../support/server.ts';

const KILLS = 3;

test('a producer and a consumer live through kill -9', { timeout: 90_000 }, async () => {
  const folder = temporaryFolder();
  const server = await ServerProcess.start({ dataDir: join(folder.path, 'data') });
  const client = connect({ servers: server.address });
  try {
    const producer = await client.producer({ topic: 'lives' });
    const consumer = await client.consumer({ topic: 'lives', subscription: 's', start: 'earliest' });
    const ids: MessageId[] = [];
    let sent = 0;
    let isOver = false;
    const callers = Array.from({ length: 50 }, async () => {
      while (!isOver) {
        const n = sent++;
        ids[n] = await producer.send(`${n}`);
      }
    });
    const seen = new Map<number, string>();
    const consuming = (async () => {
      for await (const batch of consumer.batches()) {
        for (const message of batch.messages()) {
          const payload = `${message.payload}`;
          expect(seen.get(message.offset) ?? payload).toBe(payload);
          seen.set(message.offset, payload);
        }
        consumer.acknowledge(batch);
        if (isOver && seen.size >= sent) break;
      }
    })();
    for (let kill = 0; kill < KILLS; kill++) {
      await sleep(300 + 150 * kill);
      await server.kill();
      await sleep(50);
      await server.start();
    }
    await sleep(300);
    isOver = true;
    await Promise.all(callers);
    await consuming;
    expect(sent).toBeGreaterThan(500);
    const reader = await client.reader({ topic: 'lives', until: 'end' });
    const stored: string[] = [];
    const at = new Map<number, string>();
    for await (const message of reader) {
      stored.push(`${message.payload}`);
      at.set(message.offset, `${message.payload}`);
    }
    expect(stored).toHaveLength(sent);
    expect(new Set(stored).size).toBe(sent);
    for (const [n, id] of ids.entries()) expect(at.get(id.offset)).toBe(`${n}`);
    expect(seen).toEqual(at);
  } finally {
    await client.close().catch(() => undefined);
    await server.kill();
    folder.remove();
  }
});
