// What a restart makes of the bytes it finds: which files belong together and in which order, where the last one ends, and whether what
// is missing was never durable (a tail, which is cut) or had been (corruption). Pure, over bytes.
//
// A tail is cut only when nothing valid behind it says that it was durable: a later group's `syncedTo`, or a later file's header.

import {
  BLOCK_BYTES,
  claimedRecordEnd,
  compareJournalPositions,
  type FileHeader,
  type FileIdentity,
  GROUP_HEADER_BYTES,
  type GroupHeader,
  type JournalPosition,
  type PreviousFile,
  type RecordView,
  readGroupHeader,
  readRecord,
  roundUp,
  sameFile,
} from './format.ts';

/** What is known of one file before its records are read. */
export interface FileFacts {
  readonly slot: number;
  /** The size that it was made with, and the one that it has. */
  readonly fileBytes: number;
  readonly actualBytes: number;
  readonly header: FileHeader | null;
  /** Its first two blocks are zeros: nothing was ever written to it. */
  readonly isBlank: boolean;
  /** Lives that left groups in it; looked for only when the header is not valid. */
  readonly traces: readonly LifeTrace[];
}

/** A life of which groups were found. */
export interface LifeTrace {
  readonly identity: FileIdentity;
  /** The highest position that its groups say was durable. In its own file: then the file's header was durable, too. */
  readonly syncedTo: JournalPosition;
}

/** Something that was durable and is not valid any more. */
export interface Damage {
  readonly what: string;
  readonly at: JournalPosition;
}

export interface PlannedFile {
  readonly slot: number;
  readonly identity: FileIdentity;
  /** Where the next file's header says that this one ends; null: nobody says. */
  readonly end: number | null;
  /** Everything below was durable, as far as other files say. */
  readonly mustReach: number;
  readonly previous: PreviousFile | null;
}

export interface ReplayPlan {
  /** In order. */
  readonly chain: readonly PlannedFile[];
  readonly damages: readonly Damage[];
  /** Higher than every sequence that was ever seen. */
  readonly nextSequence: number;
  /** Set when what is missing can be named by a sequence only: the next file's header must name it, so that it stays noticed. */
  readonly missing: PreviousFile | null;
}

interface Candidate {
  readonly slot: number;
  readonly identity: FileIdentity;
  readonly previous: PreviousFile | null;
  readonly isHeaderLost: boolean;
}

const END_UNKNOWN = 0xffffffff;

/** The lives that left valid group headers in a file whose own header is not valid. */
export function traceLives(file: Buffer): LifeTrace[] {
  const traces: { identity: FileIdentity; syncedTo: JournalPosition }[] = [];
  for (let at = BLOCK_BYTES; at < file.length; at += BLOCK_BYTES) {
    const group = readGroupHeader(file, at);
    if (!group) continue;
    let trace = traces.find(known => sameFile(known.identity, group.identity));
    if (!trace) {
      trace = { identity: group.identity, syncedTo: group.syncedTo };
      traces.push(trace);
    }
    if (compareJournalPositions(trace.syncedTo, group.syncedTo) < 0) trace.syncedTo = group.syncedTo;
  }
  return traces;
}

/** Orders the files: from the last one back, each header names the one before, until all that is left is below `trimmed`. */
export function planReplay(files: readonly FileFacts[], trimmed: JournalPosition | null): ReplayPlan {
  const planner = new Planner(files, trimmed);
  return planner.plan();
}

class Planner {
  readonly #files: readonly FileFacts[];
  readonly #trimmed: JournalPosition | null;
  readonly #damages: Damage[] = [];
  readonly #valid: readonly Candidate[];

