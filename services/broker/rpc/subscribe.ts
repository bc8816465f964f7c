// The Subscribe call: one client's consumers over one stream. Entries go into the stream's outbox as their partitions hand them over, and
// out as the client takes them: few large responses, none larger than the client allows. While the outbox is full the partitions hand
// over nothing, so a client that stops reading costs a bounded amount and nobody else waits for it.

import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { ReadGate } from '#lib/rpc/read-gate.ts';
import { errorFrame, serviceError } from '#lib/rpc/status.ts';
import { type Failure, fail, isFailure } from '#lib/types/errors.ts';
import { checkName } from '#lib/types/names.ts';
import type {
  AcknowledgeFrame,
  AcknowledgeResultFrame,
  AttachConsumerFrame,
  AttachedFrame,
  CreditFrame,
  DetachedFrame,
  SeekFrame,
  SeekResultFrame,
  ServerHelloFrame,
} from '#lib/wire/frames.ts';
import { decodeSubscribeRequest, encodeSubscribeResponse } from '#lib/wire/messaging-codec.ts';
import type { ConsumerSession, ConsumerSink } from '../partition/api.ts';
import { type Appetite, responseLimit } from './deliveries.ts';
import { DeliveryQueue } from './delivery-queue.ts';
import type { Edge, LongCall, PartitionLease, TopicView } from './edge.ts';
import { serverHello } from './hello.ts';
import { Intake } from './intake.ts';
import { noSuchPartition } from './publish.ts';
import { StreamWriter } from './stream-writer.ts';

interface Consumer {
  readonly handle: number;
  readonly appetite: Appetite;
  state: { kind: 'attaching'; credit: { messages: number; bytes: number } } | AttachedState | { kind: 'detached' };
}

interface AttachedState {
  readonly kind: 'attached';
  readonly topic: TopicView;
  readonly lease: PartitionLease;
  readonly session: ConsumerSession;
}

export function serveSubscribe(edge: Edge, call: ServerDuplexStream<Buffer, Buffer>, gate: ReadGate): void {
  edge.metrics.subscribeStreams += 1;
  new SubscribeStream(edge, call, gate);
}

class SubscribeStream implements LongCall {
  readonly #edge: Edge;
  readonly #call: ServerDuplexStream<Buffer, Buffer>;
  readonly #intake: Intake;
  readonly #writer: StreamWriter;
  readonly #queue: DeliveryQueue;
  readonly #consumers = new Map<number, Consumer>();
  #client = '';
  #hello: ServerHelloFrame | null = null;
  #attached: AttachedFrame[] = [];
  #acknowledged: AcknowledgeResultFrame[] = [];
  #sought: SeekResultFrame[] = [];
  #detached: DetachedFrame[] = [];
  /** Receipts and seeks without an answer: bounded, because each holds a callback. */
  #pending = 0;
  #flushing = false;
  #ending = false;
  #over = false;

