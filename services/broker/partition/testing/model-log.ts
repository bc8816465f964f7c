// What a checker that sees everything knows of a partition's log: every entry that was ever durable, decoded, trimmed or not.

import { isFailure } from '#lib/types/errors.ts';
import {
  entryAppendTimeMs,
  entryBaseOffset,
  entryCount,
  entryEnd,
  entryKind,
  entryMeta,
  entryPayload,
  entryPayloadCrc,
} from '#lib/wire/entry.ts';
import { type ProducerMark, producerOfMeta } from '#lib/wire/entry-meta.ts';
import { type ControlRecord, decodeControl } from '../core/control.ts';
import type { Cursor } from '../core/cursor.ts';
import { PartitionState, type Subscription } from '../core/state.ts';

export interface Seen {
  readonly base: number;
  readonly end: number;
  readonly count: number;
  readonly crc: number;
  readonly bytes: number;
  readonly timeMs: number;
  readonly control: ControlRecord | null;
  readonly mark: ProducerMark | null;
  readonly values: readonly string[];
}

export function decode(entry: Buffer): Seen {
  const control = entryKind(entry) === 'control' ? decodeControl(entryPayload(entry)) : null;
  if (control?.kind === 'malformed') throw new Error(`a malformed control record: ${control.reason}`);
  const mark = control === null ? producerOfMeta(entryMeta(entry)) : null;
  if (isFailure(mark)) throw new Error(mark.message);
  return {
    base: entryBaseOffset(entry),
    end: entryEnd(entry),
    count: entryCount(entry),
    crc: entryPayloadCrc(entry),
    bytes: entry.length,
    timeMs: entryAppendTimeMs(entry),
    control,
    mark,
    values: control === null ? entryPayload(entry).toString().split('\n') : [],
  };
}

/** A change of the subscription's existence or place. */
export function isChange(seen: Seen): boolean {
  const kind = seen.control?.kind;
  return kind === 'subscribed' || kind === 'sought' || kind === 'unsubscribed';
}

/** Names one life of a cursor: an offset that was lost with its owner may come again, at another time. */
export const lifeOf = (seen: Seen): string => `${seen.base}/${seen.timeMs}`;

export function isAcknowledged(cursor: Cursor, message: number): boolean {
  return message < cursor.markDelete || cursor.ranges.gaps(message, message + 1)?.length === 0;
}

/** Replays everything from the first entry on; plain acknowledgements count from complete checkpoints. */
export function replayWhole(history: readonly Seen[], idsMax: number): PartitionState {
  const whole = new PartitionState(0, 0, 0, idsMax);
  const chunks = new Map<number, ControlRecord>();
  for (const seen of history) {
    if (seen.control === null) whole.applyBatch(seen.count, seen.mark, seen.crc, seen.timeMs, seen.bytes);
    else whole.applyControl(seen.control, seen.timeMs, seen.bytes);
    if (seen.control?.kind === 'chunk') chunks.set(seen.base, seen.control);
    if (seen.control?.kind === 'commit') uniteCommit(whole, seen.control.blocks, chunks);
  }
  whole.settle();
  return whole;
}

function uniteCommit(whole: PartitionState, blocks: ReadonlyMap<string, number>, chunks: ReadonlyMap<number, ControlRecord>): void {
  for (const [key, at] of blocks) {
    const chunk = chunks.get(at);
    const data = chunk?.kind === 'chunk' ? chunk.blocks[key] : undefined;
    const subscription = whole.subscriptions.get(key.slice(key.indexOf(':') + 1));
    if (!Array.isArray(data) || subscription === undefined) continue;
    const mark = blocks.get(`s:${subscription.name}`);
    const markChunk = mark === undefined ? undefined : chunks.get(mark);
    const fields = markChunk?.kind === 'chunk' ? markChunk.blocks[`s:${subscription.name}`] : undefined;
    if (!Array.isArray(fields) || fields[2] !== subscription.resetEpoch) continue;
    if (key.startsWith('s:')) subscription.cursor.moveUp(Number(data[3]), whole.counts);
    if (key.startsWith('r')) whole.acknowledge(subscription, 0, data.map(Number));
  }
}

/** The state as far as two replays must agree: cursors by what they have acknowledged, not by how they write it. */
export function canonical(state: PartitionState, history: readonly Seen[]): string {
  const messages = history.flatMap(seen => seen.values.map((_, index) => seen.base + index)).filter(message => message >= state.start);
  const cursorOf = ({ name, type, createdMs, resetEpoch, cursor }: Subscription): unknown => {
    const open = messages.filter(message => !isAcknowledged(cursor, message));
    return { name, type, createdMs, resetEpoch, open };
  };
  return JSON.stringify({
    start: state.start,
    startCount: state.startCount,
    end: state.end,
    total: state.counts.total,
    appendTimeMs: state.appendTimeMs,
    producers: [...Array(16).keys()].flatMap(bucket => (state.producers.buckets().has(bucket) ? [state.producers.peek(bucket)] : [])),
    ids: [...state.ids.entries()],
    subscriptions: [...state.subscriptions.values()].map(cursorOf),
  });
}

/** Messages that the cursor's count, where it is exact, must agree with. */
export function countsHold(state: PartitionState, cursor: Cursor, all: readonly Seen[]): string | null {
  const messages = all.flatMap(seen => seen.values.map((_, index) => seen.base + index));
  const below = messages.filter(message => message < cursor.markDelete).length;
  if (cursor.exact && below !== cursor.count)
    return `${below} messages lie below @${cursor.markDelete}, and the cursor counts ${cursor.count}`;
  const edges = cursor.ranges.chunks.flatMap(chunk => chunk.flat);
  if (!cursor.exact || edges.some(edge => !state.counts.at(edge).exact)) return null;
  const open = messages.filter(message => !isAcknowledged(cursor, message)).length;
  const backlog = cursor.backlog(state.counts);
  return backlog === open ? null : `the backlog is ${open} messages, and the cursor counts ${backlog}`;
}
