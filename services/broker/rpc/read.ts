// The Read call: a partition's entries from a position on, without a cursor, as far as the client takes them. Ends at what was the end when
// it began, or follows. A client that stops reading stops the reading of the log.

import type { ServerWritableStream } from '@grpc/grpc-js';
import { serviceError } from '#lib/rpc/status.ts';
import type { Offset } from '#lib/types/brands.ts';
import { type Failure, isFailure } from '#lib/types/errors.ts';
import { entryBaseOffset, entryCount } from '#lib/wire/entry.ts';
import type { DeliveryFrame, ReadRequestFrame } from '#lib/wire/frames.ts';
import { decodeReadRequest, deliveryBytes, encodeReadResponse } from '#lib/wire/messaging-codec.ts';
import { infoCount } from './batch-info.ts';
import { type Appetite, responseLimit, toDeliveries } from './deliveries.ts';
import type { Edge, LongCall, PartitionLease, TopicView } from './edge.ts';
import { noSuchPartition } from './publish.ts';
import { StreamWriter } from './stream-writer.ts';

export function serveRead(edge: Edge, call: ServerWritableStream<Buffer, Buffer>): void {
  edge.metrics.readStreams += 1;
  const read = new ReadStream(edge, call);
  read
    .run()
    .then(failure => read.end(failure))
    .catch(error => {
      edge.logger.error('a Read call failed', { error: String(error) });
      read.end({ kind: 'failure', code: 'internal', message: 'reading failed', stored: 'no', detail: {}, retryAfterMs: 0 });
    })
    .finally(() => {
      edge.metrics.readStreams -= 1;
    });
}

class ReadStream implements LongCall {
  readonly #edge: Edge;
  readonly #call: ServerWritableStream<Buffer, Buffer>;
  readonly #writer: StreamWriter;
  #over: Failure | 'cancelled' | null = null;
  #wake: (() => void) | null = null;
  #cancelWait: (() => void) | null = null;

