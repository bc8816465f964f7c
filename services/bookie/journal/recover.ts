// Reads what a journal's folder holds at start, and replays it. The decisions are in `core/replay.ts`; here are the reads, and the syncs
// that make durable what was relied on: after a kill, the page cache may still hold bytes that no sync ever covered.

import { DiskError, type DiskFile } from '#lib/runtime/ports.ts';
import { BLOCK_BYTES, decodeFileHeader, type JournalPosition, type PreviousFile } from './core/format.ts';
import type { KeptFile } from './core/journal.ts';
import { type Damage, type Deliver, type FileFacts, type PlannedFile, planReplay, replayFile, traceLives } from './core/replay.ts';
import type { Slot } from './slots.ts';

export interface Recovery {
  readonly damages: readonly Damage[];
  /** Where the last file was cut, and how much lies behind. */
  readonly end: JournalPosition;
  readonly cutBytes: number;
  readonly nextSequence: number;
  /** What the next file's header names. */
  readonly previous: PreviousFile | null;
  /** Files that may not be used before they are freed by a trim. */
  readonly kept: readonly KeptFile[];
}

export async function recover(slots: readonly Slot[], trimmed: JournalPosition | null, deliver: Deliver): Promise<Recovery> {
  const damages: Damage[] = [];
  const facts: FileFacts[] = [];
  // One buffer for all files: a start takes the memory of one.
  const scratch = Buffer.allocUnsafeSlow(await largest(slots));
  for (const slot of slots) facts.push(await readFacts(slot, scratch, damages));
  const plan = planReplay(facts, trimmed);
  damages.push(...plan.damages);
  const kept: KeptFile[] = [];
  let last: { file: PlannedFile; end: number; recordsEnd: number; cutBytes: number } | null = null;
  for (const file of plan.chain) {
    const slot = slots.find(({ number }) => number === file.slot);
    if (!slot) throw new Error(`the journal has no file ${file.slot}`);
    const bytes = await readRange(slot.file, scratch.subarray(0, await slot.file.size()), file.identity.sequence, damages);
    const { end, recordsEnd, damage, cutBytes } = replayFile(bytes, file, trimmed, damages.length > 0, deliver);
    if (damage) damages.push(damage);
    await slot.file.sync();
    last = { file, end, recordsEnd, cutBytes };
    const free = { file: file.identity.sequence, at: recordsEnd };
    kept.push({ slot: slot.number, fileBytes: slot.fileBytes, free, usedBytes: end });
  }
  const isDamaged = damages.length > 0;
  const { nextSequence } = plan;
  return {
    damages,
    end: last ? { file: last.file.identity.sequence, at: last.end } : { file: 0, at: 0 },
    cutBytes: last?.cutBytes ?? 0,
    nextSequence,
    previous: plan.missing ?? previousOf(last, isDamaged),
    kept: isDamaged ? keepAll(slots, kept, nextSequence) : kept,
  };
}

/** A last file without a record is not worth naming: what it names is named instead. So starts without a record use up no files. */
function previousOf(last: { file: PlannedFile; end: number; recordsEnd: number } | null, isDamaged: boolean): PreviousFile | null {
  if (!last) return null;
  if (last.recordsEnd === BLOCK_BYTES && !isDamaged) return last.file.previous;
  return { identity: last.file.identity, end: last.end, recordsEnd: last.recordsEnd };
}

/** After damage nothing is used again before the caller has trimmed up to the new life: until then every start must find the damage. */
function keepAll(slots: readonly Slot[], kept: readonly KeptFile[], nextSequence: number): KeptFile[] {
  const free = { file: nextSequence - 1, at: Number.MAX_SAFE_INTEGER };
  return slots.map(({ number, fileBytes }) => {
    const usedBytes = kept.find(file => file.slot === number)?.usedBytes ?? 0;
    return { slot: number, fileBytes, free, usedBytes };
  });
}

async function largest(slots: readonly Slot[]): Promise<number> {
  let bytes = 2 * BLOCK_BYTES;
  for (const { file } of slots) bytes = Math.max(bytes, await file.size());
  return bytes;
}

async function readFacts(slot: Slot, scratch: Buffer, damages: Damage[]): Promise<FileFacts> {
  const actualBytes = await slot.file.size();
  const head = await readRange(slot.file, scratch.subarray(0, Math.min(2 * BLOCK_BYTES, actualBytes)), 0, damages);
  const header = decodeFileHeader(head);
  const isBlank = head.every(byte => byte === 0);
  const traces = header || isBlank ? [] : traceLives(await readRange(slot.file, scratch.subarray(0, actualBytes), 0, damages));
  return { slot: slot.number, fileBytes: slot.fileBytes, actualBytes, header, isBlank, traces };
}

/** Fills `target` from a file's start; a block that the disk cannot read is damage, and zeros. Gives back what there was. */
async function readRange(file: DiskFile, target: Buffer, sequence: number, damages: Damage[]): Promise<Buffer> {
  try {
    return target.subarray(0, await file.read(target, 0));
  } catch (error) {
    if (!isUnreadable(error)) throw error;
  }
  target.fill(0);
  for (let at = 0; at < target.length; at += BLOCK_BYTES) {
    try {
      await file.read(target.subarray(at, at + BLOCK_BYTES), at);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      damages.push({ what: 'a block cannot be read', at: { file: sequence, at } });
    }
  }
  return target;
}

function isUnreadable(error: unknown): boolean {
  return error instanceof DiskError && error.reason === 'io';
}
