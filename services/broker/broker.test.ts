import { afterEach, describe, expect, it } from 'vitest';
import { memoryLogger } from '#lib/runtime/loggers.ts';
import { MIB } from '#lib/types/limits.ts';
import type { Broker, BrokerSettings } from './broker.ts';
import { CATALOG_TOPIC } from './catalog/base.ts';
import { failureOf, type Message, Stub, startBroker, type TestCluster, testCluster, until } from './testing/start-broker.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function start(
  cluster: TestCluster = testCluster(),
  changes: Partial<BrokerSettings> = {},
): Promise<{ broker: Broker; stub: Stub; cluster: TestCluster }> {
  const broker = await startBroker(cluster, changes);
  const stub = new Stub(broker.address);
  closing.push(() => broker.close(0));
  closing.push(() => stub.close());
  return { broker, stub, cluster };
}

/** Bytes of all partitions but the catalog's. */
function userBytes(cluster: TestCluster): number {
  let bytes = 0;
  for (const bookie of cluster.bookies.all)
    for (const { descriptor, entries } of bookie.replicas.values())
      if (descriptor.topic !== CATALOG_TOPIC) for (const entry of entries) bytes += entry.length;
  return bytes;
}

const messages = (...payloads: string[]) => ({ messages: payloads.map(payload => ({ payload: Buffer.from(payload) })) });

