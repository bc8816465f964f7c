// The Send call: one request, one or more messages, no producer. Messages with keys go to their keys' partitions, those without to one
// partition in turn; what lies together in a partition is one batch there. The answer has one result for each run of messages that
// follow each other in the request and in a partition.

import type { ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import { errorFrame, serviceError } from '#lib/rpc/status.ts';
import { type Failure, fail, isFailure, unknownFate } from '#lib/types/errors.ts';
import { BatchCursor, countMessages, encodeBatchInfoView } from '#lib/wire/batch.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import type { SendRequestFrame, SendResultFrame } from '#lib/wire/frames.ts';
import { decodeSendRequest, encodeSendResponse } from '#lib/wire/messaging-codec.ts';
import { murmur2, partitionOfHash } from '#lib/wire/murmur2.ts';
import type { StoredBatch } from '../partition/api.ts';
import { type AdmittedBatch, admitBatch } from './admit.ts';
import { pickInfo, storedInfo } from './batch-info.ts';
import type { Edge, TopicView } from './edge.ts';
import { noSuchPartition } from './publish.ts';

const IDEMPOTENCY_ID_MAX = 200;

/** One per broker: whose turn it is among the partitions. */
export interface SendTurns {
  next: number;
}

export function serveSend(edge: Edge, turns: SendTurns, call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>): void {
  edge.metrics.requests += 1;
  send(edge, turns, call.request).then(
    result => {
      edge.metrics.responses += 1;
      if (isFailure(result)) callback(serviceError(result));
      else callback(null, result);
    },
    error => {
      edge.logger.error('a Send call failed', { error: String(error) });
      callback(serviceError(unknownFate('internal', "sending failed; the server's log says why")));
    },
  );
}

async function send(edge: Edge, turns: SendTurns, message: Buffer): Promise<Buffer | Failure> {
  const request = decodeSendRequest(message);
  if (isFailure(request)) return request;
  const checked = checkRequest(request);
  if (isFailure(checked)) return checked;
  if (edge.intakePool.isFull) return fail('overloaded', 'the server has taken in as much as it may', {}, 100);
  const topic = await edge.findOrCreateTopic(request.topic, request.topicId);
  if (isFailure(topic)) return topic;
  if (request.partition !== null && request.partition >= topic.partitions) return noSuchPartition('partition', request.partition, topic);
  const parts = split(request, checked, topic, turns);
  const stored = storeAll(edge, topic, request, parts);
  if (!request.ackNone) return answer(topic, parts, await stored);
  stored.catch(error => edge.logger.error('a Send call without acknowledgement failed', { error: String(error) }));
  return encodeSendResponse({ results: [], topicId: topic.id });
}

/** What a caller of a unary call looks at is its status, so a request that was refused whole is a refused call. */
function answer(topic: TopicView, parts: readonly Part[], stored: readonly (StoredBatch | Failure)[]): Buffer | Failure {
  const failures = stored.filter(isFailure);
  const [first] = failures;
  if (first && failures.length === stored.length) return failures.find(failure => failure.stored === 'unknown') ?? first;
  return encodeSendResponse({ results: resultsOf(parts, stored), topicId: topic.id });
}

/** The bytes count as taken in until every part is answered, whether or not anybody waits for that. */
async function storeAll(
  edge: Edge,
  topic: TopicView,
  request: SendRequestFrame,
  parts: readonly Part[],
): Promise<readonly (StoredBatch | Failure)[]> {
  const bytes = request.batchView.length;
  edge.intakePool.take(bytes);
  try {
    return await Promise.all(parts.map(part => store(edge, topic, request, part)));
  } finally {
    edge.intakePool.give(bytes);
  }
}

function checkRequest(request: SendRequestFrame): AdmittedBatch | Failure {
  if (request.idempotencyId.length > IDEMPOTENCY_ID_MAX)
    return fail('invalid_argument', `idempotency_id has ${request.idempotencyId.length} characters; the most is ${IDEMPOTENCY_ID_MAX}`, {
      field: 'idempotency_id',
    });
  if (request.info && request.info.codec !== 0)
    return fail('invalid_argument', 'info.codec: Send takes uncompressed batches', { field: 'info.codec' });
  if (request.info) return admitBatch(request.info, request.batchView, null, 'request');
  const count = countMessages(request.batchView);
  if (isFailure(count)) return { ...count, detail: { field: 'batch', ...count.detail } };
  if (count === 0) return fail('invalid_argument', 'batch has no message', { field: 'batch' });
  return admitBatch(encodeBatchInfoView(count), request.batchView, null, 'request');
}

/** The messages of one partition. */
interface Part {
  readonly partition: number;
  readonly batch: AdmittedBatch;
  readonly batchView: Buffer;
  /** [index in the request, count] of each run, in order. */
  readonly runs: (readonly [number, number])[];
}

function split(request: SendRequestFrame, batch: AdmittedBatch, topic: TopicView, turns: SendTurns): Part[] {
  const { count } = batch.info;
  const whole = (partition: number): Part[] => [{ partition, batch, batchView: request.batchView, runs: [[0, count]] }];
  if (request.partition !== null) return whole(request.partition);
  if (topic.partitions === 1) return whole(0);
  const keyless = keylessPartition(request, topic, turns);
  const hashes = batch.keyHashes;
  if (hashes === null) return whole(keyless);
  const placeOf = (index: number): number => {
    const hash = hashes.readUInt32LE(hashes.length === 4 ? 0 : index * 4);
    return hash === 0 ? keyless : partitionOfHash(hash, topic.partitions);
  };
  const runsOf = new Map<number, [number, number][]>();
  for (let index = 0; index < count; index++) {
    const place = placeOf(index);
    const runs = runsOf.get(place) ?? [];
    if (runs.length === 0) runsOf.set(place, runs);
    const last = runs[runs.length - 1];
    if (last && last[0] + last[1] === index) last[1] += 1;
    else runs.push([index, 1]);
  }
  const only = runsOf.size === 1 ? [...runsOf.keys()][0] : undefined;
  if (only !== undefined) return whole(only);
  return gather(request.batchView, batch, runsOf);
}

/** A repeat with the same id must find the same partition. */
function keylessPartition(request: SendRequestFrame, topic: TopicView, turns: SendTurns): number {
  if (request.idempotencyId !== '') return partitionOfHash(murmur2(Buffer.from(request.idempotencyId)), topic.partitions);
  turns.next = (turns.next + 1) % Number.MAX_SAFE_INTEGER;
  return turns.next % topic.partitions;
}

function gather(batchView: Buffer, batch: AdmittedBatch, runsOf: ReadonlyMap<number, [number, number][]>): Part[] {
  const bounds = [0];
  const cursor = new BatchCursor(batchView);
  while (cursor.next()) bounds.push(cursor.end);
  const info = storedInfo(batch.info.view);
  const parts: Part[] = [];
  for (const [partition, runs] of runsOf) {
    const pieces = runs.map(([first, count]) => batchView.subarray(bounds[first], bounds[first + count]));
    const view = pieces.length === 1 && pieces[0] ? pieces[0] : Buffer.concat(pieces);
    const indexes = runs.flatMap(([first, count]) => Array.from({ length: count }, (_, i) => first + i));
    const infoView = pickInfo(info, indexes);
    const admitted: AdmittedBatch = {
      kind: 'admitted',
      info: { view: infoView, count: indexes.length, codec: 0, keyHashes: indexes.length },
      crc: crc32c(view),
      keyHashes: null,
    };
    parts.push({ partition, batch: admitted, batchView: view, runs });
  }
  return parts;
}

async function store(edge: Edge, topic: TopicView, request: SendRequestFrame, part: Part): Promise<StoredBatch | Failure> {
  const result = await storeIn(edge, topic, request, part);
  const metrics = edge.metrics;
  if (isFailure(result)) {
    metrics.refusedBatches += 1;
  } else {
    metrics.publishedBatches += 1;
    metrics.publishedMessages += result.count;
    metrics.publishedBytes += part.batchView.length;
  }
  return result;
}

async function storeIn(edge: Edge, topic: TopicView, request: SendRequestFrame, part: Part): Promise<StoredBatch | Failure> {
  const lease = await edge.leasePartition(topic, part.partition, () => {});
  if (isFailure(lease)) return lease;
  try {
    return await new Promise<StoredBatch | Failure>(resolve =>
      lease.partition.publish(
        {
          producer: null,
          sequence: 0,
          prevSequence: 0,
          idempotencyId: request.idempotencyId,
          info: part.batch.info,
          batchView: part.batchView,
          crc: part.batch.crc,
        },
        resolve,
      ),
    );
  } finally {
    lease.release();
  }
}

function resultsOf(parts: readonly Part[], stored: readonly (StoredBatch | Failure)[]): SendResultFrame[] {
  const results: SendResultFrame[] = [];
  parts.forEach((part, i) => {
    const outcome = stored[i];
    if (!outcome) return;
    let before = 0;
    for (const [index, count] of part.runs) {
      results.push(
        isFailure(outcome)
          ? { index, outcome: { kind: 'error', error: errorFrame(outcome) } }
          : {
              index,
              outcome: {
                kind: 'stored',
                range: { offset: outcome.offset + before, count, partition: part.partition, duplicate: outcome.duplicate },
              },
            },
      );
      before += count;
    }
  });
  return results.sort((a, b) => a.index - b.index);
}
