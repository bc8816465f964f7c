// The journal over a disk: one log for all ledgers of a bookie, with group commit, in files that are used again. See README.md for the
// picture and the promises; what to write when is decided in `core/journal.ts`, what a restart makes of the files in `core/replay.ts`.
//
// A write or sync that fails ends the process: a second sync can succeed while the data is gone. A full disk is no such failure, because
// writes go only to space that a file already has; when the next file cannot be made, `isFull` says so until it can.

import { DiskError, type Timer, type World } from '#lib/runtime/ports.ts';
import { assert } from '#lib/types/assert.ts';
import { BLOCK_BYTES, compareJournalPositions, type JournalPosition } from './core/format.ts';
import { JournalCore } from './core/journal.ts';
import { type Recovery, recover } from './recover.ts';
import { type Slot, SlotFolder } from './slots.ts';

export { compareJournalPositions, type JournalPosition } from './core/format.ts';

export interface JournalOptions {
  readonly folder: string;
  /** The first file has 16 MiB, later ones more, up to this. */
  readonly fileBytes: number;
  readonly filesMax: number;
  readonly groupBytesMax: number;
  /** Bytes that may wait for a sync. */
  readonly queueBytesMax: number;
}

export interface ReplayedRecord {
  readonly type: number;
  /** The record's parts in one piece. Lent: the buffer is used again after the call. */
  readonly bytes: Buffer;
  readonly position: JournalPosition;
  /** Something before this record is lost (the opening will be `corrupt`). */
  readonly afterDamage: boolean;
}

/**
 * `corrupt`: something that was durable is lost. The caller acts on it, then trims to `end` as it was right after opening; until then
 * every start finds the same.
 */
export type JournalOpening =
  | { readonly kind: 'clean' }
  | { readonly kind: 'tail_cut'; readonly at: JournalPosition; readonly bytes: number }
  | { readonly kind: 'corrupt'; readonly what: string; readonly at: JournalPosition };

const FIRST_FILE_BYTES = 16 * 1024 * 1024;
/** Files that are kept ready beyond the one in use; an idle journal has one. */
const SPARES_MAX = 2;
/** A start may make a file beyond the limit, so that a full journal starts; so many starts in a row may. */
const STARTS_MAX = 4;
/** An idle journal writes the header that covers its last group after this, so that it stands within 10 ms. */
const COVER_AFTER_MS = 8;
/** Records that nobody waits for go out by themselves after this. */
const LAZY_AFTER_MS = 50;
const SPACE_RETRY_MS = 500;

/**
 * Opens the journal in `folder` and replays, in order, what stands at or above `trimmed` (null only for a folder that is new). What was
 * replayed is durable when this resolves.
 */
export async function openJournal(
  world: World,
  options: JournalOptions,
  trimmed: JournalPosition | null,
  replay: (record: ReplayedRecord) => void,
): Promise<{ journal: Journal; opening: JournalOpening }> {
  assert(options.fileBytes % BLOCK_BYTES === 0 && options.fileBytes >= 4 * BLOCK_BYTES, 'journal files have whole blocks, at least four');
  assert(options.fileBytes < 2 ** 32 - BLOCK_BYTES, 'a position in a journal file has 32 bits');
  const folder = new SlotFolder(world.disk, options.folder);
  const slots = await folder.open();
  const recovery = await recover(slots, trimmed, ({ type, bytes }, position, afterDamage) =>
    replay({ type, bytes, position, afterDamage }),
  );
  const opening = openingOf(recovery);
  if (opening.kind === 'corrupt') world.logger.error('journal is corrupt', { ...opening, places: recovery.damages.length });
  if (opening.kind === 'tail_cut') world.logger.info('journal tail cut', { at: opening.at, bytes: opening.bytes });
  const journal = new Journal(world, options, folder, recovery);
  await journal.begin(trimmed);
  return { journal, opening };
}

function openingOf(recovery: Recovery): JournalOpening {
  const damage = recovery.damages[0];
  if (damage) return { kind: 'corrupt', what: damage.what, at: damage.at };
  if (recovery.cutBytes > 0) return { kind: 'tail_cut', at: recovery.end, bytes: recovery.cutBytes };
  return { kind: 'clean' };
}

export class Journal {
  readonly #world: World;
  readonly #options: JournalOptions;
  readonly #folder: SlotFolder;
  readonly #core: JournalCore;
  #isScheduled = false;
  #lazyTimer: Timer | null = null;
  #coverTimer: Timer | null = null;
  #spaceTimer: Timer | null = null;
  #filling: Promise<void> | null = null;
  #lastSyncAt = 0;
  #isClosing = false;
  #failure: unknown = null;
  #onIdle: ((error: unknown) => void) | null = null;

