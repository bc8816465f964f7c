// Reads old segments again, slowly, to find bytes that rotted while another copy can still replace them. What it finds is logged, counted
// and listed; repair replaces it by `restore`. It begins at another ledger each time, so that restarts do not hide the end of the list.

import type { Timer, World } from '#lib/runtime/ports.ts';
import type { LedgerId, Offset } from '#lib/types/brands.ts';
import { endProcess } from './fatal.ts';
import { endOfEntries } from './manifest/core/sayings.ts';
import type { HeldLedger, Ledgers } from './replica/core/ledgers.ts';
import type { Slice } from './segments/core/slices.ts';
import type { Segments } from './segments/segments.ts';

const READ_BYTES = 1024 * 1024;
/** After a start; then at most once in the configured interval. */
const FIRST_AFTER_MS = 10 * 60 * 1000;
const DAMAGE_LISTED_MAX = 10_000;

export interface DamagedRange {
  readonly ledger: LedgerId;
  readonly from: Offset;
  readonly to: Offset;
  readonly what: string;
}

/** Reads all of a slice; the damaged parts of it. `pace` is awaited with the bytes of each read. */
export async function verifySlice(
  segments: Segments,
  ledger: HeldLedger,
  slice: Slice,
  pace: (bytes: number) => Promise<boolean>,
): Promise<readonly DamagedRange[]> {
  const found: DamagedRange[] = [];
  for (let at = slice.from; at < slice.to; ) {
    const read = await segments.read(slice, ledger.idView, at, slice.to, READ_BYTES);
    let bytes = 0;
    if ('kind' in read) {
      const to = await segments.blockEnd(slice, ledger.idView, at);
      found.push({ ledger: ledger.id, from: at, to, what: read.what });
      at = to;
    } else {
      for (const entry of read) bytes += entry.length;
      at = read.length === 0 ? slice.to : endOfEntries(read, slice.to);
    }
    if (!(await pace(bytes))) break;
  }
  return found;
}

export class Scrubber {
  readonly #world: World;
  readonly #ledgers: Ledgers;
  readonly #segments: Segments;
  readonly #bytesPerSecond: number;
  readonly #intervalMs: number;
  #timer: Timer | undefined;
  #resume: (() => void) | undefined;
  #isStopped = false;
  #running: Promise<void> | undefined;
  readonly #damaged = new Map<string, DamagedRange>();
  bytes = 0;
  rounds = 0;

  /** `bytesPerSecond` 0: off. */
  constructor(world: World, ledgers: Ledgers, segments: Segments, bytesPerSecond: number, intervalMs: number) {
    this.#world = world;
    this.#ledgers = ledgers;
    this.#segments = segments;
    this.#bytesPerSecond = bytesPerSecond;
    this.#intervalMs = intervalMs;
  }

  get damagedCount(): number {
    return this.#damaged.size;
  }

  /** What was found damaged and is still held. */
  damaged(): readonly DamagedRange[] {
    return [...this.#damaged.values()].filter(({ ledger }) => this.#ledgers.get(ledger) !== undefined);
  }

  start(): void {
    if (this.#bytesPerSecond > 0) this.#runAfter(Math.min(FIRST_AFTER_MS, this.#intervalMs));
  }

  /** Ends after the read that is under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#resume?.();
    await this.#running;
  }

  /** One round over everything that is in segments. */
  async round(): Promise<void> {
    const ledgers = [...this.#ledgers.held()];
    const first = Math.floor(this.#world.random.next() * ledgers.length);
    const fresh = new Map<string, DamagedRange>();
    for (let n = 0; n < ledgers.length && !this.#isStopped; n++) {
      const ledger = ledgers[(first + n) % ledgers.length];
      if (!ledger) continue;
      for (const slice of ledger.slices) {
        if (!ledger.slices.includes(slice)) continue;
        for (const range of await verifySlice(this.#segments, ledger, slice, this.#pace)) this.#note(range, ledger, slice, fresh);
      }
    }
    if (this.#isStopped) return;
    // What was damaged and is not any more was replaced, or deleted.
    this.#damaged.clear();
    for (const [key, range] of fresh) this.#damaged.set(key, range);
    this.rounds++;
  }

  /** The slice may have been rewritten or deleted while it was read: then this says nothing. */
  #note(range: DamagedRange, ledger: HeldLedger, slice: Slice, fresh: Map<string, DamagedRange>): void {
    if (this.#ledgers.get(ledger.id) !== ledger || !ledger.slices.includes(slice) || fresh.size >= DAMAGE_LISTED_MAX) return;
    const key = `${range.ledger}@${range.from}`;
    if (!this.#damaged.has(key)) this.#world.logger.error('stored entries are damaged', { ...range, segment: slice.run.segment });
    fresh.set(key, range);
    this.#damaged.set(key, range);
  }

  readonly #pace = async (bytes: number): Promise<boolean> => {
    this.bytes += bytes;
    const delayMs = (bytes / this.#bytesPerSecond) * 1000;
    if (!this.#isStopped && delayMs > 0)
      await new Promise<void>(resolve => {
        this.#resume = resolve;
        this.#timer = this.#world.clock.after(delayMs, resolve);
      });
    return !this.#isStopped;
  };

  #runAfter(ms: number): void {
    this.#timer = this.#world.clock.after(ms, () => {
      this.#running = this.round().then(
        () => {
          if (!this.#isStopped) this.#runAfter(this.#intervalMs);
        },
        error => endProcess(this.#world, 'reading segments again failed in a way that nobody expected', error),
      );
    });
  }
}
