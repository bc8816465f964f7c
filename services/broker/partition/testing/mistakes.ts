// Known mistakes, planted from outside into the production parts, to show that the checks of `model.ts` can fail. Each is a reading of the
// design that looks harmless.

import type { CursorBlock, MetadataStore } from '#lib/metadata/store.ts';
import type { SimRandom } from '#lib/runtime/sim/random.ts';
import { offset } from '#lib/types/brands.ts';
import { isFailure } from '#lib/types/errors.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import {
  encodeEntry,
  entryAppendTimeMs,
  entryBaseOffset,
  entryCheckpointOffset,
  entryCumulativeCount,
  entryKind,
  entryPayload,
} from '#lib/wire/entry.ts';
import type { PartitionLog } from '../../log/api.ts';
import { decodeControl, encodeControl } from '../core/control.ts';
import type { OpenPartition } from '../partition.ts';
import type { Harness, Wrapped } from './harness.ts';
import { decode, isChange } from './model-log.ts';

export const MISTAKES = [
  'lastseq', // a sequence up to the last is a repeat, others are new
  'noprev', // takes a batch though its predecessor was refused
  'openmem', // a producer's new epoch is only in memory
  'seekmerge', // metadata and log are united whatever their resetEpoch
  'eagerack', // tells, delivers and resets from what is pending
  'replaycommit', // replays from the commit, not from the snapshot
  'cleanstart', // what was replayed counts as unchanged at the next checkpoint
  'oldblocks', // trims blocks that the last checkpoint did not write again
  'lateack', // an acknowledgement counts in another life of the cursor
  'lateseek', // a late seek undoes a newer one
  'receiptmemory', // a receipt is given for what only memory has
  'selffeeding', // a checkpoint's entries are a reason for a checkpoint
  'stepdirty', // a cursor that steps over control entries has changed
] as const;

export type Mistake = (typeof MISTAKES)[number] | 'none';

/** Metadata whose writes sometimes arrive late, and what a mistake changes in metadata and log. */
export function plantInHarness(mistake: Mistake, wrapped: Wrapped, rnd: SimRandom): Wrapped {
  const { storage } = wrapped;
  const metadata = lateWrites(wrapped.metadata, rnd, run => wrapped.clock.after(rnd.integer(600), run));
  if (mistake === 'seekmerge') {
    const inner = metadata.readCursor;
    metadata.readCursor = async (partition, subscription) => {
      const resetEpoch = offset(storage.entries.map(decode).findLast(isChange)?.base ?? 0);
      const blocks = new Map<string, CursorBlock>();
      for (const [name, block] of await inner(partition, subscription)) blocks.set(name, { ...block, resetEpoch });
      return blocks;
    };
  }
  return { ...wrapped, metadata, wrapLog: log => plantInLog(mistake, log, wrapped) };
}

function lateWrites(
  inner: MetadataStore,
  rnd: SimRandom,
  later: (run: () => void) => void,
): { -readonly [K in keyof MetadataStore]: MetadataStore[K] } {
  return {
    nextEpoch: (...a) => inner.nextEpoch(...a),
    claim: (...a) => inner.claim(...a),
    readClaim: (...a) => inner.readClaim(...a),
    putHead: (...a) => inner.putHead(...a),
    readHead: (...a) => inner.readHead(...a),
    putCursors: async updates => {
      if (!rnd.chance(0.1)) return inner.putCursors(updates);
      later(() => void inner.putCursors(updates).catch(() => undefined));
    },
    readCursor: (...a) => inner.readCursor(...a),
    dropCursor: (...a) => inner.dropCursor(...a),
    dropPartition: (...a) => inner.dropPartition(...a),
    putRecord: (...a) => inner.putRecord(...a),
    readRecord: (...a) => inner.readRecord(...a),
    listRecords: (...a) => inner.listRecords(...a),
    watch: (...a) => inner.watch(...a),
    close: () => inner.close(),
  };
}

