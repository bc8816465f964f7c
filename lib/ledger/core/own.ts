// Own: what the owner of a partition does from the moment that it leads: it writes the open ledger, rolls it when it is large, when it is
// told to, or when a replica should be replaced, and lets go in order. One open ledger at a time; during a roll, entries wait for the cut
// or go to the next ledger, in which nothing is acknowledged before it is linked.

import { assert } from '#lib/types/assert.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import { type BookieId, type Offset, offset } from '#lib/types/brands.ts';
import type { BookieTransport, LedgerDescriptor } from '../protocol.ts';
import { type Lost, type Pace, quicker, SLOW_TICK_MS } from './pace.ts';
import { bestLiveCount } from './placement.ts';
import { Roll } from './roll.ts';
import type { Spreads } from './spread.ts';
import { LedgerWriter, type WriterStart } from './write.ts';

export interface OwnerDeps {
  readonly transport: BookieTransport;
  readonly ballot: Ballot;
  readonly spreads: Spreads;
  readonly windowCount: number;
  readonly windowBytes: number;
  readonly ledgerBytesMax: number;
  nextLedger(prev: LedgerDescriptor, avoid: ReadonlySet<BookieId>): LedgerDescriptor | null;
  hasOthers(without: ReadonlySet<BookieId>): boolean;
  onAcked(): void;
  /** `sealed` ended at `end` with `bytes`, and `next` (null: the partition has ended) is in the chain. */
  onLinked(sealed: LedgerDescriptor, end: Offset, bytes: number, next: LedgerDescriptor | null): void;
  onLost(lost: Lost): void;
  alarm(what: string): void;
}

interface Held {
  readonly bytes: Buffer;
  readonly span: number;
  readonly reserved: boolean;
}

/** A roll for a replica's sake is tried at most so often: a bookie that comes and goes must not chop a log. */
const REPAIR_EVERY_MS = 10_000;

export class Owner {
  readonly #deps: OwnerDeps;
  #writer: LedgerWriter;
  /** The ledger after the cut, not linked yet. */
  #next: LedgerWriter | null = null;
  #roll: Roll | null = null;
  #held: Held[] = [];
  #heldBytes = 0;
  #heldEnd: Offset;
  #stopped = false;
  #ending = false;
  #onClosed: (() => void) | null = null;
  #repairedMs: number | null = null;
  #checkedMs = 0;

  constructor(deps: OwnerDeps, start: WriterStart) {
    this.#deps = deps;
    this.#writer = this.#write(start);
    this.#heldEnd = start.first;
  }

  /** The offset that the next entry begins at. */
  get end(): Offset {
    return this.#held.length > 0 ? this.#heldEnd : (this.#next ?? this.#writer).end;
  }
  get ackedEnd(): Offset {
    return this.#writer.ackedEnd;
  }
  /** The open ledger that is in the chain. */
  get writer(): LedgerWriter {
    return this.#writer;
  }
  /** The ledger being linked, where entries past the cut are. */
  get isRolling(): boolean {
    return this.#roll !== null;
  }
  get isStopped(): boolean {
    return this.#stopped;
  }

