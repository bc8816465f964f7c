import { describe, expect, test } from 'vitest';
import type { BookieReply, LedgerDescriptor } from '#lib/ledger/protocol.ts';
import { simRandom } from '#lib/runtime/sim/random.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import { bookieId, ledgerId, offset, partitionId, topicId } from '#lib/types/brands.ts';
import { type Outcome, Replica, refuseInstall } from './replica.ts';

const topic = topicId('0192f000-0000-7000-8000-000000000001');
const ensemble = [bookieId('00112233445566778899aabbccddeeff')];
const ballot = (epoch: number): Ballot => ({ epoch, incarnation: '00000000000000aa' });
const idOf = (n: number) => ledgerId(`0192f000-0000-7000-8000-1${String(n).padStart(11, '0')}`);
const descriptor = (n: number, creator = 1): LedgerDescriptor => ({
  ledger: idOf(n),
  partition: partitionId(topic, 0),
  topic,
  prev: null,
  ensemble,
  ackQuorum: 1,
  creator: ballot(creator),
});
const fresh = (epoch = 1): Replica => Replica.installed(descriptor(1), ballot(epoch), null);

const append = (epoch: number, at: number, options: { span?: number; first?: number; acked?: number } = {}) => ({
  kind: 'append' as const,
  ledger: idOf(1),
  ballot: ballot(epoch),
  first: offset(options.first ?? 10),
  offset: offset(at),
  span: options.span ?? 1,
  ackedEnd: offset(options.acked ?? at),
  bytes: Buffer.alloc(0),
  reserved: false,
});

/** Appends as the shell does: an accepted entry becomes part of the replica. */
function appended(replica: Replica, epoch: number, at: number, options: { span?: number; first?: number; acked?: number } = {}): Outcome {
  const request = append(epoch, at, options);
  const outcome = replica.append(request);
  if (outcome.kind === 'answer' && outcome.change === 'entry')
    replica.appended(request.first, request.offset, request.span, request.ackedEnd);
  return outcome;
}

function replyOf(outcome: Outcome): BookieReply {
  if (outcome.kind !== 'answer') throw new Error(outcome.kind);
  return outcome.reply;
}
const seal = (end: number, next: number | null = 2) => ({ end: offset(end), next: next === null ? null : descriptor(next) });

