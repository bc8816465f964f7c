// Group commit, decided without I/O. Records gather in a group; `next` says what the disk should do now: at most one write and one sync
// are under way at a time, and a sync covers what had been written when it began. Two outboxes: effects (`next`) go out at once, the
// callers' waiters only after the sync that covers their group.
//
//   append ─► gathering ─► closed ─► writing ─► written ─► durable ─► waiters run
//                 (one)     (queue)   (one)     (queue)
//
// Files are taken from the spares in order. The next file begins only when the one before is durable to its end: its header says where
// that end is, and by being there says that everything before it is durable.

import { RingQueue } from '#lib/runtime/ring-queue.ts';
import { assert } from '#lib/types/assert.ts';
import {
  BLOCK_BYTES,
  compareJournalPositions,
  encodeFileHeader,
  type FileIdentity,
  GROUP_HEADER_BYTES,
  type JournalPosition,
  type PreviousFile,
  RECORD_HEADER_BYTES,
} from './format.ts';
import { Group, SlabPool } from './group.ts';

/** While a sync runs, a write begins only if it has this much: smaller ones wait and share the next sync. */
const OVERLAP_BYTES = 32 * 1024;
const GROUPS_MAX = 65_536;
/** The largest record that any caller has: a full entry and what the bookie puts before it. */
const RECORD_BYTES_MAX = 12 * 1024 * 1024 + 64 * 1024;
/** Kept for reserved records, of files that are large enough. */
const RESERVE_BYTES_MAX = 2 * 1024 * 1024;
/** Room for small records that come without asking, as the change of state that an entry brings. */
const SLACK_BYTES_MAX = 64 * 1024;
/** What a file cannot give to records: its header, its last block (kept for the header that covers its last group), a group's header. */
const OVERHEAD_BYTES = 2 * BLOCK_BYTES + GROUP_HEADER_BYTES;

export type JournalEffect =
  | { readonly kind: 'write'; readonly slot: number; readonly at: number; readonly views: readonly Uint8Array[] }
  | { readonly kind: 'sync'; readonly slot: number };

/** A file that may be used: `slot` is its name for the shell, `idLow` and `idHigh` are fresh random bits. */
export interface Spare {
  readonly slot: number;
  readonly fileBytes: number;
  readonly idLow: number;
  readonly idHigh: number;
}

/** A file that holds records: it may be used again once the trim position is at or above `free`. */
export interface KeptFile {
  readonly slot: number;
  readonly fileBytes: number;
  readonly free: JournalPosition;
  /** Bytes in use. */
  readonly usedBytes: number;
}

interface CurrentFile {
  readonly slot: number;
  readonly fileBytes: number;
  readonly identity: FileIdentity;
  readonly previous: PreviousFile | null;
  started: boolean;
  /** Where the next group begins. */
  end: number;
  recordsEnd: number;
}

export interface JournalCoreOptions {
  readonly groupBytesMax: number;
  readonly queueBytesMax: number;
  /** The smallest file that the journal will ever use. */
  readonly fileBytesMin: number;
  /** The sequence that the next file gets. */
  readonly nextSequence: number;
  /** What the next file's header names. */
  readonly previous: PreviousFile | null;
  readonly kept: readonly KeptFile[];
  /** The wall clock, for the files' headers. */
  readonly startedMs: () => number;
}

export class JournalCore {
  readonly recordBytesMax: number;
  readonly #options: JournalCoreOptions;
  readonly #reserveBytes: number;
  readonly #slackBytes: number;
  readonly #pool = new SlabPool();
  readonly #spares: Spare[] = [];
  #spareBytes = 0;
  #kept: KeptFile[];
  #file: CurrentFile | null = null;
  #nextSequence: number;
  #previous: PreviousFile | null;
  #gathering: Group | null = null;
  /** Whether the gathering group should go out as soon as the disk is free for it. */
  #due = false;
  readonly #closed = new RingQueue<{ group: Group; file: CurrentFile }>(GROUPS_MAX);
  #writing: { group: Group; file: CurrentFile } | null = null;
  readonly #written = new RingQueue<Group>(GROUPS_MAX);
  /** The file that writes and syncs go to. */
  #target: CurrentFile | null = null;
  #writtenTo: JournalPosition;
  #durableTo: JournalPosition;
  #syncingTo: JournalPosition | null = null;
  /** Somebody waits for everything below. */
  #wantedTo: JournalPosition;
  /** Records below are durable; headers that were written say so up to `#coveredTo`. */
  #durableRecordsTo: JournalPosition;
  #coveredTo: JournalPosition;
  #queuedBytes = 0;

