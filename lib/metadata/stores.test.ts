import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, describe, expect, test } from 'vitest';
import type { Clock, Logger } from '#lib/runtime/ports.ts';
import { offset, partitionId, topicId } from '#lib/types/brands.ts';
import { ballotAt, blockAt, descriptorAt, metadataConformance } from './conformance.ts';
import { Operations } from './core/rules.ts';
import { MemoryStore } from './memory.ts';
import { openSqliteStore } from './sqlite.ts';
import { MetadataError, type MetadataStore } from './store.ts';

const clock: Clock = {
  now: () => 0,
  monotonic: () => 0,
  after: () => ({ cancel: () => undefined }),
  soon: run => {
    setImmediate(run);
  },
};

function recordingLogger() {
  const lines: string[] = [];
  const write = (message: string) => lines.push(message);
  const logger: Logger = { debug: write, info: write, warn: write, error: write, child: () => logger };
  return { logger, lines };
}

const folders: string[] = [];
const stores: MetadataStore[] = [];
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function indexFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-metadata-'));
  folders.push(folder);
  return join(folder, 'metadata.db');
}

async function open(path: string, logger: Logger = recordingLogger().logger): Promise<MetadataStore> {
  const store = await openSqliteStore({ clock, logger }, path);
  stores.push(store);
  return store;
}

const P0 = partitionId(topicId('018f0000-0000-7000-8000-000000000001'), 0);

metadataConformance('in memory', async () => new MemoryStore(clock));
metadataConformance('SQLite in memory', () => openSqliteStore({ clock, logger: recordingLogger().logger }, ':memory:'));
metadataConformance('SQLite in a file', () => open(indexFile()));

