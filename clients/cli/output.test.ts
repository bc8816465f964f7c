import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Output, OutputClosed } from './output.ts';

/** Writes that finish when the test says so. */
function slowOutlet() {
  const blocks: Buffer[] = [];
  const pending: ((error: NodeJS.ErrnoException | null) => void)[] = [];
  const output = new Output((block, done) => {
    blocks.push(block);
    pending.push(done);
  });
  const finish = (error: NodeJS.ErrnoException | null = null) => pending.shift()?.(error);
  return { output, blocks, pending, finish };
}

test('what is appended while a write is under way goes out as one block after it', async () => {
  const { output, blocks, finish } = slowOutlet();
  output.append(Buffer.from('a'));
  output.kick();
  for (const text of ['b', 'c', 'd']) {
    output.append(Buffer.from(text));
    output.kick();
  }
  expect(blocks.map(String)).toEqual(['a']);
  finish();
  expect(blocks.map(String)).toEqual(['a', 'bcd']);
  finish();
  await output.flush();
  expect(output.written).toBe(4);
});

test('bytes are in order, whatever their size', async () => {
  const got: Buffer[] = [];
  const output = new Output((block, done) => {
    got.push(Buffer.from(block));
    setImmediate(done, null);
  });
  const parts = Array.from({ length: 400 }, (_, n) => Buffer.alloc((n * 7919) % 5_000, n % 256));
  parts.push(Buffer.alloc(600_000, 1), Buffer.alloc(262_144, 2), Buffer.from('end'));
  for (const part of parts) {
    output.append(part);
    if (output.isFull()) await output.room();
  }
  await output.flush();
  expect(Buffer.concat(got).equals(Buffer.concat(parts))).toBe(true);
});

test('a slow reader is felt as back-pressure, and memory stays bounded', async () => {
  const { output, finish, pending } = slowOutlet();
  let appended = 0;
  while (!output.isFull()) {
    output.append(Buffer.alloc(10_000));
    output.kick();
    appended += 10_000;
  }
  expect(appended).toBeLessThan(2_000_000);
  let ready = false;
  const waiting = output.room().then(() => {
    ready = true;
  });
  await sleep(20);
  expect(ready).toBe(false);
  while (pending.length > 0 && !ready) {
    finish();
    await sleep(1);
  }
  await waiting;
  expect(output.isFull()).toBe(false);
});

test('a reader that went away, and a full disk, are told apart', async () => {
  for (const [code, kind] of [
    ['EPIPE', OutputClosed],
    ['ENOSPC', Error],
  ] as const) {
    const { output, finish } = slowOutlet();
    output.append(Buffer.from('a'));
    const flushed = output.flush();
    finish(Object.assign(new Error(code), { code }));
    await expect(flushed).rejects.toBeInstanceOf(kind);
    await expect(output.room()).rejects.toThrow();
    if (code === 'ENOSPC') await expect(output.flush()).rejects.not.toBeInstanceOf(OutputClosed);
    expect(output.written).toBe(0);
  }
});
