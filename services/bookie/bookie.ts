// A bookie: takes the requests of lib/ledger/protocol.ts, runs them through the replicas' state machines, journals what changes, and
// answers when that is durable. See README.md for the picture.
//
// What it guarantees: an answer that says something of the state goes out only when the journal has that state; entries that were answered
// `appended` are served, byte for byte, after any crash; what cannot be served is said to be corrupt or unknown, never to be absent.

import type { BookieReply, BookieRequest } from '#lib/ledger/protocol.ts';
import { unreachable } from '#lib/types/assert.ts';
import type { BookieId } from '#lib/types/brands.ts';
import { type Answer, type BookieParts, BUSY_QUEUE, Desk, OK } from './desk.ts';
import { writeIdentity } from './identity.ts';
import type { HeldLedger } from './replica/core/ledgers.ts';
import type { OnReply } from './replies.ts';
import { append } from './requests/append.ts';
import { deleteLedger, raiseFloor } from './requests/delete.ts';
import { inspect, list, locate, read } from './requests/read.ts';
import { restore } from './requests/restore.ts';
import { create, end, fence } from './requests/vote.ts';
import { type DamagedRange, verifySlice } from './scrub.ts';

export interface BookieUsage {
  readonly ledgers: number;
  readonly tombstones: number;
  /** Ledgers that give no vote, because a damage may have cost some of them. */
  readonly doubtfulLedgers: number;
  readonly segments: number;
  readonly segmentBytes: number;
  readonly cacheBytes: number;
  readonly journalBytes: number;
  readonly journalLiveBytes: number;
  readonly freeBytes: number;
  readonly isSpaceFull: boolean;
  readonly waitingReplies: number;
  readonly appendedEntries: number;
  readonly appendedBytes: number;
  readonly flushes: number;
  readonly flushedBytes: number;
  readonly damagedReads: number;
  readonly damagedRanges: number;
  readonly scrubbedBytes: number;
  readonly conflicts: number;
}

export class Bookie {
  readonly #desk: Desk;
  /** Closes what was opened before the bookie: manifest, lock. */
  readonly #closeRest: () => Promise<void>;

  constructor(parts: BookieParts, closeRest: () => Promise<void>) {
    this.#desk = new Desk(parts);
    this.#closeRest = closeRest;
  }

  get id(): BookieId {
    return this.#desk.parts.identity.id;
  }
  get clusterId(): string {
    return this.#desk.parts.identity.clusterId;
  }

  /** Every id under which requests may come: its own, and those from before a damage. */
  answersTo(id: BookieId): boolean {
    const { identity } = this.#desk.parts;
    return id === identity.id || identity.former.some(former => former.id === id);
  }

  isSpaceFull(): boolean {
    return this.#desk.isSpaceFull();
  }

  /** Bytes in the request are given away. `onReply` is called once, in a later turn. The payload's checksum must have been checked. */
  handle(request: BookieRequest, onReply: OnReply): void {
    const answer = this.#desk.isClosing || this.#desk.replies.isFull ? BUSY_QUEUE : this.#answer(request, onReply);
    if (answer) this.#desk.give(answer, onReply);
  }

  /** For whoever stands between a sender and the bookie. */
  replySoon(reply: BookieReply, onReply: OnReply): void {
    this.#desk.replies.soon(reply, onReply);
  }

  usage(): BookieUsage {
    const { ledgers, cache, segments, journal, space, reads, keeper, scrubber } = this.#desk.parts;
    let segmentBytes = 0;
    for (const { fileBytes } of segments.all()) segmentBytes += fileBytes;
    const { bytes, liveBytes } = journal.usage();
    return {
      ledgers: ledgers.count,
      tombstones: ledgers.tombstoneCount,
      doubtfulLedgers: this.doubtful().length,
      segments: segments.count,
      segmentBytes,
      cacheBytes: cache.cost,
      journalBytes: bytes,
      journalLiveBytes: liveBytes,
      freeBytes: space.freeBytes,
      isSpaceFull: this.isSpaceFull(),
      waitingReplies: this.#desk.replies.waiting,
      appendedEntries: this.#desk.appendedEntries,
      appendedBytes: this.#desk.appendedBytes,
      flushes: keeper.flushes,
      flushedBytes: keeper.flushedBytes,
      damagedReads: reads.damaged,
      damagedRanges: scrubber.damagedCount,
      scrubbedBytes: scrubber.bytes,
      conflicts: this.#desk.conflicts,
    };
  }

