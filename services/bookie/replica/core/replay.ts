// What a restart makes of the manifest's edits and the journal's records: the ledgers as they were. Nothing is assumed to fit: an edit or
// a record that contradicts what is known is counted in `misfits`, because something before it must be lost.

import { type LedgerId, ledgerId, type Offset, offset } from '#lib/types/brands.ts';
import { checkEntry, entryBaseOffset, entryEnd } from '#lib/wire/entry.ts';
import type { ReplicaRecord } from '#lib/wire/ledger-values.ts';
import type { WriteCache } from '../../cache/core/write-cache.ts';
import type { Edit, JournalPosition } from '../../manifest/core/format.ts';
import type { Run, SegmentInfo } from '../../segments/core/format.ts';
import { overlay } from '../../segments/core/slices.ts';
import type { HeldLedger, Ledgers } from './ledgers.ts';
import {
  decodeFloor,
  decodeState,
  decodeTombstone,
  ENTRY_HEAD_BYTES,
  entryRecordAckedEnd,
  entryRecordFirst,
  type Floor,
  RECORD_ENTRY,
  RECORD_FLOOR,
  RECORD_STATE,
  RECORD_TOMBSTONE,
  type Tombstone,
} from './records.ts';
import { Replica } from './replica.ts';

export class Replay {
  readonly segments = new Map<number, SegmentInfo>();
  trim: JournalPosition | null = null;
  /** In words; empty when all fits. */
  readonly misfits: string[] = [];
  readonly #ledgers: Ledgers;
  readonly #cache: WriteCache;
  /** Ledgers of which entries came without a state: fine when it turns out that they were deleted. */
  readonly #missing = new Set<LedgerId>();

  constructor(ledgers: Ledgers, cache: WriteCache) {
    this.#ledgers = ledgers;
    this.#cache = cache;
  }

  edit(edit: Edit): void {
    switch (edit.kind) {
      case 'segment':
        this.segments.set(edit.segment, { segment: edit.segment, fileBytes: edit.fileBytes, entryBytes: edit.entryBytes });
        for (const run of edit.runs) this.run(run);
        return;
      case 'segment_removed':
        this.#removeSegment(edit.segment);
        return;
      case 'state':
        this.state(edit.state);
        return;
      case 'tombstone':
        this.#bury(edit.tombstone);
        return;
      case 'forgotten':
        this.#forget(edit.ledger);
        return;
      case 'floor':
        this.#raise(edit.floor);
        return;
      case 'trim':
        this.trim = edit.position;
        return;
    }
  }

  /** A run of a ledger that is gone does not count. */
  run(run: Run): void {
    const ledger = this.#ledgers.get(run.ledger);
    if (!ledger) return;
    const end = ledger.replica.end ?? run.first;
    if (end > run.first) ledger.slices = overlay(ledger.slices, run, run.first, offset(Math.min(end, run.end)));
  }

  /** `bytes` is a view that is not kept. */
  record(type: number, bytes: Buffer): void {
    switch (type) {
      case RECORD_ENTRY:
        this.#entry(bytes);
        return;
      case RECORD_STATE:
        this.#decoded(decodeState(bytes), state => this.state(state));
        return;
      case RECORD_TOMBSTONE:
        this.#decoded(decodeTombstone(bytes), tombstone => this.#bury(tombstone));
        return;
      case RECORD_FLOOR:
        this.#decoded(decodeFloor(bytes), floor => this.#raise(floor));
        return;
      default:
        this.misfits.push(`a record of type ${type}`);
    }
  }

