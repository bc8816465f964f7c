// Starts a bookie on its folder: identity and lock, manifest, journal; then all is as it was, and checked to fit together. When it does
// not, something durable was lost: the folder takes a new incarnation id first, and everything that is still known is written anew.

import { join } from 'node:path';
import type { World } from '#lib/runtime/ports.ts';
import { compareBallots } from '#lib/types/ballot.ts';
import { Bookie } from './bookie.ts';
import { WriteCache } from './cache/core/write-cache.ts';
import type { BookieConfig } from './config.ts';
import {
  BookieStartError,
  type FolderLock,
  type Identity,
  openIdentity,
  reborn,
  standing,
  startError,
  takeFolder,
  writeIdentity,
} from './identity.ts';
import { type Journal, openJournal } from './journal/journal.ts';
import { Keeper } from './keeper.ts';
import type { Edit } from './manifest/core/format.ts';
import { everything, liveBytes, sayings, segmentEdits, settle } from './manifest/core/sayings.ts';
import { Manifest, type OpenedManifest } from './manifest/manifest.ts';
import { Reads } from './reads.ts';
import { Ledgers } from './replica/core/ledgers.ts';
import { Replay } from './replica/core/replay.ts';
import { Scrubber } from './scrub.ts';
import { Segments } from './segments/segments.ts';
import { writeSegment } from './segments/write-segment.ts';
import { Space } from './space.ts';

/** Resolves when the bookie serves; rejects with `BookieStartError` when its folder cannot be served as it is. */
export async function createBookie(world: World, config: BookieConfig): Promise<Bookie> {
  const lock = await takeFolder(world, config.folder);
  try {
    return await open(world, config, lock);
  } catch (error) {
    await lock.release();
    throw startError(error, config.folder);
  }
}

async function open(world: World, config: BookieConfig, lock: FolderLock): Promise<Bookie> {
  const began = world.clock.monotonic();
  const { folder } = config;
  const known = await openIdentity(world, folder, config.clusterId);
  const store = await openStore(world, config, known);
  const { identity, manifest, ledgers, cache, segments, journal } = store;
  for (const ledger of ledgers.held()) ledger.replica.inDoubt = standing(identity, ledger.replica.descriptor.ensemble) !== 'member';
  const space = new Space(world, folder, config.reservedDisk, config.reservedPartitionBytes);
  await space.check();
  const cutBytes = (config.journalFileBytes * config.journalFilesMax) / 4;
  const { manifestBytes } = config;
  const keeper = new Keeper({ world, clusterId: identity.clusterId, ledgers, cache, segments, manifest, journal, cutBytes, manifestBytes });
  const reads = new Reads(world, segments, config.readsMax, config.readBytes);
  const closeRest = async () => {
    await manifest.close();
    await lock.release();
  };
  const scrubber = new Scrubber(world, ledgers, segments, config.scrubBytesPerSecond, config.scrubInterval);
  const bookie = new Bookie({ world, folder, identity, ledgers, cache, segments, journal, keeper, reads, space, scrubber }, closeRest);
  scrubber.start();
  keeper.sweep();
  // What was replayed goes to a segment now: each restart begins another journal file, and only a flush lets the old ones go.
  // After many short lives it is done before anything is served, or a server that is killed again and again would run out of journal.
  if (!cache.isEmpty || ledgers.hasChanges) keeper.flushSoon();
  if (journal.usage().files > config.journalFilesMax / 2) await keeper.flush();
  world.logger.info('bookie is open', {
    bookie: identity.id,
    ledgers: ledgers.count,
    segments: segments.count,
    cachedBytes: cache.cost,
    ms: Math.round(world.clock.monotonic() - began),
  });
  return bookie;
}

interface Store {
  readonly identity: Identity;
  readonly manifest: Manifest;
  readonly ledgers: Ledgers;
  readonly cache: WriteCache;
  readonly segments: Segments;
  readonly journal: Journal;
}

