// A producer's window against a broker that deduplicates as the contract says, over connections that lose requests and answers, with
// refusals, timeouts and late frames. One seed is one history. What is checked: the log has every batch at most once and in order; who was
// told "stored" finds it at that offset; who was told "not stored" finds nothing; and after the faults everything is settled.
import { expect, it } from 'vitest';
import { fail, unknownFate } from '#lib/types/errors.ts';
import { encodeBatchInfoView } from '#lib/wire/batch-info.ts';
import { PendingBatch } from './pending-batch.ts';
import { SendWindow } from './send-window.ts';

type Frame = { readonly sequence: number; readonly previous: number; readonly tag: number; readonly connection: number };
type Answer = { readonly connection: number; readonly give: (window: SendWindow, nowMs: number) => boolean };

class Broker {
  readonly size: number;
  readonly log: number[] = [];
  last = 0;
  readonly kept = new Map<number, { tag: number; offset: number }>();
  held: Frame[] = [];

  constructor(size: number) {
    this.size = size;
  }

  judge(frame: Frame): { kind: 'stored'; offset: number } | { kind: 'out' } | { kind: 'held' } {
    if (frame.previous === this.last) {
      const offset = this.log.push(frame.tag) - 1;
      this.last = frame.sequence;
      this.kept.set(frame.sequence, { tag: frame.tag, offset });
      for (const key of this.kept.keys()) if (this.kept.size > this.size) this.kept.delete(key);
      return { kind: 'stored', offset };
    }
    if (frame.sequence <= this.last) {
      const kept = this.kept.get(frame.sequence);
      expect(kept, 'more batches were under way than the broker remembers').toBeDefined();
      if (!kept) return { kind: 'out' };
      expect(kept.tag, 'a sequence was used for other bytes').toBe(frame.tag);
      return { kind: 'stored', offset: kept.offset };
    }
    if (frame.previous > this.last) return { kind: 'held' };
    return { kind: 'out' };
  }
}

function run(seed: number): void {
  let state = (seed * 2654435761) >>> 0;
  const chance = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const size = 1 + Math.floor(chance() * 8);
  const window = new SendWindow(size);
  const broker = new Broker(size);
  const toBroker: Frame[] = [];
  const toClient: Answer[] = [];
  const fates = new Map<number, string>();
  const tags = new Map<PendingBatch, number>();
  let connection = 0;
  let isOpen = false;
  let nowMs = 0;
  let made = 0;
  const faulty = (): boolean => nowMs < 4000;

  const answer = (frame: Frame, give: Answer['give']): void => {
    if (frame.connection === connection && !(faulty() && chance() < 0.03)) toClient.push({ connection: frame.connection, give });
  };
  const release = (): void => {
    for (let again = true; again; ) {
      again = false;
      for (const frame of broker.held) {
        if (broker.judge({ ...frame }).kind === 'held') continue;
        broker.held = broker.held.filter(other => other !== frame);
        handle(frame);
        again = true;
        break;
      }
    }
  };
  const handle = (frame: Frame): void => {
    const luck = faulty() ? chance() : 1;
    if (luck < 0.04) {
      answer(frame, (to, at) => to.onRefused(frame.sequence, fail('overloaded', 'later', {}, 5), at).kind === 'reopen');
      return;
    }
    const verdict = broker.judge(frame);
    if (verdict.kind === 'held') {
      if (chance() < 0.5) broker.held.push(frame);
      else answer(frame, (to, at) => to.onRefused(frame.sequence, fail('out_of_sequence', 'wait'), at).kind === 'reopen');
      return;
    }
    if (verdict.kind === 'out')
      answer(frame, (to, at) => to.onRefused(frame.sequence, fail('out_of_sequence', 'wait'), at).kind === 'reopen');
    else if (luck < 0.06)
      answer(frame, (to, at) => to.onRefused(frame.sequence, unknownFate('storage_unavailable', 'who knows'), at).kind === 'reopen');
    else
      answer(frame, to => {
        to.onStored(frame.sequence, verdict.offset);
        return false;
      });
    release();
  };
  const lose = (): void => {
    connection += 1;
    isOpen = false;
    window.onClosed();
    // Some of what the old connection carried still arrives.
    for (const frame of toBroker.splice(0)) if (chance() < 0.3) handle(frame);
  };
  const settle = (): void => {
    for (const settlement of window.takeSettled()) {
      const tag = tags.get(settlement.batch) ?? -1;
      if (settlement.kind === 'stored') {
        expect(fates.has(tag)).toBe(false);
        expect(broker.log[settlement.offset]).toBe(tag);
        fates.set(tag, 'stored');
      } else if (settlement.kind === 'failed') {
        expect(fates.has(tag)).toBe(false);
        fates.set(tag, settlement.failure.stored);
      } else expect(fates.get(tag)).toBe('unknown');
    }
  };

  while (nowMs < 20_000 && !(nowMs > 6000 && window.isEmpty)) {
    nowMs += 1 + Math.floor(chance() * 5);
    if (made < 300 && chance() < 0.6) {
      const one = new PendingBatch(Buffer.from('x'), encodeBatchInfoView(1), null, nowMs + (chance() < 0.1 ? 30 : 8000));
      tags.set(one, made++);
      window.enqueue(one);
    }
    if (!isOpen && chance() < 0.3) {
      // The answer to an opening waits for all accepted before; nothing of the old connection is accepted after it.
      broker.held = [];
      window.onOpened(broker.last, size);
      isOpen = true;
    }
    for (let one = window.take(nowMs); one; one = window.take(nowMs))
      toBroker.push({ sequence: one.sequence, previous: one.previous, tag: tags.get(one) ?? -1, connection });
    while (toBroker.length > 0 && chance() < 0.7) {
      const frame = toBroker.shift();
      if (frame && !(faulty() && chance() < 0.01)) handle(frame);
    }
    if (broker.held.length > 0 && chance() < 0.2) {
      const frame = broker.held.shift();
      if (frame) answer(frame, (to, at) => to.onRefused(frame.sequence, fail('out_of_sequence', 'wait'), at).kind === 'reopen');
    }
    while (toClient.length > 0 && chance() < 0.7) {
      const one = toClient.shift();
      if (one && one.connection === connection && one.give(window, nowMs)) lose();
    }
    if (faulty() ? chance() < 0.02 : window.inFlight > 0 && toBroker.length + toClient.length + broker.held.length === 0) lose();
    window.expire(nowMs, '');
    settle();
  }
  expect(window.isEmpty, `seed ${seed}: not everything was settled`).toBe(true);
  const seen = new Set(broker.log);
  expect(seen.size, `seed ${seed}: a batch is stored twice`).toBe(broker.log.length);
  expect(
    broker.log.every((tag, index) => index === 0 || tag > (broker.log[index - 1] ?? 0)),
    `seed ${seed}: out of order`,
  ).toBe(true);
  for (let tag = 0; tag < made; tag++) {
    const fate = fates.get(tag);
    expect(fate, `seed ${seed}: batch ${tag} was never settled`).toBeDefined();
    if (fate === 'stored') expect(seen.has(tag), `seed ${seed}: batch ${tag} is lost`).toBe(true);
    if (fate === 'no') expect(seen.has(tag), `seed ${seed}: batch ${tag} is stored, and its caller was told that it is not`).toBe(false);
  }
}

it('keeps order, stores once and tells the truth, whatever happens', { timeout: 60_000 }, () => {
  for (let seed = 1; seed <= 150; seed++) run(seed);
});
