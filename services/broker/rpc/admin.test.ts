// Every call of Admin, and Lookup, through a stub made of the contract.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Broker } from '../broker.ts';
import { failureOf, type Message, Stub, startBroker, testCluster, until } from '../testing/start-broker.ts';

let broker: Broker;
let stub: Stub;
let names = 0;

beforeAll(async () => {
  broker = await startBroker(testCluster());
  stub = new Stub(broker.address);
});
afterAll(async () => {
  stub.close();
  await broker.close(0);
});

const unique = (what: string): string => `${what}-${++names}`;
const batch = (...payloads: string[]): Message => ({ messages: payloads.map(payload => ({ payload: Buffer.from(payload) })) });
const refused = (call: string, request: Message) => failureOf(stub.admin(call, request));

describe('Admin', () => {
  it('describes the cluster', async () => {
    expect(await stub.admin('DescribeCluster')).toMatchObject({
      cluster_id: 'test-cluster',
      version: '0.1.0',
      protocol_version: 1,
      features: [],
    });
  });

  it('makes, lists and deletes tenants', async () => {
    const name = unique('tenant');
    const made = await stub.admin('CreateTenant', { name, operation_id: 'make' });
    expect(made).toMatchObject({ name });
    expect(made.created_ms).toBeGreaterThan(Date.now() - 60_000);
    expect(await stub.admin('CreateTenant', { name, operation_id: 'make' })).toEqual(made);
    expect(await refused('CreateTenant', { name })).toMatchObject({ code: 'already_exists' });
    expect((await stub.admin('ListTenants')).tenants.map((tenant: Message) => tenant.name)).toEqual(['public', name]);
    expect(await refused('DeleteTenant', { name, etag: '0' })).toMatchObject({ code: 'changed' });
    await stub.admin('DeleteTenant', { name, etag: made.etag });
    expect(await refused('DeleteTenant', { name })).toMatchObject({ code: 'tenant_not_found', stored: 'no' });
  });

  it('makes, changes, lists and deletes namespaces, with policies that are there or absent', async () => {
    const tenant = unique('tenant');
    await stub.admin('CreateTenant', { name: tenant });
    const name = `${tenant}/ns`;
    const made = await stub.admin('CreateNamespace', {
      name,
      policies: { retention_ms: 5000, auto_create_topics: false, dedup_window_ms: 0 },
    });
    expect(made.policies).toMatchObject({ retention_ms: 5000, auto_create_topics: false, dedup_window_ms: 0 });
    expect(made.policies._backlog_bytes_max).toBeUndefined();
    const changed = await stub.admin('UpdateNamespace', { name, policies: { default_partitions: 4 }, etag: made.etag });
    expect(changed.policies._retention_ms).toBeUndefined();
    expect(changed.policies.default_partitions).toBe(4);
    expect(await refused('UpdateNamespace', { name, policies: {}, etag: made.etag })).toMatchObject({ code: 'changed' });
    expect(await refused('UpdateNamespace', { name, policies: { retention_ms: 0 } })).toMatchObject({
      detail: { field: 'policies.retention_ms' },
    });
    expect((await stub.admin('ListNamespaces', { tenant })).namespaces).toEqual([changed]);
    expect(await refused('ListNamespaces', { tenant: 'nobody' })).toMatchObject({ code: 'tenant_not_found' });
    await stub.admin('CreateTopic', { name: `${name}/t` });
    expect((await stub.admin('DescribeTopic', { name: `${name}/t` })).topic.partitions).toBe(4);
    expect(await refused('DeleteNamespace', { name })).toMatchObject({ code: 'not_empty' });
    await stub.admin('DeleteTopic', { name: `${name}/t` });
    await stub.admin('DeleteNamespace', { name });
    expect(await refused('ListTopics', { namespace: name })).toMatchObject({ code: 'namespace_not_found' });
  });

  it('makes, describes, changes and deletes topics', async () => {
    const name = unique('topic');
    const made = await stub.admin('CreateTopic', { name, partitions: 2, policies: { retention_ms: -1 } });
    expect(made).toMatchObject({ name: `public/default/${name}`, partitions: 2 });
    expect(made.topic_id).toMatch(/^[0-9a-f-]{36}$/);
    await stub.send({ topic: name, partition: 1, batch: batch('a', 'bc') });
    const described = await stub.admin('DescribeTopic', { name });
    expect(described.topic).toEqual(made);
    expect(described.effective).toMatchObject({ retention_ms: -1, backlog_bytes_max: -1, auto_create_topics: true, default_partitions: 1 });
    expect(described.partitions).toMatchObject([
      { partition: 0, messages: 0, end_offset: 0, error: null },
      { partition: 1, messages: 2, start_offset: 0, end_offset: 2, ledgers: 1, error: null },
    ]);
    expect(described.partitions[1].bytes).toBeGreaterThan(0);
    const changed = await stub.admin('UpdateTopic', { name, policies: { backlog_bytes_max: 1000 }, etag: made.etag });
    expect(changed.policies).toMatchObject({ backlog_bytes_max: 1000 });
    expect(await refused('DeleteTopic', { name, etag: made.etag })).toMatchObject({ code: 'changed' });
    await stub.admin('DeleteTopic', { name, etag: changed.etag, operation_id: 'gone' });
    await stub.admin('DeleteTopic', { name, etag: changed.etag, operation_id: 'gone' });
    expect(await refused('DescribeTopic', { name })).toMatchObject({ code: 'topic_not_found' });
  });

  it('lists in pages, and refuses tokens that it did not give', async () => {
    const tenant = unique('tenant');
    await stub.admin('CreateTenant', { name: tenant });
    const namespace = `${tenant}/ns`;
    await stub.admin('CreateNamespace', { name: namespace });
    const wanted = Array.from({ length: 25 }, (_, i) => `${namespace}/t${String(i).padStart(2, '0')}`);
    await Promise.all([...wanted].reverse().map(name => stub.admin('CreateTopic', { name })));
    const seen: string[] = [];
    let token = '';
    let pages = 0;
    do {
      const page = await stub.admin('ListTopics', { namespace, page_size: 10, page_token: token });
      seen.push(...page.topics.map((topic: Message) => topic.name));
      token = page.next_page_token;
      pages += 1;
      // A topic that goes between pages disturbs nobody.
      if (pages === 1) await stub.admin('DeleteTopic', { name: wanted[9] });
    } while (token !== '');
    expect(seen).toEqual(wanted);
    expect(pages).toBe(3);
    const { next_page_token } = await stub.admin('ListTopics', { namespace, page_size: 1 });
    for (const bad of [{ namespace, page_token: 'xx' }, { namespace, page_token: `${next_page_token}=` }, { page_token: next_page_token }])
      expect(await refused('ListTopics', bad)).toMatchObject({ code: 'invalid_argument', detail: { field: 'page_token' } });
    expect(await refused('ListTopics', { namespace, page_size: 1001 })).toMatchObject({ detail: { field: 'page_size' } });
  });

  it('makes, describes, lists, seeks and deletes subscriptions over all partitions', async () => {
    const topic = unique('topic');
    await stub.admin('CreateTopic', { name: topic, partitions: 3 });
    for (const partition of [0, 1, 2]) await stub.send({ topic, partition, batch: batch('a', 'b') });
    const made = await stub.admin('CreateSubscription', { topic, name: 's', start: { earliest: true } });
    expect(made).toMatchObject({ topic: `public/default/${topic}`, name: 's', type: 1, backlog: 6 });
    expect(made.partitions).toMatchObject([0, 1, 2].map(partition => ({ partition, mark_delete: 0, backlog: 2, holes: 0, consumers: [] })));
    expect(await stub.admin('CreateSubscription', { topic, name: 's', start: { earliest: true } })).toEqual(made);
    await stub.admin('CreateSubscription', { topic, name: 'r' });
    expect(await stub.admin('DescribeSubscription', { topic, name: 'r' })).toMatchObject({ backlog: 0 });
    const { subscriptions } = await stub.admin('ListSubscriptions', { topic });
    expect(subscriptions.map((found: Message) => [found.name, found.backlog])).toEqual([
      ['r', 0],
      ['s', 6],
    ]);
    expect(await stub.admin('SeekSubscription', { topic, name: 's', to: { latest: true }, partition: 0 })).toMatchObject({ backlog: 4 });
    expect(await stub.admin('SeekSubscription', { topic, name: 's', to: { offset: 1 } })).toMatchObject({ backlog: 3 });
    expect(await stub.admin('SeekSubscription', { topic, name: 's', to: { offset: Number.MAX_SAFE_INTEGER } })).toMatchObject({
      backlog: 0,
    });
    await stub.admin('DeleteSubscription', { topic, name: 's' });
    for (const call of ['DescribeSubscription', 'DeleteSubscription'])
      expect(await refused(call, { topic, name: 's' })).toMatchObject({ code: 'subscription_not_found' });
    expect(await refused('SeekSubscription', { topic, name: 's', to: { earliest: true } })).toMatchObject({
      code: 'subscription_not_found',
    });
    expect(await refused('SeekSubscription', { topic, name: 'r' })).toMatchObject({ detail: { field: 'to' } });
    expect(await refused('SeekSubscription', { topic, name: 'r', to: {} })).toMatchObject({ detail: { field: 'to' } });
    expect(await refused('SeekSubscription', { topic, name: 'r', to: { earliest: true }, partition: 3 })).toMatchObject({
      detail: { field: 'partition' },
    });
    expect(await refused('CreateSubscription', { topic, name: '../x' })).toMatchObject({ detail: { field: 'name' } });
    expect(await refused('CreateSubscription', { topic, name: 'x', type: 3 })).toMatchObject({ code: 'unsupported' });
    expect(await refused('CreateSubscription', { topic: 'unknown', name: 'x' })).toMatchObject({ code: 'topic_not_found' });
  });

  it('shows who consumes', async () => {
    const topic = unique('topic');
    await stub.send({ topic, batch: batch('a') });
    const stream = stub.subscribe();
    stream.write({
      hello: { protocol_version: 1, client: 'someone/1' },
      attach: [{ handle: 1, topic, subscription: 's', consumer: 'alice' }],
    });
    await until(() => stream.all('attached').length === 1);
    const { partitions } = await stub.admin('DescribeSubscription', { topic, name: 's' });
    expect(partitions[0].consumers).toMatchObject([{ name: 'alice', client: 'someone/1' }]);
    expect(partitions[0].consumers[0].address).toContain('127.0.0.1:');
    stream.call.cancel();
  });

  it('looks topics up, and makes them only when asked and allowed', async () => {
    const topic = unique('topic');
    expect(await failureOf(stub.lookup({ topic }))).toMatchObject({ code: 'topic_not_found' });
    const made = await stub.lookup({ topic, create: true });
    expect(made).toMatchObject({ topic: `public/default/${topic}`, partitions: [{ partition: 0, address: '' }] });
    expect(await stub.lookup({ topic })).toEqual(made);
    await stub.admin('UpdateNamespace', { name: 'public/default', policies: { auto_create_topics: false } });
    const failure = await failureOf(stub.lookup({ topic: unique('topic'), create: true }));
    expect(failure).toMatchObject({ code: 'topic_not_found' });
    expect(failure.message).toContain('does not create');
    expect(await failureOf(stub.send({ topic: unique('topic'), batch: batch('x') }))).toMatchObject({ code: 'topic_not_found' });
    await stub.admin('UpdateNamespace', { name: 'public/default', policies: {} });
  });

  it('tells bad names from unknown ones in every call that takes one', async () => {
    for (const name of ['', 'x'.repeat(300), '../x', 'a\u0000b', '主题', '_sluice']) {
      for (const [call, field] of [
        ['CreateTenant', 'name'],
        ['DeleteTenant', 'name'],
        ['CreateTopic', 'name'],
        ['DescribeTopic', 'name'],
        ['UpdateTopic', 'name'],
        ['DeleteTopic', 'name'],
        ['CreateSubscription', 'topic'],
        ['ListSubscriptions', 'topic'],
        ['DescribeSubscription', 'topic'],
        ['SeekSubscription', 'topic'],
        ['DeleteSubscription', 'topic'],
      ] as const)
        expect(await refused(call, { [field]: name }), `${call} ${JSON.stringify(name)}`).toMatchObject({
          code: 'invalid_argument',
          stored: 'no',
          detail: { field },
        });
      if (name !== '') expect(await refused('CreateNamespace', { name: `public/${name}` })).toMatchObject({ code: 'invalid_argument' });
    }
  });
});