describe('a replica', () => {
  test('is not installed below the ballot of its creator', () => {
    expect(refuseInstall(descriptor(1, 5), ballot(4))).toMatchObject({ reply: { kind: 'stale', promised: ballot(5) }, when: 'now' });
    expect(refuseInstall(descriptor(1, 5), ballot(5))).toBeUndefined();
  });

  test('takes entries one after the other, from the first offset that its first append names', () => {
    const replica = fresh();
    expect(appended(replica, 1, 10, { span: 3 })).toMatchObject({
      reply: { kind: 'appended', end: 13 },
      when: 'after_durable',
      change: 'entry',
    });
    expect(replyOf(appended(replica, 1, 13))).toEqual({ kind: 'appended', end: 14 });
    expect(replyOf(appended(replica, 1, 15))).toEqual({ kind: 'refused', reason: 'gap', end: 14 });
    expect(replyOf(appended(replica, 1, 14, { first: 9 }))).toMatchObject({ kind: 'conflict' });
    expect(appended(replica, 1, 11)).toEqual({ kind: 'compare' });
    expect(replica.state()).toMatchObject({ first: 10, end: 14, ackedEnd: 13 });
  });

  test('answers a lower ballot at once, and everything else only when it is durable', () => {
    const replica = fresh(5);
    expect(appended(replica, 4, 10)).toMatchObject({ reply: { kind: 'stale', promised: ballot(5) }, when: 'now' });
    expect(appended(replica, 6, 10)).toMatchObject({ reply: { kind: 'refused', reason: 'not_promised' }, when: 'after_durable' });
    expect(replica.fence(descriptor(1), ballot(4), offset(10))).toMatchObject({ reply: { kind: 'stale' }, when: 'now' });
    expect(replica.fence(descriptor(1), ballot(6), offset(10))).toMatchObject({
      reply: { kind: 'fenced' },
      when: 'after_durable',
      change: 'state',
    });
    expect(replica.fence(descriptor(1), ballot(6), offset(10))).toMatchObject({
      reply: { kind: 'fenced' },
      when: 'after_durable',
      change: 'nothing',
    });
    expect(replica.create(descriptor(1), ballot(5))).toMatchObject({ reply: { kind: 'stale' }, when: 'now' });
    expect(replica.create(descriptor(1), ballot(7))).toMatchObject({ reply: { kind: 'ok' }, change: 'state' });
    expect(replica.seal(ballot(6), offset(10), seal(10))).toMatchObject({ reply: { kind: 'stale' }, when: 'now' });
  });

  test('an empty append raises what is known to be acknowledged, and proves the ballot', () => {
    const replica = fresh();
    appended(replica, 1, 10);
    expect(appended(replica, 1, 11, { span: 0, acked: 11 })).toMatchObject({ reply: { kind: 'appended', end: 11 }, change: 'nothing' });
    expect(replica.ackedEnd).toBe(11);
    expect(appended(replica, 1, 11, { span: 0, acked: 10 })).toMatchObject({ reply: { kind: 'appended' } });
    expect(replica.ackedEnd).toBe(11);
    replica.fence(descriptor(1), ballot(2), offset(10));
    expect(replyOf(appended(replica, 1, 11, { span: 0 }))).toMatchObject({ kind: 'stale' });
  });

  test('a seal cuts, ends its ballot, and is not replaced by another of the same ballot', () => {
    const replica = fresh();
    for (const at of [10, 11, 12]) appended(replica, 1, at, { acked: 11 });
    expect(replica.seal(ballot(1), offset(10), seal(12))).toMatchObject({ reply: { kind: 'ok' }, change: 'state' });
    expect(replica.end).toBe(12);
    expect(replyOf(appended(replica, 1, 12))).toMatchObject({ kind: 'refused', reason: 'sealed' });
    expect(replica.seal(ballot(1), offset(10), seal(12))).toMatchObject({ reply: { kind: 'ok' }, change: 'nothing' });
    expect(replyOf(replica.seal(ballot(1), offset(10), seal(11)))).toMatchObject({ kind: 'conflict' });
    expect(replyOf(replica.seal(ballot(1), offset(10), seal(12, 3)))).toMatchObject({ kind: 'conflict' });
    // A take over may go on from there with its own ballot, and fill it up again.
    expect(replyOf(replica.fence(descriptor(1), ballot(2), offset(10)))).toMatchObject({
      end: 12,
      accepted: { ballot: ballot(1), end: 12 },
    });
    expect(replyOf(appended(replica, 2, 12))).toMatchObject({ kind: 'appended' });
    expect(replica.seal(ballot(2), offset(10), seal(13))).toMatchObject({ reply: { kind: 'ok' } });
  });

  test('what is known to be acknowledged is never cut', () => {
    const replica = fresh();
    for (const at of [10, 11, 12]) appended(replica, 1, at);
    expect(replyOf(replica.seal(ballot(1), offset(10), seal(11)))).toMatchObject({ kind: 'conflict' });
    expect(replyOf(replica.decide(offset(10), seal(11)))).toMatchObject({ kind: 'conflict' });
    expect(replica.state()).toMatchObject({ end: 13, accepted: null, decided: null });
    expect(replyOf(replica.seal(ballot(1), offset(10), seal(12)))).toMatchObject({ kind: 'ok' });
  });

  test('a decided seal is for ever', () => {
    const replica = fresh();
    appended(replica, 1, 10);
    expect(replica.decide(offset(10), seal(11))).toMatchObject({ reply: { kind: 'ok' }, change: 'state' });
    expect(replica.decide(offset(10), seal(11))).toMatchObject({ reply: { kind: 'ok' }, change: 'nothing' });
    expect(replyOf(replica.decide(offset(10), seal(12)))).toMatchObject({ kind: 'conflict' });
    expect(replyOf(replica.seal(ballot(3), offset(10), seal(12)))).toMatchObject({ kind: 'refused', reason: 'sealed' });
    expect(replyOf(appended(replica, 1, 11))).toMatchObject({ reason: 'sealed' });
    expect(replyOf(replica.fence(descriptor(1), ballot(9), offset(10)))).toMatchObject({ decided: { end: 11 } });
  });

  test('who may read how far', () => {
    const replica = fresh();
    for (const at of [10, 11, 12]) appended(replica, 1, at, { acked: 11 });
    expect(replica.readableEnd(ballot(1))).toBe(13);
    expect(replica.readableEnd(ballot(2))).toBe(11);
    expect(replica.readableEnd(null)).toBe(11);
    replica.decide(offset(10), seal(12));
    expect(replica.readableEnd(null)).toBe(12);
    // A replica that lags behind what was decided has nothing to give there.
    const behind = fresh();
    appended(behind, 1, 10);
    behind.decide(offset(10), seal(20));
    expect(behind.readableEnd(null)).toBe(11);
  });

  test('restore fills up to the decided end, and no further', () => {
    const replica = fresh();
    const value = seal(13);
    replica.decide(offset(10), value);
    const request = (at: number, span: number) => ({
      kind: 'restore' as const,
      descriptor: descriptor(1),
      first: offset(10),
      decided: value,
      offset: offset(at),
      span,
      bytes: Buffer.alloc(0),
    });
    expect(replyOf(replica.restore(request(11, 1)))).toEqual({ kind: 'refused', reason: 'gap', end: 10 });
    expect(replyOf(replica.restore(request(10, 4)))).toMatchObject({ kind: 'refused', reason: 'invalid' });
    expect(replica.restore(request(10, 2))).toMatchObject({ reply: { kind: 'appended', end: 12 }, change: 'entry' });
    replica.appended(offset(10), offset(10), 2, offset(10));
    expect(replica.restore(request(10, 2))).toEqual({ kind: 'compare' });
    expect(replyOf(replica.restore(request(12, 0)))).toEqual({ kind: 'appended', end: 12 });
  });

  test('in doubt it gives no vote and takes nothing, until a decided seal says how it ended', () => {
    const replica = fresh();
    appended(replica, 1, 10);
    replica.inDoubt = true;
    for (const outcome of [
      replica.create(descriptor(1), ballot(2)),
      replica.append(append(1, 11)),
      replica.fence(descriptor(1), ballot(2), offset(10)),
      replica.seal(ballot(1), offset(10), seal(11)),
    ])
      expect(outcome).toMatchObject({ reply: { kind: 'unknown' }, change: 'nothing' });
    expect(replica.promised).toEqual(ballot(1));
    expect(replyOf(replica.decide(offset(10), seal(11)))).toEqual({ kind: 'ok' });
    expect(replyOf(replica.fence(descriptor(1), ballot(2), offset(10)))).toMatchObject({ kind: 'fenced', decided: { end: 11 } });
  });
});