describe('broker', () => {
  it('keeps what Send stored, and Read gives it back', async () => {
    const { stub } = await start();
    const first = await stub.send({ topic: 't', batch: messages('a', 'b') });
    expect(first.results).toMatchObject([{ index: 0, outcome: 'stored', stored: { offset: 0, count: 2, partition: 0 } }]);
    await stub.send({ topic: 't', batch: messages('c') });
    const read = stub.read({ topic: 't', start: { earliest: true } });
    await until(() => read.ended);
    expect(read.texts()).toEqual(['a', 'b', 'c']);
  });

  it('serves producers and consumers over their streams, in order, and takes acknowledgements', async () => {
    const { stub } = await start();
    const producer = stub.publish();
    producer.write({ hello: { protocol_version: 1 }, open: [{ handle: 1, topic: 't', name: 'p', instance: 7 }] });
    await until(() => producer.all('opened').length === 1);
    expect(producer.responses[0].hello).toMatchObject({ protocol_version: 1, cluster_id: 'test-cluster' });
    expect(producer.all('opened')[0]).toMatchObject({ handle: 1, partitions: 1, name: 'p', last_sequence: 0, window: 64 });
    for (let i = 1; i <= 20; i++)
      producer.write({ batches: [{ handle: 1, sequence: i, prev_sequence: i - 1, info: { count: 1 }, batch: messages(`m${i}`) }] });
    await until(() => producer.all('results').length === 20);
    expect(producer.all('results').map(result => result.stored?.count)).toEqual(Array(20).fill(1));

    const consumer = stub.subscribe();
    consumer.write({ attach: [{ handle: 5, topic: 't', subscription: 's', start: { earliest: true } }] });
    consumer.write({ credit: [{ handle: 5, messages: 1000, bytes: 1_000_000 }] });
    await until(() => consumer.texts().length === 20);
    expect(consumer.texts()).toEqual(Array.from({ length: 20 }, (_, i) => `m${i + 1}`));
    const [attached] = consumer.all('attached');
    expect(attached).toMatchObject({ handle: 5, partitions: 1, backlog: 20 });
    const last = consumer.all('deliveries').at(-1);
    consumer.write({
      acknowledge: [{ handle: 5, reset_epoch: attached.reset_epoch, up_to: last.base_offset + 1, request_id: 9 }],
    });
    await until(() => consumer.all('acknowledged').length === 1);
    expect(consumer.all('acknowledged')[0]).toMatchObject({ handle: 5, request_id: 9, error: null });
    expect(await stub.admin('DescribeSubscription', { topic: 't', name: 's' })).toMatchObject({ backlog: 0 });
  });

  it('is the same after a restart, with and without its index', async () => {
    const cluster = testCluster();
    const before = await start(cluster);
    await before.stub.admin('CreateTopic', { name: 'empty', partitions: 3 });
    await before.stub.send({ topic: 't', batch: messages('a', 'b', 'c') });
    const consumer = before.stub.subscribe();
    consumer.write({
      attach: [{ handle: 1, topic: 't', subscription: 's', start: { earliest: true } }],
      credit: [{ handle: 1, messages: 9, bytes: 9999 }],
    });
    await until(() => consumer.texts().length === 3);
    const { reset_epoch } = consumer.all('attached')[0];
    consumer.write({ acknowledge: [{ handle: 1, reset_epoch, up_to: 2, request_id: 1 }] });
    await until(() => consumer.all('acknowledged').length === 1);
    await before.broker.close();
    for (const lose of [false, true]) {
      if (lose) cluster.metadata = testCluster().metadata;
      const { stub, broker } = await start(cluster);
      const { topics } = await stub.admin('ListTopics');
      expect(topics.map((topic: { name: string }) => topic.name)).toEqual(['public/default/empty', 'public/default/t']);
      const again = stub.subscribe();
      again.write({ attach: [{ handle: 1, topic: 't', subscription: 's' }], credit: [{ handle: 1, messages: 9, bytes: 9999 }] });
      await until(() => again.texts().length === 1);
      expect(again.texts()).toEqual(['c']);
      await broker.close();
    }
  });

  it('tells producers, consumers and readers of a topic that is deleted, and takes another one of that name for another', async () => {
    const { stub, broker, cluster } = await start();
    await stub.send({ topic: 't', batch: messages('old') });
    const { topic_id } = await stub.lookup({ topic: 't' });
    const producer = stub.publish();
    producer.write({ open: [{ handle: 1, topic: 't', name: 'p', instance: 1 }] });
    const consumer = stub.subscribe();
    consumer.write({ attach: [{ handle: 1, topic: 't', subscription: 's', start: { earliest: true } }] });
    const reader = stub.read({ topic: 't', start: { latest: true }, follow: true });
    await until(
      () => producer.all('opened').length === 1 && consumer.all('attached').length === 1 && broker.edge.metrics.readStreams === 1,
    );

    await stub.admin('DeleteTopic', { name: 't' });
    await until(() => producer.all('closed').length === 1 && consumer.all('detached').length === 1 && reader.failure !== null);
    expect(producer.all('closed')[0].error).toMatchObject({ reason: 'topic_not_found' });
    expect(consumer.all('detached')[0].error).toMatchObject({ reason: 'topic_not_found' });
    expect(reader.failure).toMatchObject({ code: 'topic_not_found' });
    await until(() => broker.status().pendingPurges === 0);
    expect(userBytes(cluster)).toBe(0);

    await stub.send({ topic: 't', batch: messages('new') });
    const again = await stub.lookup({ topic: 't' });
    expect(again.topic_id).not.toBe(topic_id);
    const old = { topic: 't', topic_id };
    consumer.write({ attach: [{ handle: 2, ...old, subscription: 's' }] });
    producer.write({ open: [{ handle: 2, ...old }] });
    await until(() => consumer.all('detached').length === 2 && producer.all('closed').length === 2);
    expect(consumer.all('detached')[1].error).toMatchObject({ reason: 'topic_not_found', detail: { topic_id: again.topic_id } });
    expect(producer.all('closed')[1].error).toMatchObject({ reason: 'topic_not_found' });
    expect(await failureOf(stub.send({ ...old, batch: messages('x') }))).toMatchObject({ code: 'topic_not_found' });
    consumer.write({
      attach: [{ handle: 3, topic: 't', subscription: 's', start: { earliest: true } }],
      credit: [{ handle: 3, messages: 9, bytes: 999 }],
    });
    await until(() => consumer.texts().length === 1);
    expect(consumer.texts()).toEqual(['new']);
  });

  it('goes on purging after a restart', async () => {
    const cluster = testCluster();
    const before = await start(cluster);
    for (const topic of ['a', 'b']) await before.stub.send({ topic, batch: messages('x'.repeat(10_000)) });
    await before.stub.admin('CreateTopic', { name: 'never-used', partitions: 50 });
    for (const bookie of cluster.bookies.all) bookie.refusesDeletes = true;
    for (const name of ['a', 'b', 'never-used']) await before.stub.admin('DeleteTopic', { name });
    await before.broker.close(0);
    for (const bookie of cluster.bookies.all) bookie.refusesDeletes = false;
    const { broker } = await start(cluster);
    await until(() => broker.status().pendingPurges === 0);
    expect(broker.catalog.state.purging()).toEqual([]);
    expect(userBytes(cluster)).toBe(0);
  });

  it('closes partitions that nobody uses, and opens them again', async () => {
    const { stub, broker } = await start(testCluster(), {
      partitions: { idleCloseMs: 50, openMax: 5 },
      partition: { checkpointIntervalMs: 100 },
    });
    for (let i = 0; i < 20; i++) await stub.send({ topic: `t${i}`, batch: messages(`m${i}`) });
    await until(() => broker.status().openPartitions === 0, 10_000);
    for (let i = 0; i < 20; i++) {
      const read = stub.read({ topic: `t${i}`, start: { earliest: true } });
      await until(() => read.ended);
      expect(read.texts()).toEqual([`m${i}`]);
    }
    expect(broker.status().openPartitions).toBeLessThanOrEqual(10);
  });

  it('keeps a bounded number of partitions open, and says so when all are in use', async () => {
    const { stub } = await start(testCluster(), { partitions: { openMax: 3 } });
    const producer = stub.publish();
    producer.write({ open: Array.from({ length: 10 }, (_, i) => ({ handle: i + 1, topic: `t${i}` })) });
    await until(() => producer.all('opened').length + producer.all('closed').length === 10);
    expect(producer.all('opened')).toHaveLength(6);
    expect(producer.all('closed')[0].error).toMatchObject({ reason: 'overloaded', stored: 0 });
  });

  it('holds little for clients that stop reading, and serves the others meanwhile', async () => {
    const { stub, broker } = await start(testCluster(), { outboxBytes: 4 * MIB, tailCacheBytes: 2 * MIB });
    const payload = 'x'.repeat(200_000);
    for (let i = 0; i < 60; i++) await stub.send({ topic: 't', batch: messages(payload) });
    const slow = Array.from({ length: 6 }, (_, i) => {
      const own = new Stub(broker.address, { 'grpc-node.flow_control_window': 65_536 });
      closing.push(() => own.close());
      const consumer = own.subscribe();
      consumer.call.pause();
      consumer.write({ attach: [{ handle: 1, topic: 't', subscription: `s${i}`, start: { earliest: true } }] });
      consumer.write({ credit: [{ handle: 1, messages: 10_000, bytes: 1_000_000_000 }] });
      const reader = own.read({ topic: 't', start: { earliest: true } });
      reader.call.pause();
      return { consumer, reader };
    });
    await until(() => broker.edge.outboxPool.isFull);
    const fast = stub.subscribe();
    fast.write({ attach: [{ handle: 1, topic: 't', subscription: 'fast', start: { earliest: true } }] });
    fast.write({ credit: [{ handle: 1, messages: 10_000, bytes: 1_000_000_000 }] });
    await until(() => fast.all('deliveries').length === 60, 20_000);
    // The pool, and one response or entry for each stream that found it full.
    expect(broker.edge.outboxPool.bytes).toBeLessThan(4 * MIB + 13 * 1.2 * MIB);
    for (const { consumer, reader } of slow) {
      consumer.call.resume();
      reader.call.resume();
    }
    await until(
      () => slow.every(({ consumer, reader }) => consumer.all('deliveries').length === 60 && reader.all('deliveries').length === 60),
      60_000,
    );
    expect(broker.edge.outboxPool.bytes).toBe(0);
  });

  it('stops taking batches from clients when storage does not answer, and loses none of them', async () => {
    const { stub, broker, cluster } = await start(testCluster(), { intakeBytes: 4 * MIB, edge: { streamIntakeBytesMax: MIB } });
    const own = new Stub(broker.address);
    closing.push(() => own.close());
    const producer = own.publish();
    producer.write({ open: [{ handle: 1, topic: 't' }] });
    await until(() => producer.all('opened').length === 1);
    cluster.bookies.hold();
    const payload = 'x'.repeat(100_000);
    for (let i = 1; i <= 100; i++) producer.write({ batches: [{ handle: 1, sequence: i, info: { count: 1 }, batch: messages(payload) }] });
    await until(() => broker.edge.intakePool.bytes >= MIB);
    await new Promise(resolve => setTimeout(resolve, 200));
    expect(broker.edge.intakePool.bytes).toBeLessThan(2 * MIB);
    cluster.bookies.release();
    await until(() => producer.all('results').length === 100, 20_000);
    expect(producer.all('results').every((result: Message) => result.stored)).toBe(true);
    expect(broker.edge.intakePool.bytes).toBe(0);
    expect(await stub.admin('DescribeTopic', { name: 't' })).toMatchObject({ partitions: [{ messages: 100 }] });
  });

  it('answers what is under way before it stops, and says why the rest ends', async () => {
    const { broker, cluster } = await start();
    const own = new Stub(broker.address);
    closing.push(() => own.close());
    const producer = own.publish();
    producer.write({ open: [{ handle: 1, topic: 't', name: 'p', instance: 1 }] });
    const consumer = own.subscribe();
    consumer.write({ attach: [{ handle: 1, topic: 't', subscription: 's' }] });
    await until(() => producer.all('opened').length === 1 && consumer.all('attached').length === 1);
    cluster.bookies.hold();
    for (let i = 1; i <= 5; i++)
      producer.write({ batches: [{ handle: 1, sequence: i, prev_sequence: i - 1, info: { count: 1 }, batch: messages(`m${i}`) }] });
    await until(() => broker.edge.intakePool.bytes > 0 && broker.edge.metrics.requests >= 7);
    const closed = broker.close();
    await new Promise(resolve => setTimeout(resolve, 20));
    cluster.bookies.release();
    await closed;
    await until(() => producer.failure !== null && consumer.failure !== null);
    expect(producer.all('results').map((result: Message) => result.stored?.count)).toEqual([1, 1, 1, 1, 1]);
    expect(producer.all('closed')).toMatchObject([{ handle: 1, error: { reason: 'unavailable' } }]);
    expect(consumer.all('detached')).toHaveLength(1);
    expect(producer.failure).toMatchObject({ code: 'unavailable' });
    const { stub } = await start(cluster);
    const read = stub.read({ topic: 't', start: { earliest: true } });
    await until(() => read.ended);
    expect(read.texts()).toEqual(['m1', 'm2', 'm3', 'm4', 'm5']);
  });

  it('applies changed policies to partitions that are open', async () => {
    const { stub } = await start(testCluster(), { partition: { trimBytesMin: 1, checkpointIntervalMs: 100 } });
    await stub.send({ topic: 't', batch: messages('a') });
    const { topic } = await stub.admin('DescribeTopic', { name: 't' });
    await stub.admin('UpdateTopic', { name: 't', policies: { retention_ms: 1 }, etag: topic.etag });
    await stub.send({ topic: 't', batch: messages('b') });
    const startOffset = async () => (await stub.admin('DescribeTopic', { name: 't' })).partitions[0].start_offset;
    let trimmed = 0;
    for (const end = Date.now() + 10_000; trimmed === 0 && Date.now() < end; await new Promise(resolve => setTimeout(resolve, 100)))
      trimmed = await startOffset();
    expect(trimmed).toBeGreaterThan(0);
  });

  it('frees the oldest data of all topics when they reach the limit together, and says so', async () => {
    const logger = memoryLogger();
    const { stub, broker } = await start(testCluster(logger), { storageLimitBytes: 4 * MIB, log: { ledgerBytesMax: MIB } });
    const payload = 'x'.repeat(250_000);
    for (let i = 0; i < 40; i++) await stub.send({ topic: i < 20 ? 'old' : 'new', batch: messages(payload) });
    const bytes = async () => {
      const [old, young] = await Promise.all(['old', 'new'].map(name => stub.admin('DescribeTopic', { name })));
      return [old.partitions[0].bytes, young.partitions[0].bytes];
    };
    let [old, young] = await bytes();
    for (
      const end = Date.now() + 20_000;
      old + young > 4.5 * MIB && Date.now() < end;
      await new Promise(resolve => setTimeout(resolve, 200))
    )
      [old, young] = await bytes();
    expect(old + young).toBeLessThan(4.5 * MIB);
    expect(young).toBeGreaterThan(old);
    expect(logger.lines.some(line => line.message.includes('storage limit'))).toBe(true);
    expect(broker.status().openPartitions).toBeGreaterThan(0);
  });

  it('looks after partitions that nobody opens: what is past its retention goes, and counts towards the limit until then', async () => {
    const cluster = testCluster();
    const before = await start(cluster);
    for (const topic of ['a', 'b']) await before.stub.send({ topic, batch: messages('x'.repeat(100_000)) });
    await before.broker.close(0);
    const { broker, stub } = await start(cluster, {
      sweep: { firstMs: 0, everyMs: 100 },
      partition: { trimBytesMin: 1, checkpointIntervalMs: 100, rollAgeMs: 1 },
    });
    const { topic } = await stub
      .admin('UpdateTopic', { name: 'a', policies: { retention_ms: 1 } })
      .then(() => stub.admin('DescribeTopic', { name: 'b' }));
    expect(topic.partitions).toBe(1);
    await until(() => userBytes(cluster) < 150_000, 15_000);
    expect(userBytes(cluster)).toBeGreaterThan(100_000);
    const read = stub.read({ topic: 'b', start: { earliest: true } });
    await until(() => read.ended);
    expect(read.texts()[0]).toHaveLength(100_000);
    expect(broker.catalog.state.topicCount).toBe(2);
  });

  it('lets a reader go on at the start when what it wanted is trimmed', async () => {
    const { stub, broker } = await start(testCluster(), {
      partition: { trimBytesMin: 1, checkpointIntervalMs: 100 },
      log: { ledgerBytesMax: MIB },
    });
    const payload = 'x'.repeat(300_000);
    const reader = new Stub(broker.address, { 'grpc-node.flow_control_window': 65_536 });
    closing.push(() => reader.close());
    for (let i = 0; i < 120; i++) await stub.send({ topic: 't', batch: messages(`${i} ${payload}`) });
    const read = reader.read({ topic: 't', start: { earliest: true }, follow: true });
    read.call.pause();
    await new Promise(resolve => setTimeout(resolve, 300));
    await stub.admin('UpdateTopic', { name: 't', policies: { retention_ms: 1 } });
    const startOffset = async () => (await stub.admin('DescribeTopic', { name: 't' })).partitions[0].start_offset;
    for (const end = Date.now() + 15_000; (await startOffset()) < 110 && Date.now() < end; )
      await new Promise(resolve => setTimeout(resolve, 100));
    expect(await startOffset()).toBeGreaterThan(110);
    await stub.admin('UpdateTopic', { name: 't', policies: { retention_ms: -1 } });
    await stub.send({ topic: 't', batch: messages('last') });
    read.call.resume();
    await until(() => read.all('deliveries').at(-1)?.batch.messages[0].payload.toString() === 'last', 15_000);
    expect(read.failure).toBeNull();
    expect(read.all('deliveries').length).toBeLessThan(121);
  });
});