  isFull(): false | 'space' | 'window' {
    const { windowCount, windowBytes } = this.#deps;
    const { unackedCount, unackedBytes } = this.#writer;
    const over = this.#held.length + unackedCount >= windowCount || this.#heldBytes + unackedBytes >= windowBytes;
    if (this.#held.length > 0 && over) return this.#writer.isFull() || 'window';
    return (this.#next ?? this.#writer).isFull();
  }

  append(bytes: Buffer, span: number, reserved: boolean): void {
    assert(!this.#stopped && this.#onClosed === null, 'nothing is appended to a log that is closed or lost');
    if (this.#roll?.isDraining) {
      this.#heldEnd = offset(this.end + span);
      this.#held.push({ bytes, span, reserved });
      this.#heldBytes += bytes.length;
      return;
    }
    const writer = this.#next ?? this.#writer;
    writer.append(bytes, span, reserved);
    if (writer.bytes >= this.#deps.ledgerBytesMax && this.#roll === null) this.#beginRoll();
  }

  /** Ends the open ledger; no-op while that is under way, or when it is empty. */
  roll(): void {
    if (!this.#stopped && this.#roll === null && !this.#writer.isEmpty) this.#beginRoll();
  }

  /** Once everything is acknowledged: seals what is not empty and lets go. `onClosed` may be called at once. */
  close(onClosed: () => void): void {
    assert(this.#onClosed === null, 'a log is closed once');
    this.#onClosed = onClosed;
    this.#tryClose();
  }

  /** Seals the open ledger without a successor: the partition's topic was purged. What is pending is dropped. */
  endPartition(onEnded: () => void): void {
    this.#ending = true;
    this.close(onEnded);
  }

  /** Forgets everything at once. */
  stop(): void {
    this.#stopped = true;
    this.#roll?.stop();
    this.#writer.freeze();
    this.#next?.freeze();
  }

  tick(nowMs: number): void {
    if (this.#stopped) return;
    this.#writer.tick(nowMs);
    this.#next?.tick(nowMs);
    this.#roll?.tick(nowMs);
    if (!this.#stopped && this.#roll === null && nowMs - this.#checkedMs >= SLOW_TICK_MS) this.#considerRepair(nowMs);
  }

  pace(): Pace {
    if (this.#stopped) return 'none';
    let pace = quicker(this.#writer.pace(), this.#roll?.pace() ?? 'none');
    if (this.#next) pace = quicker(pace, this.#next.pace());
    return pace === 'none' && this.#writer.unhealthy().size > 0 ? 'slow' : pace;
  }

  #write(start: WriterStart): LedgerWriter {
    const { transport, ballot, windowCount, windowBytes } = this.#deps;
    return new LedgerWriter(
      {
        transport,
        ballot,
        windowCount,
        windowBytes,
        onAcked: () => this.#onAcked(),
        onLost: lost => this.#lose(lost),
        alarm: what => this.#deps.alarm(what),
      },
      start,
    );
  }

  #onAcked(): void {
    this.#deps.onAcked();
    this.#roll?.onDrained();
    if (this.#onClosed) this.#tryClose();
  }

  #lose(lost: Lost): void {
    if (this.#stopped) return;
    this.stop();
    this.#deps.onLost(lost);
  }

  // ---- rolling --------------------------------------------------------------------------------------------------------------------

  #beginRoll(): void {
    const writer = this.#writer;
    const { transport, ballot, spreads } = this.#deps;
    const roll = new Roll(
      {
        transport,
        ballot,
        spreads,
        nextLedger: (prev, avoid) => this.#deps.nextLedger(prev, avoid),
        hasOthers: without => this.#deps.hasOthers(without),
        isDrained: () => writer.unackedCount === 0,
        cut: next => this.#cut(next),
        onRolled: () => this.#onRolled(),
        onLost: lost => this.#lose(lost),
      },
      { descriptor: writer.descriptor, first: writer.first },
      writer.unhealthy(),
      this.#ending,
    );
    this.#roll = roll;
    roll.start();
  }

  #cut(next: { readonly descriptor: LedgerDescriptor; readonly created: readonly BookieId[] } | null): Offset {
    const rest = this.#writer.freeze();
    const end = this.#writer.ackedEnd;
    if (next) {
      this.#next = this.#write({ ...next, first: end, lazy: false, linked: false });
      for (const entry of rest) this.#next.append(entry.bytes, entry.span, entry.reserved);
      for (const entry of this.#held) this.#next.append(entry.bytes, entry.span, entry.reserved);
    }
    this.#held = [];
    this.#heldBytes = 0;
    return end;
  }

  #onRolled(): void {
    const sealed = this.#writer;
    const next = this.#next;
    this.#roll = null;
    this.#next = null;
    if (next) this.#writer = next;
    this.#deps.onLinked(sealed.descriptor, sealed.ackedEnd, sealed.ackedBytes, next ? next.descriptor : null);
    if (next) next.link();
    else this.#stopped = true;
    if (this.#onClosed) this.#tryClose();
    else if (next && next.bytes >= this.#deps.ledgerBytesMax && this.#roll === null) this.#beginRoll();
  }

  /** Rolls once when an ensemble chosen now would have more replicas that keep up than the present one. */
  #considerRepair(nowMs: number): void {
    this.#checkedMs = nowMs;
    const bad = this.#writer.unhealthy();
    if (bad.size === 0 || (this.#repairedMs !== null && nowMs - this.#repairedMs < REPAIR_EVERY_MS)) return;
    const replicas = this.#writer.descriptor.ensemble.length;
    const best = bestLiveCount(this.#deps.transport.bookies(), replicas, this.#writer.unreachable());
    if (best <= replicas - bad.size) return;
    this.#repairedMs = nowMs;
    this.#beginRoll();
  }

  // ---- letting go -----------------------------------------------------------------------------------------------------------------

  #tryClose() {
    if (this.#stopped) return this.#closed();
    if (this.#roll !== null || this.#held.length > 0) return;
    if (this.#ending) return this.#beginRoll();
    if (this.#writer.isEmpty) return this.#closed();
    if (this.#writer.unackedCount === 0) this.#beginRoll();
  }

  #closed(): void {
    const onClosed = this.#onClosed;
    this.stop();
    this.#onClosed = null;
    onClosed?.();
  }
}