  constructor(edge: Edge, call: ServerWritableStream<Buffer, Buffer>) {
    this.#edge = edge;
    this.#call = call;
    edge.streams.add(this);
    this.#writer = new StreamWriter(call, edge.outboxPool, edge.limits.streamOutboxBytesMax, () => this.#wakeUp());
    call.on('cancelled', () => this.#stop('cancelled'));
    call.on('error', () => this.#stop('cancelled'));
  }

  async run(): Promise<Failure | null> {
    const request = decodeReadRequest(this.#call.request);
    if (isFailure(request)) return request;
    const topic = await this.#edge.findTopic(request.topic, request.topicId);
    if (isFailure(topic)) return topic;
    if (request.partition >= topic.partitions) return noSuchPartition('partition', request.partition, topic);
    const lease = await this.#edge.leasePartition(topic, request.partition, reason => this.#stop(reason));
    if (isFailure(lease)) return lease;
    try {
      return await this.#read(request, topic, lease);
    } finally {
      this.#cancelWait?.();
      lease.release();
    }
  }

  stop(reason: Failure): void {
    this.#stop(reason);
  }

  end(failure: Failure | null): void {
    this.#edge.streams.delete(this);
    this.#writer.close();
    if (this.#over === 'cancelled') return;
    if (failure) this.#call.emit('error', serviceError(failure));
    else this.#call.end();
  }

  async #read(request: ReadRequestFrame, topic: TopicView, lease: PartitionLease): Promise<Failure | null> {
    const { partition } = lease;
    const appetite: Appetite = { handle: 0, responseBytesMax: responseLimit(request.responseBytesMax), codecs: request.codecs };
    const start = await partition.resolve(request.start);
    if (isFailure(start)) return start;
    const endWhenBegun = partition.status().endOffset;
    const packBytes = Math.min(this.#edge.limits.responsePackBytes, appetite.responseBytesMax);
    let at: Offset = start;
    let told = -1;
    let left = request.messagesMax === 0 ? Number.POSITIVE_INFINITY : request.messagesMax;
    while (left > 0 && this.#over === null && (request.follow || at < endWhenBegun)) {
      if (this.#writer.isFull()) {
        await this.#sleep();
        continue;
      }
      const found = await partition.read(at, packBytes);
      if (isFailure(found)) {
        // Trimmed meanwhile: what is below the start means the start.
        const { startOffset } = partition.status();
        if (found.code !== 'invalid_argument' || startOffset <= at) return found;
        at = startOffset;
        continue;
      }
      const last = at;
      const response: DeliveryFrame[] = [];
      for (const entry of found.entries) {
        if (left === 0) break;
        const made = await toDeliveries(entry, this.#ranges(entry, last, left), 0, 0, appetite);
        if (isFailure(made)) return made;
        for (const delivery of made) {
          left -= meant(delivery);
          response.push(delivery);
        }
      }
      at = found.next;
      this.#send(response, topic, lease, at, appetite, packBytes);
      if (response.length > 0) told = at;
      else if (at === last) {
        if (!request.follow) break;
        await this.#sleepUntilReadable(lease, at);
      }
    }
    if (this.#over !== null) return this.#over === 'cancelled' ? null : this.#over;
    if (told < 0) this.#write([], topic, lease, at);
    return null;
  }

  /** From `at` on and no more than `left` messages; [] means the whole entry. */
  #ranges(entry: Buffer, at: number, left: number): readonly (readonly [number, number])[] {
    const count = entryCount(entry);
    const first = Math.max(0, at - entryBaseOffset(entry));
    const taken = Math.min(count - first, left);
    return first === 0 && taken === count ? [] : [[first, taken]];
  }

  /** As few responses as fit; only the last one says where reading goes on behind what is no message. */
  #send(all: readonly DeliveryFrame[], topic: TopicView, lease: PartitionLease, next: Offset, appetite: Appetite, packBytes: number): void {
    let from = 0;
    let bytes = 0;
    const limit = Math.min(packBytes, appetite.responseBytesMax - RESPONSE_RESERVE_BYTES);
    for (let i = 0; i < all.length; i++) {
      const delivery = all[i];
      if (!delivery) break;
      const size = deliveryBytes(delivery);
      if (i > from && bytes + size > limit) {
        this.#write(all.slice(from, i), topic, lease, delivery.baseOffset);
        from = i;
        bytes = 0;
      }
      bytes += size;
    }
    if (from < all.length) this.#write(all.slice(from), topic, lease, next);
  }

  #write(deliveries: readonly DeliveryFrame[], topic: TopicView, lease: PartitionLease, nextOffset: number): void {
    if (this.#over !== null) return;
    for (const delivery of deliveries) {
      this.#edge.metrics.deliveredEntries += 1;
      this.#edge.metrics.deliveredBytes += delivery.batchView.length;
    }
    this.#edge.metrics.responses += 1;
    const endOffset = lease.partition.status().endOffset;
    this.#writer.write(encodeReadResponse({ deliveries, nextOffset, endOffset, topicId: topic.id }));
  }

  #sleep(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve;
    });
  }

  async #sleepUntilReadable(lease: PartitionLease, at: Offset): Promise<void> {
    const awake = this.#sleep();
    this.#cancelWait = lease.partition.whenReadable(at, () => this.#wakeUp());
    await awake;
    this.#cancelWait();
    this.#cancelWait = null;
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }

  #stop(reason: Failure | 'cancelled'): void {
    this.#over ??= reason;
    this.#wakeUp();
  }
}

const RESPONSE_RESERVE_BYTES = 4096;

/** How many messages of a delivery are meant. */
function meant(delivery: DeliveryFrame): number {
  if (delivery.ranges.length === 0) return infoCount(delivery.infoView);
  let count = 0;
  for (const [, length] of delivery.ranges) count += length;
  return count;
}
