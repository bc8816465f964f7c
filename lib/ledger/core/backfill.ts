// Backfill: before a ledger is sealed at `end`, A replicas (or all that live, at least Q) must hold everything below it. Copies run from
// a replica that has it all to those that have most of it, one read and then its appends at a time, under the take over's ballot.

import { assert } from '#lib/types/assert.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import { type BookieId, type LedgerId, type Offset, offset } from '#lib/types/brands.ts';
import { checkEntry, entryBaseOffset, entryEnd } from '#lib/wire/entry.ts';
import type { BookieReply, BookieTransport } from '../protocol.ts';
import { type Lost, longerWait, type Pace, SLOW_TICK_MS } from './pace.ts';

export type BackfillOutcome =
  | { readonly kind: 'full' }
  /** No replica that answered has everything any more: decide anew from fresh answers. What `doubted` say they hold cannot be read. */
  | { readonly kind: 'sourceLost'; readonly doubted: readonly BookieId[] }
  /** The replica says that the ledger is sealed or gone: ask what was decided. */
  | { readonly kind: 'sealed'; readonly at: BookieId }
  | { readonly kind: 'lost'; readonly lost: Lost };

export interface BackfillTask {
  readonly ledger: LedgerId;
  readonly ballot: Ballot;
  readonly first: Offset;
  readonly end: Offset;
  /** The highest acknowledged end that any replica answered; copies carry it. */
  readonly ackedEnd: Offset;
  readonly ackQuorum: number;
  readonly voteQuorum: number;
}

const READ_BYTES = 1024 * 1024;
const FAILURES_MAX = 4;

interface Holder {
  readonly id: BookieId;
  end: Offset;
  /** `failed`: it does not count as living until it is tried once more. */
  state: 'still' | 'busy' | 'waiting' | 'failed';
  corrupt: boolean;
  failures: number;
  waitMs: number;
  dueMs: number | null;
}

export class Backfill {
  readonly #transport: BookieTransport;
  readonly #task: BackfillTask;
  readonly #onOutcome: (outcome: BackfillOutcome) => void;
  readonly #holders: Holder[];
  #finished = false;

  constructor(
    transport: BookieTransport,
    task: BackfillTask,
    answers: readonly { readonly id: BookieId; readonly end: Offset }[],
    onOutcome: (outcome: BackfillOutcome) => void,
  ) {
    this.#transport = transport;
    this.#task = task;
    this.#onOutcome = onOutcome;
    this.#holders = answers.map(answer => ({ ...answer, state: 'still', corrupt: false, failures: 0, waitMs: 0, dueMs: null }));
  }