async function openStore(world: World, config: BookieConfig, identity: Identity): Promise<Store> {
  const { folder } = config;
  const folders = { manifest: join(folder, 'manifest'), segments: join(folder, 'segments'), journal: join(folder, 'journal') };
  for (const path of Object.values(folders)) await world.disk.makeFolder(path);
  const ledgers = new Ledgers();
  const cache = new WriteCache(config.writeCacheBytes);
  const segments = new Segments(world, folders.segments);
  const replay = new Replay(ledgers, cache);
  const opened = await Manifest.open(world, folders.manifest);
  if (opened.opening.kind === 'newer')
    throw new BookieStartError(
      'newer_version',
      `${folder} was written by a newer Sluice (manifest format ${opened.opening.version}): start that version`,
    );
  const filesThere = await segments.filesThere();
  segments.reserveNumbers(Math.max(0, ...filesThere));
  const journalNames = await world.disk.list(folders.journal);
  const isNew = opened.opening.kind === 'new' && filesThere.length === 0 && journalNames.length === 0;
  const problems = manifestProblems(opened, isNew);
  for (const edit of opened.edits) replay.edit(edit);
  // What the manifest says need not be said to it again.
  ledgers.takeChanges();
  if (problems.length > 0) await replayDirectories(world, segments, filesThere, replay, ledgers);
  // A journal must never be there without a manifest, so that a missing one is noticed.
  const manifest = opened.manifest ?? (isNew ? await Manifest.fresh(world, folders.manifest, []) : null);
  const trimmed = replay.trim ?? (isNew || opened.manifest ? null : { file: 0, at: 0 });
  const { journal, opening } = await openJournal(
    world,
    {
      folder: folders.journal,
      fileBytes: config.journalFileBytes,
      filesMax: config.journalFilesMax,
      groupBytesMax: config.journalGroupBytes,
      queueBytesMax: config.journalQueueBytes,
    },
    trimmed,
    ({ type, bytes }) => replay.record(type, bytes),
  );
  replay.finish();
  for (const info of replay.segments.values()) segments.add(info);
  if (opening.kind === 'corrupt') problems.push(`journal: ${opening.what} at ${opening.at.file}/${opening.at.at}`);
  problems.push(...replay.misfits);
  if (problems.length > 0) return rebuild(world, config, identity, problems, { ledgers, cache, segments, journal });
  if (!manifest) throw new BookieStartError('damaged', `${folders.manifest} holds no manifest that can be read`);
  await removeStrays(world, segments, filesThere, replay);
  return { identity, manifest, ledgers, cache, segments, journal };
}

function manifestProblems({ opening }: OpenedManifest, isNew: boolean): string[] {
  if (opening.kind === 'corrupt') return [opening.what];
  return opening.kind === 'new' && !isNew ? ['the manifest is missing'] : [];
}

/** Without a manifest that can be trusted: what the segments say of themselves. A file that says nothing is put aside. */
async function replayDirectories(
  world: World,
  segments: Segments,
  files: readonly number[],
  replay: Replay,
  ledgers: Ledgers,
): Promise<void> {
  for (const segment of [...files].sort((a, b) => a - b)) {
    if (replay.segments.has(segment)) continue;
    const directory = await segments.directory(segment);
    if (typeof directory === 'string') {
      world.logger.error('a segment cannot be read and is put aside', { segment, what: directory });
      await segments.putAside(segment);
      continue;
    }
    for (const { state } of directory.lines) {
      const held = ledgers.get(state.descriptor.ledger)?.replica;
      const isNewer = !held || compareBallots(state.promised, held.promised) > 0 || (state.end ?? -1) > (held.end ?? -1);
      if (isNewer && !held?.decided) replay.state(state);
    }
    const runs = directory.lines.map(({ run }) => run);
    const entryBytes = runs.reduce((sum, run) => sum + run.bytes, 0);
    replay.edit({ kind: 'segment', segment, fileBytes: directory.fileBytes, entryBytes, runs });
  }
}

/** Files of flushes that a crash cut short: the journal has had all of it again. */
async function removeStrays(world: World, segments: Segments, files: readonly number[], replay: Replay): Promise<void> {
  for (const segment of files) if (!replay.segments.has(segment)) await world.disk.remove(segments.path(segment));
}

/**
 * After a damage. The new identity is durable before anything else; then all that is known goes into segments and a fresh manifest; only
 * then may the journal forget. A crash in between finds the damage again.
 */
async function rebuild(
  world: World,
  config: BookieConfig,
  before: Identity,
  problems: readonly string[],
  store: Pick<Store, 'ledgers' | 'cache' | 'segments' | 'journal'>,
): Promise<Store> {
  const { ledgers, cache, segments, journal } = store;
  const identity = reborn(before, world);
  world.logger.error(
    'stored data is damaged: this bookie takes a new id, and does not vote on ledgers it may have forgotten something of',
    {
      before: before.id,
      now: identity.id,
      problems: problems.slice(0, 20),
      problemCount: problems.length,
    },
  );
  await writeIdentity(world.disk, config.folder, identity);
  const position = journal.end;
  const parts = cache.swap();
  ledgers.takeChanges();
  const edits: Edit[] = sayings(everything(ledgers));
  if (parts.length > 0) {
    const segment = segments.nextNumber();
    const sources = parts.map(({ ledger, list }) => ({
      ledgerView: ledger.idView,
      state: ledger.replica.state(),
      batches: [list.entries],
    }));
    const written = await writeSegment(world.disk, segments.path(segment), segment, identity.clusterId, sources);
    segments.add(written.info);
    settle(ledgers, parts, written.runs);
  }
  cache.flushed();
  // What nothing refers to any more is not deleted now: perhaps what referred to it is what was lost.
  const live = liveBytes(ledgers);
  for (const { segment } of [...segments.all()]) if (!live.has(segment)) await segments.putAside(segment);
  edits.push(...segmentEdits(segments.all(), ledgers), { kind: 'trim', position });
  const manifest = await Manifest.fresh(world, join(config.folder, 'manifest'), edits);
  journal.trim(position);
  return { identity, manifest, ledgers, cache, segments, journal };
}
