// The one background task of a bookie: flushes the write cache into segments, drops segments that nothing uses, rewrites those that are
// mostly dead, and keeps the manifest small. One step at a time, so that commits to the manifest never overlap.
//
// A flush is a cut: the states of all changed ledgers and the entries in memory, as of one position of the journal. When the manifest has
// it durably, the journal before that position is not needed any more. A full disk makes a step wait and try again; any other failure of
// the disk ends the process.

import { DiskError, type Timer, type World } from '#lib/runtime/ports.ts';
import type { FlushPart, WriteCache } from './cache/core/write-cache.ts';
import { endProcess } from './fatal.ts';
import type { Edit, JournalPosition } from './manifest/core/format.ts';
import {
  changesSaid,
  endOfEntries,
  everything,
  liveBytes,
  type Move,
  movesOf,
  removed,
  type Said,
  sayings,
  segmentEdits,
  settle,
} from './manifest/core/sayings.ts';
import type { Manifest } from './manifest/manifest.ts';
import type { Ledgers } from './replica/core/ledgers.ts';
import type { SegmentInfo } from './segments/core/format.ts';
import { moved } from './segments/core/slices.ts';
import type { Damage, Segments } from './segments/segments.ts';
import { type RunSource, type WrittenSegment, writeSegment } from './segments/write-segment.ts';

const RETRY_MS = 1000;
/** Deletions come in crowds: one look at the segments serves many. */
const SWEEP_AFTER_MS = 200;
/** A segment is rewritten when less than this part of it still counts. */
const LIVE_SHARE_MIN = 0.4;
/** Less is not worth the writing. */
const DEAD_BYTES_MIN = 64 * 1024;
const REWRITE_READ_BYTES = 4 * 1024 * 1024;

/** What the keeper needs of the journal. */
export interface TrimmableJournal {
  readonly end: JournalPosition;
  whenDurable(run: () => void): void;
  trim(below: JournalPosition): void | Promise<void>;
}

export interface KeeperParts {
  readonly world: World;
  readonly clusterId: string;
  readonly ledgers: Ledgers;
  readonly cache: WriteCache;
  readonly segments: Segments;
  readonly manifest: Manifest;
  readonly journal: TrimmableJournal;
  /** A cut is due when so many bytes were journalled since the last one, whatever the cache holds. */
  readonly cutBytes: number;
  /** The manifest is not written anew before it has this size. */
  readonly manifestBytes: number;
}

export class Keeper {
  readonly #parts: KeeperParts;
  #running: Promise<void> | undefined;
  #flushWanted = false;
  #sweepWanted = false;
  #sweepTimer: Timer | undefined;
  #stalled = false;
  readonly #onStalled: (() => void)[] = [];
  #stopped = false;
  #closing = false;
  /** Segments that could not be rewritten because something in them is damaged: left alone. */
  readonly #unmovable = new Set<number>();
  #recordedBytes = 0;
  flushes = 0;
  flushedBytes = 0;

  constructor(parts: KeeperParts) {
    this.#parts = parts;
  }

  /** True while the disk is too full to flush. */
  get isStalled(): boolean {
    return this.#stalled;
  }