function plantInLog(mistake: Mistake, log: PartitionLog, wrapped: Wrapped): PartitionLog {
  if (mistake === 'replaycommit') {
    const read = log.read.bind(log);
    log.read = async (from, bytesMax) => {
      const entries = await read(from, bytesMax);
      return isFailure(entries) ? entries : entries.map(replayFromCommit);
    };
  }
  if (mistake === 'oldblocks') {
    const trim = log.trim.bind(log);
    log.trim = to => trim(offset(Math.max(to, log.ledgers().at(-1)?.first ?? 0)));
  }
  if (mistake === 'eagerack') {
    const append = log.append.bind(log);
    log.append = (entry, span, reserved) => {
      append(entry, span, reserved);
      wrapped.clock.soon(() => wrapped.events()?.onAcked(log.end));
    };
  }
  return log;
}

function replayFromCommit(entry: Buffer): Buffer {
  const record = entryKind(entry) === 'control' ? decodeControl(entryPayload(entry)) : null;
  if (record?.kind !== 'commit') return entry;
  const base = entryBaseOffset(entry);
  const payload = encodeControl({ ...record, snapshot: base });
  const header = {
    kind: 'control' as const,
    baseOffset: base,
    count: 0,
    cumulativeCount: entryCumulativeCount(entry),
    appendTimeMs: entryAppendTimeMs(entry),
    checkpointOffset: entryCheckpointOffset(entry),
  };
  return encodeEntry(header, [], payload, crc32c(payload));
}

/** What a mistake changes in the owner's state. */
export function plantInPartition(mistake: Mistake, partition: OpenPartition, harness: Harness): void {
  const { state } = partition;
  const { producers } = state;
  const judge = producers.judge.bind(producers);
  const judgeOpening = producers.judgeOpening.bind(producers);
  const applyControl = state.applyControl.bind(state);
  switch (mistake) {
    case 'lastseq':
      producers.judge = batch => {
        const verdict = judge(batch);
        const last = producers.get(batch.name)?.last ?? 0;
        if (verdict.kind === 'accept' || (isFailure(verdict) && verdict.code === 'fenced')) return verdict;
        return batch.sequence <= last
          ? { kind: 'repeat', offset: producers.get(batch.name)?.kept(batch.sequence)?.offset ?? 0, count: 1 }
          : { kind: 'accept' };
      };
      return;
    case 'noprev':
      producers.judge = batch => {
        const verdict = judge(batch);
        return verdict.kind === 'early' ? { kind: 'accept' } : verdict;
      };
      return;
    case 'openmem':
      producers.judgeOpening = (opening, at) => {
        const verdict = judgeOpening(opening, at);
        if (verdict.kind !== 'epoch') return verdict;
        producers.applyOpening(verdict.record, state.appendTimeMs);
        const producer = producers.get(opening.name);
        return producer === undefined ? verdict : { kind: 'same', producer };
      };
      return;
    case 'cleanstart':
      for (const bucket of producers.buckets().keys()) producers.encode(bucket);
      for (const { cursor } of state.subscriptions.values()) {
        cursor.logDirty = false;
        for (const chunk of cursor.ranges.chunks) chunk.logDirty = false;
      }
      return;
    case 'selffeeding':
      state.applyControl = (record, timeMs, bytes) => {
        applyControl(record, timeMs, bytes);
        state.due = true;
      };
      return;
    case 'stepdirty':
      for (const { name, cursor } of state.subscriptions.values())
        if (cursor.markDelete !== markInCheckpoint(harness, name)) state.due = true;
      return;
    default:
      return;
  }
}

function markInCheckpoint(harness: Harness, name: string): unknown {
  const all = harness.storage.entries.map(decode);
  const commit = all.findLast(({ control }) => control?.kind === 'commit')?.control;
  const at = commit?.kind === 'commit' ? commit.blocks.get(`s:${name}`) : undefined;
  const chunk = all.find(({ base }) => base === at)?.control;
  const block = chunk?.kind === 'chunk' ? chunk.blocks[`s:${name}`] : undefined;
  return Array.isArray(block) ? block[3] : undefined;
}
