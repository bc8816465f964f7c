// The `Publish` stream to one server, shared by all producers of a client: what a turn of the loop brought of all their partitions goes
// out in one gRPC message, or in a few when it is much. A sender is one partition of one producer; its place on the stream is its handle,
// a fresh one for every opening, so that late answers to an older one mean nothing.

import { failureOfFrame } from '#lib/rpc/status.ts';
import { type Failure, isFailure } from '#lib/types/errors.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import type { HelloFrame, MovedFrame, OpenProducerFrame, ProducerOpenedFrame, PublishBatchFrame, StoredRange } from '#lib/wire/frames.ts';
import { decodePublishResponse, encodePublishRequest } from '#lib/wire/messaging-codec.ts';
import type { Channels } from './channels.ts';
import type { Lane } from './core/lane.ts';
import type { PendingBatch } from './core/pending-batch.ts';
import { Link, type LinkHandler } from './link.ts';
import type { ClientTimer, ClientWorld } from './world.ts';

/** One partition of one producer, as the stream sees it. */
export interface Sender {
  readonly lane: Lane;
  readonly ackNone: boolean;
  openFrame(handle: number): OpenProducerFrame;
  onOpened(frame: ProducerOpenedFrame): void;
  /** The server closed it, or refused to open it; `failure` null: as asked. */
  onClosed(failure: Failure | null, moved: MovedFrame | null): void;
  onStored(sequence: number, range: StoredRange): void;
  onRefused(sequence: number, failure: Failure): void;
  /** The stream is lost; it will be opened again by itself on the next one. */
  onLost(failure: Failure): void;
  /** Answers have been handled, or batches taken: hand out what is settled. */
  afterTurn(): void;
}

/** A gRPC message with batches has about so many bytes when there is more to send. */
const MESSAGE_BYTES = 1024 * 1024;

export class PublishStream implements LinkHandler {
  readonly #world: ClientWorld;
  readonly #hello: HelloFrame;
  readonly #link: Link;
  readonly #senders = new Set<Sender>();
  readonly #byHandle = new Map<number, Sender>();
  readonly #handles = new Map<Sender, number>();
  #nextHandle = 1;
  #toOpen: Sender[] = [];
  #toClose: number[] = [];
  /** Senders that may have something to send, each once. */
  #dirty = new Set<Sender>();
  readonly #waking = new Set<Sender>();
  #wakeTimer: ClientTimer | null = null;
  #scheduled = false;

  constructor(channels: Channels, address: string | null, hello: HelloFrame) {
    this.#world = channels.world;
    this.#hello = hello;
    this.#link = new Link(channels, 'Publish', address, this);
  }

  /** Opens the sender's place, now or when the stream is there; answers go to it. */
  open(sender: Sender): void {
    this.#forgetHandle(sender);
    this.#senders.add(sender);
    if (this.#link.isUp) {
      this.#toOpen.push(sender);
      this.#schedule();
    } else this.#link.start();
  }

  /** The sender leaves this stream; the server is told if it has an open place. */
  remove(sender: Sender): void {
    const handle = this.#handles.get(sender);
    this.#senders.delete(sender);
    this.#dirty.delete(sender);
    this.#waking.delete(sender);
    this.#toOpen = this.#toOpen.filter(other => other !== sender);
    if (handle === undefined) return;
    this.#forgetHandle(sender);
    this.#toClose.push(handle);
    this.#schedule();
  }

