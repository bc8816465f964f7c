// Checkpoints: a snapshot of the state as of one offset S, of which only changed blocks are written, and a commit that names S and the offset
// of every block, old ones too. It counts once its commit is durable; a take over replays from S, because entries between S and the commit
// are not in the snapshot.
//
//   block          holds
//   p<n>           producers of bucket n
//   i<n>           the n-th segment of idempotency ids
//   s:<name>       a subscription: type, creation, resetEpoch, markDelete
//   r<n>:<name>    chunk n of the ranges above its markDelete

import type { ChunkRecord, CommitRecord, ExpireTimes } from './control.ts';
import { subscriptionType } from './control.ts';
import { Cursor } from './cursor.ts';
import { amount, FieldError, flag, flatRanges, list } from './fields.ts';
import type { PartitionState, Subscription } from './state.ts';

/** One chunk entry holds about so much; a block is never divided. */
const CHUNK_BYTES = 128 * 1024;

interface Block {
  readonly key: string;
  readonly data: unknown;
}

/** A checkpoint on its way into the log: chunks, then the commit. */
export class PendingCheckpoint {
  readonly snapshot: number;
  readonly #chunks: ChunkRecord[];
  #written = 0;
  readonly #blocks: Map<string, number>;
  readonly #commit: Omit<CommitRecord, 'blocks'>;

  constructor(chunks: ChunkRecord[], kept: Map<string, number>, commit: Omit<CommitRecord, 'blocks'>) {
    this.snapshot = commit.snapshot;
    this.#chunks = chunks;
    this.#blocks = kept;
    this.#commit = commit;
  }

  /** The record to append next; the commit comes last, once. */
  next(): ChunkRecord | CommitRecord {
    return this.#chunks[this.#written] ?? { ...this.#commit, blocks: this.#blocks };
  }

  /** `next()` stands at `offset`; true: that was the commit. */
  appended(offset: number): boolean {
    const chunk = this.#chunks[this.#written++];
    if (chunk === undefined) return true;
    for (const key of Object.keys(chunk.blocks)) this.#blocks.set(key, offset);
    return false;
  }
}

/**
 * Takes the snapshot, all of it now, at the state's end. Blocks that stand below `rewriteBelow` are written again though they have not
 * changed, so that the log can be trimmed up to there.
 */
export function takeSnapshot(state: PartitionState, expire: ExpireTimes, rewriteBelow: number): PendingCheckpoint {
  state.settle();
  const old = state.checkpoint?.blocks ?? new Map<string, number>();
  const kept = new Map<string, number>();
  const todo: Block[] = [];
  const place = (key: string, dirty: boolean, data: () => unknown): void => {
    const at = old.get(key);
    if (dirty || at === undefined || at < rewriteBelow) todo.push({ key, data: data() });
    else kept.set(key, at);
  };
  for (const [bucket, dirty] of state.producers.buckets()) place(`p${bucket}`, dirty, () => state.producers.encode(bucket));
  for (const [segment, dirty] of state.ids.segments()) place(`i${segment}`, dirty, () => state.ids.encode(segment));
  for (const subscription of state.subscriptions.values()) placeSubscription(subscription, place);
  const snapshot = state.end;
  state.due = false;
  state.replayBytes = 0;
  return new PendingCheckpoint(gather(todo, snapshot), kept, {
    kind: 'commit',
    snapshot,
    start: state.start,
    startCount: state.startCount,
    count: state.counts.total,
    appendTimeMs: state.appendTimeMs,
    expire,
  });
}

function placeSubscription(subscription: Subscription, place: (key: string, dirty: boolean, data: () => unknown) => void): void {
  const { name, cursor } = subscription;
  place(`s:${name}`, cursor.logDirty, () => {
    cursor.logDirty = false;
    const { type, createdMs, resetEpoch } = subscription;
    return [type, createdMs, resetEpoch, cursor.markDelete, cursor.count, cursor.exact];
  });
  for (const chunk of cursor.ranges.chunks)
    place(`r${chunk.id}:${name}`, chunk.logDirty, () => {
      chunk.logDirty = false;
      return chunk.flat.slice();
    });
}

