// The Publish call: one client's producers over one stream. Batches are checked once, handed to their partitions, and answered in the
// order in which the partitions answer; what one turn of the loop produced goes out as one response. A stream that has too much
// unanswered, or whose client takes no answers, is not read any further. Refusals are frames; only a request that breaks the protocol
// ends the call.

import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { ReadGate } from '#lib/rpc/read-gate.ts';
import { errorFrame, serviceError } from '#lib/rpc/status.ts';
import { type Failure, fail, isFailure, unknownFate } from '#lib/types/errors.ts';
import { PRODUCER_WINDOW_MAX } from '#lib/types/limits.ts';
import { checkName } from '#lib/types/names.ts';
import type {
  OpenProducerFrame,
  ProducerClosedFrame,
  ProducerOpenedFrame,
  PublishBatchFrame,
  PublishResultFrame,
  ServerHelloFrame,
} from '#lib/wire/frames.ts';
import { decodePublishRequest, encodePublishResponse } from '#lib/wire/messaging-codec.ts';
import type { BatchInput, StoredBatch } from '../partition/api.ts';
import { type AdmittedBatch, admitBatch } from './admit.ts';
import type { Edge, LongCall, PartitionLease, TopicView } from './edge.ts';
import { serverHello } from './hello.ts';
import { Intake } from './intake.ts';
import { partitionOfBatch } from './routing.ts';
import { StreamWriter } from './stream-writer.ts';

interface Producer {
  readonly handle: number;
  readonly frame: OpenProducerFrame;
  /** Batches that came while it was being opened, in order. */
  state: { kind: 'opening'; waiting: Waiting[] } | OpenState | { kind: 'closed' };
}

interface OpenState {
  readonly kind: 'open';
  readonly topic: TopicView;
  readonly identity: { readonly name: string; readonly epoch: number; readonly instance: string } | null;
  /** By partition; opened when first needed on a topic with several. */
  readonly leases: Map<number, PartitionLease | Promise<PartitionLease | Failure>>;
  /** The only partition; null: by key, or in turn. */
  readonly fixed: number | null;
  turn: number;
}

interface Waiting {
  readonly frame: PublishBatchFrame;
  readonly admitted: AdmittedBatch;
}

export function servePublish(edge: Edge, call: ServerDuplexStream<Buffer, Buffer>, gate: ReadGate): void {
  edge.metrics.publishStreams += 1;
  new PublishStream(edge, call, gate);
}

class PublishStream implements LongCall {
  readonly #edge: Edge;
  readonly #call: ServerDuplexStream<Buffer, Buffer>;
  readonly #intake: Intake;
  readonly #writer: StreamWriter;
  readonly #producers = new Map<number, Producer>();
  #hello: ServerHelloFrame | null = null;
  #opened: ProducerOpenedFrame[] = [];
  #results: PublishResultFrame[] = [];
  #closed: ProducerClosedFrame[] = [];
  #flushing = false;
  #ending = false;
  #over = false;

