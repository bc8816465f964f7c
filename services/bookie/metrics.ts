// The bookie's metrics: names, units and what they are read from. Hot paths add to plain numbers; this reads them.

import type { Samples, ValueSpec } from '#lib/telemetry/metrics.ts';
import type { BookieUsage } from './bookie.ts';

/** What is used of a registry of metrics. */
export interface MetricSink {
  value<Label extends string>(spec: ValueSpec<Label>, read: () => Samples<Label>): void;
}

const METRICS: readonly { readonly spec: ValueSpec; readonly read: (usage: BookieUsage) => number }[] = [
  counter('appended_entries_total', 'Entries that were taken into the journal.', usage => usage.appendedEntries),
  counter('appended_bytes_total', 'Bytes of entries that were taken into the journal.', usage => usage.appendedBytes),
  counter('flushes_total', 'Flushes of the write cache into a segment.', usage => usage.flushes),
  counter('flushed_bytes_total', 'Bytes of segments that flushes wrote.', usage => usage.flushedBytes),
  counter('damaged_reads_total', 'Reads that found stored bytes which do not hold.', usage => usage.damagedReads),
  counter('scrubbed_bytes_total', 'Bytes of segments that were read again to find rot.', usage => usage.scrubbedBytes),
  counter('conflicts_total', 'Requests that broke a rule of the ledger protocol; each is a bug somewhere.', usage => usage.conflicts),
  gauge('ledgers', 'Ledgers that are held.', usage => usage.ledgers),
  gauge('tombstones', 'Deleted ledgers that are remembered.', usage => usage.tombstones),
  gauge('doubtful_ledgers', 'Ledgers that give no vote since stored data was damaged.', usage => usage.doubtfulLedgers),
  gauge('damaged_ranges', 'Places in segments that are known to be damaged.', usage => usage.damagedRanges),
  gauge('segments', 'Segment files.', usage => usage.segments),
  gauge('segment_bytes', 'Bytes of segment files.', usage => usage.segmentBytes),
  gauge('cache_bytes', 'Memory of entries that no segment has yet.', usage => usage.cacheBytes),
  gauge('journal_bytes', 'Bytes of journal files.', usage => usage.journalBytes),
  gauge('journal_live_bytes', 'Bytes of the journal that segments and manifest do not cover yet.', usage => usage.journalLiveBytes),
  gauge('free_disk_bytes', 'Free space of the disk, when it was last asked.', usage => usage.freeBytes),
  gauge('space_full', '1 while entries of clients are refused for want of space.', usage => (usage.isSpaceFull ? 1 : 0)),
  gauge('waiting_replies', 'Answers that wait for the journal.', usage => usage.waitingReplies),
];

export function declareBookieMetrics(sink: MetricSink, bookie: { usage(): BookieUsage }): void {
  for (const { spec, read } of METRICS) sink.value(spec, () => read(bookie.usage()));
}

function counter(name: string, help: string, read: (usage: BookieUsage) => number): (typeof METRICS)[number] {
  return { spec: { kind: 'counter', name: `sluice_bookie_${name}`, help }, read };
}

function gauge(name: string, help: string, read: (usage: BookieUsage) => number): (typeof METRICS)[number] {
  return { spec: { kind: 'gauge', name: `sluice_bookie_${name}`, help }, read };
}