  constructor(options: JournalCoreOptions) {
    this.#options = options;
    this.recordBytesMax = Math.min(RECORD_BYTES_MAX, options.fileBytesMin - OVERHEAD_BYTES - RECORD_HEADER_BYTES);
    assert(this.recordBytesMax > 0, 'a journal file has room for a record');
    this.#reserveBytes = Math.min(RESERVE_BYTES_MAX, Math.floor(options.fileBytesMin / 8));
    this.#slackBytes = Math.min(SLACK_BYTES_MAX, Math.floor(options.fileBytesMin / 32));
    this.#kept = [...options.kept];
    this.#nextSequence = options.nextSequence;
    this.#previous = options.previous;
    const { previous } = options;
    const start = previous ? { file: previous.identity.sequence, at: previous.end } : { file: 0, at: 0 };
    this.#writtenTo = start;
    this.#durableTo = start;
    this.#wantedTo = start;
    this.#durableRecordsTo = start;
    this.#coveredTo = start;
  }

  /** Behind every record so far. */
  get end(): JournalPosition {
    const file = this.#file;
    if (!file) return this.#durableTo;
    const group = this.#gathering;
    return { file: file.identity.sequence, at: group ? group.at + group.bytes : file.end };
  }

  get durableTo(): JournalPosition {
    return this.#durableTo;
  }

  get spares(): number {
    return this.#spares.length;
  }

  /** A group is ready to be written as soon as the disk is free for it. */
  get hasClosed(): boolean {
    return this.#closed.length > 0;
  }

  /** Nothing is gathering, waiting, being written or being synced. */
  get isIdle(): boolean {
    return this.#gathering === null && this.#closed.length === 0 && this.#writing === null && this.#syncingTo === null;
  }

