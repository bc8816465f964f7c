// The embedded metadata store of standalone, on node:sqlite. It is only an index (DESIGN ch. 6): it is never synced, every row has a
// checksum, and a file that is damaged is put aside for an empty one. A file of a newer version is refused and left as it is.
// Calls are synchronous on the main loop and take microseconds; what is long goes in slices of well under a millisecond.

import { renameSync, rmSync } from 'node:fs';
import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { crc32 } from 'node:zlib';
import type { Clock, Logger } from '#lib/runtime/ports.ts';
import type { Ballot } from '#lib/types/ballot.ts';
import type { PartitionId } from '#lib/types/brands.ts';
import { decodeBlock, decodeHead, encodeBlock, encodeHead } from './core/rows.ts';
import { claimWins, headWins, nextEpoch, Operations, recordWins } from './core/rules.ts';
import {
  type ChainHead,
  type Claim,
  type Compared,
  type CursorBlock,
  type CursorUpdate,
  type MetadataChange,
  MetadataError,
  type MetadataStore,
} from './store.ts';
import { Watchers } from './watchers.ts';

interface SqliteWorld {
  readonly clock: Clock;
  readonly logger: Logger;
}

/** "SLUI": tells our files from others. */
const APPLICATION_ID = 0x534c5549;
const SCHEMA_VERSION = 1;
/** Rows in one transaction: about 7 µs each. */
const SLICE_ROWS = 64;

// A checkpoint copies at most so many pages (4 KiB) on the main loop. Exclusive: the data folder belongs to one process.
const PRAGMAS = `
  PRAGMA locking_mode = EXCLUSIVE;
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = OFF;
  PRAGMA wal_autocheckpoint = 128;
  PRAGMA journal_size_limit = 4194304;
`;

/** As SQLite keeps them: what stands in the file must be the same text. */
const TABLES: readonly string[] = [
  'CREATE TABLE epochs (partition TEXT PRIMARY KEY, epoch INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID, STRICT',
  'CREATE TABLE claims (partition TEXT PRIMARY KEY, epoch INTEGER NOT NULL, incarnation TEXT NOT NULL, broker TEXT NOT NULL, ' +
    'crc INTEGER NOT NULL) WITHOUT ROWID, STRICT',
  'CREATE TABLE heads (partition TEXT PRIMARY KEY, epoch INTEGER NOT NULL, incarnation TEXT NOT NULL, head BLOB NOT NULL, ' +
    'crc INTEGER NOT NULL) WITHOUT ROWID, STRICT',
  'CREATE TABLE cursors (partition TEXT, subscription TEXT, name TEXT, reset_epoch INTEGER NOT NULL, block BLOB NOT NULL, ' +
    'crc INTEGER NOT NULL, PRIMARY KEY (partition, subscription, name)) WITHOUT ROWID, STRICT',
  'CREATE TABLE records (key TEXT PRIMARY KEY, version INTEGER NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID, STRICT',
];

/** `path` is a file in a folder that exists, or ':memory:'. Rejects with `MetadataError`. */
export async function openSqliteStore(world: SqliteWorld, path: string): Promise<MetadataStore> {
  const opened = openDatabase(path);
  if (opened.kind === 'opened') return new SqliteStore(world, path, opened.database);
  putAside(path);
  world.logger.error('the metadata index is damaged: it is put aside, and an empty one is begun', {
    path,
    aside: `${path}.damaged`,
    reason: opened.reason,
    cost: 'redelivery since the last checkpoint; nothing is lost',
  });
  const second = openDatabase(path);
  if (second.kind === 'damaged') throw new MetadataError(`the metadata index ${path} cannot be made: ${second.reason}`);
  return new SqliteStore(world, path, second.database);
}

type Opened = { readonly kind: 'opened'; readonly database: DatabaseSync } | { readonly kind: 'damaged'; readonly reason: string };

function openDatabase(path: string): Opened {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path);
    const application = pragma(database, 'application_id');
    const version = pragma(database, 'user_version');
    const tables = database.prepare('SELECT sql FROM sqlite_schema ORDER BY rowid').all();
    const isNew = application === 0 && version === 0 && tables.length === 0;
    if (!isNew && application !== APPLICATION_ID) return damaged(database, 'it is a file of another program');
    if (version > SCHEMA_VERSION) throw newerVersion(path, version);
    const asWritten = tables.length === TABLES.length && tables.every((row, index) => row['sql'] === TABLES[index]);
    if (!isNew && !asWritten) return damaged(database, 'its tables are not those of its version');
    database.exec(PRAGMAS);
    if (isNew) {
      const marks = `PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${SCHEMA_VERSION}`;
      database.exec(`BEGIN; ${TABLES.join('; ')}; ${marks}; COMMIT`);
    }
    const check = String(database.prepare('PRAGMA quick_check(1)').get()?.['quick_check']);
    return check === 'ok' ? { kind: 'opened', database } : damaged(database, check);
  } catch (error) {
    if (isDamage(error)) return damaged(database, error.message);
    if (database?.isOpen) database.close();
    throw error instanceof MetadataError ? error : unavailable(path, error);
  }
}