  /** There may be something to send; it goes out at the end of this turn. */
  markDirty(sender: Sender): void {
    this.#dirty.add(sender);
    if (!this.#scheduled) this.#schedule();
  }

  close(): Promise<void> {
    this.#wakeTimer?.cancel();
    this.#flush();
    return this.#link.close();
  }

  // ---- the link ----

  isNeeded(): boolean {
    return this.#senders.size > 0;
  }

  onStart(): void {
    this.#toClose = [];
    this.#toOpen = [...this.#senders];
    this.#link.write(encodePublishRequest({ hello: this.#hello, open: this.#takeOpenings(), batches: [], close: [] }));
  }

  onRoom(): void {
    this.#schedule();
  }

  onLost(failure: Failure): void {
    this.#byHandle.clear();
    this.#handles.clear();
    for (const sender of [...this.#senders]) {
      sender.onLost(failure);
      sender.afterTurn();
    }
  }

  onMessage(message: Buffer): Failure | undefined {
    const response = decodePublishResponse(message);
    if (isFailure(response)) return response;
    const touched = new Set<Sender>();
    const find = (handle: number): Sender | undefined => {
      const sender = this.#byHandle.get(handle);
      if (sender) touched.add(sender);
      return sender;
    };
    for (const opened of response.opened) find(opened.handle)?.onOpened(opened);
    let sender: Sender | undefined;
    let handle = 0;
    for (const result of response.results) {
      if (result.handle !== handle || !sender) {
        handle = result.handle;
        sender = find(handle);
      }
      if (!sender) continue;
      if (result.outcome.kind === 'stored') sender.onStored(result.sequence, result.outcome.range);
      else sender.onRefused(result.sequence, failureOfFrame(result.outcome.error));
    }
    for (const closed of response.closed) {
      const gone = find(closed.handle);
      if (!gone) continue;
      this.#forgetHandle(gone);
      gone.onClosed(closed.error && failureOfFrame(closed.error), closed.moved);
    }
    for (const one of touched) {
      one.afterTurn();
      if (this.#senders.has(one)) this.markDirty(one);
    }
    return undefined;
  }

  // ---- sending ----

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#world.endOfTurn(this.#flush);
  }

  readonly #flush = (): void => {
    this.#scheduled = false;
    if (!this.#link.isUp) return;
    const nowMs = this.#world.now();
    const open = this.#takeOpenings();
    const close = this.#toClose;
    this.#toClose = [];
    let batches: PublishBatchFrame[] = [];
    let bytes = 0;
    const settled: Sender[] = [];
    const write = (): void => {
      this.#link.write(encodePublishRequest({ hello: null, open: [], batches, close: [] }));
      batches = [];
      bytes = 0;
    };
    if (open.length + close.length > 0) this.#link.write(encodePublishRequest({ hello: null, open, batches, close }));
    for (const sender of this.#dirty) {
      const handle = this.#handles.get(sender) ?? 0;
      for (;;) {
        if (this.#link.isFull) break;
        const batch = handle === 0 ? null : sender.lane.take(nowMs);
        if (!batch) break;
        batches.push(frameOf(batch, handle, sender.ackNone));
        bytes += batch.batchView.length + batch.info.view.length;
        if (bytes >= MESSAGE_BYTES) write();
      }
      if (this.#link.isFull) {
        if (sender.ackNone) settled.push(sender);
        break;
      }
      this.#dirty.delete(sender);
      if (sender.ackNone) settled.push(sender);
      if (handle !== 0 && sender.lane.wakeAtMs() > 0) this.#waking.add(sender);
    }
    if (batches.length > 0) write();
    // Only now: what is settled gives its buffer back, and that of what was just taken has been read.
    for (const sender of settled) sender.afterTurn();
    if (this.#waking.size > 0) this.#armWake(nowMs);
  };

  #takeOpenings(): OpenProducerFrame[] {
    const frames: OpenProducerFrame[] = [];
    for (const sender of this.#toOpen) {
      const handle = this.#nextHandle++;
      this.#byHandle.set(handle, sender);
      this.#handles.set(sender, handle);
      frames.push(sender.openFrame(handle));
    }
    this.#toOpen = [];
    return frames;
  }

  #forgetHandle(sender: Sender): void {
    const handle = this.#handles.get(sender);
    if (handle === undefined) return;
    this.#handles.delete(sender);
    this.#byHandle.delete(handle);
  }

  #armWake(nowMs: number): void {
    if (this.#wakeTimer) return;
    let atMs = Number.POSITIVE_INFINITY;
    for (const sender of this.#waking) atMs = Math.min(atMs, sender.lane.wakeAtMs());
    this.#wakeTimer = this.#world.after(Math.max(0, atMs - nowMs), () => {
      this.#wakeTimer = null;
      for (const sender of this.#waking) this.#dirty.add(sender);
      this.#waking.clear();
      this.#flush();
    });
  }
}

function frameOf(batch: PendingBatch, handle: number, ackNone: boolean): PublishBatchFrame {
  if (batch.crc < 0) batch.crc = crc32c(batch.batchView);
  return {
    handle,
    sequence: batch.sequence,
    prevSequence: batch.previous,
    info: batch.info,
    crc: batch.crc,
    batchView: batch.batchView,
    ackNone,
  };
}
