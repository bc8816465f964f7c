import { afterEach, describe, expect, it } from 'vitest';
import type { Broker } from './broker.ts';
import { Stub, startBroker, type TestCluster, testCluster, until } from './testing/start-broker.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function start(cluster: TestCluster = testCluster()): Promise<{ broker: Broker; stub: Stub; cluster: TestCluster }> {
  const broker = await startBroker(cluster);
  const stub = new Stub(broker.address);
  closing.push(() => broker.close(0));
  closing.push(() => stub.close());
  return { broker, stub, cluster };
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
});
