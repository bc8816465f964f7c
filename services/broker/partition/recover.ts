// Taking over what a partition knows: the last entry's header names the newest complete checkpoint; its commit names the snapshot and the
// blocks; everything from the snapshot on is replayed. Then the cursors' newest blocks come from metadata, as far as they are of the log's
// life of the cursor. Without metadata, acknowledgements since the last checkpoint are delivered again, and nothing else is lost.

import { type CursorBlock, MetadataError, type MetadataStore } from '#lib/metadata/store.ts';
import type { World } from '#lib/runtime/ports.ts';
import { offset as toOffset } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import {
  checkEntry,
  entryAppendTimeMs,
  entryBaseOffset,
  entryCheckpointOffset,
  entryCount,
  entryCumulativeCount,
  entryEnd,
  entryKind,
  entryMeta,
  entryPayload,
  entryPayloadCrc,
} from '#lib/wire/entry.ts';
import { producerOfMeta } from '#lib/wire/entry-meta.ts';
import type { PartitionLog } from '../log/api.ts';
import { restoreBlocks } from './core/checkpoint.ts';
import { type CommitRecord, type ControlRecord, decodeControl } from './core/control.ts';
import { FieldError } from './core/fields.ts';
import { MARK_BLOCK, mergeCursor } from './core/merge.ts';
import { PartitionState, type Subscription } from './core/state.ts';
import { REPLAY_READ_BYTES } from './settings.ts';

/** Cursors are read so many at a time. */
const CURSOR_READS = 16;

export async function recoverState(log: PartitionLog, idsMax: number): Promise<PartitionState | Failure> {
  if (log.end === log.start) return new PartitionState(log.start, 0, 0, idsMax);
  const last = await readEntry(log, log.end - 1);
  if (isFailure(last)) return last;
  const commitAt = entryCheckpointOffset(last);
  const state = commitAt < 0 ? new PartitionState(log.start, 0, 0, idsMax) : await readCheckpoint(log, commitAt, idsMax);
  return isFailure(state) ? state : replay(log, state);
}

async function readEntry(log: PartitionLog, at: number): Promise<Buffer | Failure> {
  const entries = await log.read(toOffset(at), 1);
  if (isFailure(entries)) return entries;
  const entry = entries[0];
  if (entry === undefined) return damaged(log, at, 'no entry is there');
  const wrong = checkEntry(entry);
  return wrong === undefined ? entry : damaged(log, at, wrong);
}

async function readControl(log: PartitionLog, at: number): Promise<ControlRecord | Failure> {
  const entry = await readEntry(log, at);
  return isFailure(entry) ? entry : controlOf(log, entry);
}

function controlOf(log: PartitionLog, entry: Buffer): ControlRecord | Failure {
  const record = decodeControl(entryPayload(entry));
  return record.kind === 'malformed' ? damaged(log, entryBaseOffset(entry), record.reason) : record;
}

async function readCheckpoint(log: PartitionLog, at: number, idsMax: number): Promise<PartitionState | Failure> {
  const commit = await readControl(log, at);
  if (isFailure(commit)) return commit;
  if (commit.kind !== 'commit') return damaged(log, at, `the newest checkpoint should be here, and there is a ${commit.kind}`);
  const { start, startCount, appendTimeMs, snapshot, count } = commit;
  const state = new PartitionState(start, startCount, appendTimeMs, idsMax, snapshot, count);
  state.checkpoint = { at, snapshot, blocks: commit.blocks };
  const blocks = await readBlocks(log, commit);
  if (isFailure(blocks)) return blocks;
  try {
    restoreBlocks(state, blocks);
  } catch (error) {
    if (error instanceof FieldError) return damaged(log, at, error.message);
    throw error;
  }
  return state;
}

