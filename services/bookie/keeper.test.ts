// The order of a flush: segment, journal, manifest, and only then may the journal forget.
import { expect, test } from 'vitest';
import { simDisk } from '#lib/runtime/sim/disk.ts';
import { simRandom } from '#lib/runtime/sim/random.ts';
import { type BookieId, offset } from '#lib/types/brands.ts';
import { WriteCache } from './cache/core/write-cache.ts';
import { Keeper } from './keeper.ts';
import { type JournalPosition, readManifest } from './manifest/core/format.ts';
import { Manifest } from './manifest/manifest.ts';
import { Ledgers } from './replica/core/ledgers.ts';
import { Replica } from './replica/core/replica.ts';
import { Segments } from './segments/segments.ts';
import { CLUSTER, quickWorld, testBallot, testDescriptor, testEntry } from './testing/support.ts';

const bookie = '00112233445566778899aabbccddeeff' as BookieId;

test('the journal is trimmed when the manifest has the cut and the segment durably, and to the cut, not to what came meanwhile', async () => {
  const disk = simDisk(simRandom(2));
  const world = quickWorld(disk);
  for (const folder of ['/b', '/b/m', '/b/s']) await disk.makeFolder(folder);
  const ledgers = new Ledgers();
  const cache = new WriteCache(1024 * 1024);
  const segments = new Segments(world, '/b/s');
  const manifest = await Manifest.fresh(world, '/b/m', []);
  const events: string[] = [];
  let end: JournalPosition = { file: 1, at: 100 };
  const journal = {
    get end() {
      return end;
    },
    whenDurable: (run: () => void) => {
      events.push('the journal is asked to be durable');
      // Later records, of a later cut.
      end = { file: 1, at: 900 };
      setImmediate(run);
    },
    trim: (below: JournalPosition) => {
      disk.crash();
      const name = '/b/m/manifest-0000000001';
      const content = readManifest(disk.contents(name) ?? Buffer.alloc(0));
      const edits = 'edits' in content ? content.edits : [];
      events.push(`trim to ${below.at}`, `manifest: ${edits.map(edit => edit.kind).join(' ')}`);
      events.push(`segment: ${disk.contents('/b/s/segment-000000000001') !== undefined}`);
    },
  };
  const keeper = new Keeper({ world, clusterId: CLUSTER, ledgers, cache, segments, manifest, journal, cutBytes: 1e9, manifestBytes: 1e9 });
  const ledger = ledgers.add(Replica.installed(testDescriptor(1, bookie), testBallot(1), offset(0)));
  ledger.replica.appended(offset(0), offset(0), 1, offset(0));
  cache.put(ledger, offset(0), testEntry(0, Buffer.from('x')));
  keeper.flushSoon();
  for (let n = 0; n < 100 && events.length < 4; n++) await new Promise(setImmediate);
  expect(events).toEqual(['the journal is asked to be durable', 'trim to 100', 'manifest: state segment trim', 'segment: true']);
});
