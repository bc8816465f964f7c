import { describe, expect, it } from 'vitest';
import { NO_BALLOT } from '#lib/types/ballot.ts';
import { bookieId, ledgerId, type TopicId, topicId } from '#lib/types/brands.ts';
import { fail, isFailure } from '#lib/types/errors.ts';
import { CatalogState, type Command } from './catalog.ts';
import { type EffectiveSettings, etagOf, NO_POLICIES, type PolicySettings } from './model.ts';
import { decodeRecord, encodeRecord, type Outcome } from './record.ts';

const SERVER: EffectiveSettings = {
  retentionMs: 1000,
  backlogBytesMax: -1,
  autoCreateTopics: true,
  defaultPartitions: 1,
  dedupWindowMs: 600_000,
};
const policies = (some: Partial<PolicySettings>): PolicySettings => ({ ...NO_POLICIES, ...some });
const uuid = (n: number): string => `01890000-0000-7000-8000-${String(n).padStart(12, '0')}`;

class Harness {
  readonly state = new CatalogState(SERVER);
  #ids = 0;
  bookies = true;

  do(command: Command, operationId = ''): Outcome | { readonly refused: string; readonly field: string } {
    const decision = this.state.decide(command, {
      nowMs: 5,
      operationId,
      newTopicId: (): TopicId => topicId(uuid(++this.#ids)),
      newFirstLedger: () =>
        this.bookies
          ? { ledger: ledgerId(uuid(++this.#ids)), ensemble: [bookieId('ab'.repeat(16))], ackQuorum: 1, creator: NO_BALLOT }
          : fail('storage_unavailable', 'too few bookies'),
    });
    if (isFailure(decision)) return { refused: decision.code, field: decision.detail['field'] ?? '' };
    if (decision.kind === 'answer') return decision.outcome;
    const record = decodeRecord(encodeRecord({ kind: 'change', change: decision.change }));
    if (isFailure(record) || record.kind !== 'change') throw new Error('a change is read back as it was written');
    expect(record.change).toEqual(decision.change);
    return this.state.apply(record.change);
  }

  topic(name: string, partitions = 0, settings = NO_POLICIES, operationId = '', orExisting = false) {
    return this.do({ kind: 'create_topic', name, partitions, policies: settings, orExisting }, operationId);
  }
}

const refused = (code: string, field?: string) =>
  field === undefined ? expect.objectContaining({ refused: code }) : { refused: code, field };

describe('catalog', () => {
  it('has public/default from the beginning, and keeps it', () => {
    const harness = new Harness();
    expect(harness.state.namespace('public/default')).toBeDefined();
    expect(harness.do({ kind: 'delete_namespace', name: 'public/default', etag: '' })).toEqual(refused('invalid_argument', 'name'));
    expect(harness.do({ kind: 'delete_tenant', name: 'public', etag: '' })).toEqual(refused('invalid_argument', 'name'));
  });

  it('makes tenants, namespaces and topics below each other only', () => {
    const harness = new Harness();
    expect(harness.topic('acme/shop/orders')).toEqual(refused('tenant_not_found'));
    expect(harness.do({ kind: 'create_namespace', name: 'acme/shop', policies: NO_POLICIES })).toEqual(refused('tenant_not_found'));
    expect(harness.do({ kind: 'create_tenant', name: 'acme' })).toMatchObject({ kind: 'tenant' });
    expect(harness.topic('acme/shop/orders')).toEqual(refused('namespace_not_found'));
    expect(harness.do({ kind: 'create_namespace', name: 'acme/shop', policies: NO_POLICIES })).toMatchObject({ kind: 'namespace' });
    expect(harness.topic('acme/shop/orders', 3)).toMatchObject({ kind: 'topic', topic: { partitions: 3, name: 'acme/shop/orders' } });
    expect(harness.topic('orders')).toMatchObject({ kind: 'topic', topic: { name: 'public/default/orders' } });
    expect(harness.do({ kind: 'delete_tenant', name: 'acme', etag: '' })).toEqual(refused('not_empty'));
    expect(harness.do({ kind: 'delete_namespace', name: 'acme/shop', etag: '' })).toEqual(refused('not_empty'));
    expect(harness.do({ kind: 'delete_topic', name: 'acme/shop/orders', etag: '' })).toEqual({ kind: 'deleted' });
    expect(harness.do({ kind: 'delete_namespace', name: 'acme/shop', etag: '' })).toEqual({ kind: 'deleted' });
    expect(harness.do({ kind: 'delete_tenant', name: 'acme', etag: '' })).toEqual({ kind: 'deleted' });
    expect(harness.state.tenants().map(tenant => tenant.name)).toEqual(['public']);
  });

  it('refuses bad names and says which field', () => {
    const harness = new Harness();
    for (const name of [
      '',
      'x'.repeat(300),
      '../x',
      'a\u0000b',
      'a b',
      'ä',
      '主题',
      '_sluice_x',
      'a/b',
      'a/b/c/d',
      '..',
      'public/default/',
    ]) {
      expect(harness.topic(name), JSON.stringify(name)).toEqual(refused('invalid_argument', 'name'));
      if (name !== 'a/b') expect(harness.do({ kind: 'create_tenant', name })).toEqual(refused('invalid_argument', 'name'));
    }
    for (const name of ['x', 'a/b/c', '/', 'a/', '/b', 'public/ü'])
      expect(harness.do({ kind: 'create_namespace', name, policies: NO_POLICIES })).toEqual(refused('invalid_argument', 'name'));
  });

  it('refuses policies and partitions that are out of range', () => {
    const harness = new Harness();
    const bad: [PolicySettings, string][] = [
      [policies({ retentionMs: 0 }), 'policies.retention_ms'],
      [policies({ retentionMs: -2 }), 'policies.retention_ms'],
      [policies({ backlogBytesMax: 0 }), 'policies.backlog_bytes_max'],
      [policies({ defaultPartitions: 0 }), 'policies.default_partitions'],
      [policies({ defaultPartitions: 10_001 }), 'policies.default_partitions'],
      [policies({ dedupWindowMs: -1 }), 'policies.dedup_window_ms'],
    ];
    for (const [settings, field] of bad) expect(harness.topic('t', 1, settings)).toEqual(refused('invalid_argument', field));
    for (const partitions of [-1, 1.5, 10_001, Number.NaN])
      expect(harness.topic('t', partitions)).toEqual(refused('invalid_argument', 'partitions'));
    harness.bookies = false;
    expect(harness.topic('t', 1)).toEqual(refused('storage_unavailable'));
  });

  it('inherits policies from topic to namespace to server', () => {
    const harness = new Harness();
    harness.topic('a', 0, policies({ retentionMs: 7 }));
    harness.topic('b');
    const settings = (name: string) => {
      const topic = harness.state.topic(`public/default/${name}`);
      return topic && harness.state.topicSettings(topic);
    };
    expect(settings('b')).toEqual(SERVER);
    harness.do({
      kind: 'update_namespace',
      name: 'public/default',
      policies: policies({ retentionMs: -1, defaultPartitions: 4 }),
      etag: '',
    });
    expect(settings('a')).toMatchObject({ retentionMs: 7, defaultPartitions: 4 });
    expect(settings('b')).toMatchObject({ retentionMs: -1 });
    expect(harness.topic('c')).toMatchObject({ topic: { partitions: 4 } });
    harness.do({ kind: 'update_topic', name: 'a', policies: NO_POLICIES, etag: '' });
    expect(settings('a')).toMatchObject({ retentionMs: -1 });
  });

  it('compares etags', () => {
    const harness = new Harness();
    const made = harness.topic('t');
    if (!('kind' in made) || made.kind !== 'topic') throw new Error('made');
    const old = etagOf(made.topic);
    expect(harness.do({ kind: 'update_topic', name: 't', policies: policies({ retentionMs: 9 }), etag: old })).toMatchObject({
      kind: 'topic',
    });
    expect(harness.do({ kind: 'update_topic', name: 't', policies: NO_POLICIES, etag: old })).toEqual(refused('changed'));
    expect(harness.do({ kind: 'delete_topic', name: 't', etag: old })).toEqual(refused('changed'));
    expect(harness.do({ kind: 'delete_topic', name: 't', etag: etagOf(harness.state.topic('public/default/t') ?? made.topic) })).toEqual({
      kind: 'deleted',
    });
  });

  it('answers a repeated operation as the first, also when the world has moved on', () => {
    const harness = new Harness();
    const first = harness.topic('t', 2, NO_POLICIES, 'op-1');
    expect(harness.topic('t', 2, NO_POLICIES, 'op-1')).toEqual(first);
    expect(harness.topic('t', 3, NO_POLICIES, 'op-1')).toEqual(refused('invalid_argument', 'operation_id'));
    expect(harness.do({ kind: 'delete_topic', name: 't', etag: '' }, 'op-2')).toEqual({ kind: 'deleted' });
    const again = harness.topic('t');
    expect(harness.do({ kind: 'delete_topic', name: 't', etag: '' }, 'op-2')).toEqual({ kind: 'deleted' });
    expect(harness.state.topic('public/default/t')).toBeDefined();
    expect(harness.topic('t', 2, NO_POLICIES, 'op-1')).toEqual(first);
    expect(again).not.toEqual(first);
    expect(harness.topic('u', 1, NO_POLICIES, 'x'.repeat(65))).toEqual(refused('invalid_argument', 'operation_id'));
    expect(harness.topic('u', 1, NO_POLICIES, 'a\nb')).toEqual(refused('invalid_argument', 'operation_id'));
  });

  it('remembers a bounded number of operations', () => {
    const harness = new Harness();
    for (let i = 0; i < 1_100; i++) harness.do({ kind: 'update_namespace', name: '', policies: NO_POLICIES, etag: '' }, `op-${i}`);
    expect(harness.state.size).toBe(1_002);
  });

  it('gives a topic that is made again another id, and keeps the old one until its purge is done', () => {
    const harness = new Harness();
    harness.topic('t');
    const old = harness.state.topic('public/default/t');
    harness.do({ kind: 'delete_topic', name: 't', etag: '' });
    harness.topic('t');
    expect(harness.state.topic('public/default/t')?.id).not.toBe(old?.id);
    expect(harness.state.topicById(old?.id ?? '')).toBeUndefined();
    expect(harness.state.purging()).toEqual([old]);
    if (old) harness.do({ kind: 'finish_purge', id: old.id });
    expect(harness.state.purging()).toEqual([]);
    if (old) expect(harness.do({ kind: 'finish_purge', id: old.id })).toEqual({ kind: 'deleted' });
  });

  it('takes an existing topic for an answer when it is to be created on demand', () => {
    const harness = new Harness();
    const first = harness.topic('t', 5);
    expect(harness.topic('t', 0, NO_POLICIES, '', true)).toEqual(first);
    expect(harness.topic('t', 0)).toEqual(refused('already_exists'));
  });

  it('is the same after a snapshot', () => {
    const harness = new Harness();
    harness.do({ kind: 'create_tenant', name: 'acme' }, 'op-t');
    harness.do({ kind: 'create_namespace', name: 'acme/shop', policies: policies({ autoCreateTopics: false }) });
    harness.do({ kind: 'update_namespace', name: 'public/default', policies: policies({ retentionMs: 77 }), etag: '' });
    for (let i = 0; i < 20; i++) harness.topic(`t${i}`, 1 + (i % 3), NO_POLICIES, `op-${i}`);
    for (let i = 0; i < 20; i += 4) harness.do({ kind: 'delete_topic', name: `t${i}`, etag: '' });
    const copy = new CatalogState(SERVER, harness.state.version);
    for (const item of harness.state.snapshot()) {
      const record = decodeRecord(encodeRecord({ kind: 'snapshot_part', items: [item] }));
      if (isFailure(record) || record.kind !== 'snapshot_part') throw new Error('read back');
      for (const read of record.items) copy.restore(read);
    }
    expect([...copy.snapshot()]).toEqual([...harness.state.snapshot()]);
    expect(copy.version).toBe(harness.state.version);
    expect(copy.topicsOf('public/default')).toEqual(harness.state.topicsOf('public/default'));
  });

  it('refuses records that are wrong or of a later version, and never throws at them', () => {
    const good = encodeRecord({ kind: 'trim', to: 5 }).toString();
    expect(decodeRecord(Buffer.from(good))).toEqual({ kind: 'trim', to: 5 });
    for (const bad of [
      '',
      '{',
      'null',
      '[]',
      '{"v":1}',
      '{"v":1,"kind":"trim","to":-1}',
      '{"v":1,"kind":"change","change":{"kind":"tenant"}}',
    ])
      expect(decodeRecord(Buffer.from(bad))).toMatchObject({ kind: 'failure', code: 'data_loss' });
    expect(decodeRecord(Buffer.from(good.replace('"v":1', '"v":2')))).toMatchObject({ kind: 'failure', code: 'unsupported' });
  });
});
