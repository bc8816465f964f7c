// The broker's metrics: names, units and what they are read from. The hot path adds to plain numbers; this reads them.

import type { RpcServer } from '#lib/rpc/server.ts';
import type { Samples, ValueSpec } from '#lib/telemetry/metrics.ts';
import type { Edge } from './rpc/edge.ts';

/** What is used of a registry of metrics. */
export interface MetricSink {
  value<Label extends string>(spec: ValueSpec<Label>, read: () => Samples<Label>): void;
}

export interface BrokerGauges {
  readonly edge: Edge;
  readonly server: Pick<RpcServer, 'counts'>;
  topics(): number;
  openPartitions(): number;
  pendingPurges(): number;
  storedBytes(): number;
  tailCacheBytes(): number;
  readAheadBytes(): number;
  trimmedForLimit(): number;
}

const counter = (name: string, help: string): ValueSpec => ({ kind: 'counter', name: `sluice_broker_${name}`, help });
const gauge = (name: string, help: string): ValueSpec => ({ kind: 'gauge', name: `sluice_broker_${name}`, help });

export function declareBrokerMetrics(sink: MetricSink, gauges: BrokerGauges): void {
  const { metrics, intakePool, outboxPool } = gauges.edge;
  sink.value(counter('published_batches_total', 'Batches that were stored.'), () => metrics.publishedBatches);
  sink.value(
    counter('published_messages_total', 'Messages that were stored, as their batches count them.'),
    () => metrics.publishedMessages,
  );
  sink.value(counter('published_bytes_total', 'Bytes of batches that were stored.'), () => metrics.publishedBytes);
  sink.value(counter('refused_batches_total', 'Batches that were answered with an error.'), () => metrics.refusedBatches);
  sink.value(
    counter('delivered_entries_total', 'Entries, or slices of one, that were sent to consumers and readers.'),
    () => metrics.deliveredEntries,
  );
  sink.value(counter('delivered_bytes_total', 'Bytes of batches that were sent to consumers and readers.'), () => metrics.deliveredBytes);
  sink.value(counter('acknowledgements_total', 'Acknowledge frames that came in.'), () => metrics.acknowledgements);
  sink.value(counter('requests_total', 'gRPC messages that came in.'), () => metrics.requests);
  sink.value(counter('responses_total', 'gRPC messages that went out.'), () => metrics.responses);
  sink.value(
    counter('refused_connections_total', 'Connections closed because the limit was reached.'),
    () => gauges.server.counts().refusedConnections,
  );
  sink.value(counter('limit_trims_total', 'Ledgers trimmed because all topics together reached the storage limit.'), () =>
    gauges.trimmedForLimit(),
  );
  sink.value(gauge('connections', 'gRPC connections that are open.'), () => gauges.server.counts().connections);
  sink.value(gauge('silent_connections', 'Connections that have not sent a byte yet.'), () => gauges.server.counts().silentConnections);
  sink.value(gauge('publish_streams', 'Publish calls that are open.'), () => metrics.publishStreams);
  sink.value(gauge('subscribe_streams', 'Subscribe calls that are open.'), () => metrics.subscribeStreams);
  sink.value(gauge('read_streams', 'Read calls that are open.'), () => metrics.readStreams);
  sink.value(gauge('publish_buffer_bytes', 'Bytes of batches that were taken in and are not answered.'), () => intakePool.bytes);
  sink.value(gauge('delivery_buffer_bytes', 'Bytes of responses that clients have not taken.'), () => outboxPool.bytes);
  sink.value(
    gauge('receive_window_bytes', 'Bytes of HTTP/2 windows opened beyond the first size.'),
    () => gauges.server.counts().windowBytes,
  );
  sink.value(gauge('tail_cache_bytes', 'Bytes in the tail cache.'), () => gauges.tailCacheBytes());
  sink.value(gauge('read_ahead_bytes', 'Bytes in the read-ahead cache.'), () => gauges.readAheadBytes());
  sink.value(gauge('topics', 'Topics in the catalog.'), () => gauges.topics());
  sink.value(gauge('open_partitions', 'Partitions that are open on this broker.'), () => gauges.openPartitions());
  sink.value(gauge('pending_purges', 'Deleted topics whose data is not gone yet.'), () => gauges.pendingPurges());
  sink.value(gauge('stored_bytes', 'Bytes of all ledgers of all topics, as last counted.'), () => gauges.storedBytes());
}
