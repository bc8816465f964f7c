// Which runs hold a ledger's entries. A slice is the part of a run that counts: a seal may cut the rest off, and newer runs lie over older
// ones (an entry written again after a cut, or restored over a damaged one).

import { assert } from '#lib/types/assert.ts';
import type { Offset } from '#lib/types/brands.ts';
import { firstIndex } from '../../cache/core/entry-list.ts';
import type { Run } from './format.ts';

export interface Slice {
  readonly run: Run;
  readonly from: Offset;
  readonly to: Offset;
}

/** Bytes of a slice; of a part of a run an estimate, since a cut does not know the entries. */
export function sliceBytes({ run, from, to }: Slice): number {
  if (from === run.first && to === run.end) return run.bytes;
  return Math.round((run.bytes * (to - from)) / (run.end - run.first));
}

/** `slices` (ascending, disjoint) with the part [from, to) of `run` laid over them. */
export function overlay(slices: readonly Slice[], run: Run, from: Offset, to: Offset): readonly Slice[] {
  assert(from < to && run.first <= from && to <= run.end, 'a slice lies in its run');
  const last = slices.at(-1);
  if (last === undefined || last.to <= from) return [...slices, { run, from, to }];
  const kept: Slice[] = [];
  for (const slice of slices) if (slice.from < from) kept.push(slice.to <= from ? slice : { ...slice, to: from });
  kept.push({ run, from, to });
  for (const slice of slices) if (slice.to > to) kept.push(slice.from >= to ? slice : { ...slice, from: to });
  return kept;
}

/** What is left below `end`. */
export function cutSlices(slices: readonly Slice[], end: Offset): readonly Slice[] {
  const last = slices.at(-1);
  if (last === undefined || last.to <= end) return slices;
  const kept: Slice[] = [];
  for (const slice of slices) if (slice.from < end) kept.push(slice.to <= end ? slice : { ...slice, to: end });
  return kept;
}

/** The slice that covers `at`. */
export function sliceAt(slices: readonly Slice[], at: Offset): Slice | undefined {
  const slice = slices[firstIndex(slices, ({ to }) => to > at)];
  return slice !== undefined && slice.from <= at ? slice : undefined;
}

/** `slices` after the part of run `from` that run `to` copied is read from `to`. */
export function moved(slices: readonly Slice[], from: Run, to: Run): readonly Slice[] {
  return slices.map(slice => (slice.run === from && slice.from >= to.first && slice.to <= to.end ? { ...slice, run: to } : slice));
}