  constructor(files: readonly FileFacts[], trimmed: JournalPosition | null) {
    this.#files = files;
    this.#trimmed = trimmed;
    this.#valid = files.flatMap(({ slot, header }) =>
      header ? [{ slot, identity: header.identity, previous: header.previous, isHeaderLost: false }] : [],
    );
  }

  plan(): ReplayPlan {
    const last = this.#findLast();
    const missing = this.#findMissing(last);
    const chain = last ? this.#walkBack(last) : [];
    this.#checkSizes(chain);
    let sequence = this.#trimmed?.file ?? 0;
    for (const { header, traces } of this.#files) {
      sequence = Math.max(sequence, header?.identity.sequence ?? 0, header?.previous?.identity.sequence ?? 0);
      for (const trace of traces) sequence = Math.max(sequence, trace.identity.sequence);
    }
    return { chain, damages: this.#damages, nextSequence: sequence + 1, missing };
  }

  /** The newest file: of valid headers the highest; a life whose header was durable and is lost counts as well, and is damage. */
  #findLast(): Candidate | null {
    let last: Candidate | null = null;
    for (const candidate of this.#valid) {
      if (last && candidate.identity.sequence === last.identity.sequence)
        this.#damage('two files have the same sequence', candidate.identity.sequence, 0);
      if (!last || candidate.identity.sequence > last.identity.sequence) last = candidate;
    }
    for (const { slot, traces } of this.#files)
      for (const { identity, syncedTo } of traces) {
        if (
          syncedTo.file !== identity.sequence ||
          identity.sequence <= (last?.identity.sequence ?? 0) ||
          this.#isTrimmed(identity.sequence)
        )
          continue;
        this.#damage('the header of a file is damaged', identity.sequence, 0);
        last = { slot, identity, previous: null, isHeaderLost: true };
      }
    return last;
  }

  /** True when the caller knows that nothing of this file is needed any more. */
  #isTrimmed(sequence: number): boolean {
    return this.#trimmed !== null && sequence < this.#trimmed.file;
  }

  /** The journal cannot end before the file of its trim position. */
  #findMissing(last: Candidate | null): PreviousFile | null {
    const trimmed = this.#trimmed;
    if (!trimmed || trimmed.file === 0 || (last && last.identity.sequence >= trimmed.file)) return null;
    this.#damage('the journal ends before its trim position', trimmed.file, trimmed.at);
    return { identity: { sequence: trimmed.file, idLow: 0, idHigh: 0 }, end: END_UNKNOWN, recordsEnd: END_UNKNOWN };
  }

  #walkBack(last: Candidate): PlannedFile[] {
    const chain: PlannedFile[] = [];
    let end: number | null = null;
    for (let file: Candidate | null = last; file; ) {
      const { slot, identity, previous } = file;
      chain.unshift({ slot, identity, end, previous, mustReach: end ?? this.#provenEnd(identity) });
      if (this.#trimmed && file.identity.sequence <= this.#trimmed.file) break;
      const link: PreviousFile | null = file.previous;
      if (!link && !file.isHeaderLost) break;
      if (link && this.#trimmed && comparePrevious(link, this.#trimmed) <= 0) break;
      const before: Candidate | null = link ? this.#follow(link) : null;
      end = link && before ? link.end : null;
      if (link && !before) this.#damage('a file is missing', link.identity.sequence, link.end);
      // The link is broken: what is older is still worth reading, up to where it proves itself.
      file = before ?? this.#newestBelow(file.identity.sequence);
    }
    return chain;
  }

  /** How far groups in files without a valid header say that this one was durable. */
  #provenEnd(identity: FileIdentity): number {
    let proven = 0;
    for (const { traces } of this.#files)
      for (const { syncedTo } of traces) if (syncedTo.file === identity.sequence) proven = Math.max(proven, syncedTo.at);
    return proven;
  }

  #follow(link: PreviousFile): Candidate | null {
    for (const candidate of this.#valid) if (sameFile(candidate.identity, link.identity)) return candidate;
    for (const { slot, traces } of this.#files)
      for (const { identity } of traces) {
        if (!sameFile(identity, link.identity)) continue;
        this.#damage('the header of a file is damaged', identity.sequence, 0);
        return { slot, identity, previous: null, isHeaderLost: true };
      }
    return null;
  }

  #newestBelow(sequence: number): Candidate | null {
    let newest: Candidate | null = null;
    for (const candidate of this.#valid)
      if (candidate.identity.sequence < sequence && candidate.identity.sequence > (newest?.identity.sequence ?? 0)) newest = candidate;
    return newest;
  }

  /** A file gets its name only when it has its size: another size was not left by a crash. What is trimmed does not matter. */
  #checkSizes(chain: readonly PlannedFile[]): void {
    for (const { slot, header, fileBytes, actualBytes } of this.#files) {
      if (actualBytes === fileBytes && (!header || header.fileBytes === fileBytes)) continue;
      if (header && !chain.some(file => file.slot === slot)) continue;
      this.#damage('a file has not the size that it was made with', header?.identity.sequence ?? 0, actualBytes);
    }
  }

  #damage(what: string, file: number, at: number): void {
    this.#damages.push({ what, at: { file, at } });
  }
}

function comparePrevious(previous: PreviousFile, position: JournalPosition): number {
  return compareJournalPositions({ file: previous.identity.sequence, at: previous.recordsEnd }, position);
}

/** What one file gave. */
export interface FileReplay {
  /** Where it ends: the first block behind what is valid, or what the next file's header says. */
  readonly end: number;
  /** The end of its last record; a block's size when it has none. */
  readonly recordsEnd: number;
  readonly damage: Damage | null;
  /** Bytes of groups behind the end that were written but never known to be durable. */
  readonly cutBytes: number;
}

/** Records come in order; `afterDamage`: something before it is lost. */
export type Deliver = (record: RecordView, position: JournalPosition, afterDamage: boolean) => void;

/** Reads the records of one file, from `trimmed` on. Groups count as a whole, but behind damage every valid record does. */
export function replayFile(
  file: Buffer,
  planned: Pick<PlannedFile, 'identity' | 'end' | 'mustReach'>,
  trimmed: JournalPosition | null,
  isDamaged: boolean,
  deliver: Deliver,
): FileReplay {
  return new FileReader(file, planned, trimmed, isDamaged, deliver).run();
}

function neededFrom(identity: FileIdentity, trimmed: JournalPosition | null): number {
  if (!trimmed || trimmed.file < identity.sequence) return 0;
  return trimmed.file === identity.sequence ? trimmed.at : Number.POSITIVE_INFINITY;
}

class FileReader {
  readonly #file: Buffer;
  readonly #identity: FileIdentity;
  /** Everything below was durable: it must be valid. */
  #mustReach: number;
  readonly #end: number | null;
  /** Nothing below is needed. */
  readonly #neededFrom: number;
  readonly #deliver: Deliver;
  #afterDamage: boolean;
  #damage: Damage | null = null;
  #recordsEnd = BLOCK_BYTES;

  constructor(
    file: Buffer,
    planned: Pick<PlannedFile, 'identity' | 'end' | 'mustReach'>,
    trimmed: JournalPosition | null,
    isDamaged: boolean,
    deliver: Deliver,
  ) {
    this.#file = file;
    this.#identity = planned.identity;
    this.#end = planned.end;
    this.#mustReach = planned.mustReach;
    this.#neededFrom = neededFrom(planned.identity, trimmed);
    this.#afterDamage = isDamaged;
    this.#deliver = deliver;
  }

  run(): FileReplay {
    let at = BLOCK_BYTES;
    let lastHeaderEnd = 0;
    for (;;) {
      if (this.#end !== null && at >= this.#end) return this.#result(this.#end, 0);
      const group = this.#readGroup(at);
      if (group) {
        at = roundUp(at + group.bytes);
        continue;
      }
      const next = this.#lookBehind(at);
      lastHeaderEnd = Math.max(lastHeaderEnd, next.lastEnd);
      if (at >= this.#mustReach) return this.#result(at, Math.max(0, lastHeaderEnd - at));
      const behind = next.header ?? Math.max(this.#mustReach, at + BLOCK_BYTES);
      this.#skip(at, behind);
      at = behind;
    }
  }

  #result(end: number, cutBytes: number): FileReplay {
    return { end, recordsEnd: this.#recordsEnd, damage: this.#damage, cutBytes };
  }

  /** Delivers the group at `at`, if all of it is valid. */
  #readGroup(at: number): GroupHeader | null {
    const group = this.#ownHeader(at);
    const limit = at + (group?.bytes ?? 0);
    if (!group || limit > (this.#end ?? this.#file.length)) return null;
    const records: { record: RecordView; at: number }[] = [];
    let next = at + GROUP_HEADER_BYTES;
    while (next < limit) {
      const record = readRecord(this.#file, next, this.#identity, limit);
      if (!record) return null;
      records.push({ record, at: next });
      next = record.end;
    }
    if (records.length !== group.records) return null;
    for (const { record, at: position } of records) this.#give(record, position);
    return group;
  }

  #ownHeader(at: number): GroupHeader | null {
    const group = readGroupHeader(this.#file, at);
    return group && sameFile(group.identity, this.#identity) && group.bytes >= GROUP_HEADER_BYTES ? group : null;
  }

  /** Looks at every block behind an invalid group: how far does this life say it was durable, and where does it go on? */
  #lookBehind(at: number): { header: number | null; lastEnd: number } {
    let header: number | null = null;
    let lastEnd = this.#ownHeader(at) ? at + BLOCK_BYTES : 0;
    for (let block = at + BLOCK_BYTES; block < (this.#end ?? this.#file.length); block += BLOCK_BYTES) {
      const group = this.#ownHeader(block);
      if (!group) continue;
      header ??= block;
      lastEnd = roundUp(block + group.bytes);
      if (this.#end === null && group.syncedTo.file === this.#identity.sequence)
        this.#mustReach = Math.max(this.#mustReach, group.syncedTo.at);
    }
    return { header, lastEnd };
  }

  /** Steps over the invalid bytes from `at` to `behind`, taking each record that is valid by itself. */
  #skip(at: number, behind: number): void {
    if (this.#neededFrom < Math.min(behind, this.#mustReach)) {
      this.#damage ??= { what: 'a group is damaged', at: { file: this.#identity.sequence, at: Math.max(at, this.#neededFrom) } };
      this.#afterDamage = true;
    }
    const limit = Math.min(behind, this.#file.length);
    for (let next = at + GROUP_HEADER_BYTES; next < limit; ) {
      const record = readRecord(this.#file, next, this.#identity, limit);
      if (record) this.#give(record, next);
      // Over one damaged record, if its length leads to a valid one.
      const end: number = record?.end ?? claimedRecordEnd(this.#file, next);
      if (end > limit || (!record && !readRecord(this.#file, end, this.#identity, limit))) return;
      next = end;
    }
  }

  #give(record: RecordView, at: number): void {
    this.#recordsEnd = record.end;
    if (at >= this.#neededFrom) this.#deliver(record, { file: this.#identity.sequence, at }, this.#afterDamage);
  }
}
