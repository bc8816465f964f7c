// The broker's own limits and rhythms. Bytes that a broker may hold are the sum of its pools: both caches, what it has taken in, what
// is on its way out, and the HTTP/2 windows that it has opened.

import { type ConfigOf, defineSchema } from '#lib/config/schema.ts';

export const brokerSchema = defineSchema(
  'broker',
  {
    tailCache: {
      type: 'bytes',
      default: '48MiB',
      min: '1MiB',
      doc: 'Newest entries of all partitions, from which consumers that keep up are served.',
    },
    readAheadCache: {
      type: 'bytes',
      default: '32MiB',
      min: '4MiB',
      doc: 'What consumers that catch up will read next, apart from the tail cache, so that one replay pushes nothing out of it.',
    },
    publishBuffer: {
      type: 'bytes',
      default: '64MiB',
      min: '16MiB',
      doc: 'Batches of all clients that are taken in and not yet stored. Past it streams are not read further.',
    },
    deliveryBuffer: {
      type: 'bytes',
      default: '64MiB',
      min: '4MiB',
      doc: 'Responses to all clients that these have not taken yet. Past it every stream has one response under way at most.',
    },
    receiveWindows: {
      type: 'bytes',
      default: '64MiB',
      min: '1MiB',
      doc: 'HTTP/2 windows that were opened beyond 64 KiB for connections that send much, together.',
    },
    connectionsMax: {
      type: 'integer',
      default: 12_000,
      min: 1,
      unit: 'connections',
      doc: 'gRPC connections at a time. More are closed at once. The limit of open files must be higher.',
    },
    partitionsOpenMax: {
      type: 'integer',
      default: 2_000,
      min: 1,
      unit: 'partitions',
      doc: 'Partitions kept open while nobody uses them. Those in use may be twice as many; more are refused as overloaded.',
    },
    partitionIdleClose: {
      type: 'duration',
      default: '60s',
      min: '1s',
      doc: 'A partition that nobody used for so long is closed to free its memory.',
    },
    ledgerBytes: {
      type: 'bytes',
      default: '256MiB',
      min: '1MiB',
      doc: 'A ledger is ended at this size and the next one begun. Data is freed by whole ledgers.',
    },
    ledgerAge: {
      type: 'duration',
      default: '4h',
      min: '1s',
      doc: 'A ledger with messages is ended at this age. Data is freed by whole ledgers.',
    },
    defaultPartitions: {
      type: 'integer',
      default: 1,
      min: 1,
      max: 10_000,
      unit: 'partitions',
      doc: 'Partitions of a topic that is created without a number. Namespaces may set their own.',
    },
    dedupWindow: {
      type: 'duration',
      default: '10m',
      max: '7d',
      doc: 'How long an idempotency id of `Send` is remembered. Namespaces and topics may set their own.',
    },
  },
  {
    groups: [
      {
        title: 'Broker: memory',
        keys: ['tailCache', 'readAheadCache', 'publishBuffer', 'deliveryBuffer', 'receiveWindows', 'connectionsMax'],
      },
      {
        title: 'Broker: topics and partitions',
        keys: ['partitionsOpenMax', 'partitionIdleClose', 'ledgerBytes', 'ledgerAge', 'defaultPartitions', 'dedupWindow'],
      },
    ],
  },
);

export type BrokerConfig = ConfigOf<typeof brokerSchema.keys>;