  state(state: ReplicaRecord): void {
    const { ledger: id, partition } = state.descriptor;
    const floor = this.#ledgers.floor(partition);
    if (this.#ledgers.tombstone(id) || (floor && state.first !== null && state.first < floor.offset)) return;
    this.#missing.delete(id);
    const replica = new Replica(state, false);
    const ledger = this.#ledgers.get(id);
    if (!ledger) {
      this.#ledgers.add(replica);
      return;
    }
    ledger.replica = replica;
    this.#ledgers.changed(ledger);
    if (state.end !== null) this.#cache.cut(ledger, state.end);
  }

  /** Ends the replay: what is claimed and not there is cut off, so that nobody takes it for held. */
  finish(): void {
    for (const id of this.#missing) this.misfits.push(`entries of ledger ${id}, of which nothing else is known`);
    for (const ledger of this.#ledgers.held()) {
      const { end } = ledger.replica;
      const covered = ledger.covered();
      if (end === null || covered === null || covered >= end) continue;
      this.misfits.push(`ledger ${ledger.id} should reach ${end}, and its entries end at ${covered}`);
      ledger.replica = new Replica({ ...ledger.replica.state(), end: covered }, false);
      this.#cache.cut(ledger, covered);
      this.#ledgers.changed(ledger);
    }
  }

  #decoded<T>(value: T | string, use: (value: T) => void): void {
    if (typeof value === 'string') this.misfits.push(value);
    else use(value);
  }

  #entry(bytes: Buffer): void {
    if (bytes.length < ENTRY_HEAD_BYTES) {
      this.misfits.push('an entry without its head');
      return;
    }
    const id = ledgerId(uuidOf(bytes));
    if (this.#ledgers.tombstone(id)) return;
    const ledger = this.#ledgers.get(id);
    if (!ledger) {
      this.#missing.add(id);
      return;
    }
    const view = bytes.subarray(ENTRY_HEAD_BYTES);
    // The record's checksum covers the payload; the header is checked because its fields are used.
    const wrong = checkEntry(view, { payload: false });
    if (wrong !== undefined) this.misfits.push(wrong);
    else this.#place(ledger, view, offset(entryRecordFirst(bytes)), offset(entryRecordAckedEnd(bytes)));
  }

  #place(ledger: HeldLedger, view: Buffer, first: Offset, ackedEnd: Offset): void {
    const at = offset(entryBaseOffset(view));
    const { replica } = ledger;
    const end = replica.end ?? first;
    if (at > end || (replica.first ?? first) !== first) {
      this.misfits.push(`an entry at ${at} of ledger ${ledger.id}, which ends at ${end}`);
      return;
    }
    const entry = Buffer.allocUnsafeSlow(view.length);
    view.copy(entry);
    if (at < end) {
      this.#cache.patch(ledger, at, entry);
      return;
    }
    replica.appended(first, at, entryEnd(view) - at, ackedEnd);
    this.#cache.put(ledger, at, entry);
    this.#ledgers.changed(ledger);
  }

  #bury(tombstone: Tombstone): void {
    this.#missing.delete(tombstone.ledger);
    const ledger = this.#ledgers.get(tombstone.ledger);
    if (ledger) this.#cache.drop(ledger);
    this.#ledgers.bury(tombstone);
  }

  #forget(id: LedgerId): void {
    const tombstone = this.#ledgers.tombstone(id);
    if (tombstone) this.#ledgers.forget(tombstone);
    const ledger = this.#ledgers.get(id);
    if (!ledger) return;
    this.#cache.drop(ledger);
    this.#ledgers.remove(ledger);
  }

  /** A floor that was said before, or a lower one, changes nothing but folds again. */
  #raise(floor: Floor): void {
    const current = this.#ledgers.floor(floor.partition);
    const higher = current && current.offset > floor.offset ? current : floor;
    for (const ledger of this.#ledgers.raise(higher)) {
      this.#missing.delete(ledger.id);
      this.#cache.drop(ledger);
    }
  }

  #removeSegment(segment: number): void {
    this.segments.delete(segment);
    for (const ledger of this.#ledgers.held())
      if (ledger.slices.some(({ run }) => run.segment === segment))
        ledger.slices = ledger.slices.filter(({ run }) => run.segment !== segment);
  }
}

function uuidOf(view: Buffer): string {
  const hex = view.toString('hex', 0, 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
