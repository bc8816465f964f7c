// A full disk, on a small file system of the test's own: appends are refused as retryable, reads go on, and when space is given back
// writing goes on without a restart. Needs the right to mount.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { connect, SluiceError } from '#clients/typescript/index.ts';
import { ServerProcess, temporaryFolder } from '../support/server.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function smallFileSystem(size: string): string {
  const folder = temporaryFolder();
  undo.push(() => folder.remove());
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder.path]);
  undo.push(() => execFileSync('umount', ['-l', folder.path]));
  return folder.path;
}

test.skipIf(process.getuid?.() !== 0)(
  'a full disk pushes back, serves reads, and goes on when there is space',
  { timeout: 120_000 },
  async () => {
    const disk = smallFileSystem('160m');
    const filler = join(disk, 'filler');
    writeFileSync(filler, Buffer.alloc(48 * 2 ** 20));
    mkdirSync(join(disk, 'data'));
    const server = await ServerProcess.start({ dataDir: join(disk, 'data') });
    undo.push(() => server.kill());
    const client = connect({ servers: server.address });
    undo.push(() => client.close());

    const producer = await client.producer({ topic: 'filling', sendTimeoutMs: 4_000 });
    const payload = Buffer.alloc(256 * 1024, 7);
    const stored: number[] = [];
    let refusal: SluiceError | undefined;
    while (!refusal && stored.length < 2_000) {
      try {
        stored.push((await producer.send(payload)).offset);
      } catch (error) {
        if (!(error instanceof SluiceError)) throw error;
        refusal = error;
      }
    }
    expect(refusal, `${stored.length} messages fitted`).toBeDefined();
    expect(refusal?.code).toBe('storage_full');
    expect(refusal?.stored).toBe('no');
    expect(refusal?.retry).toBe('same');
    expect(stored.length).toBeGreaterThan(50);

    const reader = await client.reader({ topic: 'filling', start: 'earliest', until: 'end' });
    const offsets: number[] = [];
    for await (const message of reader) {
      expect(message.payload?.equals(payload)).toBe(true);
      offsets.push(message.offset);
    }
    expect(offsets).toEqual(expect.arrayContaining(stored));

    rmSync(filler);
    const again = await client.producer({ topic: 'filling', sendTimeoutMs: 20_000 });
    let after: number | undefined;
    for (let tries = 0; after === undefined && tries < 100; tries++) {
      try {
        after = (await again.send('there is space again')).offset;
      } catch (error) {
        if (!(error instanceof SluiceError) || error.code !== 'storage_full') throw error;
        await sleep(200);
      }
    }
    expect(after).toBeGreaterThan(stored.at(-1) ?? 0);
    expect(await server.isReady()).toBe(true);
  },
);