function damaged(database: DatabaseSync | undefined, reason: string): Opened {
  if (database?.isOpen) database.close();
  return { kind: 'damaged', reason };
}

function newerVersion(path: string, version: number): MetadataError {
  return new MetadataError(
    `the metadata index ${path} was written by a newer version of Sluice (${version}; this one knows ${SCHEMA_VERSION}): run that version, or move the file away, it is only an index`,
  );
}

const pragma = (database: DatabaseSync, name: string): number => Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);

/** The one put aside before is replaced: a disk that damages every file must not fill up with them. */
function putAside(path: string): void {
  renameSync(path, `${path}.damaged`);
  for (const suffix of ['-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
}

interface SqliteError extends Error {
  readonly errcode: number;
}
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

const isSqliteError = (error: unknown): error is SqliteError =>
  error instanceof Error && 'errcode' in error && typeof error.errcode === 'number';
const isDamage = (error: unknown): error is SqliteError =>
  isSqliteError(error) && [SQLITE_CORRUPT, SQLITE_NOTADB].includes(error.errcode & 0xff);

function unavailable(path: string, error: unknown): MetadataError {
  return new MetadataError(`the metadata index ${path} fails: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}

function statements(database: DatabaseSync) {
  const upsert = (table: string, keys: string, values: string, condition = '') => {
    const columns = `${keys}, ${values}`;
    const set = values.split(', ').map(column => `${column} = excluded.${column}`);
    const marks = columns.replace(/\w+/g, '?');
    return database.prepare(`INSERT INTO ${table} (${columns}) VALUES (${marks}) ON CONFLICT (${keys}) DO UPDATE SET ${set} ${condition}`);
  };
  return {
    readEpoch: database.prepare('SELECT * FROM epochs WHERE partition = ?'),
    writeEpoch: upsert('epochs', 'partition', 'epoch, crc'),
    readClaim: database.prepare('SELECT * FROM claims WHERE partition = ?'),
    writeClaim: upsert('claims', 'partition', 'epoch, incarnation, broker, crc'),
    readHead: database.prepare('SELECT * FROM heads WHERE partition = ?'),
    writeHead: upsert('heads', 'partition', 'epoch, incarnation, head, crc'),
    readCursor: database.prepare('SELECT * FROM cursors WHERE partition = ? AND subscription = ?'),
    writeBlock: upsert(
      'cursors',
      'partition, subscription, name',
      'reset_epoch, block, crc',
      'WHERE excluded.reset_epoch >= cursors.reset_epoch',
    ),
    dropBlock: database.prepare('DELETE FROM cursors WHERE partition = ? AND subscription = ? AND name = ?'),
    dropCursor: database.prepare('DELETE FROM cursors WHERE partition = ? AND subscription = ?'),
    dropAll: ['epochs', 'claims', 'heads', 'cursors'].map(table => database.prepare(`DELETE FROM ${table} WHERE partition = ?`)),
    readRecord: database.prepare('SELECT * FROM records WHERE key = ?'),
    writeRecord: upsert('records', 'key', 'version, value, crc'),
    listRecords: database.prepare('SELECT * FROM records WHERE key >= ? AND key < ? ORDER BY key'),
  };
}

type Row = Record<string, SQLOutputValue>;
const STORED = { kind: 'stored' } as const;

class SqliteStore implements MetadataStore {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #statements: ReturnType<typeof statements>;
  readonly #operations = new Operations();
  readonly #watchers: Watchers;
  /** Settles when the cursors that are being written in slices are there; calls on cursors go one after the other. */
  #cursorWork: Promise<void> = Promise.resolve();

  constructor(world: SqliteWorld, path: string, database: DatabaseSync) {
    this.#clock = world.clock;
    this.#logger = world.logger;
    this.#path = path;
    this.#database = database;
    this.#statements = statements(database);
    this.#watchers = new Watchers(world.clock);
  }

  async nextEpoch(partition: PartitionId, atLeast: number): Promise<number> {
    return this.#run(() => {
      const row = this.#statements.readEpoch.get(partition);
      const counted = row && this.#isWhole(row, [partition, Number(row['epoch'])]) ? Number(row['epoch']) : 0;
      const epoch = nextEpoch(counted, atLeast);
      this.#statements.writeEpoch.run(partition, epoch, checksum([partition, epoch]));
      return epoch;
    });
  }

  async claim(partition: PartitionId, claim: Claim, operation: string): Promise<Compared<Claim>> {
    return this.#run(() => {
      if (this.#operations.has(`claim ${partition}`, operation)) return STORED;
      const current = this.#claimOf(partition);
      if (!claimWins(current, claim)) return { kind: 'lost', current };
      const { epoch, incarnation } = claim.ballot;
      const crc = checksum([partition, epoch, incarnation, claim.broker]);
      this.#statements.writeClaim.run(partition, epoch, incarnation, claim.broker, crc);
      this.#operations.add(`claim ${partition}`, operation);
      this.#watchers.tell({ kind: 'claim', partition });
      return STORED;
    });
  }

  async readClaim(partition: PartitionId): Promise<Claim | null> {
    return this.#run(() => this.#claimOf(partition));
  }

  async putHead(partition: PartitionId, head: ChainHead, ballot: Ballot, operation: string): Promise<Compared<ChainHead>> {
    return this.#run(() => {
      if (this.#operations.has(`head ${partition}`, operation)) return STORED;
      const current = this.#headOf(partition);
      if (!headWins(current, head, ballot)) return { kind: 'lost', current: current?.head ?? null };
      const bytes = encodeHead(head);
      const crc = checksum([partition, ballot.epoch, ballot.incarnation, bytes]);
      this.#statements.writeHead.run(partition, ballot.epoch, ballot.incarnation, bytes, crc);
      this.#operations.add(`head ${partition}`, operation);
      this.#watchers.tell({ kind: 'head', partition });
      return STORED;
    });
  }

  async readHead(partition: PartitionId): Promise<ChainHead | null> {
    return this.#run(() => this.#headOf(partition)?.head ?? null);
  }

  /** One transaction; a call with very many blocks takes several, with other work in between. */
  async putCursors(updates: readonly CursorUpdate[]): Promise<void> {
    const rows: { partition: PartitionId; subscription: string; name: string; block: CursorBlock | null }[] = [];
    for (const { partition, subscription, blocks } of updates) {
      for (const [name, block] of blocks) rows.push({ partition, subscription, name, block });
    }
    await this.#afterCursorWork(async () => {
      for (let at = 0; at < rows.length; at += SLICE_ROWS) {
        if (at > 0) await new Promise<void>(resolve => this.#clock.soon(resolve));
        this.#transaction(() => {
          for (const row of rows.slice(at, at + SLICE_ROWS)) this.#writeBlock(row.partition, row.subscription, row.name, row.block);
        });
      }
    });
  }

  async readCursor(partition: PartitionId, subscription: string): Promise<ReadonlyMap<string, CursorBlock>> {
    return this.#afterCursorWork(async () =>
      this.#run(() => {
        const blocks = new Map<string, CursorBlock>();
        for (const row of this.#statements.readCursor.all(partition, subscription)) {
          const name = text(row, 'name');
          const bytes = blob(row, 'block');
          if (this.#isWhole(row, [partition, subscription, name, bytes])) blocks.set(name, decodeBlock(bytes));
          // Its column might keep newer blocks out.
          else this.#statements.dropBlock.run(partition, subscription, name);
        }
        return blocks;
      }),
    );
  }

  async dropCursor(partition: PartitionId, subscription: string): Promise<void> {
    await this.#afterCursorWork(async () => this.#run(() => this.#statements.dropCursor.run(partition, subscription)));
  }

  async dropPartition(partition: PartitionId): Promise<void> {
    await this.#afterCursorWork(async () =>
      this.#transaction(() => {
        for (const statement of this.#statements.dropAll) statement.run(partition);
      }),
    );
  }

  async putRecord(key: string, value: Buffer, version: number, operation: string): Promise<Compared<{ value: Buffer; version: number }>> {
    return this.#run(() => {
      if (this.#operations.has(`record ${key}`, operation)) return STORED;
      const current = this.#recordOf(this.#statements.readRecord.get(key));
      if (!recordWins(current?.version ?? 0, version)) {
        return { kind: 'lost', current: current && { value: current.value, version: current.version } };
      }
      this.#statements.writeRecord.run(key, version + 1, value, checksum([key, version + 1, value]));
      this.#operations.add(`record ${key}`, operation);
      this.#watchers.tell({ kind: 'record', key });
      return STORED;
    });
  }

  async readRecord(key: string): Promise<{ value: Buffer; version: number } | null> {
    return this.#run(() => {
      const record = this.#recordOf(this.#statements.readRecord.get(key));
      return record && { value: record.value, version: record.version };
    });
  }

  async listRecords(prefix: string): Promise<readonly { key: string; value: Buffer; version: number }[]> {
    return this.#run(() => {
      const rows = this.#statements.listRecords.all(prefix, `${prefix}\u{10FFFF}`);
      return rows.map(row => this.#recordOf(row)).filter(record => record !== null);
    });
  }

  watch(prefix: string, onChange: (change: MetadataChange) => void): () => void {
    return this.#watchers.add(prefix, onChange);
  }

  async close(): Promise<void> {
    this.#watchers.clear();
    await this.#cursorWork;
    if (this.#database.isOpen) this.#run(() => this.#database.close());
  }

  #claimOf(partition: PartitionId): Claim | null {
    const row = this.#statements.readClaim.get(partition);
    if (!row) return null;
    const ballot = ballotOf(row);
    const broker = text(row, 'broker');
    return this.#isWhole(row, [partition, ballot.epoch, ballot.incarnation, broker]) ? { ballot, broker } : null;
  }

  #headOf(partition: PartitionId): { head: ChainHead; ballot: Ballot } | null {
    const row = this.#statements.readHead.get(partition);
    if (!row) return null;
    const ballot = ballotOf(row);
    const bytes = blob(row, 'head');
    return this.#isWhole(row, [partition, ballot.epoch, ballot.incarnation, bytes]) ? { head: decodeHead(bytes), ballot } : null;
  }

  #recordOf(row: Row | undefined): { key: string; value: Buffer; version: number } | null {
    if (!row) return null;
    const key = text(row, 'key');
    const version = Number(row['version']);
    const bytes = blob(row, 'value');
    return this.#isWhole(row, [key, version, bytes]) ? { key, value: Buffer.from(bytes), version } : null;
  }

  #writeBlock(partition: PartitionId, subscription: string, name: string, block: CursorBlock | null): void {
    if (block === null) {
      this.#statements.dropBlock.run(partition, subscription, name);
      return;
    }
    const bytes = encodeBlock(block);
    const crc = checksum([partition, subscription, name, bytes]);
    this.#statements.writeBlock.run(partition, subscription, name, block.resetEpoch, bytes, crc);
  }

  /** A row whose checksum does not hold counts as absent. */
  #isWhole(row: Row, parts: readonly Part[]): boolean {
    if (Number(row['crc']) === checksum(parts)) return true;
    this.#logger.error('a row of the metadata index is damaged and is ignored', { path: this.#path, row: String(parts[0]) });
    return false;
  }

  #afterCursorWork<T>(run: () => Promise<T>): Promise<T> {
    const mine = this.#cursorWork.then(run);
    // The next call goes on whatever became of this one; its own caller is told.
    this.#cursorWork = mine.then(
      () => undefined,
      () => undefined,
    );
    return mine;
  }

  #transaction(run: () => void): void {
    this.#run(() => {
      this.#database.exec('BEGIN');
      try {
        run();
        this.#database.exec('COMMIT');
      } catch (error) {
        if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
        throw error;
      }
    });
  }

  #run<T>(run: () => T): T {
    if (!this.#database.isOpen) throw new MetadataError('the metadata store is closed');
    try {
      return run();
    } catch (error) {
      throw isSqliteError(error) ? unavailable(this.#path, error) : error;
    }
  }
}

type Part = string | number | Uint8Array;

/** CRC-32 over the parts of a row; their lengths keep neighbours apart. */
function checksum(parts: readonly Part[]): number {
  let crc = 0;
  for (const part of parts) {
    const bytes = typeof part === 'object' ? part : Buffer.from(`${part}`);
    crc = crc32(`${bytes.length}:`, crc);
    // zlib takes an empty buffer for none at all, and begins anew.
    if (bytes.length > 0) crc = crc32(bytes, crc);
  }
  return crc;
}

const ballotOf = (row: Row): Ballot => ({ epoch: Number(row['epoch']), incarnation: text(row, 'incarnation') });

const text = (row: Row, column: string): string => String(row[column]);

function blob(row: Row, column: string): Uint8Array {
  const value = row[column];
  return value instanceof Uint8Array ? value : new Uint8Array(0);
}