  /** Looks whether there is something to do; cheap, to be called often. */
  kick(): void {
    if (this.#running === undefined && !this.#stopped && this.#wantsWork()) this.#start();
  }

  /** A ledger was deleted or cut, and the journal has that durably: look for segments that nothing uses. */
  sweep(): void {
    this.#sweepTimer ??= this.#parts.world.clock.after(SWEEP_AFTER_MS, () => {
      this.#sweepTimer = undefined;
      this.#sweepWanted = true;
      this.kick();
    });
  }

  /** Begins to flush all that is in memory now. */
  flushSoon(): void {
    this.#flushWanted = true;
    this.kick();
  }

  /** Flushes all that is in memory now. Ends early when the disk is too full for it. */
  async flush(): Promise<void> {
    this.flushSoon();
    while (this.#running && !this.#stalled)
      await Promise.race([this.#running, new Promise<void>(resolve => this.#onStalled.push(resolve))]);
    this.#onStalled.length = 0;
  }

  /** Flushes once more, so that the next start is quick, unless there is no space for it; then does nothing any more. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#sweepTimer?.cancel();
    if (!this.#stalled) await this.flush();
    this.#stopped = true;
    await this.#running;
  }

  /** So many bytes went to the journal. */
  recorded(bytes: number): void {
    this.#recordedBytes += bytes;
    this.kick();
  }

  /** The journal has no room: make some. */
  relieve(): void {
    if (this.#recordedBytes === 0) return;
    this.#flushWanted = true;
    this.kick();
  }

  #isCutDue(): boolean {
    return this.#parts.cache.isHalfFull || this.#recordedBytes >= this.#parts.cutBytes;
  }

  #wantsWork(): boolean {
    return this.#flushWanted || this.#sweepWanted || this.#isCutDue();
  }

  #start(): void {
    this.#running = this.#work().then(
      () => {
        this.#running = undefined;
        this.kick();
      },
      error => {
        this.#running = undefined;
        this.#stopped = true;
        endProcess(this.#parts.world, 'the bookie could not store what it holds', error);
      },
    );
  }

  async #work(): Promise<void> {
    while (!this.#stopped && this.#wantsWork()) {
      const { cache, ledgers } = this.#parts;
      const flush = this.#flushWanted || this.#isCutDue();
      this.#flushWanted = false;
      this.#sweepWanted = false;
      if (flush && (!cache.isEmpty || ledgers.hasChanges)) await this.#flushOnce();
      await this.#dropDead();
      await this.#rewriteSparse();
    }
  }

  /** Repeats a step while the disk is full; undefined when the keeper closes meanwhile. `relief` may make space before each new try. */
  async #insist<T>(step: () => Promise<T>, relief?: () => Promise<void>): Promise<T | undefined> {
    for (;;) {
      try {
        const result = await step();
        this.#stalled = false;
        return result;
      } catch (error) {
        if (!isFull(error)) throw error;
        if (!this.#stalled) this.#parts.world.logger.warn('the disk is full: flushing waits for space', { path: error.path });
        this.#stalled = true;
        for (const resolve of this.#onStalled.splice(0)) resolve();
        await relief?.();
        if (!this.#closing) await this.#pause(RETRY_MS);
        if (this.#closing) return this.#giveUp();
      }
    }
  }

  #giveUp(): undefined {
    this.#stopped = true;
    return undefined;
  }

  #pause(ms: number): Promise<void> {
    return new Promise(resolve => this.#parts.world.clock.after(ms, resolve));
  }

  async #flushOnce(): Promise<void> {
    const { world, ledgers, cache, segments, manifest, journal } = this.#parts;
    const began = world.clock.monotonic();
    const whole = manifest.isWorthRewriting(this.#parts.manifestBytes);
    const position = journal.end;
    this.#recordedBytes = 0;
    const said = whole ? everything(ledgers) : changesSaid(ledgers.takeChanges());
    if (whole) ledgers.takeChanges();
    const parts = cache.swap();
    const written = await this.#writeParts(parts);
    if (written === undefined) return;
    await new Promise<void>(resolve => journal.whenDurable(resolve));
    const done = await this.#insist(() => this.#commitFlush(whole, said, written, position));
    if (done === undefined) return;
    if (written) {
      segments.add(written.info);
      settle(ledgers, parts, written.runs);
      this.flushedBytes += written.info.fileBytes;
    }
    cache.flushed();
    await journal.trim(position);
    this.flushes++;
    const ms = Math.round(world.clock.monotonic() - began);
    world.logger.debug('flushed', { states: said.states.length, runs: written?.runs.length ?? 0, bytes: written?.info.fileBytes ?? 0, ms });
  }

  /** Null: nothing to write. Undefined: stopped. */
  async #writeParts(parts: readonly FlushPart[]): Promise<WrittenSegment | null | undefined> {
    const { world, clusterId, segments } = this.#parts;
    if (parts.length === 0) return null;
    const segment = segments.nextNumber();
    const sources = parts.map(
      ({ ledger, list }): RunSource => ({ ledgerView: ledger.idView, state: ledger.replica.state(), batches: [list.entries] }),
    );
    // While this waits, nothing is under way in the manifest: what was deleted can make the space.
    return this.#insist(
      () => writeSegment(world.disk, segments.path(segment), segment, clusterId, sources),
      () => this.#dropDead(),
    );
  }

  async #commitFlush(whole: boolean, said: Said, written: WrittenSegment | null, position: JournalPosition): Promise<true> {
    const { manifest, ledgers, segments } = this.#parts;
    const edits: Edit[] = sayings(said);
    if (whole) edits.push(...segmentEdits(segments.all(), ledgers));
    if (written) edits.push({ kind: 'segment', ...written.info, runs: written.runs });
    edits.push({ kind: 'trim', position });
    await (whole ? manifest.rewrite(edits) : manifest.commit(edits));
    return true;
  }

  /** Removes the files that no slice uses. Their ledgers' tombstones go into the manifest with it. Without space for that: another time. */
  async #dropDead(): Promise<void> {
    const { ledgers, segments, manifest, journal } = this.#parts;
    const live = liveBytes(ledgers);
    const dead = [...segments.all()].filter(({ segment }) => !live.has(segment));
    if (dead.length === 0) return;
    await new Promise<void>(resolve => journal.whenDurable(resolve));
    const deletions = ledgers.takeDeletions();
    try {
      await manifest.commit([...sayings(changesSaid(deletions)), ...dead.map(({ segment }) => removed(segment))]);
    } catch (error) {
      if (!isFull(error)) throw error;
      ledgers.returnDeletions(deletions);
      return;
    }
    for (const { segment } of dead) await segments.drop(segment);
  }

  /** Copies what is left of one mostly dead segment into a new one. */
  async #rewriteSparse(): Promise<void> {
    const { ledgers, segments, manifest, world, clusterId } = this.#parts;
    const live = liveBytes(ledgers);
    const sparse = [...segments.all()].find(info => !this.#unmovable.has(info.segment) && isSparse(info, live.get(info.segment) ?? 0));
    if (!sparse) return;
    const moves = movesOf(ledgers, sparse.segment);
    const damage: Damage[] = [];
    const segment = segments.nextNumber();
    const sources = moves.map(move => this.#moveSource(move, damage));
    const written = await this.#insist(() => writeSegment(world.disk, segments.path(segment), segment, clusterId, sources));
    if (written === undefined) return;
    if (damage.length > 0) {
      world.logger.error('a segment is damaged and stays as it is', { segment: sparse.segment, what: damage[0]?.what });
      this.#unmovable.add(sparse.segment);
      await world.disk.remove(segments.path(segment));
      return;
    }
    const edits: Edit[] = [{ kind: 'segment', ...written.info, runs: written.runs }, removed(sparse.segment)];
    const done = await this.#insist(() => manifest.commit(edits).then(() => true));
    if (!done) return;
    segments.add(written.info);
    for (const { ledger, slice } of moves) {
      const run = written.runs.find(({ ledger: id, first }) => id === ledger.id && first === slice.from);
      if (run && ledgers.get(ledger.id) === ledger) ledger.slices = moved(ledger.slices, slice.run, run);
    }
    await segments.drop(sparse.segment);
    world.logger.info('a mostly dead segment was rewritten', { segment: sparse.segment, into: segment, bytes: written.info.fileBytes });
    this.#sweepWanted = true;
  }

  #moveSource({ ledger, slice }: Move, damage: Damage[]): RunSource {
    const { segments } = this.#parts;
    async function* batches(): AsyncGenerator<readonly Buffer[]> {
      for (let at = slice.from; at < slice.to; ) {
        const read = await segments.read(slice, ledger.idView, at, slice.to, REWRITE_READ_BYTES);
        if ('kind' in read) {
          damage.push(read);
          return;
        }
        yield read;
        at = endOfEntries(read, at);
      }
    }
    return { ledgerView: ledger.idView, state: ledger.replica.state(), batches: { [Symbol.asyncIterator]: batches } };
  }
}

function isSparse({ entryBytes }: SegmentInfo, live: number): boolean {
  return live < entryBytes * LIVE_SHARE_MIN && entryBytes - live >= DEAD_BYTES_MIN;
}

const isFull = (error: unknown): error is DiskError => error instanceof DiskError && error.reason === 'full';
