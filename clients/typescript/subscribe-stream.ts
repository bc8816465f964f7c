// The `Subscribe` stream to one server, shared by all consumers of a client: what a turn of the loop brought of credit, acknowledgements
// and seeks goes out together. A receiver is one partition of one consumer; its place on the stream is its handle, fresh for every attach.

import { failureOfFrame } from '#lib/rpc/status.ts';
import { type Failure, isFailure } from '#lib/types/errors.ts';
import type {
  AcknowledgeFrame,
  AttachConsumerFrame,
  AttachedFrame,
  CreditFrame,
  DeliveryFrame,
  HelloFrame,
  MovedFrame,
  SeekFrame,
} from '#lib/wire/frames.ts';
import { decodeSubscribeResponse, encodeSubscribeRequest } from '#lib/wire/messaging-codec.ts';
import type { Channels } from './channels.ts';
import { Link, type LinkHandler } from './link.ts';
import type { ClientWorld } from './world.ts';

/** What a receiver has to say at the end of a turn; without its handle. */
export interface Outgoing {
  readonly credit: Omit<CreditFrame, 'handle'> | null;
  readonly acknowledge: readonly Omit<AcknowledgeFrame, 'handle'>[];
  readonly seek: readonly Omit<SeekFrame, 'handle'>[];
}

export interface Receiver {
  attachFrame(handle: number): AttachConsumerFrame;
  onAttached(frame: AttachedFrame): void;
  onDelivery(frame: DeliveryFrame): void;
  onAcknowledged(requestId: number, error: Failure | null): void;
  onSought(requestId: number, result: { readonly resetEpoch: number; readonly markDelete: number } | Failure): void;
  /** The server detached it, or refused to attach it; `failure` null: as asked. */
  onDetached(failure: Failure | null, moved: MovedFrame | null): void;
  /** The stream is lost; it will be attached again by itself on the next one. */
  onLost(failure: Failure): void;
  /** Only asked while it is attached. */
  takeOutgoing(): Outgoing;
}

export class SubscribeStream implements LinkHandler {
  readonly #world: ClientWorld;
  readonly #hello: HelloFrame;
  readonly #link: Link;
  readonly #receivers = new Set<Receiver>();
  readonly #byHandle = new Map<number, Receiver>();
  readonly #handles = new Map<Receiver, number>();
  /** Receivers that asked to leave, by the handle whose end they wait for. */
  readonly #leaving = new Map<number, () => void>();
  #nextHandle = 1;
  #toAttach: Receiver[] = [];
  #toDetach: number[] = [];
  readonly #dirty = new Set<Receiver>();
  #scheduled = false;

  constructor(channels: Channels, address: string | null, hello: HelloFrame) {
    this.#world = channels.world;
    this.#hello = hello;
    this.#link = new Link(channels, 'Subscribe', address, this);
  }

  attach(receiver: Receiver): void {
    this.#forgetHandle(receiver);
    this.#receivers.add(receiver);
    if (this.#link.isUp) {
      this.#toAttach.push(receiver);
      this.#schedule();
    } else this.#link.start();
  }

  /** The receiver leaves, after what it still has to say; `onGone` when the server has heard it, or cannot. */
  remove(receiver: Receiver, onGone: () => void): void {
    const handle = this.#handles.get(receiver);
    if (handle !== undefined && this.#link.isUp) this.#flush();
    this.#receivers.delete(receiver);
    this.#dirty.delete(receiver);
    this.#toAttach = this.#toAttach.filter(other => other !== receiver);
    this.#forgetHandle(receiver);
    if (handle === undefined || !this.#link.isUp) {
      onGone();
      return;
    }
    this.#leaving.set(handle, onGone);
    this.#toDetach.push(handle);
    this.#schedule();
  }

  /** It has something to say at the end of this turn. */
  markDirty(receiver: Receiver): void {
    this.#dirty.add(receiver);
    if (!this.#scheduled) this.#schedule();
  }

  close(): Promise<void> {
    this.#flush();
    return this.#link.close();
  }

  // ---- the link ----

  isNeeded(): boolean {
    return this.#receivers.size > 0;
  }

  onStart(): void {
    this.#toDetach = [];
    this.#toAttach = [...this.#receivers];
    this.#write({ hello: this.#hello, attach: this.#takeAttaches() });
  }

  onRoom(): void {
    this.#schedule();
  }

  onLost(failure: Failure): void {
    this.#byHandle.clear();
    this.#handles.clear();
    this.#dirty.clear();
    for (const gone of this.#leaving.values()) gone();
    this.#leaving.clear();
    for (const receiver of [...this.#receivers]) receiver.onLost(failure);
  }

  onMessage(message: Buffer): Failure | undefined {
    const response = decodeSubscribeResponse(message);
    if (isFailure(response)) return response;
    for (const frame of response.attached) this.#byHandle.get(frame.handle)?.onAttached(frame);
    for (const { handle, requestId, error } of response.acknowledged)
      this.#byHandle.get(handle)?.onAcknowledged(requestId, error && failureOfFrame(error));
    for (const frame of response.sought)
      this.#byHandle.get(frame.handle)?.onSought(frame.requestId, frame.error ? failureOfFrame(frame.error) : frame);
    for (const frame of response.deliveries) this.#byHandle.get(frame.handle)?.onDelivery(frame);
    for (const { handle, error, moved } of response.detached) {
      this.#leaving.get(handle)?.();
      this.#leaving.delete(handle);
      const receiver = this.#byHandle.get(handle);
      if (!receiver) continue;
      this.#forgetHandle(receiver);
      receiver.onDetached(error && failureOfFrame(error), moved);
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
    if (!this.#link.isUp || this.#link.isFull) return;
    const credit: CreditFrame[] = [];
    const acknowledge: AcknowledgeFrame[] = [];
    const seek: SeekFrame[] = [];
    for (const receiver of this.#dirty) {
      const handle = this.#handles.get(receiver);
      if (handle === undefined) continue;
      const out = receiver.takeOutgoing();
      if (out.credit) credit.push({ handle, ...out.credit });
      for (const one of out.acknowledge) acknowledge.push({ handle, ...one });
      for (const one of out.seek) seek.push({ handle, ...one });
    }
    this.#dirty.clear();
    const attach = this.#takeAttaches();
    const detach = this.#toDetach;
    this.#toDetach = [];
    if (attach.length + acknowledge.length + seek.length > 0) this.#write({ attach, acknowledge, seek });
    // By itself and later, so that nothing is delivered under it that the frame before acknowledges.
    if (credit.length > 0) this.#write({ credit });
    if (detach.length > 0) this.#write({ detach });
  };

  #write(frame: Partial<Parameters<typeof encodeSubscribeRequest>[0]>): void {
    this.#link.write(encodeSubscribeRequest({ hello: null, attach: [], credit: [], acknowledge: [], seek: [], detach: [], ...frame }));
  }

  #takeAttaches(): AttachConsumerFrame[] {
    const frames: AttachConsumerFrame[] = [];
    for (const receiver of this.#toAttach) {
      const handle = this.#nextHandle++;
      this.#byHandle.set(handle, receiver);
      this.#handles.set(receiver, handle);
      frames.push(receiver.attachFrame(handle));
    }
    this.#toAttach = [];
    return frames;
  }

  #forgetHandle(receiver: Receiver): void {
    const handle = this.#handles.get(receiver);
    if (handle === undefined) return;
    this.#handles.delete(receiver);
    this.#byHandle.delete(handle);
  }
}