async function readBlocks(log: PartitionLog, commit: CommitRecord): Promise<ReadonlyMap<string, unknown> | Failure> {
  const blocks = new Map<string, unknown>();
  const chunks = new Map<number, ControlRecord>();
  for (const [key, at] of commit.blocks) {
    const chunk = chunks.get(at) ?? (await readControl(log, at));
    if (isFailure(chunk)) return chunk;
    chunks.set(at, chunk);
    if (chunk.kind !== 'chunk' || !(key in chunk.blocks)) return damaged(log, at, `block ${key} of the checkpoint should be here`);
    blocks.set(key, chunk.blocks[key]);
  }
  return blocks;
}

async function replay(log: PartitionLog, state: PartitionState): Promise<PartitionState | Failure> {
  while (state.end < log.end) {
    const entries = await log.read(toOffset(state.end), REPLAY_READ_BYTES);
    if (isFailure(entries)) return entries;
    if (entries.length === 0) return damaged(log, state.end, 'the log ends before its end');
    for (const entry of entries) {
      const failure = applyEntry(log, state, entry);
      if (failure !== null) return failure;
    }
  }
  return state;
}

/** One stored entry to the state, as its writer applied it. */
function applyEntry(log: PartitionLog, state: PartitionState, entry: Buffer): Failure | null {
  const wrong = checkEntry(entry, { payload: entryKind(entry) === 'control' });
  if (wrong !== undefined) return damaged(log, state.end, wrong);
  const base = entryBaseOffset(entry);
  if (entryKind(entry) === 'control') {
    const record = controlOf(log, entry);
    if (isFailure(record)) return record;
    if (record.kind === 'gap' && base > state.end) state.skipGap(base);
    if (base !== state.end || entryCumulativeCount(entry) < state.counts.total) return outOfOrder(log, state, entry);
    state.applyControl(record, entryAppendTimeMs(entry), entry.length);
    return null;
  }
  const mark = producerOfMeta(entryMeta(entry));
  if (isFailure(mark)) return damaged(log, base, mark.message);
  if (base !== state.end || entryCumulativeCount(entry) !== state.counts.total) return outOfOrder(log, state, entry);
  state.applyBatch(entryCount(entry), mark, entryPayloadCrc(entry), entryAppendTimeMs(entry), entry.length);
  return null;
}

function outOfOrder(log: PartitionLog, state: PartitionState, entry: Buffer): Failure {
  const is = `${entryBaseOffset(entry)}-${entryEnd(entry)} after ${entryCumulativeCount(entry)} messages`;
  return damaged(log, state.end, `the next entry is ${is}, and should begin at ${state.end} after ${state.counts.total}`);
}

function damaged(log: PartitionLog, at: number, what: string): Failure {
  return fail('data_loss', `${log.partition}@${at}: ${what}`, { partition: log.partition, offset: String(at) });
}

/** The newest of the cursors, from metadata. Never fatal: what it does not have is delivered again. */
export async function mergeCursors(world: World, metadata: MetadataStore, log: PartitionLog, state: PartitionState): Promise<void> {
  state.settle();
  const subscriptions = [...state.subscriptions.values()];
  for (let at = 0; at < subscriptions.length; at += CURSOR_READS) {
    const some = subscriptions.slice(at, at + CURSOR_READS);
    const read = await Promise.all(some.map(subscription => readCursor(world, metadata, log, subscription)));
    some.forEach((subscription, index) => {
      const blocks = read[index];
      if (blocks !== undefined && mergeCursor(state, subscription, blocks)) state.due = true;
    });
  }
  state.settle();
}

async function readCursor(
  world: World,
  metadata: MetadataStore,
  log: PartitionLog,
  subscription: Subscription,
): Promise<ReadonlyMap<string, CursorBlock> | undefined> {
  try {
    const blocks = await metadata.readCursor(log.partition, subscription.name);
    if (!blocks.has(MARK_BLOCK)) subscription.cursor.metadataDirty = true;
    return blocks;
  } catch (error) {
    if (!(error instanceof MetadataError)) throw error;
    world.logger.warn('cursor not read from metadata: delivered again since the last checkpoint', {
      partition: log.partition,
      subscription: subscription.name,
      error: error.message,
    });
    return undefined;
  }
}