  /** Ids from before a damage whose loss nobody has accepted. */
  doubtfulIds(): readonly BookieId[] {
    return this.#desk.parts.identity.former.filter(({ accepted }) => !accepted).map(({ id }) => id);
  }

  /** Undecided ledgers that give no vote. */
  doubtful(): readonly HeldLedger[] {
    const found: HeldLedger[] = [];
    if (this.doubtfulIds().length === 0) return found;
    for (const ledger of this.#desk.ledgers.held()) if (ledger.replica.inDoubt && !ledger.replica.decided) found.push(ledger);
    return found;
  }

  /** Puts all that is in memory into segments. */
  async flush(): Promise<void> {
    await this.#desk.parts.keeper.flush();
  }

  /** Reads everything that is in segments, as fast as it goes; what is damaged. */
  async verify(): Promise<readonly DamagedRange[]> {
    const { ledgers, segments } = this.#desk.parts;
    const found: DamagedRange[] = [];
    for (const ledger of [...ledgers.held()])
      for (const slice of ledger.slices) found.push(...(await verifySlice(segments, ledger, slice, async () => true)));
    return found;
  }

  /** The ledgers in doubt count again, with what is left of them. Their ids do when the bookie is opened the next time. */
  async acceptLoss(): Promise<void> {
    const { world, identity, folder } = this.#desk.parts;
    const doubtful = this.doubtful();
    for (const ledger of doubtful) {
      while (this.#desk.refuseChange()) await this.flush();
      ledger.replica.acceptLoss();
      await new Promise<void>(resolve => this.#desk.give(this.#desk.recordState(ledger, OK), () => resolve()));
    }
    const former = identity.former.map(({ id }) => ({ id, accepted: true }));
    await writeIdentity(world.disk, folder, { ...identity, former });
    world.logger.warn('the loss of data was accepted', { ledgers: doubtful.length, ids: former.map(({ id }) => id) });
  }

  /** Takes no more requests, answers those under way, flushes, and closes its files. A second call does nothing. */
  async close(): Promise<void> {
    if (this.#desk.isClosing) return;
    this.#desk.isClosing = true;
    const { keeper, space, segments, journal, reads, scrubber } = this.#desk.parts;
    space.close();
    await scrubber.stop();
    await new Promise<void>(resolve => journal.whenDurable(resolve));
    await reads.drained();
    await keeper.close();
    await journal.close();
    await segments.close();
    await this.#closeRest();
  }

  #answer(request: BookieRequest, onReply: OnReply): Answer | null {
    const desk = this.#desk;
    switch (request.kind) {
      case 'append':
        return append(desk, request, onReply);
      case 'read':
        return read(desk, request, onReply);
      case 'locate':
        return locate(desk, request, onReply);
      case 'inspect':
        return inspect(desk, request);
      case 'list':
        return list(desk, request);
      case 'create':
        return desk.refuseChange() ?? create(desk, request);
      case 'fence':
        return desk.refuseChange() ?? fence(desk, request);
      case 'seal':
      case 'decided':
        return desk.refuseChange() ?? end(desk, request);
      case 'restore':
        return desk.refuseChange() ?? restore(desk, request, onReply);
      case 'delete':
        return desk.refuseChange() ?? deleteLedger(desk, request);
      case 'floor':
        return desk.refuseChange() ?? raiseFloor(desk, request);
      default:
        return unreachable(request);
    }
  }
}
