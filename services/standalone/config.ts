// The configuration of `sluice standalone`: where it listens, where its data lies, and what a server of its own sets for all topics. The
// keys of the bookie and the broker inside it are theirs (`services/bookie/config.ts`, `services/broker/config.ts`), taken in here.

import { type ConfigOf, defineSchema } from '#lib/config/schema.ts';
import { bookieSchema } from '../bookie/config.ts';
import { brokerSchema } from '../broker/config.ts';

export const standaloneSchema = defineSchema(
  'standalone',
  {
    dataDir: {
      type: 'string',
      default: './data',
      doc: 'Folder of all data. It is made when it is missing and belongs to one process at a time.',
    },
    listen: {
      type: 'address',
      default: '127.0.0.1:7650',
      doc: 'Where gRPC listens. Port 0 takes a free one. Without authentication, so keep it on an interface that you trust.',
    },
    httpListen: {
      type: 'address',
      default: '127.0.0.1:7651',
      doc: 'Where `/livez`, `/readyz` and `/metrics` are served. Port 0 takes a free one.',
    },
    storageLimit: {
      type: 'bytes',
      default: '10GiB',
      min: '64MiB',
      words: { unlimited: -1 },
      doc: 'Bytes that all topics together may take. Past it the oldest data is trimmed, acknowledged or not, and the log says so.',
    },
    retention: {
      type: 'duration',
      default: '7d',
      min: '1s',
      words: { forever: -1 },
      doc: 'How long a message is kept from its publish, acknowledged or not. Namespaces and topics may set their own.',
    },
    backlogQuota: {
      type: 'bytes',
      default: 'unlimited',
      min: '1MiB',
      words: { unlimited: -1 },
      doc: 'Unacknowledged bytes per partition at which publishing is refused. Namespaces and topics may set their own.',
    },
    autoCreateTopics: {
      type: 'boolean',
      default: true,
      doc: 'Producing to an unknown topic creates it. Consuming never does. Namespaces may set their own.',
    },
    logLevel: {
      type: 'enum',
      values: ['debug', 'info', 'warn', 'error'],
      default: 'info',
      doc: 'The least important lines that are logged.',
    },
    logFormat: {
      type: 'enum',
      values: ['pretty', 'json'],
      default: 'pretty',
      doc: 'Lines for people, or one JSON object a line for a collector. Both go to standard error.',
    },
    ...brokerSchema.keys,
    ...bookieSchema.keys,
  },
  {
    groups: [
      { title: 'Storage and defaults of topics', keys: ['dataDir', 'storageLimit', 'retention', 'backlogQuota', 'autoCreateTopics'] },
      { title: 'Network', keys: ['listen', 'httpListen'] },
      { title: 'Logs', keys: ['logLevel', 'logFormat'] },
      ...brokerSchema.groups,
      ...bookieSchema.groups.map(({ title, keys }) => ({ title: `Bookie: ${title}`, keys })),
    ],
    checks: [
      ...brokerSchema.checks,
      ...bookieSchema.checks,
      ({ listen, httpListen }) =>
        listen.port !== 0 && listen.port === httpListen.port && listen.host === httpListen.host
          ? { keys: ['listen', 'httpListen'], message: 'listen and httpListen are the same address; give them different ports' }
          : undefined,
    ],
  },
);

export type StandaloneConfig = ConfigOf<typeof standaloneSchema.keys>;