/** The rules of chapter 3 in their shortest form: entries are values in a list, ballots and ends are numbers. */
class Model {
  rep: {
    p: number;
    first: number | null;
    log: number[];
    known: number;
    acc: { b: number; end: number; next: number } | null;
    dec: { end: number; next: number } | null;
  } | null = null;
  readonly creator = 2;

  get end(): number {
    return (this.rep?.first ?? 0) + (this.rep?.log.length ?? 0);
  }

  create(b: number): string {
    if (!this.rep) return b < this.creator ? 'stale' : this.#install(b, null);
    if (b < this.rep.p) return 'stale';
    this.rep.p = b;
    return 'ok';
  }

  append(b: number, first: number, at: number, value: number, acked: number): string {
    const { rep } = this;
    if (!rep) return 'refused';
    if (b < rep.p) return 'stale';
    if (b !== rep.p || (rep.acc && rep.acc.b >= b) || rep.dec) return 'refused';
    rep.first ??= first;
    if (at < this.end) return rep.log[at - rep.first] === value ? 'appended' : 'conflict';
    if (at > this.end) return 'refused';
    rep.log.push(value);
    rep.known = Math.max(rep.known, Math.min(acked, this.end));
    return 'appended';
  }

  fence(b: number, first: number): string {
    if (!this.rep) return b < this.creator ? 'stale' : this.#install(b, first) && 'fenced';
    if (b < this.rep.p) return 'stale';
    this.rep.p = b;
    this.rep.first ??= first;
    return 'fenced';
  }

  seal(b: number, first: number, end: number, next: number): string {
    const { rep } = this;
    if (!rep) return 'refused';
    if (b < rep.p) return 'stale';
    if (rep.dec && (rep.dec.end !== end || rep.dec.next !== next)) return 'refused';
    if (rep.known > end) return 'conflict';
    if (rep.acc?.b === b) return rep.acc.end === end && rep.acc.next === next ? 'ok' : 'conflict';
    rep.p = b;
    rep.first ??= first;
    rep.acc = { b, end, next };
    this.#cut(end);
    return 'ok';
  }

