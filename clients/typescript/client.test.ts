// The client against a small server of its own that says what a real one says rarely: moves, refusals, corrupt batches, silence.
import { Server, ServerCredentials, type ServerDuplexStream, type ServerWritableStream } from '@grpc/grpc-js';
import { afterEach, expect, test } from 'vitest';
import { loadContract, serviceOf } from '#lib/rpc/protobuf.ts';
import { errorFrame } from '#lib/rpc/status.ts';
import { fail, isFailure, type SluiceError } from '#lib/types/errors.ts';
import { encodeBatch } from '#lib/wire/batch.ts';
import { encodeBatchInfoView } from '#lib/wire/batch-info.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import type {
  DeliveryFrame,
  PublishRequestFrame,
  PublishResponseFrame,
  SubscribeRequestFrame,
  SubscribeResponseFrame,
} from '#lib/wire/frames.ts';
import { decodePublishRequest, decodeSubscribeRequest, encodePublishResponse, encodeSubscribeResponse } from '#lib/wire/messaging-codec.ts';
import { connect, type SluiceClient } from './index.ts';

type Say<T> = (frame: Partial<T>) => void;

/** What the server of a test does; `say` answers on the stream that asked. */
interface Script {
  readonly partitions?: number;
  onPublish?(frame: PublishRequestFrame, say: Say<PublishResponseFrame>, call: ServerDuplexStream<Buffer, Buffer>): void;
  onSubscribe?(frame: SubscribeRequestFrame, say: Say<SubscribeResponseFrame>, call: ServerDuplexStream<Buffer, Buffer>): void;
}

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const run of undo.splice(0).reverse()) await run();
});