describe('SQLite in a file', () => {
  async function fill(store: MetadataStore): Promise<void> {
    await store.nextEpoch(P0, 41);
    await store.claim(P0, { ballot: ballotAt(42), broker: 'b' }, 'c');
    await store.putHead(P0, { descriptor: descriptorAt(2), first: offset(9) }, ballotAt(42), 'h');
    await store.putCursors([{ partition: P0, subscription: 's', blocks: new Map([['a', blockAt(3, 4, [6, 7])]]) }]);
    await store.putRecord('k', Buffer.from('v'), 0, 'r');
  }

  async function expectFilled(store: MetadataStore): Promise<void> {
    expect(await store.readClaim(P0)).toEqual({ ballot: ballotAt(42), broker: 'b' });
    expect(await store.readHead(P0)).toEqual({ descriptor: descriptorAt(2), first: offset(9) });
    expect(await store.readCursor(P0, 's')).toEqual(new Map([['a', blockAt(3, 4, [6, 7])]]));
    expect(await store.readRecord('k')).toEqual({ value: Buffer.from('v'), version: 1 });
    expect(await store.nextEpoch(P0, 0)).toBeGreaterThanOrEqual(43);
  }

  test('everything is there after it was closed and opened', async () => {
    const path = indexFile();
    const store = await open(path);
    await fill(store);
    await store.close();
    await expectFilled(await open(path));
  });

  test('what was written before a kill is there: the log beside the file is read', async () => {
    const path = indexFile();
    const store = await open(path);
    await fill(store);
    const copy = indexFile();
    for (const suffix of ['', '-wal']) writeFileSync(`${copy}${suffix}`, readFileSync(`${path}${suffix}`));
    await expectFilled(await open(copy));
  });

  test.each([
    ['rubbish', () => Buffer.from('this is no database, and it is longer than a header'.repeat(100))],
    ['a cut file', (good: Buffer) => good.subarray(0, good.length - 5_000)],
    ['zeros in the middle', (good: Buffer) => Buffer.concat([good.subarray(0, 4096), Buffer.alloc(4096), good.subarray(8192)])],
    ['a database of another program', () => otherDatabase()],
  ])('%s is put aside for an empty index, loudly', async (_, damage) => {
    const path = indexFile();
    const store = await open(path);
    await fill(store);
    await store.close();
    const bad = damage(readFileSync(path));
    writeFileSync(path, bad);
    writeFileSync(`${path}.damaged`, 'of the time before');
    const { logger, lines } = recordingLogger();
    const again = await open(path, logger);
    expect(lines).toEqual(['the metadata index is damaged: it is put aside, and an empty one is begun']);
    expect(readFileSync(`${path}.damaged`).equals(bad)).toBe(true);
    expect(await again.readClaim(P0)).toBeNull();
    await fill(again);
    await expectFilled(again);
  });

  function otherDatabase(): Buffer {
    const path = indexFile();
    const database = new DatabaseSync(path);
    database.exec('CREATE TABLE theirs (x)');
    database.close();
    return readFileSync(path);
  }

  test('no flip of a byte in the file is ever read as another value', { timeout: 60_000 }, async () => {
    const path = indexFile();
    const store = await open(path);
    await fill(store);
    await store.close();
    const good = readFileSync(path);
    const interesting = [...good.keys()].filter(at => good[at] !== 0);
    let noticed = 0;
    for (const at of interesting.filter((_, index) => index % 7 === 0)) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ 0x11;
      const copy = indexFile();
      writeFileSync(copy, bad);
      const { logger, lines } = recordingLogger();
      let flipped: MetadataStore;
      try {
        flipped = await openSqliteStore({ clock, logger }, copy);
      } catch (error) {
        expect(error).toBeInstanceOf(MetadataError); // The version was hit: it looks like a newer one.
        noticed++;
        continue;
      }
      const block = (await flipped.readCursor(P0, 's')).get('a');
      if (block) expect(block).toEqual(blockAt(3, 4, [6, 7]));
      const head = await flipped.readHead(P0);
      if (head) expect(head).toEqual({ descriptor: descriptorAt(2), first: offset(9) });
      const record = await flipped.readRecord('k');
      if (record) expect(record).toEqual({ value: Buffer.from('v'), version: 1 });
      const claim = await flipped.readClaim(P0);
      if (claim) expect(claim).toEqual({ ballot: ballotAt(42), broker: 'b' });
      if (lines.length > 0) noticed++;
      await flipped.close();
    }
    expect(noticed).toBeGreaterThan(10);
  });

  test('a damaged row is ignored and does not keep newer ones out', async () => {
    const path = indexFile();
    const store = await open(path);
    await fill(store);
    await store.close();
    const database = new DatabaseSync(path);
    database.exec(
      'UPDATE cursors SET reset_epoch = 9007199254740991, block = randomblob(length(block)); UPDATE epochs SET epoch = 9007199254740991',
    );
    database.close();
    const { logger, lines } = recordingLogger();
    const again = await open(path, logger);
    expect(await again.readCursor(P0, 's')).toEqual(new Map());
    expect(lines).toEqual(['a row of the metadata index is damaged and is ignored']);
    await again.putCursors([{ partition: P0, subscription: 's', blocks: new Map([['a', blockAt(3, 5)]]) }]);
    expect(await again.readCursor(P0, 's')).toEqual(new Map([['a', blockAt(3, 5)]]));
    expect(await again.nextEpoch(P0, 41)).toBe(42);
  });

  test('a file of a newer version is refused and left as it is', async () => {
    const path = indexFile();
    await (await open(path)).close();
    const database = new DatabaseSync(path);
    database.exec('PRAGMA user_version = 99');
    database.close();
    const before = readFileSync(path);
    await expect(open(path)).rejects.toThrow(/newer version.*99/);
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(existsSync(`${path}.damaged`)).toBe(false);
  });

  test('a folder that does not exist, and a file in use, are told with the path and put nothing aside', async () => {
    await expect(open('/nowhere/metadata.db')).rejects.toThrow(/\/nowhere\/metadata\.db/);
    const path = indexFile();
    const first = await open(path);
    await fill(first);
    await expect(open(path)).rejects.toThrow(MetadataError);
    expect(readdirSync(join(path, '..')).filter(name => name.includes('damaged'))).toEqual([]);
    await expectFilled(first);
  });

  test('a call with ten thousand blocks lets others run in between', async () => {
    const store = await open(indexFile());
    const blocks = new Map(Array.from({ length: 10_000 }, (_, n) => [`b${n}`, blockAt(1, n)] as const));
    let turns = 0;
    let done = false;
    const count = () => {
      turns++;
      if (!done) setImmediate(count);
    };
    setImmediate(count);
    await store.putCursors([{ partition: P0, subscription: 's', blocks }]);
    done = true;
    expect(turns).toBeGreaterThan(50);
    expect((await store.readCursor(P0, 's')).size).toBe(10_000);
  });

  test('the log beside the file does not grow without bound', async () => {
    const path = indexFile();
    const store = await open(path);
    for (let n = 0; n < 3_000; n++) {
      await store.putCursors([{ partition: P0, subscription: `s${n % 100}`, blocks: new Map([['a', blockAt(1, n)]]) }]);
    }
    expect(readFileSync(`${path}-wal`).length).toBeLessThan(4 * 2 ** 20);
  });
});

describe('in memory', () => {
  test('it can go away, be emptied, and be set back', async () => {
    const store = new MemoryStore(clock);
    await store.putRecord('k', Buffer.from('1'), 0, 'a');
    const before = store.snapshot();
    await store.putRecord('k', Buffer.from('2'), 1, 'b');
    store.setReachable(false);
    await expect(store.readRecord('k')).rejects.toBeInstanceOf(MetadataError);
    store.setReachable(true);
    store.restore(before);
    expect((await store.readRecord('k'))?.version).toBe(1);
    store.restore();
    expect(await store.readRecord('k')).toBeNull();
    store.restore(before);
    expect((await store.readRecord('k'))?.value.toString()).toBe('1');
  });
});

test('the memory of operations is bounded and forgets the oldest', () => {
  const operations = new Operations(3);
  for (const id of ['a', 'b', 'c', 'd']) operations.add('s', id);
  expect(['a', 'b', 'c', 'd'].map(id => operations.has('s', id))).toEqual([false, true, true, true]);
  expect(() => operations.has('s', '')).toThrow('1 to 200 characters');
  expect(() => operations.has('s', 'x'.repeat(201))).toThrow('1 to 200 characters');
});