  /** Begins, or goes on with one more replica that answered the fence. May finish within the call. */
  run() {
    if (this.#finished) return;
    const living = this.#holders.filter(holder => holder.state !== 'failed');
    const full = living.filter(holder => holder.end >= this.#task.end);
    const need = Math.min(this.#task.ackQuorum, Math.max(this.#task.voteQuorum, living.length));
    if (full.length >= need) return this.#finish({ kind: 'full' });
    if (full.length === 0) {
      const doubted = this.#holders.filter(holder => holder.corrupt).map(holder => holder.id);
      return this.#finish({ kind: 'sourceLost', doubted });
    }
    const short = living.filter(holder => holder.end < this.#task.end).sort((a, b) => b.end - a.end);
    for (const target of short.slice(0, need - full.length)) if (target.state === 'still') this.#copy(target);
  }

  /** A replica that answered the fence late. */
  add(id: BookieId, end: Offset): void {
    if (this.#finished || this.#holders.some(holder => holder.id === id)) return;
    this.#holders.push({ id, end, state: 'still', corrupt: false, failures: 0, waitMs: 0, dueMs: null });
    this.run();
  }

  tick(nowMs: number): void {
    for (const holder of this.#holders) {
      if (holder.corrupt || (holder.state !== 'waiting' && holder.state !== 'failed')) continue;
      holder.dueMs ??= nowMs + holder.waitMs;
      if (holder.dueMs <= nowMs) holder.state = 'still';
    }
    this.run();
  }

  pace(): Pace {
    if (this.#finished) return 'none';
    return this.#holders.some(holder => holder.state === 'busy' || holder.waitMs < SLOW_TICK_MS) ? 'fast' : 'slow';
  }

  stop(): void {
    this.#finished = true;
  }

  #finish(outcome: BackfillOutcome): void {
    this.#finished = true;
    this.#onOutcome(outcome);
  }

  #copy(target: Holder) {
    const source = this.#holders.find(holder => holder.state !== 'failed' && holder.state !== 'waiting' && holder.end >= this.#task.end);
    if (!source) return this.#pause(target, false);
    target.state = 'busy';
    const { ledger, ballot } = this.#task;
    const request = { kind: 'read', ledger, ballot, offset: target.end, bytesMax: READ_BYTES } as const;
    this.#transport.send(source.id, request, reply => {
      if (this.#finished) return;
      if (reply.kind !== 'entries' || reply.entries.length === 0) {
        if (this.#onTrouble(reply)) return;
        this.#fail(source, reply.kind === 'corrupt' || reply.kind === 'entries');
        target.state = 'still';
        return this.run();
      }
      const problem = reply.entries.map(entry => checkEntry(entry)).find(what => what !== undefined);
      if (problem !== undefined || entryBaseOffset(reply.entries[0] ?? Buffer.alloc(0)) !== target.end) {
        this.#fail(source, true);
        target.state = 'still';
        return this.run();
      }
      this.#append(target, reply.entries);
    });
  }

  /** Sends the entries in order; the last answer of the run counts, and a refusal of any ends the run. */
  #append(target: Holder, entries: readonly Buffer[]): void {
    const { ledger, ballot, first, end, ackedEnd } = this.#task;
    const before = target.end;
    let open = 0;
    let trouble: BookieReply | null = null;
    const onReply = (reply: BookieReply): void => {
      open--;
      if (this.#finished) return;
      if (reply.kind === 'appended') {
        if (reply.end > target.end) target.end = reply.end;
      } else if (reply.kind !== 'refused' || reply.reason !== 'gap') trouble ??= reply;
      if (open > 0) return;
      target.state = 'still';
      if (trouble && this.#onTrouble(trouble, target.id)) return;
      if (trouble || target.end === before) this.#fail(target, false);
      this.run();
    };
    for (const entry of entries) {
      const base = offset(entryBaseOffset(entry));
      if (base >= end) break;
      const span = entryEnd(entry) - base;
      assert(base + span <= end, 'a seal never ends within an entry');
      open++;
      this.#transport.send(
        target.id,
        { kind: 'append', ledger, ballot, first, offset: base, span, ackedEnd, bytes: entry, reserved: true },
        onReply,
      );
    }
    assert(open > 0 && before < end, 'a short replica gets at least one entry');
  }

  /** True when the whole act has ended with this reply. */
  #onTrouble(reply: BookieReply, at?: BookieId): boolean {
    if (reply.kind === 'stale') this.#finish({ kind: 'lost', lost: reply });
    else if (reply.kind === 'conflict') this.#finish({ kind: 'lost', lost: { kind: 'broken', what: reply.what } });
    else if (at !== undefined && (reply.kind === 'gone' || (reply.kind === 'refused' && reply.reason === 'sealed')))
      this.#finish({ kind: 'sealed', at });
    return this.#finished;
  }

  #fail(holder: Holder, forGood: boolean): void {
    holder.failures++;
    holder.corrupt ||= forGood;
    this.#pause(holder, true);
    if (forGood || holder.failures >= FAILURES_MAX) holder.state = 'failed';
  }

  #pause(holder: Holder, longer: boolean): void {
    holder.state = 'waiting';
    holder.waitMs = longer ? longerWait(holder.waitMs) : Math.max(holder.waitMs, 10);
    holder.dueMs = null;
  }
}