  /** A file that can be used from now on. */
  offer(spare: Spare): void {
    assert(spare.fileBytes >= this.#options.fileBytesMin, 'a spare file holds the largest record');
    this.#spares.push(spare);
    this.#spareBytes += spare.fileBytes - OVERHEAD_BYTES;
  }

  /**
   * Begins the first file of this life: its header goes out by itself, before any record. False when there is no spare; then it goes out
   * with the first group, once there is one.
   */
  start(): boolean {
    assert(this.#file === null && this.#target === null, 'a journal starts once');
    if (this.#spares.length === 0) return false;
    this.#roll();
    this.#cover();
    return true;
  }

  /** Why a record of `bytes` cannot be taken now. Reserved ones may use what is kept back. A false holds for one record. */
  isFull(reserved: boolean, bytes: number): false | 'space' | 'queue' {
    const { queueBytesMax } = this.#options;
    if (this.#queuedBytes >= (reserved ? queueBytesMax * 1.25 : queueBytesMax)) return 'queue';
    const need = RECORD_HEADER_BYTES + bytes + this.#slackBytes;
    const file = this.#file;
    // A group that is full ends at a block, and the next one has a header.
    const used = this.#gathering ? this.#gathering.end + GROUP_HEADER_BYTES : (file?.end ?? 0) + GROUP_HEADER_BYTES;
    const room = file ? Math.max(0, file.fileBytes - BLOCK_BYTES - used) : 0;
    if (room < need && this.#spares.length === 0) return 'space';
    if (!reserved && room + this.#spareBytes < need + this.#reserveBytes) return 'space';
    return false;
  }

  append(type: number, parts: readonly Uint8Array[], onDurable: (() => void) | null, lastPartCrc: number | undefined): JournalPosition {
    let length = 0;
    for (const part of parts) length += part.length;
    assert(length <= this.recordBytesMax, `a record of ${length} bytes is too large`);
    assert(type >= 0 && type <= 0xff, `${type} is no type of a record`);
    const group = this.#groupFor(RECORD_HEADER_BYTES + length);
    const at = group.add(type, parts, length, lastPartCrc);
    if (onDurable) group.waiters.push(onDurable);
    this.#queuedBytes += RECORD_HEADER_BYTES + length;
    return { file: group.identity.sequence, at };
  }

  /** Runs `run` after everything so far is durable; false when it is already (then it is not kept). */
  whenDurable(run: () => void): boolean {
    const group =
      this.#gathering ??
      this.#closed.at(this.#closed.length - 1)?.group ??
      this.#writing?.group ??
      this.#written.at(this.#written.length - 1);
    if (!group) return false;
    group.waiters.push(run);
    if (group === this.#gathering) this.#due = true;
    if (group === this.#written.at(this.#written.length - 1)) this.#want(group);
    return true;
  }

  /** What has gathered should go out. */
  flush(): void {
    this.#due = this.#gathering !== null;
  }

  /** The disk's next task; null when there is none now. */
  next(): JournalEffect | null {
    return this.#nextWrite() ?? this.#nextSync();
  }

  onWritten(): void {
    const done = this.#writing;
    assert(done !== null, 'a write ends after it began');
    this.#writing = null;
    this.#writtenTo = endOf(done.group);
    // Records that nobody waits for cause no sync, but they may not fill the queue for ever either.
    const crowded = this.#queuedBytes >= this.#options.queueBytesMax / 2;
    if (done.group.waiters.length > 0 || done.group.records === 0 || crowded) this.#want(done.group);
    done.group.release();
    this.#written.push(done.group);
  }

  onSynced(): void {
    assert(this.#syncingTo !== null, 'a sync ends after it began');
    this.#durableTo = this.#syncingTo;
    this.#syncingTo = null;
  }

  /** Runs the waiters of all that is durable, in order. */
  runDurable(): void {
    for (
      let group = this.#written.peek();
      group && compareJournalPositions(endOf(group), this.#durableTo) <= 0;
      group = this.#written.peek()
    ) {
      this.#written.shift();
      if (group.records > 0) {
        this.#durableRecordsTo = endOf(group);
        this.#queuedBytes -= group.bytes - GROUP_HEADER_BYTES;
      }
      for (const run of group.waiters) run();
    }
  }

  /** True when the last group is durable, no header says so yet, and the disk has nothing to do. */
  get needsCover(): boolean {
    const isBusy = this.#closed.length > 0 || this.#writing !== null || this.#syncingTo !== null;
    return !isBusy && compareJournalPositions(this.#coveredTo, this.#durableRecordsTo) < 0;
  }

  /** Lets a header follow the last group: of what has gathered, else of an empty group. What is not durable yet is made so first. */
  cover(): void {
    assert(this.needsCover, 'there is something to cover');
    if (this.#gathering) this.#due = true;
    else if (compareJournalPositions(this.#durableTo, this.#writtenTo) < 0) this.#wantedTo = this.#writtenTo;
    else this.#cover();
  }

  /**
   * Slots whose records are all below: they may be offered again, or removed. The caller's trim position is durable. The newest file stays
   * until a later one is durably begun: without either, a restart would find a journal that ends before its trim position.
   */
  trim(below: JournalPosition): { readonly slot: number; readonly fileBytes: number }[] {
    const isFree = (file: KeptFile) => compareJournalPositions(file.free, below) <= 0 && file.free.file < this.#durableTo.file;
    const freed = this.#kept.filter(isFree);
    if (freed.length > 0) this.#kept = this.#kept.filter(file => !isFree(file));
    return freed;
  }

  /** True when `slot` holds records that are not trimmed. */
  keeps(slot: number): boolean {
    return this.#kept.some(file => file.slot === slot);
  }

  /** Bytes that are in use by records not yet trimmed, in whole files but the current one. */
  get liveBytes(): number {
    let live = this.#file ? this.#file.end : 0;
    for (const file of this.#kept) live += file.usedBytes;
    return live;
  }

  #groupFor(recordBytes: number): Group {
    const gathering = this.#gathering;
    if (gathering && this.#file) {
      const fits = gathering.at + gathering.bytes + recordBytes <= this.#file.fileBytes - BLOCK_BYTES;
      if (fits && gathering.bytes + recordBytes <= this.#options.groupBytesMax) return gathering;
      this.#closeGathering();
    }
    let file = this.#file;
    if (!file || file.end + GROUP_HEADER_BYTES + recordBytes > file.fileBytes - BLOCK_BYTES) file = this.#roll();
    const group = new Group(this.#pool, file.identity, file.end);
    this.#gathering = group;
    return group;
  }

  #closeGathering(): void {
    const group = this.#gathering;
    const file = this.#file;
    assert(group !== null && file !== null, 'a group gathers');
    this.#gathering = null;
    this.#due = false;
    file.end = group.end;
    file.recordsEnd = group.at + group.bytes;
    this.#closed.push({ group, file });
  }

  /** The next file becomes the current one. It is begun by the write of its first group. */
  #roll(): CurrentFile {
    const spare = this.#spares.shift();
    assert(spare !== undefined, 'a record is taken only when there is space for it');
    this.#spareBytes -= spare.fileBytes - OVERHEAD_BYTES;
    const full = this.#file;
    if (full) {
      const { identity, slot, fileBytes, end, recordsEnd } = full;
      this.#kept.push({ slot, fileBytes, free: { file: identity.sequence, at: recordsEnd }, usedBytes: end });
      this.#previous = { identity, end, recordsEnd };
    }
    const { slot, fileBytes, idLow, idHigh } = spare;
    const identity = { sequence: this.#nextSequence++, idLow, idHigh };
    this.#file = { slot, fileBytes, identity, previous: this.#previous, started: false, end: BLOCK_BYTES, recordsEnd: BLOCK_BYTES };
    return this.#file;
  }

  #cover(): void {
    const file = this.#file;
    assert(file !== null && file.end + BLOCK_BYTES <= file.fileBytes, 'the last block of a file is kept for this');
    const group = new Group(this.#pool, file.identity, file.end);
    file.end = group.end;
    this.#closed.push({ group, file });
  }

  #nextWrite(): JournalEffect | null {
    if (this.#writing) return null;
    if (this.#closed.length === 0) {
      const gathering = this.#gathering;
      if (!gathering || !this.#due || (this.#syncingTo && gathering.bytes < OVERLAP_BYTES)) return null;
      this.#closeGathering();
    }
    const next = this.#closed.peek();
    assert(next !== undefined, 'a group is closed');
    const { file, group } = next;
    if (!file.started && !this.#mayStart()) return null;
    this.#closed.shift();
    this.#writing = next;
    this.#coveredTo = this.#durableTo;
    const views = group.close(this.#durableTo);
    if (file.started) return { kind: 'write', slot: file.slot, at: group.at, views };
    file.started = true;
    this.#target = file;
    assert(group.at === BLOCK_BYTES, 'the first group stands behind the header');
    return { kind: 'write', slot: file.slot, at: 0, views: [this.#header(file), ...views] };
  }

  /** A file begins when all before it is durable; if nobody else waits for that, this does. */
  #mayStart(): boolean {
    if (compareJournalPositions(this.#durableTo, this.#writtenTo) === 0) return true;
    this.#wantedTo = this.#writtenTo;
    return false;
  }

  #header(file: CurrentFile): Buffer {
    const { identity, previous, fileBytes } = file;
    return encodeFileHeader({ identity, previous, fileBytes, startedMs: this.#options.startedMs() });
  }

  #nextSync(): JournalEffect | null {
    if (this.#syncingTo || !this.#target) return null;
    if (compareJournalPositions(this.#durableTo, this.#wantedTo) >= 0 || compareJournalPositions(this.#durableTo, this.#writtenTo) >= 0)
      return null;
    this.#syncingTo = this.#writtenTo;
    return { kind: 'sync', slot: this.#target.slot };
  }

  #want(group: Group): void {
    const end = endOf(group);
    if (compareJournalPositions(this.#wantedTo, end) < 0) this.#wantedTo = end;
  }
}

function endOf(group: Group): JournalPosition {
  return { file: group.identity.sequence, at: group.end };
}