async function serve(script: Script): Promise<string> {
  const server = new Server();
  const contract = loadContract();
  server.addService(serviceOf(contract, 'sluice.v1.Messaging', ['Publish', 'Subscribe', 'Read', 'Send']), {
    Lookup: (call: { request: { topic: string } }, callback: (error: null, response: unknown) => void) =>
      callback(null, {
        topic: `public/default/${call.request.topic}`,
        topic_id: 'id',
        partitions: Array.from({ length: script.partitions ?? 1 }, (_, partition) => ({ partition })),
      }),
    Publish: (call: ServerDuplexStream<Buffer, Buffer>) => {
      const say: Say<PublishResponseFrame> = frame =>
        call.write(encodePublishResponse({ hello: null, opened: [], results: [], closed: [], ...frame }));
      call.on('data', (message: Buffer) => {
        const frame = decodePublishRequest(message);
        if (isFailure(frame)) call.emit('error', frame);
        else script.onPublish?.(frame, say, call);
      });
      call.on('end', () => call.end());
    },
    Subscribe: (call: ServerDuplexStream<Buffer, Buffer>) => {
      const none: SubscribeResponseFrame = { hello: null, attached: [], deliveries: [], acknowledged: [], sought: [], detached: [] };
      const say: Say<SubscribeResponseFrame> = frame => call.write(encodeSubscribeResponse({ ...none, ...frame }));
      call.on('data', (message: Buffer) => {
        const frame = decodeSubscribeRequest(message);
        if (isFailure(frame)) call.emit('error', frame);
        else {
          script.onSubscribe?.(frame, say, call);
          if (frame.detach.length > 0) say({ detached: frame.detach.map(handle => ({ handle, error: null, moved: null })) });
        }
      });
      call.on('end', () => call.end());
    },
    Read: (call: ServerWritableStream<Buffer, Buffer>) => call.end(),
    Send: () => undefined,
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  undo.push(() => server.forceShutdown());
  return `127.0.0.1:${port}`;
}

function client(address: string): SluiceClient {
  const made = connect({ servers: address, requestTimeoutMs: 2_000 });
  undo.push(() => made.close().catch(() => undefined));
  return made;
}

const failureOf = (promise: Promise<unknown>): Promise<SluiceError> =>
  promise.then(
    () => expect.fail('it should have failed'),
    error => error,
  );

const openedFrame = (open: PublishRequestFrame['open'][number], lastSequence = 0) => ({
  handle: open.handle,
  topicId: 'id',
  partition: open.partition ?? 0,
  partitions: 1,
  name: open.name,
  epoch: open.epoch === 0 ? 7 : open.epoch,
  lastSequence,
  window: 64,
  metadataVersion: 1,
});

const storedFrame = ({ handle, sequence, info }: PublishRequestFrame['batches'][number], offset: number) => ({
  handle,
  sequence,
  outcome: { kind: 'stored' as const, range: { offset, count: info.count, partition: 0, duplicate: false } },
});

const refusedFrame = (
  { handle, sequence }: PublishRequestFrame['batches'][number],
  code: Parameters<typeof fail>[0],
  retryAfterMs = 0,
) => ({
  handle,
  sequence,
  outcome: { kind: 'error' as const, error: errorFrame(fail(code, `refused: ${code}`, {}, retryAfterMs)) },
});

const attachedFrame = ({ handle }: SubscribeRequestFrame['attach'][number], resetEpoch = 1, markDelete = 0) => ({
  handle,
  topicId: 'id',
  consumer: 'c',
  resetEpoch,
  markDelete,
  endOffset: 100,
  backlog: 100,
  partitions: 1,
  metadataVersion: 1,
});

function delivery(handle: number, baseOffset: number, payloads: readonly string[], changed: Partial<DeliveryFrame> = {}): DeliveryFrame {
  const batchView = encodeBatch(payloads.map(payload => ({ payload })));
  return {
    handle,
    resetEpoch: 1,
    baseOffset,
    infoView: encodeBatchInfoView(payloads.length).view,
    crc: crc32c(batchView),
    batchView,
    appendTimeMs: 1_000,
    ranges: [],
    attempt: 1,
    producerView: null,
    ...changed,
  };
}

test('a producer opens again under its identity, in the epoch that it was given', async () => {
  const opens: PublishRequestFrame['open'][number][] = [];
  const sequences: number[] = [];
  const address = await serve({
    onPublish: (frame, say, call) => {
      for (const open of frame.open) {
        opens.push(open);
        say({ opened: [openedFrame(open, sequences.length > 0 ? 1 : 0)] });
      }
      for (const batch of frame.batches) {
        sequences.push(batch.sequence);
        if (sequences.length === 1) call.end();
        else say({ results: [storedFrame(batch, 5)] });
      }
    },
  });
  const producer = await client(address).producer({ topic: 't' });
  expect((await producer.send('x')).offset).toBe(5);
  expect(sequences).toEqual([1, 1]);
  expect(opens.map(open => open.epoch)).toEqual([0, 7]);
  expect(new Set(opens.map(open => open.instance)).size).toBe(1);
  expect(opens[0]).toMatchObject({ ephemeral: true, window: 64, topicId: 'id', partition: 0 });
  expect(opens[0]?.name).toMatch(/^producer-[0-9a-f]{16}$/);
});

test('a producer follows a move, and what it had under way goes there', async () => {
  const there: string[] = [];
  const next = await serve({
    onPublish: (frame, say) => {
      say({ opened: frame.open.map(open => openedFrame(open)) });
      for (const batch of frame.batches) there.push(`${batch.sequence}<${batch.prevSequence}`);
      say({ results: frame.batches.map(batch => storedFrame(batch, 30 + batch.sequence)) });
    },
  });
  const address = await serve({
    onPublish: (frame, say) => {
      say({ opened: frame.open.map(open => openedFrame(open)) });
      for (const { handle } of frame.batches)
        say({ closed: [{ handle, error: null, moved: { address: next, tlsServerName: '', metadataVersion: 2 } }] });
    },
  });
  const producer = await client(address).producer({ topic: 't' });
  expect((await producer.send('x')).offset).toBe(31);
  expect(there).toEqual(['1<0']);
});

test('a refusal that passes is sent again when its time has come; those behind it wait and keep their order', async () => {
  const seen: string[] = [];
  const address = await serve({
    onPublish: (frame, say) => {
      say({ opened: frame.open.map(open => openedFrame(open)) });
      for (const batch of frame.batches) {
        seen.push(`${batch.sequence}<${batch.prevSequence}`);
        const isFirst = seen.length <= 3;
        const code = batch.sequence === 1 ? 'overloaded' : 'out_of_sequence';
        say({ results: [isFirst ? refusedFrame(batch, code, 50) : storedFrame(batch, batch.sequence)] });
      }
    },
  });
  const producer = await client(address).producer({ topic: 't', batching: false });
  const started = performance.now();
  const ids = await Promise.all(['a', 'b', 'c'].map(payload => producer.send(payload)));
  expect(performance.now() - started).toBeGreaterThanOrEqual(45);
  expect(ids.map(id => id.offset)).toEqual([1, 2, 3]);
  expect(seen).toEqual(['1<0', '2<1', '3<2', '1<0', '2<1', '3<2']);
});

test('one turn of a thousand messages in eight partitions is one message on the wire', async () => {
  const frames: number[] = [];
  const address = await serve({
    partitions: 8,
    onPublish: (frame, say) => {
      say({ opened: frame.open.map(open => openedFrame(open)) });
      if (frame.batches.length > 0) frames.push(frame.batches.length);
      say({ results: frame.batches.map(batch => storedFrame(batch, 0)) });
    },
  });
  const producer = await client(address).producer({ topic: 't' });
  await Promise.all(Array.from({ length: 1_000 }, (_, n) => producer.send({ key: `${n}`, payload: 'x' })));
  expect(frames).toEqual([8]);
});

test('a server that breaks the contract is left, and asked again', async () => {
  let streams = 0;
  const address = await serve({
    onPublish: (frame, say, call) => {
      if (frame.open.length > 0) streams += 1;
      if (streams === 1) call.write(Buffer.from([0xff, 0xff, 0xff]));
      else say({ opened: frame.open.map(open => openedFrame(open)) });
    },
  });
  await client(address).producer({ topic: 't' });
  expect(streams).toBe(2);
});

test('an opening that can never succeed fails at once', async () => {
  const address = await serve({
    onPublish: (frame, say) => {
      for (const { handle } of frame.open) say({ closed: [{ handle, error: errorFrame(fail('fenced', 'newer')), moved: null }] });
    },
  });
  expect(await failureOf(client(address).producer({ topic: 't', name: 'n' }))).toMatchObject({ code: 'fenced', stored: 'no' });
});

test('a corrupt batch is thrown, and the next one follows', async () => {
  const address = await serve({
    onSubscribe: (frame, say) => {
      say({ attached: frame.attach.map(attach => attachedFrame(attach)) });
      for (const { handle } of frame.attach) {
        const twoMessages = encodeBatchInfoView(2).view;
        say({
          deliveries: [
            delivery(handle, 10, ['wrong checksum'], { crc: 1 }),
            delivery(handle, 11, ['wrong count'], { infoView: twoMessages }),
            delivery(handle, 13, ['good']),
          ],
        });
      }
    },
  });
  const consumer = await client(address).consumer({ topic: 't', subscription: 's' });
  const messages = consumer.messages();
  expect(await failureOf(messages.next())).toMatchObject({ code: 'corrupt_batch', detail: { topic: 't', partition: '0', offset: '10' } });
  expect(await failureOf(messages.next())).toMatchObject({ code: 'corrupt_batch', detail: { offset: '11' } });
  const good = (await messages.next()).value;
  expect([`${good}`, `${good?.payload}`]).toEqual(['t:0@13', 'good']);
});

test('a consumer attaches again with the next epoch, says its acknowledgements first, and drops what it had not handed out', async () => {
  const heard: string[] = [];
  let attaches = 0;
  const address = await serve({
    onSubscribe: (frame, say, call) => {
      for (const attach of frame.attach) {
        attaches += 1;
        heard.push(`attach ${attach.epoch} ${attach.mustExist}`);
        say({ attached: [attachedFrame(attach)] });
      }
      for (const { upTo, spans, resetEpoch } of frame.acknowledge) heard.push(`ack ${resetEpoch} ${upTo} ${JSON.stringify(spans)}`);
      for (const credit of frame.credit) {
        heard.push(`credit ${credit.messages} ${credit.bytes}`);
        if (attaches === 1) {
          say({ deliveries: [delivery(credit.handle, 0, ['a', 'b']), delivery(credit.handle, 2, ['c'])] });
          setTimeout(() => call.end(), 50);
        } else say({ deliveries: [delivery(credit.handle, 2, ['c again'])] });
      }
    },
  });
  const consumer = await client(address).consumer({ topic: 't', subscription: 's', creditMessages: 100, creditBytes: 1_000 });
  const first = (await consumer.batches().next()).value;
  if (first) consumer.acknowledge(first);
  await new Promise(resolve => setTimeout(resolve, 300));
  const second = (await consumer.batches().next()).value;
  expect(second?.messages().map(message => `${message.payload}`)).toEqual(['c again']);
  expect(heard).toEqual(['attach 1 false', 'credit 100 1000', 'ack 1 0 [[0,2]]', 'attach 2 true', 'ack 1 0 [[0,2]]', 'credit 100 1000']);
});

test('deliveries of a former life of the cursor are dropped, and their credit is given back', async () => {
  const credits: number[] = [];
  const address = await serve({
    onSubscribe: (frame, say) => {
      for (const attach of frame.attach) say({ attached: [attachedFrame(attach, 50)] });
      for (const credit of frame.credit) {
        credits.push(credit.messages);
        if (credits.length > 1) continue;
        say({
          deliveries: [
            delivery(credit.handle, 0, ['old', 'old'], { resetEpoch: 40 }),
            delivery(credit.handle, 0, ['of now'], { resetEpoch: 50 }),
            delivery(credit.handle, 0, ['after a seek by somebody'], { resetEpoch: 60 }),
          ],
        });
      }
    },
  });
  const consumer = await client(address).consumer({ topic: 't', subscription: 's', creditMessages: 4 });
  await new Promise(resolve => setTimeout(resolve, 100));
  const message = (await consumer.messages().next()).value;
  expect(`${message?.payload}`).toBe('after a seek by somebody');
  await new Promise(resolve => setTimeout(resolve, 50));
  expect(credits.reduce((sum, credit) => sum + credit, 0)).toBe(8);
});

test('only the meant messages of a batch are handed out, counted and acknowledged', async () => {
  const acknowledged: unknown[] = [];
  const address = await serve({
    onSubscribe: (frame, say) => {
      for (const attach of frame.attach) say({ attached: [attachedFrame(attach)] });
      for (const { spans } of frame.acknowledge) acknowledged.push(...spans);
      for (const { handle } of frame.credit) say({ deliveries: [delivery(handle, 20, ['a', 'b', 'c', 'd', 'e'], { ranges: [[1, 1], [3, 2]] })] }); // biome-ignore format: one line is one delivery
    },
  });
  const consumer = await client(address).consumer({ topic: 't', subscription: 's' });
  const batch = (await consumer.batches().next()).value;
  expect(batch?.count).toBe(3);
  expect(batch?.messages().map(message => `${message.offset}${message.payload}`)).toEqual(['21b', '23d', '24e']);
  if (batch) consumer.acknowledge(batch);
  await new Promise(resolve => setTimeout(resolve, 50));
  expect(acknowledged).toEqual([[21, 22], [23, 25]]); // biome-ignore format: one line is one list
});

test('acknowledgements of one turn travel together', async () => {
  const frames: number[] = [];
  const address = await serve({
    onSubscribe: (frame, say) => {
      for (const attach of frame.attach) say({ attached: [attachedFrame(attach)] });
      if (frame.acknowledge.length > 0) frames.push(frame.acknowledge.length);
      for (const { handle } of frame.credit)
        say({
          deliveries: [
            delivery(
              handle,
              0,
              Array.from({ length: 100 }, (_, n) => `${n}`),
            ),
          ],
        });
    },
  });
  const consumer = await client(address).consumer({ topic: 't', subscription: 's', creditMessages: 1_000 });
  const batch = (await consumer.batches().next()).value;
  for (const message of batch?.messages() ?? []) consumer.acknowledge(message);
  await new Promise(resolve => setTimeout(resolve, 50));
  expect(frames).toEqual([1]);
});
