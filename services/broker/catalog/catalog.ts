// The catalog over its log, the system partition. A change is decided, appended and applied in one turn, and answered once its record is
// acknowledged; a reader that must not see what a crash could take back waits with `settled`. Now and then a snapshot makes the replay
// short, and what is below it is trimmed. The catalog that loses its log is over.

import type { World } from '#lib/runtime/ports.ts';
import { assert } from '#lib/types/assert.ts';
import { offset } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure, unknownFate } from '#lib/types/errors.ts';
import { KIB } from '#lib/types/limits.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { encodeEntry, entryAppendTimeMs, entryBaseOffset, entryCheckpointOffset, entryKind, entryPayload } from '#lib/wire/entry.ts';
import type { LogEvents, PartitionLog } from '../log/api.ts';
import { CatalogState, type Command, type DecideContext } from './core/catalog.ts';
import type { EffectiveSettings } from './core/model.ts';
import { type CatalogRecord, decodeRecord, encodeRecord, type Outcome, type SnapshotItem } from './core/record.ts';

export interface CatalogDeps {
  readonly world: World;
  /** Takes the system partition over. */
  readonly openLog: (events: LogEvents) => Promise<PartitionLog | Failure>;
  readonly serverSettings: EffectiveSettings;
  readonly context: Pick<DecideContext, 'newTopicId' | 'newFirstLedger'>;
  readonly settings: CatalogSettings;
  /** Another broker has the catalog, or its storage is gone. */
  onLost(reason: Failure): void;
}

export interface CatalogSettings {
  /** A snapshot is written after so many changes, or as many as it has items when those are more. */
  readonly snapshotChanges: number;
  /** Changes without an acknowledgement; beyond: `overloaded`. */
  readonly pendingMax: number;
}

export const CATALOG_DEFAULTS: CatalogSettings = { snapshotChanges: 2_000, pendingMax: 20_000 };

const READ_BYTES = 1024 * KIB;
const PART_BYTES = 256 * KIB;
const NO_CHECKPOINT = -1;

interface Waiting {
  /** Answered when everything below it is acknowledged. */
  readonly end: number;
  readonly done: (lost: Failure | null) => void;
}

export async function openCatalog(deps: CatalogDeps): Promise<Catalog | Failure> {
  const early: { catalog: Catalog | null; lost: Failure | null; ackedEnd: number } = { catalog: null, lost: null, ackedEnd: 0 };
  const log = await deps.openLog({
    onAcked: ackedEnd => early.catalog?.onAcked(ackedEnd),
    onLost: reason => {
      early.lost = reason;
      early.catalog?.onLost(reason);
    },
  });
  if (isFailure(log)) return log;
  const replayed = await replay(log, deps.serverSettings);
  if (isFailure(replayed)) {
    await log.close();
    return replayed;
  }
  if (early.lost) return early.lost;
  early.catalog = new Catalog(deps, log, replayed);
  return early.catalog;
}

interface Replayed {
  readonly state: CatalogState;
  readonly checkpoint: { readonly commit: number; readonly from: number } | null;
  readonly changesSince: number;
  readonly lastAppendTimeMs: number;
}

export class Catalog {
  readonly state: CatalogState;
  readonly #deps: CatalogDeps;
  readonly #log: PartitionLog;
  #waiting: Waiting[] = [];
  #lost: Failure | null = null;
  #checkpoint: { readonly commit: number; readonly from: number } | null;
  #changesSince: number;
  #lastAppendTimeMs: number;
  #snapshotting = false;

  constructor(deps: CatalogDeps, log: PartitionLog, replayed: Replayed) {
    this.#deps = deps;
    this.#log = log;
    this.state = replayed.state;
    this.#checkpoint = replayed.checkpoint;
    this.#changesSince = replayed.changesSince;
    this.#lastAppendTimeMs = replayed.lastAppendTimeMs;
  }