/** Blocks together in chunks of about CHUNK_BYTES. */
function gather(todo: readonly Block[], snapshot: number): ChunkRecord[] {
  const chunks: ChunkRecord[] = [];
  let blocks: Record<string, unknown> = {};
  let bytes = 0;
  for (const { key, data } of todo) {
    const size = key.length + JSON.stringify(data).length;
    if (bytes > 0 && bytes + size > CHUNK_BYTES) {
      chunks.push({ kind: 'chunk', snapshot, blocks });
      blocks = {};
      bytes = 0;
    }
    blocks[key] = data;
    bytes += size;
  }
  if (bytes > 0) chunks.push({ kind: 'chunk', snapshot, blocks });
  return chunks;
}

/** What a commit names, in an order in which it can be put back. */
export function restoreBlocks(state: PartitionState, blocks: ReadonlyMap<string, unknown>): void {
  const ids: { number: number; data: unknown }[] = [];
  const ranges: { name: string; id: number; flat: number[] }[] = [];
  for (const [key, data] of blocks) {
    const colon = key.indexOf(':');
    if (key.startsWith('p')) state.producers.restore(data);
    else if (key.startsWith('i')) ids.push({ number: Number(key.slice(1)), data });
    else if (key.startsWith('s:')) restoreSubscription(state, key.slice(2), data);
    else if (key.startsWith('r') && colon > 0)
      ranges.push({ name: key.slice(colon + 1), id: Number(key.slice(1, colon)), flat: flatRanges(data, key) });
    else throw new FieldError(`the checkpoint has the unknown block ${key}`);
  }
  for (const { number, data } of ids.sort((a, b) => a.number - b.number)) state.ids.restore(amount(number, 'segment'), data);
  ranges.sort((a, b) => (a.flat[0] ?? 0) - (b.flat[0] ?? 0));
  for (const { name, id, flat } of ranges) {
    const subscription = state.subscriptions.get(name);
    if (subscription === undefined) throw new FieldError(`the checkpoint has ranges of ${name}, and no such subscription`);
    subscription.cursor.ranges.restore(amount(id, 'chunk'), flat);
  }
  state.raiseCursors(-1);
}

function restoreSubscription(state: PartitionState, name: string, data: unknown): void {
  const fields = list(data, 'subscription');
  if (fields.length !== 6) throw new FieldError('a subscription has six fields');
  const cursor = new Cursor(amount(fields[3], 'markDelete'), amount(fields[4], 'count'));
  cursor.setCount(cursor.count, flag(fields[5], 'exact'));
  cursor.logDirty = false;
  cursor.metadataDirty = false;
  state.subscriptions.set(name, {
    name,
    type: subscriptionType(fields[0]),
    createdMs: amount(fields[1], 'created'),
    resetEpoch: amount(fields[2], 'resetEpoch'),
    cursor,
    reflects: -1,
  });
}

/** When a changed state is worth a checkpoint: every few seconds, or when a take over would have much to replay. */
export interface CheckpointRules {
  readonly intervalMs: number;
  readonly replayBytesMax: number;
}

export function isDue(state: PartitionState, sinceMs: number, rules: CheckpointRules): boolean {
  return state.due && (sinceMs >= rules.intervalMs || state.replayBytes >= rules.replayBytesMax);
}

/** The trim may not pass this: the snapshot and every block that the newest complete checkpoint names. */
export function trimLimit(state: PartitionState): number {
  const { checkpoint } = state;
  if (checkpoint === null) return state.start;
  let limit = checkpoint.snapshot;
  for (const at of checkpoint.blocks.values()) limit = Math.min(limit, at);
  return limit;
}