  constructor(world: World, options: JournalOptions, folder: SlotFolder, recovery: Recovery) {
    this.#world = world;
    this.#options = options;
    this.#folder = folder;
    this.#core = new JournalCore({
      groupBytesMax: options.groupBytesMax,
      queueBytesMax: options.queueBytesMax,
      fileBytesMin: Math.min(FIRST_FILE_BYTES, options.fileBytes),
      nextSequence: recovery.nextSequence,
      previous: recovery.previous,
      kept: recovery.kept,
      startedMs: () => world.clock.now(),
    });
  }

  /** Behind everything appended so far: what is appended later stands at or above. */
  get end(): JournalPosition {
    return this.#core.end;
  }

  /** Everything below is durable. A trim position may be at most this. */
  get durableEnd(): JournalPosition {
    return this.#core.durableTo;
  }

  /** The largest record: all parts together. */
  get recordBytesMax(): number {
    return this.#core.recordBytesMax;
  }

  /**
   * Adds one record of `parts` (owned from now on); ask `isFull` first. `onDurable` runs after its group's sync, in order; null: nobody
   * waits, the record goes out with the next group, or by itself within 50 ms, and causes no sync. `lastPartCrc`: the CRC-32C of the last
   * part, if the caller has it and has checked it against the bytes; a wrong one makes the record corrupt.
   */
  append(type: number, parts: readonly Uint8Array[], onDurable: (() => void) | null, lastPartCrc?: number): JournalPosition {
    assert(!this.#isClosing, 'a closed journal takes no record');
    const position = this.#core.append(type, parts, onDurable, lastPartCrc);
    if (onDurable || this.#core.hasClosed) this.#schedule();
    else this.#lazyTimer ??= this.#world.clock.after(LAZY_AFTER_MS, this.#onLazy);
    return position;
  }

  /** Runs `run` when everything appended so far is durable: in a later turn, even when it is already. */
  whenDurable(run: () => void): void {
    if (this.#core.whenDurable(run)) this.#schedule();
    else this.#world.clock.soon(run);
  }

  /** Why nothing can be appended now; false when it can. `bytes`: all parts of the record, if known; else the largest is assumed. */
  isFull(reserved: boolean, bytes: number = this.#core.recordBytesMax): false | 'space' | 'queue' {
    return this.#core.isFull(reserved, bytes);
  }

  /** Everything below may be forgotten; the caller has made `below` durable elsewhere before. Its files are used again. */
  trim(below: JournalPosition): void {
    assert(compareJournalPositions(below, this.#core.end) <= 0, 'what is trimmed was appended');
    for (const { slot } of this.#core.trim(below)) this.#reuse(this.#folder.get(slot));
    this.#keepSpares();
  }

  usage(): { readonly files: number; readonly bytes: number; readonly liveBytes: number } {
    return { files: this.#folder.count, bytes: this.#folder.totalBytes, liveBytes: this.#core.liveBytes };
  }

  /** Takes no more, makes all durable, and closes the files. Rejects when the journal had failed. */
  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    for (const timer of [this.#lazyTimer, this.#coverTimer, this.#spaceTimer]) timer?.cancel();
    await this.#filling;
    await this.#drain();
    if (this.#core.needsCover) this.#core.cover();
    await this.#drain();
    await this.#folder.close();
  }

  /** Starts the first file of this life. Called once, by `openJournal`. */
  async begin(trimmed: JournalPosition | null): Promise<void> {
    for (const slot of this.#folder.bySize()) if (!this.#core.keeps(slot.number)) this.#reuse(slot);
    if (this.#core.spares === 0 && this.#folder.count < this.#options.filesMax + STARTS_MAX) await this.#fill(FIRST_FILE_BYTES);
    if (!this.#core.start()) return;
    await this.#drain();
    // Only now does nothing depend any more on what is below the trim position.
    this.trim(trimmed ?? { file: 0, at: 0 });
  }

  /** Resolves when nothing is under way. */
  async #drain(): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    this.#core.flush();
    // What nobody waits for is made durable all the same.
    if (!this.#core.whenDurable(() => {}) && this.#core.isIdle) return;
    const idle = new Promise<void>((resolve, reject) => {
      this.#onIdle = error => (error === null ? resolve() : reject(error));
    });
    this.#pump();
    await idle;
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#world.clock.soon(this.#onTick);
  }

  readonly #onTick = (): void => {
    this.#isScheduled = false;
    this.#core.flush();
    this.#pump();
  };

  readonly #onLazy = (): void => {
    this.#lazyTimer = null;
    this.#onTick();
  };

  /** Gives the disk what it can do now: at most one write and one sync at a time. */
  #pump(): void {
    if (this.#failure !== null) return;
    for (let effect = this.#core.next(); effect; effect = this.#core.next()) {
      const { file } = this.#folder.get(effect.slot);
      if (effect.kind === 'write') file.write(effect.views, effect.at).then(this.#onWritten, this.#onFailed);
      else file.sync().then(this.#onSynced, this.#onFailed);
    }
    if (!this.#core.isIdle) return;
    this.#onIdle?.(null);
    this.#onIdle = null;
  }

  readonly #onWritten = (): void => {
    this.#core.onWritten();
    this.#pump();
  };

  readonly #onSynced = (): void => {
    this.#core.onSynced();
    // The disk first, then the callers.
    this.#pump();
    this.#core.runDurable();
    this.#lastSyncAt = this.#world.clock.monotonic();
    if (this.#core.spares < SPARES_MAX) this.#keepSpares();
    if (this.#core.needsCover && !this.#isClosing) this.#coverTimer ??= this.#world.clock.after(COVER_AFTER_MS, this.#onCover);
  };

  readonly #onFailed = (error: unknown): void => {
    this.#failure = error;
    this.#onIdle?.(error);
    try {
      this.#world.fatal('the journal could not be written', error);
    } catch {
      // `fatal` throws when it does not end the process at once, to stop its caller. Nobody is above; nothing more is written.
    }
  };

  readonly #onCover = (): void => {
    this.#coverTimer = null;
    if (!this.#core.needsCover || this.#isClosing) return;
    const idleMs = this.#world.clock.monotonic() - this.#lastSyncAt;
    if (idleMs < COVER_AFTER_MS - 1) {
      this.#coverTimer = this.#world.clock.after(COVER_AFTER_MS - idleMs, this.#onCover);
      return;
    }
    this.#core.cover();
    this.#pump();
  };

  /** Offers a file whose records are not needed any more; one that is small or has lost bytes makes room for another. */
  #reuse(slot: Slot): void {
    const { fileBytes, filesMax } = this.#options;
    const isSmall = slot.fileBytes < fileBytes && this.#core.spares >= 1;
    const isUseless = slot.fileBytes < Math.min(FIRST_FILE_BYTES, fileBytes) || !slot.isWhole;
    if (isSmall || isUseless || (this.#folder.count > filesMax && this.#core.spares >= 1)) {
      this.#folder.remove(slot.number).catch(this.#onFailed);
      return;
    }
    this.#offer(slot);
  }

  #offer(slot: Slot): void {
    const id = this.#world.random.bytes(8);
    this.#core.offer({ slot: slot.number, fileBytes: slot.fileBytes, idLow: id.readUInt32LE(0), idHigh: id.readUInt32LE(4) });
  }

  /** Makes files in the background until enough are ready, or there may be no more. */
  #keepSpares(): void {
    if (this.#filling || this.#spaceTimer || this.#isClosing || this.#failure !== null) return;
    const { fileBytes, filesMax } = this.#options;
    const wanted = this.#core.liveBytes > Math.min(FIRST_FILE_BYTES, fileBytes) / 2 ? SPARES_MAX : 1;
    if (this.#core.spares >= wanted || this.#folder.count >= filesMax) return;
    this.#filling = this.#fill(Math.max(FIRST_FILE_BYTES, this.#folder.totalBytes)).finally(() => {
      this.#filling = null;
      this.#keepSpares();
    });
  }

  /** Makes one file. No space is no failure: it is tried again. */
  async #fill(wantedBytes: number): Promise<void> {
    const { folder, fileBytes } = this.#options;
    const bytes = Math.min(fileBytes, Math.floor(wantedBytes / BLOCK_BYTES) * BLOCK_BYTES);
    try {
      const { free } = await this.#world.disk.space(folder);
      const slot = free > bytes ? await this.#folder.make(bytes, () => this.#isClosing) : 'full';
      if (slot === 'full') this.#retrySpace();
      else if (slot) this.#offer(slot);
    } catch (error) {
      if (error instanceof DiskError && error.reason === 'full') this.#retrySpace();
      else this.#onFailed(error);
    }
  }

  #retrySpace(): void {
    if (this.#isClosing) return;
    this.#spaceTimer = this.#world.clock.after(SPACE_RETRY_MS, () => {
      this.#spaceTimer = null;
      this.#keepSpares();
    });
  }
}
