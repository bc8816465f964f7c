// The injected world: time, chance, disk and log come in as parameters, so that the simulator and production run the same code.
// `lib/runtime/node/` has the real adapters, `lib/runtime/sim/` the seeded ones with faults.

/** Milliseconds; timers fire once. */
export interface Clock {
  /** The wall clock, ms since 1970. May jump; for stamps only. */
  now(): number;
  /** A steady clock in ms with fractions, for spans. */
  monotonic(): number;
  /** Calls `run` once, after at least `delayMs`. */
  after(delayMs: number, run: () => void): Timer;
  /** Calls `run` in a later turn of the loop, after the I/O that is ready. */
  soon(run: () => void): void;
}

export interface Timer {
  cancel(): void;
}

export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  bytes(count: number): Buffer;
}

/** Fields are bound ids and amounts; `message` is constant text, so that lines can be grouped. */
export interface Logger {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
  child(fields: Readonly<Record<string, unknown>>): Logger;
}

/** One local file system. Paths are absolute. Everything rejects with `DiskError`. */
export interface Disk {
  /** Opens for reading and writing; `create` makes it when it is missing (durable only after `syncFolder`). */
  open(path: string, options?: { create?: boolean; readOnly?: boolean }): Promise<DiskFile>;
  /** Names in a folder, sorted; [] when it does not exist. */
  list(folder: string): Promise<string[]>;
  makeFolder(folder: string): Promise<void>;
  /** Makes creations, renames and removals in `folder` durable. */
  syncFolder(folder: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** A missing file is fine. */
  remove(path: string): Promise<void>;
  /** Bytes free for us and in total on the file system of `path`. */
  space(path: string): Promise<{ free: number; total: number }>;
  /** Takes the lock of a data folder for this process, or says who holds it. Freed when the process ends. */
  lock(path: string): Promise<{ kind: 'locked'; release(): Promise<void> } | { kind: 'held'; holder: string }>;
}

export interface DiskFile {
  readonly path: string;
  size(): Promise<number>;
  /** Writes all of `views`, one after the other, from `position` on. Lent until the promise settles. */
  write(views: readonly Uint8Array[], position: number): Promise<void>;
  /** Fills `target` from `position`; resolves to the bytes read, fewer only at the file's end. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Returns when all that was written before is durable (fdatasync). */
  sync(): Promise<void>;
  truncate(size: number): Promise<void>;
  close(): Promise<void>;
}

export type DiskErrorReason = 'full' | 'missing' | 'read_only' | 'io' | 'closed';

/** `full` is the only reason that passes by itself. */
export class DiskError extends Error {
  override readonly name = 'DiskError';
  readonly reason: DiskErrorReason;
  readonly path: string;

  constructor(reason: DiskErrorReason, path: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.reason = reason;
    this.path = path;
  }
}

/** What `main.ts` builds once and passes down. `fatal` ends the process with a reason (in a simulation: the node). */
export interface World {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly logger: Logger;
  fatal(reason: string, error?: unknown): never;
}
