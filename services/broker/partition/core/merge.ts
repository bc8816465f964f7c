// A cursor's blocks between the partition and metadata. Only blocks with the log's resetEpoch count, as a union with the log's: whatever
// else metadata says is of another life of the cursor, or of offsets that the log does not have.

import type { CursorBlock } from '#lib/metadata/store.ts';
import { offset } from '#lib/types/brands.ts';
import type { PartitionState, Subscription } from './state.ts';

/** The block with markDelete; chunks of ranges are `r0`, `r1`, … */
export const MARK_BLOCK = 'm';

const chunkName = (id: number): string => `r${id}`;

/** Takes what metadata has more than the log; true: it had something. */
export function mergeCursor(state: PartitionState, subscription: Subscription, blocks: ReadonlyMap<string, CursorBlock>): boolean {
  const { cursor, resetEpoch } = subscription;
  let gained = false;
  const foreign: number[] = [];
  for (const [name, block] of blocks) {
    const id = /^r(\d{1,15})$/.exec(name)?.[1];
    if (id !== undefined) foreign.push(Number(id));
    if (block.resetEpoch !== resetEpoch) continue;
    if (block.markDelete !== null && block.markDelete <= state.end) gained = cursor.moveUp(block.markDelete, state.counts) || gained;
    for (const [first, end] of block.ranges)
      if (first < end && end <= state.end) gained = cursor.acknowledge(Math.max(first, state.start), end, state.counts) || gained;
  }
  cursor.ranges.putRemoved(foreign);
  if (gained) state.due = true;
  return gained;
}

export interface CursorChanges {
  readonly blocks: ReadonlyMap<string, CursorBlock | null>;
  /** To tell the cursor when the write has failed. */
  readonly chunks: readonly number[];
  readonly removed: readonly number[];
  readonly mark: boolean;
}

/** What has changed since the last write, taken as written; undefined: nothing has. */
export function takeChanges(subscription: Subscription): CursorChanges | undefined {
  const { cursor } = subscription;
  const resetEpoch = offset(subscription.resetEpoch);
  const blocks = new Map<string, CursorBlock | null>();
  const chunks: number[] = [];
  const removed = cursor.ranges.takeRemoved();
  for (const id of removed) blocks.set(chunkName(id), null);
  for (const chunk of cursor.ranges.chunks) {
    if (!chunk.metadataDirty) continue;
    chunk.metadataDirty = false;
    const ranges: [ReturnType<typeof offset>, ReturnType<typeof offset>][] = [];
    for (let at = 0; at < chunk.flat.length; at += 2) ranges.push([offset(chunk.flat[at] ?? 0), offset(chunk.flat[at + 1] ?? 0)]);
    blocks.set(chunkName(chunk.id), { resetEpoch, markDelete: null, ranges });
    chunks.push(chunk.id);
  }
  const mark = cursor.metadataDirty;
  if (mark) blocks.set(MARK_BLOCK, { resetEpoch, markDelete: offset(cursor.markDelete), ranges: [] });
  cursor.metadataDirty = false;
  return blocks.size === 0 ? undefined : { blocks, chunks, removed, mark };
}

export function hasChanges(subscription: Subscription): boolean {
  const { cursor } = subscription;
  return cursor.metadataDirty || cursor.ranges.hasRemoved || cursor.ranges.chunks.some(chunk => chunk.metadataDirty);
}

/** The write failed: what it held counts as changed again. */
export function putBack(subscription: Subscription, changes: CursorChanges): void {
  const { cursor } = subscription;
  if (changes.mark) cursor.metadataDirty = true;
  cursor.ranges.putRemoved(changes.removed);
  for (const chunk of cursor.ranges.chunks) if (changes.chunks.includes(chunk.id)) chunk.metadataDirty = true;
}
