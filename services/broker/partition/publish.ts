// Publishing: what is taken, what is answered from memory, what is refused and what is held for a moment. Only an accepted batch changes
// anything, and it is accepted exactly when it is appended.

import type { Timer } from '#lib/runtime/ports.ts';
import { offset as toOffset } from '#lib/types/brands.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import { PRODUCER_WINDOW_MAX } from '#lib/types/limits.ts';
import { ENTRY_BYTES_MAX, ENTRY_HEADER_BYTES } from '#lib/wire/entry.ts';
import type { ProducerMark } from '#lib/wire/entry-meta.ts';
import type { BatchInput, ProducerOpened, ProducerOpening, StoredBatch } from './api.ts';
import type { ExpireTimes } from './core/control.ts';
import type { BatchIdentity } from './core/dedup.ts';
import type { PartitionSettings } from './settings.ts';
import type { PartitionWriter } from './writer.ts';

type PublishReply = (result: StoredBatch | Failure) => void;
type OpenReply = (result: ProducerOpened | Failure) => void;

/** An early batch; its bytes are copies. */
interface Held {
  readonly batch: BatchInput;
  readonly reply: PublishReply;
  readonly untilMs: number;
  readonly bytes: number;
}

const RETRY_MS = 20;
const MARK_BYTES_MAX = 1024;

export class Publishing {
  readonly #writer: PartitionWriter;
  readonly #settings: PartitionSettings;
  /** Set by upkeep, which measures it. */
  overQuota = false;
  dedupWindowMs: number;
  /** By producer name; only while something is held. */
  readonly #held = new Map<string, Held[]>();
  #heldBytes = 0;
  #timer: Timer | null = null;

  constructor(writer: PartitionWriter, settings: PartitionSettings, dedupWindowMs: number) {
    this.#writer = writer;
    this.#settings = settings;
    this.dedupWindowMs = dedupWindowMs;
  }

  get holds(): boolean {
    return this.#held.size > 0;
  }

  open(opening: ProducerOpening, reply: OpenReply): void {
    const writer = this.#writer;
    const refusal = writer.refusal ?? this.#checkOpening(opening);
    if (refusal !== undefined) {
      writer.later(() => reply(refusal));
      return;
    }
    if (opening.name === '') {
      writer.later(() => reply({ kind: 'opened', epoch: 0, lastSequence: 0, window: PRODUCER_WINDOW_MAX }));
      return;
    }
    const { producers } = writer.state;
    const verdict = producers.judgeOpening(opening, writer.state.end);
    if (isFailure(verdict)) {
      writer.later(() => reply(verdict));
      return;
    }
    if (verdict.kind === 'same') {
      const { epoch, window, last } = verdict.producer;
      writer.whenAllAcked(lost => reply(lost ?? { kind: 'opened', epoch, lastSequence: last, window }));
      return;
    }
    const { epoch, window } = verdict.record;
    const lastSequence = producers.get(opening.name)?.last ?? 0;
    writer.appendControl(verdict.record, lost => reply(lost ?? { kind: 'opened', epoch, lastSequence, window }));
    this.#endHeld(opening.name);
  }

  publish(batch: BatchInput, reply: PublishReply): void {
    const writer = this.#writer;
    const over = writer.refusal;
    if (over !== null) {
      writer.later(() => reply(over));
      return;
    }
    if (batch.producer !== null) {
      this.#publishInOrder(batch, batch.producer, reply, true);
      return;
    }
    if (batch.idempotencyId !== '') {
      const stored = writer.state.ids.find(batch.idempotencyId, writer.world.clock.now() - this.dedupWindowMs);
      if (stored !== undefined) {
        this.#answerRepeat(stored.offset, stored.count, reply);
        return;
      }
    }
    const mark: ProducerMark | null =
      batch.idempotencyId === ''
        ? null
        : { name: '', epoch: 0, sequence: 0, prevSequence: 0, instance: '', idempotencyId: batch.idempotencyId };
    const refusal = this.#noRoom(batch);
    if (refusal !== undefined) {
      writer.later(() => reply(refusal));
      return;
    }
    writer.appendBatch(batch.info.count, mark, batch.info.view, batch.batchView, batch.crc, reply);
  }