  /** Resolves once it is durable, also for a repeat of a call whose first is not yet. */
  async change(command: Command, operationId = ''): Promise<Outcome | Failure> {
    if (this.#lost) return this.#lost;
    if (this.#waiting.length >= this.#deps.settings.pendingMax)
      return fail('overloaded', `${this.#waiting.length} changes of the catalog wait for storage`, {}, 500);
    const { clock } = this.#deps.world;
    const decision = this.state.decide(command, { ...this.#deps.context, nowMs: Math.max(0, Math.floor(clock.now())), operationId });
    if (isFailure(decision)) return decision;
    if (decision.kind === 'answer') return (await this.settled()) ?? decision.outcome;
    this.#append({ kind: 'change', change: decision.change });
    const outcome = this.state.apply(decision.change);
    this.#changesSince += 1;
    this.#snapshotWhenDue();
    return (await this.settled()) ?? outcome;
  }

  /** Null once all that the state shows now is acknowledged. */
  settled(): Promise<Failure | null> {
    if (this.#lost) return Promise.resolve(this.#lost);
    const { end } = this.#log;
    if (this.#log.ackedEnd >= end) return Promise.resolve(null);
    return new Promise(done => this.#waiting.push({ end, done }));
  }

  get isSettled(): boolean {
    return this.#lost === null && this.#log.ackedEnd >= this.#log.end;
  }

  onAcked(ackedEnd: number): void {
    let answered = 0;
    for (const waiting of this.#waiting) {
      if (waiting.end > ackedEnd) break;
      waiting.done(null);
      answered += 1;
    }
    if (answered > 0) this.#waiting = this.#waiting.slice(answered);
  }

  onLost(reason: Failure): void {
    if (this.#lost) return;
    this.#lost = unknownFate('unavailable', `the catalog is not served here any more: ${reason.message}`);
    for (const waiting of this.#waiting) waiting.done(this.#lost);
    this.#waiting = [];
    this.#deps.onLost(reason);
  }

  /** Hands over: the next owner replays little. */
  async close(): Promise<void> {
    if (!this.#lost && this.#changesSince > 0) await this.snapshot();
    this.#lost ??= fail('unavailable', 'the server is stopping');
    await this.#log.close();
  }

  /** Writes a snapshot now; resolves when it counts, and what is below it has been given up. */
  async snapshot(): Promise<void> {
    if (this.#snapshotting || this.#lost) return;
    this.#snapshotting = true;
    const from = this.#log.end;
    const parts = this.#appendParts();
    const commit = this.#log.end;
    this.#append({ kind: 'snapshot', from, parts, version: this.state.version });
    this.#changesSince = 0;
    const lost = await this.settled();
    this.#snapshotting = false;
    if (lost) return;
    this.#checkpoint = { commit, from };
    await this.#trim(from);
  }

  #snapshotWhenDue(): void {
    if (this.#changesSince < Math.max(this.#deps.settings.snapshotChanges, this.state.size)) return;
    this.snapshot().catch(error => this.#deps.world.logger.error('catalog snapshot failed', { error: String(error) }));
  }

  #appendParts(): number {
    let parts = 0;
    let items: SnapshotItem[] = [];
    let bytes = 0;
    const flush = (): void => {
      if (items.length === 0) return;
      this.#append({ kind: 'snapshot_part', items });
      parts += 1;
      items = [];
      bytes = 0;
    };
    for (const item of this.state.snapshot()) {
      items.push(item);
      bytes += item.kind === 'topic' || item.kind === 'purging' ? 400 + 120 * item.topic.partitions : 1024;
      if (bytes >= PART_BYTES) flush();
    }
    flush();
    return parts;
  }

  /** Whole ledgers go, so it is worth it only when there is one below. */
  async #trim(to: number): Promise<void> {
    this.#log.roll();
    const gone = this.#log.ledgers().some(ledger => ledger.end !== null && ledger.end <= to && ledger.end > ledger.first);
    if (!gone) return;
    this.#append({ kind: 'trim', to });
    if (await this.settled()) return;
    await this.#log.trim(offset(to));
  }

  #append(record: CatalogRecord): void {
    assert(this.#lost === null, 'a lost catalog takes no records');
    const payload = encodeRecord(record);
    const baseOffset = this.#log.end;
    this.#lastAppendTimeMs = Math.max(this.#lastAppendTimeMs, Math.floor(this.#deps.world.clock.now()));
    const checkpointOffset = this.#checkpoint?.commit ?? NO_CHECKPOINT;
    const header = {
      kind: 'control',
      baseOffset,
      count: 0,
      cumulativeCount: 0,
      appendTimeMs: this.#lastAppendTimeMs,
      checkpointOffset,
    } as const;
    this.#log.append(encodeEntry(header, [], payload, crc32c(payload)), 1, true);
  }
}

// ---- replay ----

async function replay(log: PartitionLog, server: EffectiveSettings): Promise<Replayed | Failure> {
  const last = log.end > log.start ? await one(log, log.end - 1) : null;
  if (isFailure(last)) return last;
  const commit = last === null ? NO_CHECKPOINT : entryCheckpointOffset(last);
  const base = commit === NO_CHECKPOINT ? { state: new CatalogState(server), from: 0, parts: 0 } : await restore(log, commit, server);
  if (isFailure(base)) return base;
  if (log.start > base.from) return fail('data_loss', `the catalog's log begins at ${log.start}, behind its snapshot at ${base.from}`);
  const { state } = base;
  let changesSince = 0;
  let checkpoint = commit === NO_CHECKPOINT ? null : { commit, from: base.from };
  let lastAppendTimeMs = 0;
  const failure = await each(log, base.from + base.parts, log.end, (record, entry) => {
    lastAppendTimeMs = Math.max(lastAppendTimeMs, entryAppendTimeMs(entry));
    if (record.kind === 'snapshot') {
      checkpoint = { commit: entryBaseOffset(entry), from: record.from };
      changesSince = 0;
    }
    if (record.kind !== 'change') return;
    state.apply(record.change);
    changesSince += 1;
  });
  return failure ?? { state, checkpoint, changesSince, lastAppendTimeMs };
}

async function restore(
  log: PartitionLog,
  commit: number,
  server: EffectiveSettings,
): Promise<{ readonly state: CatalogState; readonly from: number; readonly parts: number } | Failure> {
  const entry = await one(log, commit);
  if (isFailure(entry)) return entry;
  const record = decodeRecord(entryPayload(entry));
  if (isFailure(record)) return record;
  if (record.kind !== 'snapshot') return fail('data_loss', `the catalog's entry at ${commit} closes no snapshot`);
  const state = new CatalogState(server, record.version);
  const failure = await each(log, record.from, record.from + record.parts, part => {
    assert(part.kind === 'snapshot_part', 'a snapshot consists of its parts');
    for (const item of part.items) state.restore(item);
  });
  return failure ?? { state, from: record.from, parts: record.parts };
}

async function one(log: PartitionLog, at: number): Promise<Buffer | Failure> {
  const entries = await log.read(offset(at), 1);
  if (isFailure(entries)) return entries;
  const entry = entries[0];
  if (!entry || entryKind(entry) !== 'control' || entryBaseOffset(entry) !== at)
    return fail('data_loss', `the catalog's log has no record at ${at}`);
  return entry;
}

async function each(
  log: PartitionLog,
  from: number,
  end: number,
  use: (record: CatalogRecord, entry: Buffer) => void,
): Promise<Failure | null> {
  for (let at = from; at < end; ) {
    const entries = await log.read(offset(at), READ_BYTES);
    if (isFailure(entries)) return entries;
    if (entries.length === 0) return fail('data_loss', `the catalog's log ends at ${at}, before ${end}`);
    for (const entry of entries) {
      if (at >= end) break;
      if (entryBaseOffset(entry) !== at || entryKind(entry) !== 'control') return fail('data_loss', `the catalog's log has a gap at ${at}`);
      const record = decodeRecord(entryPayload(entry));
      if (isFailure(record)) return record;
      use(record, entry);
      at += 1;
    }
  }
  return null;
}
