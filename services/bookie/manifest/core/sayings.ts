// From what the bookie holds in memory to what the manifest says: the changes of one flush, or all of it; and which segments still count.

import { assert } from '#lib/types/assert.ts';
import type { LedgerId } from '#lib/types/brands.ts';
import { type Offset, offset } from '#lib/types/brands.ts';
import { entryEnd } from '#lib/wire/entry.ts';
import type { ReplicaRecord } from '#lib/wire/ledger-values.ts';
import type { FlushPart } from '../../cache/core/write-cache.ts';
import type { HeldLedger, LedgerChanges, Ledgers } from '../../replica/core/ledgers.ts';
import type { Floor, Tombstone } from '../../replica/core/records.ts';
import type { Run, SegmentInfo } from '../../segments/core/format.ts';
import { overlay, type Slice, sliceBytes } from '../../segments/core/slices.ts';
import type { Edit } from './format.ts';

/** A cut: states as of one moment. */
export interface Said {
  readonly states: readonly ReplicaRecord[];
  readonly tombstones: readonly Tombstone[];
  readonly forgotten: readonly LedgerId[];
  readonly floors: readonly Floor[];
}

export function changesSaid({ dirty, tombstones, forgotten, floors }: LedgerChanges): Said {
  return {
    states: [...dirty].map(({ replica }) => replica.state()),
    tombstones: [...tombstones],
    forgotten: [...forgotten],
    floors: [...floors],
  };
}

export function everything(ledgers: Ledgers): Said {
  const states: ReplicaRecord[] = [];
  for (const { replica } of ledgers.held()) states.push(replica.state());
  return { states, tombstones: [...ledgers.tombstones()], forgotten: [], floors: [...ledgers.floors()] };
}

/** States come first: what they cut off is gone before the runs of the same flush are laid over it. */
export function sayings({ states, tombstones, forgotten, floors }: Said): Edit[] {
  const edits: Edit[] = [];
  for (const state of states) edits.push({ kind: 'state', state });
  for (const tombstone of tombstones) edits.push({ kind: 'tombstone', tombstone });
  for (const ledger of forgotten) edits.push({ kind: 'forgotten', ledger });
  for (const floor of floors) edits.push({ kind: 'floor', floor });
  return edits;
}

/** All segments with the runs that still count, the oldest first: newer runs lie over older ones. */
export function segmentEdits(segments: Iterable<SegmentInfo>, ledgers: Ledgers): Edit[] {
  const runs = new Map<number, Set<Run>>();
  for (const { slices } of ledgers.held())
    for (const { run } of slices) {
      const set = runs.get(run.segment);
      if (set) set.add(run);
      else runs.set(run.segment, new Set([run]));
    }
  return [...segments]
    .sort((a, b) => a.segment - b.segment)
    .map((info): Edit => ({ kind: 'segment', ...info, runs: [...(runs.get(info.segment) ?? [])] }));
}

export const removed = (segment: number): Edit => ({ kind: 'segment_removed', segment });

/** Bytes that slices use, by segment; a segment that is not in it is dead. */
export function liveBytes(ledgers: Ledgers): Map<number, number> {
  const live = new Map<number, number>();
  for (const { slices } of ledgers.held())
    for (const slice of slices) live.set(slice.run.segment, (live.get(slice.run.segment) ?? 0) + sliceBytes(slice));
  return live;
}

export interface Move {
  readonly ledger: HeldLedger;
  readonly slice: Slice;
}

/** What must be copied before a segment may go. */
export function movesOf(ledgers: Ledgers, segment: number): readonly Move[] {
  const moves: Move[] = [];
  for (const ledger of ledgers.held()) for (const slice of ledger.slices) if (slice.run.segment === segment) moves.push({ ledger, slice });
  return moves;
}

/** Where the last of `entries` ends; `otherwise` when there is none. */
export function endOfEntries(entries: readonly Buffer[], otherwise: Offset): Offset {
  const last = entries.at(-1);
  return last ? offset(entryEnd(last)) : otherwise;
}

/** The runs that a flush wrote, one for each part, take the place of the entries in memory, as far as those still count. */
export function settle(ledgers: Ledgers, parts: readonly FlushPart[], runs: readonly Run[]): void {
  assert(parts.length === runs.length, 'a flush writes a run for each part');
  runs.forEach((run, n) => {
    const part = parts[n];
    const ledger = ledgers.get(run.ledger);
    if (!part || ledger !== part.ledger) return;
    const end = ledger.patches.includes(part.list) ? run.end : (ledger.flushing?.end ?? run.first);
    if (end > run.first) ledger.slices = overlay(ledger.slices, run, run.first, end);
  });
}