  constructor(edge: Edge, call: ServerDuplexStream<Buffer, Buffer>, gate: ReadGate) {
    this.#edge = edge;
    this.#call = call;
    edge.streams.add(this);
    this.#intake = new Intake(gate, edge.intakePool, {
      bytesMax: edge.limits.streamIntakeBytesMax,
      itemsMax: edge.limits.streamIntakeBatchesMax,
    });
    this.#writer = new StreamWriter(call, edge.outboxPool, edge.limits.streamOutboxBytesMax, () => this.#schedule());
    call.on('data', (message: Buffer) => this.#onRequest(message));
    call.on('end', () => this.#onHalfClosed());
    call.on('cancelled', () => this.#onOver());
    call.on('error', () => this.#onOver());
  }

  // ---- in ----

  #onRequest(message: Buffer): void {
    if (this.#over) return;
    this.#edge.metrics.requests += 1;
    const request = decodePublishRequest(message);
    if (isFailure(request)) {
      this.#fail(request);
      return;
    }
    if (request.hello) this.#hello = serverHello(this.#edge, request.hello);
    for (const frame of request.open) if (!this.#open(frame)) return;
    for (let i = 0; i < request.batches.length; i++) {
      const frame = request.batches[i];
      if (frame) this.#onBatch(frame, i);
    }
    for (const handle of request.close) this.#close(handle);
    if (this.#hello || this.#opened.length + this.#results.length + this.#closed.length > 0) this.#schedule();
  }

  #onHalfClosed(): void {
    this.#ending = true;
    this.#schedule();
  }

  /** False: the protocol is broken and the call over. */
  #open(frame: OpenProducerFrame): boolean {
    if (this.#producers.has(frame.handle)) {
      this.#fail(fail('invalid_argument', `open.handle ${frame.handle} is open on this stream already`, { field: 'open.handle' }));
      return false;
    }
    if (this.#producers.size >= this.#edge.limits.handlesMax) {
      this.#refuseOpen(frame.handle, fail('overloaded', `a stream has at most ${this.#edge.limits.handlesMax} producers`, {}, 1000));
      return true;
    }
    const problem = openProblem(frame);
    if (problem) {
      this.#refuseOpen(frame.handle, problem);
      return true;
    }
    const producer: Producer = { handle: frame.handle, frame, state: { kind: 'opening', waiting: [] } };
    this.#producers.set(frame.handle, producer);
    // A producer is not a promise: what its opening gives is taken over in `#onOpened`, also when the stream is over by then.
    openProducer(this.#edge, frame, reason => this.#onPartitionClosed(producer, reason)).then(
      result => this.#onOpened(producer, result),
      error => this.#onOpened(producer, this.#unexpected('opening a producer', error)),
    );
    return true;
  }

  #onOpened(producer: Producer, result: Opened | Failure): void {
    const before = producer.state;
    if (isFailure(result)) {
      if (before.kind !== 'opening') return;
      producer.state = { kind: 'closed' };
      this.#producers.delete(producer.handle);
      for (const waiting of before.waiting) this.#answer(waiting.frame, result);
      this.#refuseOpen(producer.handle, result);
      return;
    }
    if (before.kind !== 'opening' || this.#over) {
      releaseAll(result.state);
      return;
    }
    producer.state = result.state;
    this.#opened.push({ handle: producer.handle, ...result.answer });
    for (const waiting of before.waiting) this.#publish(producer, result.state, waiting.frame, waiting.admitted);
    this.#schedule();
  }

  #refuseOpen(handle: number, failure: Failure): void {
    this.#closed.push({ handle, error: errorFrame(failure), moved: null });
    this.#schedule();
  }

  #onBatch(frame: PublishBatchFrame, index: number): void {
    this.#intake.take(frame.batchView.length);
    const producer = this.#producers.get(frame.handle);
    if (!producer || producer.state.kind === 'closed') {
      this.#answer(frame, fail('producer_unknown', `no producer is open as handle ${frame.handle} on this stream`));
      return;
    }
    const admitted = admitBatch(frame.info, frame.batchView, frame.crc, `batches[${index}]`);
    if (isFailure(admitted)) this.#answer(frame, admitted);
    else if (producer.state.kind === 'opening') producer.state.waiting.push({ frame, admitted });
    else this.#publish(producer, producer.state, frame, admitted);
  }

  #publish(producer: Producer, state: OpenState, frame: PublishBatchFrame, admitted: AdmittedBatch): void {
    const partition = state.fixed ?? this.#route(state, admitted);
    if (isFailure(partition)) {
      this.#answer(frame, partition);
      return;
    }
    const lease = state.leases.get(partition);
    if (lease && !(lease instanceof Promise)) this.#hand(state, lease, partition, frame, admitted);
    else this.#publishLater(producer, state, partition, frame, admitted);
  }

  /** The partition of a key is opened when its first batch comes; batches that wait for it keep their order. */
  #publishLater(producer: Producer, state: OpenState, partition: number, frame: PublishBatchFrame, admitted: AdmittedBatch): void {
    const first = !state.leases.has(partition);
    const leasing =
      state.leases.get(partition) ?? this.#edge.leasePartition(state.topic, partition, reason => this.#onPartitionClosed(producer, reason));
    if (first) state.leases.set(partition, leasing);
    Promise.resolve(leasing).then(
      lease => {
        if (isFailure(lease)) {
          if (first) state.leases.delete(partition);
          this.#answer(frame, lease);
        } else if (producer.state === state) {
          state.leases.set(partition, lease);
          this.#hand(state, lease, partition, frame, admitted);
        } else {
          if (first) lease.release();
          this.#answer(frame, fail('producer_unknown', 'the producer was closed before its batch was taken'));
        }
      },
      error => this.#answer(frame, this.#unexpected('opening a partition', error)),
    );
  }

  #route(state: OpenState, admitted: AdmittedBatch): number | Failure {
    const byKey = partitionOfBatch(admitted.keyHashes, state.topic.partitions, 'batches.info.key_hashes');
    if (byKey !== null) return byKey;
    state.turn = (state.turn + 1) % state.topic.partitions;
    return state.turn;
  }

  #hand(state: OpenState, lease: PartitionLease, partition: number, frame: PublishBatchFrame, admitted: AdmittedBatch): void {
    const input: BatchInput = {
      producer: state.identity,
      sequence: frame.sequence,
      prevSequence: frame.prevSequence,
      idempotencyId: '',
      info: admitted.info,
      batchView: frame.batchView,
      crc: admitted.crc,
    };
    lease.partition.publish(input, result => this.#answer(frame, result, partition));
  }

  // ---- out ----

  #answer(frame: PublishBatchFrame, result: StoredBatch | Failure, partition = 0): void {
    this.#intake.give(frame.batchView.length);
    const metrics = this.#edge.metrics;
    if (result.kind === 'stored') {
      metrics.publishedBatches += 1;
      metrics.publishedMessages += result.count;
      metrics.publishedBytes += frame.batchView.length;
    } else metrics.refusedBatches += 1;
    if (frame.ackNone || this.#over) {
      if (this.#ending) this.#schedule();
      return;
    }
    const { handle, sequence } = frame;
    this.#results.push(
      result.kind === 'stored'
        ? {
            handle,
            sequence,
            outcome: { kind: 'stored', range: { offset: result.offset, count: result.count, partition, duplicate: result.duplicate } },
          }
        : { handle, sequence, outcome: { kind: 'error', error: errorFrame(result) } },
    );
    this.#schedule();
  }

  #schedule(): void {
    if (this.#flushing || this.#over) return;
    this.#flushing = true;
    this.#edge.clock.soon(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushing = false;
    if (this.#over) return;
    const waiting = this.#opened.length + this.#results.length + this.#closed.length;
    if (this.#writer.isFull()) {
      this.#intake.setAnswersWaiting(waiting);
      return;
    }
    this.#intake.setAnswersWaiting(0);
    if (this.#hello || waiting > 0) {
      this.#edge.metrics.responses += 1;
      const response = encodePublishResponse({ hello: this.#hello, opened: this.#opened, results: this.#results, closed: this.#closed });
      this.#hello = null;
      this.#opened = [];
      this.#results = [];
      this.#closed = [];
      this.#writer.write(response);
    }
    if (this.#ending && this.#intake.items === 0 && !this.#isOpening()) {
      this.#call.end();
      this.#onOver();
    }
  };

  #isOpening(): boolean {
    for (const producer of this.#producers.values()) if (producer.state.kind === 'opening') return true;
    return false;
  }

  // ---- ends ----

  /** The client closed it; what it has under way is still answered. */
  #close(handle: number): void {
    const producer = this.#producers.get(handle);
    if (!producer) return;
    this.#drop(producer, fail('producer_unknown', 'the producer was closed before its batch was taken'));
    this.#closed.push({ handle, error: null, moved: null });
  }

  #onPartitionClosed(producer: Producer, reason: Failure): void {
    if (producer.state.kind === 'closed') return;
    this.#drop(producer, reason);
    if (!this.#over) this.#refuseOpen(producer.handle, reason);
  }

  #drop(producer: Producer, reason: Failure): void {
    const state = producer.state;
    producer.state = { kind: 'closed' };
    this.#producers.delete(producer.handle);
    if (state.kind === 'open') releaseAll(state);
    if (state.kind === 'opening') for (const waiting of state.waiting) this.#answer(waiting.frame, reason);
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
    for (const producer of [...this.#producers.values()]) this.#drop(producer, fail('cancelled', 'the stream ended'));
    this.#intake.close();
    this.#writer.close();
    this.#edge.metrics.publishStreams -= 1;
  }

  #unexpected(what: string, error: unknown): Failure {
    this.#edge.logger.error(`${what} failed`, { error: String(error) });
    return unknownFate('internal', `${what} failed; the server's log says why`);
  }
}

// ---- opening ----

interface Opened {
  readonly kind: 'opened';
  readonly state: OpenState;
  readonly answer: Omit<ProducerOpenedFrame, 'handle'>;
}

function openProblem(frame: OpenProducerFrame): Failure | undefined {
  if (frame.window > PRODUCER_WINDOW_MAX)
    return fail('invalid_argument', `open.window is ${frame.window}; the most is ${PRODUCER_WINDOW_MAX}`, { field: 'open.window' });
  return frame.name === '' ? undefined : checkName('open.name', frame.name);
}

async function openProducer(edge: Edge, frame: OpenProducerFrame, onClosed: (reason: Failure) => void): Promise<Opened | Failure> {
  const topic = await edge.findOrCreateTopic(frame.topic, frame.topicId);
  if (isFailure(topic)) return topic;
  if (frame.partition !== null && frame.partition >= topic.partitions) return noSuchPartition('open.partition', frame.partition, topic);
  const fixed = frame.partition ?? (topic.partitions === 1 ? 0 : null);
  if (fixed === null && frame.name !== '')
    return fail('invalid_argument', `a named producer names its partition: ${topic.name} has ${topic.partitions}`, {
      field: 'open.partition',
    });
  const leases = new Map<number, PartitionLease>();
  const answer = {
    topicId: topic.id,
    partition: fixed ?? 0,
    partitions: topic.partitions,
    name: frame.name,
    epoch: 0,
    lastSequence: 0,
    window: frame.window === 0 ? PRODUCER_WINDOW_MAX : frame.window,
    metadataVersion: topic.version,
  };
  const state = (identity: OpenState['identity']): OpenState => ({ kind: 'open', topic, identity, leases, fixed, turn: 0 });
  if (fixed === null) return { kind: 'opened', state: state(null), answer };
  const lease = await edge.leasePartition(topic, fixed, onClosed);
  if (isFailure(lease)) return lease;
  leases.set(fixed, lease);
  if (frame.name === '') return { kind: 'opened', state: state(null), answer };
  const { name, epoch, instance, window, ephemeral } = frame;
  const opening = { name, epoch, instance, window: window === 0 ? PRODUCER_WINDOW_MAX : window, ephemeral };
  return new Promise(resolve => {
    lease.partition.openProducer(opening, result => {
      if (isFailure(result)) {
        lease.release();
        return resolve(result);
      }
      resolve({
        kind: 'opened',
        state: state({ name, epoch: result.epoch, instance }),
        answer: { ...answer, epoch: result.epoch, lastSequence: result.lastSequence, window: result.window },
      });
    });
  });
}

export function noSuchPartition(field: string, partition: number, topic: TopicView): Failure {
  const known = topic.partitions === 1 ? 'only partition 0' : `partitions 0 to ${topic.partitions - 1}`;
  return fail('invalid_argument', `${field} is ${partition}; ${topic.name} has ${known}`, { field });
}

function releaseAll(state: OpenState): void {
  for (const lease of state.leases.values()) if (!(lease instanceof Promise)) lease.release();
}