  constructor(edge: Edge, call: ServerDuplexStream<Buffer, Buffer>, gate: ReadGate) {
    this.#edge = edge;
    this.#call = call;
    edge.streams.add(this);
    this.#intake = new Intake(gate, edge.intakePool, { bytesMax: 1, itemsMax: edge.limits.streamRequestsMax });
    this.#writer = new StreamWriter(call, edge.outboxPool, edge.limits.streamOutboxBytesMax, () => this.#schedule());
    this.#queue = new DeliveryQueue(edge.outboxPool, edge.limits.streamOutboxBytesMax, {
      onReady: () => this.#schedule(),
      onRoom: () => this.#resume(),
      onFailed: (handle, failure) => this.#onUndeliverable(handle, failure),
    });
    call.on('data', (message: Buffer) => this.#onRequest(message));
    call.on('end', () => this.#onHalfClosed());
    call.on('cancelled', () => this.#onOver());
    call.on('error', () => this.#onOver());
  }

  // ---- in ----

  #onRequest(message: Buffer): void {
    if (this.#over) return;
    this.#edge.metrics.requests += 1;
    const request = decodeSubscribeRequest(message);
    if (isFailure(request)) {
      this.#fail(request);
      return;
    }
    if (request.hello) {
      this.#hello = serverHello(this.#edge, request.hello);
      this.#client = request.hello.client.slice(0, 200);
    }
    for (const frame of request.attach) if (!this.#attach(frame)) return;
    for (const frame of request.credit) this.#credit(frame);
    for (const frame of request.acknowledge) this.#acknowledge(frame);
    for (const frame of request.seek) this.#seek(frame);
    for (const handle of request.detach) this.#detach(handle);
    if (this.#hasFrames()) this.#schedule();
  }

  /** No more requests: what is attached goes on with the credit that it has. */
  #onHalfClosed(): void {
    this.#ending = true;
    this.#schedule();
  }

  /** False: the protocol is broken and the call over. */
  #attach(frame: AttachConsumerFrame): boolean {
    if (this.#consumers.has(frame.handle)) {
      this.#fail(fail('invalid_argument', `attach.handle ${frame.handle} is attached on this stream already`, { field: 'attach.handle' }));
      return false;
    }
    const problem = this.#attachProblem(frame);
    if (problem) {
      this.#refuse(frame.handle, problem);
      return true;
    }
    const appetite = { handle: frame.handle, responseBytesMax: responseLimit(frame.responseBytesMax), codecs: frame.codecs };
    const consumer: Consumer = { handle: frame.handle, appetite, state: { kind: 'attaching', credit: { messages: 0, bytes: 0 } } };
    this.#consumers.set(frame.handle, consumer);
    const name = frame.consumer === '' ? `consumer-${this.#edge.randomName()}` : frame.consumer;
    this.#attachTo(consumer, frame, name).catch(error => {
      this.#edge.logger.error('attaching a consumer failed', { topic: frame.topic, error: String(error) });
      this.#onDetached(consumer, fail('internal', "attaching failed; the server's log says why"));
    });
    return true;
  }

  #attachProblem(frame: AttachConsumerFrame): Failure | undefined {
    const max = this.#edge.limits.handlesMax;
    if (this.#consumers.size >= max) return fail('overloaded', `a stream has at most ${max} consumers`, {}, 1000);
    return (
      checkName('attach.subscription', frame.subscription) ??
      (frame.consumer === '' ? undefined : checkName('attach.consumer', frame.consumer)) ??
      (frame.type > 1
        ? fail('unsupported', `attach.type: this server has subscriptions of type exclusive only`, { field: 'attach.type' })
        : undefined)
    );
  }

  async #attachTo(consumer: Consumer, frame: AttachConsumerFrame, name: string): Promise<void> {
    const topic = await this.#edge.findTopic(frame.topic, frame.topicId);
    if (isFailure(topic)) {
      this.#onDetached(consumer, topic);
      return;
    }
    if (frame.partition >= topic.partitions) {
      this.#onDetached(consumer, noSuchPartition('attach.partition', frame.partition, topic));
      return;
    }
    const lease = await this.#edge.leasePartition(topic, frame.partition, reason => this.#onDetached(consumer, reason));
    if (isFailure(lease)) {
      this.#onDetached(consumer, lease);
      return;
    }
    const { subscription, type, start, mustExist, instance, epoch } = frame;
    const identity = { name, instance, epoch, address: this.#call.getPeer(), client: this.#client };
    const session = await lease.partition.attach({ subscription, type, consumer: identity, start, mustExist }, this.#sink(consumer));
    this.#onAttached(consumer, topic, lease, session, name);
  }

  #onAttached(consumer: Consumer, topic: TopicView, lease: PartitionLease, session: ConsumerSession | Failure, name: string): void {
    if (isFailure(session) || consumer.state.kind !== 'attaching') {
      if (!isFailure(session)) session.detach();
      lease.release();
      if (isFailure(session)) this.#onDetached(consumer, session);
      return;
    }
    const { credit } = consumer.state;
    consumer.state = { kind: 'attached', topic, lease, session };
    this.#attached.push({
      handle: consumer.handle,
      topicId: topic.id,
      consumer: name,
      resetEpoch: session.resetEpoch,
      markDelete: session.markDelete,
      endOffset: session.endOffset,
      backlog: session.backlog,
      partitions: topic.partitions,
      metadataVersion: topic.version,
    });
    this.#schedule();
    if (credit.messages > 0 || credit.bytes > 0) session.addCredit(credit.messages, credit.bytes);
  }

  #sink(consumer: Consumer): ConsumerSink {
    return {
      isFull: () => this.#queue.isFull(),
      deliver: (entry, ranges, resetEpoch, attempt) => {
        if (consumer.state.kind === 'detached' || this.#over) return;
        this.#queue.push(entry, ranges, resetEpoch, attempt, consumer.appetite);
      },
      detached: reason => this.#onDetached(consumer, reason),
    };
  }

  #credit(frame: CreditFrame): void {
    const state = this.#consumers.get(frame.handle)?.state;
    if (state?.kind === 'attached') state.session.addCredit(frame.messages, frame.bytes);
    else if (state?.kind === 'attaching') {
      state.credit.messages += frame.messages;
      state.credit.bytes += frame.bytes;
    }
  }

  #acknowledge(frame: AcknowledgeFrame): void {
    this.#edge.metrics.acknowledgements += 1;
    const { handle, requestId } = frame;
    const answer = (error: Failure | null) => {
      if (requestId === 0 || this.#over) return;
      this.#acknowledged.push({ handle, requestId, error: error && errorFrame(error) });
      this.#schedule();
    };
    const state = this.#session(handle, frame.topicId);
    if (isFailure(state)) {
      answer(state);
      return;
    }
    if (requestId === 0) {
      state.session.acknowledge(frame.resetEpoch, frame.upTo, frame.spans, null);
      return;
    }
    if (!this.#begin()) {
      answer(this.#tooMany());
      return;
    }
    state.session.acknowledge(frame.resetEpoch, frame.upTo, frame.spans, result => {
      this.#pending -= 1;
      answer(isFailure(result) ? result : null);
    });
  }

  #seek(frame: SeekFrame): void {
    const { handle, requestId } = frame;
    const answer = (result: { resetEpoch: number; markDelete: number } | Failure) => {
      if (this.#over) return;
      this.#sought.push(
        isFailure(result)
          ? { handle, requestId, resetEpoch: 0, markDelete: 0, error: errorFrame(result) }
          : { handle, requestId, resetEpoch: result.resetEpoch, markDelete: result.markDelete, error: null },
      );
      this.#schedule();
    };
    const state = this.#session(handle, frame.topicId);
    if (isFailure(state)) {
      answer(state);
      return;
    }
    if (!this.#begin()) {
      answer(this.#tooMany());
      return;
    }
    state.session.seek(frame.to, frame.resetEpoch, result => {
      this.#pending -= 1;
      answer(result);
    });
  }

  #begin(): boolean {
    if (this.#pending >= this.#edge.limits.streamRequestsMax) return false;
    this.#pending += 1;
    return true;
  }

  #tooMany(): Failure {
    return fail('overloaded', `${this.#pending} receipts and seeks of this stream wait for their answers`, {}, 100);
  }

  #session(handle: number, topicId: string): AttachedState | Failure {
    const state = this.#consumers.get(handle)?.state;
    if (state?.kind !== 'attached') return fail('invalid_argument', `no consumer is attached as handle ${handle}`, { field: 'handle' });
    if (topicId !== '' && topicId !== state.topic.id)
      return fail('topic_not_found', `${state.topic.name} is ${state.topic.id} now, not ${topicId}`, { topic: state.topic.name });
    return state;
  }

  #detach(handle: number): void {
    const consumer = this.#consumers.get(handle);
    if (!consumer) return;
    this.#drop(consumer);
    this.#detached.push({ handle, error: null, moved: null });
  }

  // ---- out ----

  #hasFrames(): boolean {
    return this.#hello !== null || this.#frames() > 0;
  }

  #frames(): number {
    return this.#attached.length + this.#acknowledged.length + this.#sought.length + this.#detached.length;
  }

  #schedule(): void {
    if (this.#flushing || this.#over) return;
    this.#flushing = true;
    this.#edge.clock.soon(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushing = false;
    this.#intake.setAnswersWaiting(this.#writer.isFull() ? this.#frames() : 0);
    while (!this.#over && !this.#writer.isFull() && (this.#hasFrames() || this.#queue.hasReady())) this.#writeOne();
    if (this.#ending && !this.#over && this.#consumers.size === 0 && this.#pending === 0 && !this.#hasFrames()) {
      this.#call.end();
      this.#onOver();
    }
  };

  #writeOne(): void {
    const deliveries = this.#queue.take(this.#edge.limits.responsePackBytes);
    for (const delivery of deliveries) {
      this.#edge.metrics.deliveredEntries += 1;
      this.#edge.metrics.deliveredBytes += delivery.batchView.length;
    }
    const response = encodeSubscribeResponse({
      hello: this.#hello,
      attached: this.#attached,
      deliveries,
      acknowledged: this.#acknowledged,
      sought: this.#sought,
      detached: this.#detached,
    });
    this.#hello = null;
    this.#attached = [];
    this.#acknowledged = [];
    this.#sought = [];
    this.#detached = [];
    this.#edge.metrics.responses += 1;
    this.#writer.write(response);
    this.#queue.afterTake();
  }

  #resume(): void {
    for (const consumer of this.#consumers.values()) if (consumer.state.kind === 'attached') consumer.state.session.resume();
  }

  // ---- ends ----

  #refuse(handle: number, failure: Failure): void {
    this.#detached.push({ handle, error: errorFrame(failure), moved: null });
    this.#schedule();
  }

  #onUndeliverable(handle: number, failure: Failure): void {
    const consumer = this.#consumers.get(handle);
    if (consumer) this.#onDetached(consumer, failure);
  }

  #onDetached(consumer: Consumer, reason: Failure): void {
    if (consumer.state.kind === 'detached') return;
    this.#drop(consumer);
    if (!this.#over) this.#refuse(consumer.handle, reason);
  }

  #drop(consumer: Consumer): void {
    const state = consumer.state;
    consumer.state = { kind: 'detached' };
    this.#consumers.delete(consumer.handle);
    this.#queue.drop(consumer.handle);
    if (state.kind !== 'attached') return;
    state.session.detach();
    state.lease.release();
  }

  stop(reason: Failure): void {
    this.#flush();
    this.#fail(reason);
  }

  #fail(failure: Failure): void {
    if (this.#over) return;
    this.#call.emit('error', serviceError(failure));
    this.#onOver();
  }

  #onOver(): void {
    if (this.#over) return;
    this.#over = true;
    this.#edge.streams.delete(this);
    for (const consumer of [...this.#consumers.values()]) this.#drop(consumer);
    this.#queue.close();
    this.#intake.close();
    this.#writer.close();
    this.#edge.metrics.subscribeStreams -= 1;
  }
}