  /** Times before which producers and ids are forgotten; a checkpoint's commit carries them. */
  expireTimes(nowMs: number): ExpireTimes {
    const { producerIdleMs, ephemeralIdleMs } = this.#settings;
    const before = (ageMs: number): number => Math.max(0, Math.floor(nowMs - ageMs));
    return { producersMs: before(producerIdleMs), ephemeralMs: before(ephemeralIdleMs), idsMs: before(this.dedupWindowMs) };
  }

  /** The partition ends: nothing is held any more. */
  end(): void {
    this.#timer?.cancel();
    this.#timer = null;
    for (const name of [...this.#held.keys()]) this.#endHeld(name);
  }

  #publishInOrder(batch: BatchInput, producer: NonNullable<BatchInput['producer']>, reply: PublishReply, mayHold: boolean): void {
    const writer = this.#writer;
    const { sequence, prevSequence, crc } = batch;
    const identity: BatchIdentity = {
      name: producer.name,
      epoch: producer.epoch,
      instance: producer.instance,
      sequence,
      prevSequence,
      crc,
    };
    const verdict = writer.state.producers.judge(identity);
    switch (verdict.kind) {
      case 'failure':
        writer.later(() => reply(verdict));
        return;
      case 'repeat':
        this.#answerRepeat(verdict.offset, verdict.count, reply);
        return;
      case 'early':
        if (mayHold) this.#hold(batch, producer.name, reply);
        else writer.later(() => reply(outOfSequence(batch)));
        return;
      case 'accept': {
        const refusal = this.#noRoom(batch);
        if (refusal !== undefined) {
          writer.later(() => reply(refusal));
          return;
        }
        const mark: ProducerMark = { ...producer, sequence, prevSequence, idempotencyId: batch.idempotencyId };
        writer.appendBatch(batch.info.count, mark, batch.info.view, batch.batchView, crc, reply);
        if (this.#held.size > 0) this.#releaseAfter(producer.name, sequence);
        return;
      }
    }
  }

  /** A repeat is answered once what it repeats is acknowledged, which all that is pending now covers. */
  #answerRepeat(offset: number, count: number, reply: PublishReply): void {
    this.#writer.whenAllAcked(lost => reply(lost ?? { kind: 'stored', offset: toOffset(offset), count, duplicate: true }));
  }

  /** Why nothing more is accepted now; such a batch is certainly not stored. */
  #noRoom(batch: BatchInput): Failure | undefined {
    const writer = this.#writer;
    const { pendingEntriesMax, pendingBytesMax } = this.#settings;
    const bytes = ENTRY_HEADER_BYTES + MARK_BYTES_MAX + batch.info.view.length + batch.batchView.length;
    if (bytes > ENTRY_BYTES_MAX)
      return fail('message_too_large', `the batch and what stands beside it have ${bytes} bytes`, { field: 'batch' });
    if (this.overQuota) return fail('backlog_quota', 'unacknowledged messages fill the backlog quota', {}, 1000);
    const full = writer.log.isFull();
    if (full === 'space') return fail('storage_full', 'the bookies have no space for more messages', {}, 1000);
    if (full === 'window' || writer.pendingEntries >= pendingEntriesMax || writer.pendingBytes + this.#heldBytes + bytes > pendingBytesMax)
      return fail('overloaded', 'too much is unacknowledged on this partition', {}, RETRY_MS);
    return undefined;
  }

  #checkOpening(opening: ProducerOpening): Failure | undefined {
    const { epoch, window, instance } = opening;
    if (!Number.isSafeInteger(epoch) || epoch < 0) return fail('invalid_argument', `epoch ${epoch} is none`, { field: 'epoch' });
    if (!Number.isInteger(window) || window < 0) return fail('invalid_argument', `window ${window} is none`, { field: 'window' });
    if (instance !== '' && !/^[0-9a-f]{16}$/.test(instance))
      return fail('invalid_argument', 'an instance is 16 hex digits', { field: 'instance' });
    if (this.#writer.log.isFull() === 'space') return fail('storage_full', 'the bookies have no space for more messages', {}, 1000);
    if (this.#writer.pendingEntries >= this.#settings.pendingEntriesMax)
      return fail('overloaded', 'too much is unacknowledged on this partition', {}, RETRY_MS);
    const { producers } = this.#writer.state;
    if (producers.size < this.#settings.producersMax || producers.get(opening.name) !== undefined) return undefined;
    return fail('overloaded', `this partition remembers ${producers.size} producers, and no more`, {}, 60_000);
  }

  #hold(batch: BatchInput, name: string, reply: PublishReply): void {
    const writer = this.#writer;
    const held = this.#held.get(name) ?? [];
    const refusal = this.#noRoom(batch);
    if (refusal !== undefined || held.length >= PRODUCER_WINDOW_MAX) {
      writer.later(() => reply(refusal ?? fail('overloaded', 'too many batches of this producer came early', {}, RETRY_MS)));
      return;
    }
    const { info, batchView } = batch;
    const bytes = info.view.length + batchView.length;
    const copy: BatchInput = { ...batch, info: { ...info, view: Buffer.from(info.view) }, batchView: Buffer.from(batchView) };
    held.push({ batch: copy, reply, untilMs: writer.world.clock.monotonic() + this.#settings.holdMs, bytes });
    this.#held.set(name, held);
    this.#heldBytes += bytes;
    this.#timer ??= writer.world.clock.after(this.#settings.holdMs, this.#onHoldTimer);
  }

  /** The batch with `sequence` has been accepted: what waited for it may go, repeats of one batch too. */
  #releaseAfter(name: string, sequence: number): void {
    const held = this.#held.get(name);
    const ready = held?.filter(({ batch }) => batch.prevSequence === sequence) ?? [];
    if (held === undefined || ready.length === 0) return;
    this.#keepHeld(
      name,
      held.filter(item => !ready.includes(item)),
    );
    for (const item of ready) this.#judgeHeld(item);
  }

  /** What waited long enough, or for nothing, is judged once more; early is then out of sequence. */
  readonly #onHoldTimer = (): void => {
    this.#timer = null;
    const now = this.#writer.world.clock.monotonic();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const [name, held] of this.#held) {
      const over = held.filter(({ untilMs }) => untilMs <= now);
      const rest = held.filter(({ untilMs }) => untilMs > now);
      this.#keepHeld(name, rest);
      for (const { untilMs } of rest) nextMs = Math.min(nextMs, untilMs);
      for (const item of over) this.#judgeHeld(item);
    }
    if (nextMs < Number.POSITIVE_INFINITY) this.#timer = this.#writer.world.clock.after(Math.max(1, nextMs - now), this.#onHoldTimer);
  };

  #endHeld(name: string): void {
    const held = this.#held.get(name);
    this.#held.delete(name);
    for (const item of held ?? []) this.#judgeHeld(item);
  }

  #keepHeld(name: string, held: Held[]): void {
    if (held.length === 0) this.#held.delete(name);
    else this.#held.set(name, held);
  }

  /** A batch that is no longer held is judged as it stands now: its predecessor may be there, or it may be a repeat. */
  #judgeHeld({ batch, reply, bytes }: Held): void {
    this.#heldBytes -= bytes;
    const { producer } = batch;
    const over = this.#writer.refusal;
    if (over !== null || producer === null) this.#writer.later(() => reply(over ?? fail('internal', 'only batches of producers are held')));
    else this.#publishInOrder(batch, producer, reply, false);
  }
}

function outOfSequence(batch: BatchInput): Failure {
  const detail = { producer: batch.producer?.name ?? '' };
  return fail('out_of_sequence', `sequence ${batch.sequence} came, and ${batch.prevSequence} before it did not`, detail);
}