  decided(first: number, end: number, next: number): string {
    const { rep } = this;
    if (!rep) return 'refused';
    if (rep.dec) return rep.dec.end === end && rep.dec.next === next ? 'ok' : 'conflict';
    if (rep.known > end) return 'conflict';
    rep.dec = { end, next };
    rep.first ??= first;
    this.#cut(end);
    return 'ok';
  }

  #install(b: number, first: number | null): string {
    this.rep = { p: b, first, log: [], known: 0, acc: null, dec: null };
    return 'ok';
  }

  #cut(end: number): void {
    const { rep } = this;
    if (rep && this.end > end) rep.log.length = Math.max(0, end - (rep.first ?? 0));
  }
}

test('over random requests it answers and becomes what the rules say', () => {
  const first = 10;
  const seen = new Set<string>();
  for (let seed = 1; seed <= 3000; seed++) {
    const random = simRandom(seed);
    const model = new Model();
    let replica: Replica | null = null;
    const log: number[] = [];
    const creator = descriptor(1, 2);
    for (let n = 0; n < 40; n++) {
      const b = 1 + random.integer(5);
      const end = first + random.integer(6);
      const next = 2 + random.integer(2);
      const kind = random.pick(['create', 'append', 'append', 'append', 'append', 'fence', 'seal', 'decided'] as const);
      let expected: string;
      let outcome: Outcome | undefined;
      if (kind === 'create') {
        expected = model.create(b);
        outcome = replica ? replica.create(creator, ballot(b)) : refuseInstall(creator, ballot(b));
        if (!outcome) replica = Replica.installed(creator, ballot(b), null);
      } else if (kind === 'fence') {
        expected = model.fence(b, first);
        outcome = replica ? replica.fence(creator, ballot(b), offset(first)) : refuseInstall(creator, ballot(b));
        if (!outcome) replica = Replica.installed(creator, ballot(b), offset(first));
      } else if (kind === 'append') {
        const at = replica?.end !== undefined && random.chance(0.7) ? (replica?.end ?? first) : first + random.integer(8);
        const value = at * 10 + (random.chance(0.1) ? 1 : 0);
        const acked = Math.max(first, at - random.integer(3));
        expected = model.append(b, first, at, value, acked);
        outcome = replica?.append(append(b, at, { first, acked }));
        if (replica && outcome?.kind === 'answer' && outcome.change === 'entry') {
          replica.appended(offset(first), offset(at), 1, offset(acked));
          log.length = at - first;
          log.push(value);
        }
        if (outcome?.kind === 'compare') {
          expect(expected).toBe(log[at - first] === value ? 'appended' : 'conflict');
          seen.add(`compare ${expected}`);
          continue;
        }
      } else if (kind === 'seal') {
        expected = model.seal(b, first, end, next);
        outcome = replica?.seal(ballot(b), offset(first), { end: offset(end), next: descriptor(next) });
      } else {
        expected = model.decided(first, end, next);
        outcome = replica?.decide(offset(first), { end: offset(end), next: descriptor(next) });
      }
      const given = outcome ? replyOf(outcome).kind : replica && (kind === 'create' || kind === 'fence') ? expected : 'refused';
      expect(given, `seed ${seed}, step ${n}: ${kind} at ballot ${b}`).toBe(expected);
      seen.add(`${kind} ${given}`);
      if (!replica || !model.rep) {
        expect(model.rep).toBeNull();
        continue;
      }
      expect(replica.promised.epoch).toBe(model.rep.p);
      if (model.rep.first !== null && replica.first !== null) expect(replica.end).toBe(model.end);
      expect(replica.state().accepted?.ballot.epoch ?? null).toBe(model.rep.acc?.b ?? null);
      expect(replica.decided?.end ?? null).toBe(model.rep.dec?.end ?? null);
    }
  }
  // Every answer that the rules know must have come up, or the test proves less than it says.
  for (const met of [
    'create stale',
    'append appended',
    'append stale',
    'append refused',
    'compare appended',
    'compare conflict',
    'fence fenced',
    'seal ok',
    'seal conflict',
    'seal refused',
    'decided ok',
    'decided conflict',
  ])
    expect(seen).toContain(met);
});
