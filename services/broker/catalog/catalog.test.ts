import { describe, expect, it } from 'vitest';
import { nullLogger } from '#lib/runtime/loggers.ts';
import { createNodeWorld } from '#lib/runtime/node/world.ts';
import { NO_BALLOT } from '#lib/types/ballot.ts';
import { bookieId, ledgerId, type TopicId, topicId } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import { MemoryStorage } from '../partition/testing/memory-log.ts';
import { CATALOG_DEFAULTS, type Catalog, type CatalogSettings, openCatalog } from './catalog.ts';
import { NO_POLICIES } from './core/model.ts';

const world = createNodeWorld({ logger: nullLogger(), onFatal: () => {} });
const uuid = (n: number): string => `01890000-0000-7000-8000-${String(n).padStart(12, '0')}`;

/** A catalog over a log in memory that outlives it. */
class Harness {
  readonly storage = new MemoryStorage();
  lost: Failure[] = [];
  #ids = 0;

  async open(settings: Partial<CatalogSettings> = {}): Promise<Catalog> {
    const catalog = await openCatalog({
      world,
      openLog: async events => this.storage.open(events),
      serverSettings: { retentionMs: 1, backlogBytesMax: -1, autoCreateTopics: true, defaultPartitions: 1, dedupWindowMs: 0 },
      context: {
        newTopicId: (): TopicId => topicId(uuid(++this.#ids)),
        newFirstLedger: () => ({
          ledger: ledgerId(uuid(++this.#ids)),
          ensemble: [bookieId('ab'.repeat(16))],
          ackQuorum: 1,
          creator: NO_BALLOT,
        }),
      },
      settings: { ...CATALOG_DEFAULTS, ...settings },
      onLost: reason => this.lost.push(reason),
    });
    if (isFailure(catalog)) throw new Error(catalog.message);
    return catalog;
  }

  acknowledge(count?: number): void {
    this.storage.owner?.acknowledge(count);
  }

  /** Acknowledges everything until `done` is settled. */
  async drive<T>(done: Promise<T>): Promise<T> {
    let settled = false;
    const watched = done.finally(() => {
      settled = true;
    });
    while (!settled) {
      this.acknowledge();
      await new Promise(resolve => setImmediate(resolve));
    }
    return watched;
  }

  make(catalog: Catalog, name: string, operation = ''): Promise<unknown> {
    return catalog.change({ kind: 'create_topic', name, partitions: 1, policies: NO_POLICIES, orExisting: false }, operation);
  }
}

const names = (catalog: Catalog): string[] =>
  catalog.state.topicsOf('public/default').map(topic => topic.name.slice('public/default/'.length));

describe('catalog over its log', () => {
  it('answers a change once it is acknowledged, and a repeat not before the first', async () => {
    const harness = new Harness();
    const catalog = await harness.open();
    const answered: string[] = [];
    const first = harness.make(catalog, 'a', 'op').then(() => answered.push('first'));
    const repeat = harness.make(catalog, 'a', 'op').then(() => answered.push('repeat'));
    const look = catalog.settled().then(() => answered.push('look'));
    await new Promise(resolve => setImmediate(resolve));
    expect(answered).toEqual([]);
    expect(catalog.isSettled).toBe(false);
    harness.acknowledge();
    await Promise.all([first, repeat, look]);
    expect(answered.sort()).toEqual(['first', 'look', 'repeat']);
    expect(harness.storage.entries).toHaveLength(1);
  });

  it('is after a crash what was acknowledged, and nothing that was not answered is promised', async () => {
    const harness = new Harness();
    const catalog = await harness.open();
    for (const name of ['a', 'b']) await harness.drive(harness.make(catalog, name));
    const unanswered = harness.make(catalog, 'c');
    const again = await harness.open();
    expect(await unanswered).toMatchObject({ kind: 'failure', code: 'unavailable', stored: 'unknown' });
    expect(harness.lost).toHaveLength(1);
    expect(names(again)).toEqual(expect.arrayContaining(['a', 'b']));
    expect(await catalog.change({ kind: 'create_tenant', name: 'x' })).toMatchObject({ kind: 'failure' });
  });

  it('replays from its newest snapshot, over many lives, whatever was cut off', async () => {
    const harness = new Harness();
    const wanted: string[] = [];
    for (let life = 0; life < 12; life++) {
      const catalog = await harness.open({ snapshotChanges: 5 });
      expect(names(catalog)).toEqual(wanted);
      for (let i = 0; i < 7; i++) {
        const name = `t${String(life).padStart(2, '0')}-${i}`;
        await harness.drive(harness.make(catalog, name, `op-${name}`));
        wanted.push(name);
      }
      if (life % 3 === 0) await harness.drive(catalog.close());
      // Something is under way that nobody was told about: a snapshot, cut anywhere.
      else if (life % 3 === 1) {
        void catalog.snapshot();
        harness.acknowledge(life % 2);
        harness.storage.pending = [];
      }
    }
    const reads = harness.storage.reads;
    const catalog = await harness.open();
    expect(names(catalog)).toEqual(wanted);
    expect(catalog.state.version).toBe(wanted.length);
    expect(harness.storage.reads - reads).toBeLessThan(8);
    expect(await harness.drive(harness.make(catalog, 't00-0', 'op-t00-0'))).toMatchObject({ kind: 'topic', topic: { version: 1 } });
  });

  it('trims what is below its snapshot', async () => {
    const harness = new Harness();
    const catalog = await harness.open({ snapshotChanges: 1_000 });
    for (let i = 0; i < 50; i++) await harness.drive(harness.make(catalog, `t${i}`));
    await harness.drive(catalog.snapshot());
    await harness.drive(catalog.snapshot());
    expect(harness.storage.start).toBeGreaterThan(0);
    expect(names(await harness.open())).toHaveLength(50);
  });

  it('refuses a log with a hole, a foreign entry, or a record of a later version', async () => {
    const harness = new Harness();
    const catalog = await harness.open();
    for (const name of ['a', 'b', 'c']) await harness.drive(harness.make(catalog, name));
    const [first, second, third] = harness.storage.entries;
    if (!first || !second || !third) throw new Error('three records');
    harness.storage.entries = [first, third];
    await expect(harness.open()).rejects.toThrow(/gap|no record/);
    const later = Buffer.from(second);
    later.write('"v":2', later.indexOf('"v":1'));
    harness.storage.entries = [first, later, third];
    await expect(harness.open()).rejects.toThrow(/later Sluice/);
  });

  it('pushes back when too many changes wait', async () => {
    const harness = new Harness();
    const catalog = await harness.open({ pendingMax: 3 });
    const under = [1, 2, 3].map(n => harness.make(catalog, `t${n}`));
    expect(await harness.make(catalog, 't4')).toMatchObject({ kind: 'failure', code: 'overloaded', stored: 'no' });
    await harness.drive(Promise.all(under));
    expect(await harness.drive(harness.make(catalog, 't4'))).toMatchObject({ kind: 'topic' });
  });

  it('says why when its log cannot be opened', async () => {
    const opened = await openCatalog({
      world,
      openLog: async () => fail('storage_unavailable', 'no bookie answers'),
      serverSettings: { retentionMs: 1, backlogBytesMax: -1, autoCreateTopics: true, defaultPartitions: 1, dedupWindowMs: 0 },
      context: { newTopicId: () => topicId(uuid(1)), newFirstLedger: () => fail('storage_unavailable', 'no') },
      settings: CATALOG_DEFAULTS,
      onLost: () => {},
    });
    expect(opened).toMatchObject({ kind: 'failure', code: 'storage_unavailable' });
  });
});
