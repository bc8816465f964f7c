// For tests of the cores: bookies that answer only what the test says, and small ledgers and entries.

import type { Ballot } from '#lib/types/ballot.ts';
import { type BookieId, bookieId, type LedgerId, ledgerId, offset, partitionId, topicId } from '#lib/types/brands.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import { encodeEntry } from '#lib/wire/entry.ts';
import type { BookieReply, BookieRequest, BookieTransport, LedgerDescriptor } from '../protocol.ts';

export const TOPIC = topicId('01890000-0000-7000-8000-00000000000a');
export const PARTITION = partitionId(TOPIC, 0);
/** Bookies 1 to 5. */
export const BOOKIES: readonly BookieId[] = [1, 2, 3, 4, 5].map(n => bookieId(n.toString().padStart(32, '0')));
export const ballot = (epoch: number): Ballot => ({ epoch, incarnation: '00000000000000ab' });
export const ledgerNumber = (n: number): LedgerId => ledgerId(`01890000-0000-7000-8000-${n.toString().padStart(12, '0')}`);

export function descriptor(n: number, replicas: number, ackQuorum: number, epoch = 1): LedgerDescriptor {
  return {
    ledger: ledgerNumber(n),
    partition: PARTITION,
    topic: TOPIC,
    prev: n === 1 ? null : ledgerNumber(n - 1),
    ensemble: BOOKIES.slice(0, replicas),
    ackQuorum,
    creator: ballot(epoch),
  };
}

export function entry(base: number, text = `@${base}`): Buffer {
  const payload = Buffer.from(text);
  const header = { kind: 'batch', baseOffset: base, count: 1, cumulativeCount: base, appendTimeMs: base, checkpointOffset: -1 } as const;
  return encodeEntry(header, [], payload, crc32c(payload));
}

export const appended = (end: number): BookieReply => ({ kind: 'appended', end: offset(end) });
export const fenced = (end: number, ackedEnd = 0): BookieReply & { kind: 'fenced' } => ({
  kind: 'fenced',
  end: offset(end),
  ackedEnd: offset(ackedEnd),
  accepted: null,
  decided: null,
});
export const UNREACHABLE: BookieReply = { kind: 'unreachable' };
export const OK: BookieReply = { kind: 'ok' };

interface Sent {
  readonly to: BookieId;
  readonly request: BookieRequest;
  readonly onReply: (reply: BookieReply) => void;
}

export class ScriptedTransport implements BookieTransport {
  /** Sent and not answered, oldest first. */
  open: Sent[] = [];
  registered: { id: BookieId; alive: boolean; full: boolean }[];

  constructor(bookies = 3) {
    this.registered = BOOKIES.slice(0, bookies).map(id => ({ id, alive: true, full: false }));
  }

  send(to: BookieId, request: BookieRequest, onReply: (reply: BookieReply) => void): void {
    this.open.push({ to, request, onReply });
  }
  bookies(): readonly { id: BookieId; alive: boolean; full: boolean }[] {
    return this.registered;
  }

  /** `kind@bookie` of everything that waits for an answer; appends with their offset. */
  waiting(): string[] {
    return this.open.map(({ to, request }) => {
      const what = request.kind === 'append' ? `append ${request.offset}${request.span === 0 ? ' empty' : ''}` : request.kind;
      return `${what}@${BOOKIES.indexOf(to) + 1}`;
    });
  }

  /** Answers the oldest request of this kind to bookie `n`, and returns it. */
  answer<K extends BookieRequest['kind']>(n: number, kind: K, reply: BookieReply): BookieRequest & { kind: K } {
    const at = this.open.findIndex(sent => sent.to === BOOKIES[n - 1] && sent.request.kind === kind);
    const [sent] = at < 0 ? [] : this.open.splice(at, 1);
    if (!sent) throw new Error(`no ${kind} waits at bookie ${n}: ${this.waiting().join(', ')}`);
    sent.onReply(reply);
    return sent.request as BookieRequest & { kind: K };
  }

  /** The oldest open request of this kind to bookie `n`. */
  peek<K extends BookieRequest['kind']>(n: number, kind: K): BookieRequest & { kind: K } {
    const sent = this.open.find(found => found.to === BOOKIES[n - 1] && found.request.kind === kind);
    if (!sent) throw new Error(`no ${kind} waits at bookie ${n}: ${this.waiting().join(', ')}`);
    return sent.request as BookieRequest & { kind: K };
  }
}
