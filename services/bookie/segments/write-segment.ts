// Writes one segment file: entries through a fixed slab (a few large writes, whatever the entries' sizes), then marks, directory and
// trailer, and syncs it with its folder. Nothing refers to the file before that; a failure leaves at most a file that nobody knows.

import { dirname } from 'node:path';
import type { Disk, DiskFile } from '#lib/runtime/ports.ts';
import { assert } from '#lib/types/assert.ts';
import { offset } from '#lib/types/brands.ts';
import { entryBaseOffset, entryEnd } from '#lib/wire/entry.ts';
import type { ReplicaRecord } from '#lib/wire/ledger-values.ts';
import {
  encodeDirectory,
  encodeMarks,
  encodeSegmentHeader,
  ledgerSeed,
  type Mark,
  MarkBuilder,
  marksBytes,
  type Run,
  SEGMENT_HEADER_BYTES,
  type SegmentInfo,
} from './core/format.ts';

/** What is gathered for one write; a file that is smaller needs less. */
const SLAB_BYTES = 1024 * 1024;
const FIRST_SLAB_BYTES = 64 * 1024;

/** One run to be written: batches of entries that follow each other without a gap. */
export interface RunSource {
  readonly ledgerView: Buffer;
  readonly state: ReplicaRecord;
  readonly batches: Iterable<readonly Buffer[]> | AsyncIterable<readonly Buffer[]>;
}

export interface WrittenSegment {
  readonly info: SegmentInfo;
  readonly runs: readonly Run[];
}

/** Bytes pass through it in order; a view is copied before `put` returns, or awaited. */
class SlabWriter {
  position = 0;
  readonly #file: DiskFile;
  #slab = Buffer.allocUnsafeSlow(FIRST_SLAB_BYTES);
  #used = 0;

  constructor(file: DiskFile) {
    this.#file = file;
  }

  /** Room for all of it: copied at once, and no promise is made. */
  tryPut(view: Buffer): boolean {
    if (this.#used + view.length > this.#slab.length) return false;
    view.copy(this.#slab, this.#used);
    this.#used += view.length;
    this.position += view.length;
    return true;
  }

  async put(view: Buffer): Promise<void> {
    if (this.tryPut(view)) return;
    await this.flush();
    if (this.#slab.length < SLAB_BYTES) this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    if (this.tryPut(view)) return;
    await this.#file.write([view], this.position);
    this.position += view.length;
  }

  async flush(): Promise<void> {
    if (this.#used > 0) await this.#file.write([this.#slab.subarray(0, this.#used)], this.position - this.#used);
    this.#used = 0;
  }
}

export async function writeSegment(
  disk: Disk,
  path: string,
  segment: number,
  clusterId: string,
  sources: Iterable<RunSource>,
): Promise<WrittenSegment> {
  const file = await disk.open(path, { create: true });
  try {
    await file.truncate(0);
    const written = await writeContent(file, segment, clusterId, sources);
    await file.sync();
    await disk.syncFolder(dirname(path));
    return written;
  } finally {
    await file.close();
  }
}

interface Unplaced {
  readonly run: Omit<Run, 'marksPosition' | 'marks'>;
  readonly marks: readonly Mark[];
  readonly state: ReplicaRecord;
}

async function writeContent(file: DiskFile, segment: number, clusterId: string, sources: Iterable<RunSource>): Promise<WrittenSegment> {
  const out = new SlabWriter(file);
  await out.put(encodeSegmentHeader(segment, clusterId));
  assert(out.position === SEGMENT_HEADER_BYTES, 'the header has its size');
  const unplaced: Unplaced[] = [];
  for (const source of sources) {
    const written = await writeEntries(out, segment, source);
    if (written) unplaced.push(written);
  }
  const lines: { run: Run; state: ReplicaRecord }[] = [];
  for (const { run, marks, state } of unplaced) {
    lines.push({ run: { ...run, marksPosition: out.position, marks: marks.length }, state });
    const before: number = out.position;
    await out.put(encodeMarks(marks));
    assert(out.position === before + marksBytes(marks.length), 'marks have their size');
  }
  await out.put(encodeDirectory(segment, lines, out.position));
  await out.flush();
  let entryBytes = 0;
  for (const { run } of lines) entryBytes += run.bytes;
  return { info: { segment, fileBytes: out.position, entryBytes }, runs: lines.map(line => line.run) };
}

async function writeEntries(out: SlabWriter, segment: number, source: RunSource): Promise<Unplaced | undefined> {
  const marks = new MarkBuilder(ledgerSeed(source.ledgerView));
  const position = out.position;
  let first = -1;
  let end = -1;
  let count = 0;
  for await (const batch of source.batches) {
    for (const entry of batch) {
      assert(end === -1 || entryBaseOffset(entry) === end, 'the entries of a run follow each other');
      if (first === -1) first = entryBaseOffset(entry);
      end = entryEnd(entry);
      count++;
      marks.add(entry, out.position);
      if (!out.tryPut(entry)) await out.put(entry);
    }
  }
  if (count === 0) return undefined;
  const ledger = source.state.descriptor.ledger;
  return {
    run: { ledger, segment, first: offset(first), end: offset(end), position, bytes: out.position - position, entries: count },
    marks: marks.finish(),
    state: source.state,
  };
}
