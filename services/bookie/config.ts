// The configuration of a bookie, as a table that other services (standalone) take into theirs.
//
// Memory: writeCacheBytes (twice a half) + journalQueueBytes + readBytes, and about 2 KiB per ledger. Disk beside the data itself:
// journalFileBytes × journalFilesMax, and reservedDisk kept free.

import { type ConfigOf, defaultsOf, defineSchema } from '#lib/config/schema.ts';

export const bookieSchema = defineSchema(
  'bookie',
  {
    writeCacheBytes: {
      type: 'bytes',
      default: '64MiB',
      min: '1MiB',
      max: '4GiB',
      doc: 'Memory for entries that the journal has and no segment yet. Half of it makes one segment.',
    },
    journalFileBytes: {
      type: 'bytes',
      default: '64MiB',
      min: '1MiB',
      max: '1GiB',
      doc: 'Size of a journal file. The first one has 16 MiB at most, so that a start is fast.',
    },
    journalFilesMax: {
      type: 'integer',
      default: 6,
      min: 2,
      max: 64,
      unit: 'files',
      doc: 'Journal files at most. Together they must have room for the write cache twice.',
    },
    journalGroupBytes: {
      type: 'bytes',
      default: '4MiB',
      min: '64KiB',
      max: '64MiB',
      doc: 'What one write and sync of the journal takes at most, unless one record is larger.',
    },
    journalQueueBytes: {
      type: 'bytes',
      default: '64MiB',
      min: '1MiB',
      max: '1GiB',
      doc: 'Bytes that may wait for the journal; beyond it writers are pushed back.',
    },
    manifestBytes: {
      type: 'bytes',
      default: '4MiB',
      min: '4KiB',
      max: '256MiB',
      doc: 'The manifest is written anew when it has grown to this, and to three times what it took the last time.',
    },
    reservedDisk: {
      type: 'bytes',
      default: '1GiB',
      min: '0B',
      doc: "Free space below which clients' entries are refused as retryable, so that a full disk can still be trimmed and taken over. At most 5 % of the disk count.",
    },
    reservedPartitionBytes: {
      type: 'bytes',
      default: '4MiB',
      min: '64KiB',
      doc: 'What each partition may still write, for control entries and take overs, while the disk counts as full.',
    },
    readsMax: {
      type: 'integer',
      default: 64,
      min: 1,
      max: 4096,
      unit: 'reads',
      doc: 'Reads from disk at a time; beyond it readers are pushed back.',
    },
    readBytes: { type: 'bytes', default: '64MiB', min: '1MiB', doc: 'Bytes that reads from disk may hold at a time.' },
    scrubBytesPerSecond: {
      type: 'bytes',
      default: '4MiB',
      min: '64KiB',
      words: { off: 0 },
      doc: 'How fast old segments are read again to find bytes that rotted.',
    },
    scrubInterval: {
      type: 'duration',
      default: '7d',
      min: '1m',
      doc: 'How long after a whole round of reading segments again the next one begins.',
    },
  },
  {
    groups: [
      {
        title: 'Journal and write cache',
        keys: ['writeCacheBytes', 'journalFileBytes', 'journalFilesMax', 'journalGroupBytes', 'journalQueueBytes', 'manifestBytes'],
      },
      { title: 'Disk space', keys: ['reservedDisk', 'reservedPartitionBytes'] },
      { title: 'Reading stored data', keys: ['readsMax', 'readBytes', 'scrubBytesPerSecond', 'scrubInterval'] },
    ],
    checks: [
      ({ writeCacheBytes, journalFileBytes, journalFilesMax }) =>
        journalFileBytes * journalFilesMax < 2 * writeCacheBytes
          ? {
              keys: ['writeCacheBytes', 'journalFileBytes', 'journalFilesMax'],
              message: 'the journal (journalFileBytes × journalFilesMax) must have room for the write cache twice',
            }
          : undefined,
    ],
  },
);

export type BookieSettings = ConfigOf<typeof bookieSchema.keys>;

/** What a bookie needs beside its settings. */
export interface BookieConfig extends BookieSettings {
  /** Absolute path of its data folder. */
  readonly folder: string;
  /** A UUID; null: whatever the folder says, a new one for a new folder. */
  readonly clusterId: string | null;
}

/** The defaults as values, for tests and for servers inside other programs. */
export function bookieDefaults(folder: string, clusterId: string | null = null): BookieConfig {
  return { ...defaultsOf(bookieSchema), folder, clusterId };
}
