// A group under way: the records of one write. Small parts are copied, one behind the other, into slabs that are used again; large ones
// are passed on as they are. So a group of a thousand small records is one buffer, and a large entry is not copied.

import { assert } from '#lib/types/assert.ts';
import { crc32c } from '#lib/wire/crc32c.ts';
import {
  type FileIdentity,
  GROUP_HEADER_BYTES,
  type JournalPosition,
  RECORD_HEADER_BYTES,
  roundUp,
  writeGroupHeader,
  writeRecordHeader,
} from './format.ts';

const SLAB_BYTES = 64 * 1024;
/** Copying this much costs about what one more buffer in a write costs. */
const COPY_BYTES_MAX = 4096;
const FREE_SLABS_MAX = 32;
const NOTHING = new Uint8Array(0);

/** Slabs that no write uses now. */
export class SlabPool {
  readonly #free: Buffer[] = [];

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
  }

  give(slabs: readonly Buffer[]): void {
    for (const slab of slabs) if (this.#free.length < FREE_SLABS_MAX) this.#free.push(slab);
  }
}

export class Group {
  readonly identity: FileIdentity;
  readonly at: number;
  /** Who waits for this group to be durable, in the order of their records. */
  readonly waiters: (() => void)[] = [];
  /** Header and records so far. */
  bytes = GROUP_HEADER_BYTES;
  records = 0;
  readonly #pool: SlabPool;
  readonly #views: Uint8Array[] = [];
  readonly #slabs: Buffer[] = [];
  #slab: Buffer;
  /** Of the slab: what is not yet in `#views` begins here, what is free here. */
  #start = 0;
  #used = GROUP_HEADER_BYTES;

  constructor(pool: SlabPool, identity: FileIdentity, at: number) {
    this.identity = identity;
    this.at = at;
    this.#pool = pool;
    this.#slab = this.#takeSlab();
  }

  /** Where the next group may begin. */
  get end(): number {
    return roundUp(this.at + this.bytes);
  }

  /** Adds a record of `length` bytes and says where it stands. `lastPartCrc`: the checksum of the last part, if it is known. */
  add(type: number, parts: readonly Uint8Array[], length: number, lastPartCrc: number | undefined): number {
    const at = this.at + this.bytes;
    const last = parts[parts.length - 1] ?? NOTHING;
    const lastCrc = lastPartCrc ?? crc32c(last);
    this.#reserve(RECORD_HEADER_BYTES);
    const slab = this.#slab;
    const header = this.#used;
    this.#used += RECORD_HEADER_BYTES;
    let crc = writeRecordHeader(slab, header, { type, length, lastLength: last.length, lastCrc, at, identity: this.identity });
    for (let index = 0; index < parts.length; index++) {
      const part = parts[index] ?? NOTHING;
      if (index < parts.length - 1) crc = crc32c(part, crc);
      this.#put(part);
    }
    slab.writeUInt32LE(crc, header);
    this.bytes += RECORD_HEADER_BYTES + length;
    this.records++;
    return at;
  }

  /** Ends the group: its header is written now, so that it says what is durable now. What comes back fills whole blocks. */
  close(syncedTo: JournalPosition): readonly Uint8Array[] {
    const padding = this.end - this.at - this.bytes;
    this.#reserve(padding);
    this.#slab.fill(0, this.#used, this.#used + padding);
    this.#used += padding;
    this.#seal();
    const { identity, at, bytes, records } = this;
    const first = this.#slabs[0];
    assert(first !== undefined, 'a group has a slab');
    writeGroupHeader(first, 0, { identity, at, bytes, records, syncedTo });
    return this.#views;
  }

  /** After the write: the slabs may be used again, the parts forgotten. */
  release(): void {
    this.#pool.give(this.#slabs.splice(0));
    this.#views.length = 0;
  }

  #put(part: Uint8Array): void {
    if (part.length > COPY_BYTES_MAX) {
      this.#seal();
      this.#views.push(part);
      return;
    }
    this.#reserve(part.length);
    this.#slab.set(part, this.#used);
    this.#used += part.length;
  }

  /** Makes room for `count` bytes in one piece. */
  #reserve(count: number): void {
    if (this.#used + count <= SLAB_BYTES) return;
    this.#seal();
    this.#slab = this.#takeSlab();
    this.#start = 0;
    this.#used = 0;
  }

  #seal(): void {
    if (this.#used > this.#start) this.#views.push(this.#slab.subarray(this.#start, this.#used));
    this.#start = this.#used;
  }

  #takeSlab(): Buffer {
    const slab = this.#pool.take();
    this.#slabs.push(slab);
    return slab;
  }
}
