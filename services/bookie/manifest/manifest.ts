// The manifest on disk: one file, appended to and synced record by record, now and then replaced by a fresh one that says it all again.
// A commit is durable, and known to have been durable, when its promise resolves. Commits and rewrites must not overlap: the flusher
// makes them one after the other.

import { join } from 'node:path';
import { DiskError, type DiskFile, type World } from '#lib/runtime/ports.ts';
import { assert } from '#lib/types/assert.ts';
import { type Edit, encodeManifestHeader, encodeRecord, readManifest } from './core/format.ts';

const NAME = /^manifest-(\d{10})$/;
/** A rewrite puts so many edits into one record. */
const EDITS_PER_RECORD = 1000;
const MANIFEST_BYTES_MAX = 2 ** 31 - 1;
/** Space that the file has before it is needed, as zeros: a full disk can still be told what was deleted. */
const AHEAD_BYTES = 512 * 1024;
const AHEAD_BYTES_MIN = 256 * 1024;

export type ManifestOpening =
  | { readonly kind: 'new' | 'clean' }
  | { readonly kind: 'tail_cut'; readonly bytes: number }
  | { readonly kind: 'corrupt'; readonly what: string }
  | { readonly kind: 'newer'; readonly version: number };

export interface OpenedManifest {
  /** Null when nothing may be appended (`corrupt`, `newer`): `Manifest.fresh` begins another one, once all is known again. */
  readonly manifest: Manifest | null;
  readonly edits: readonly Edit[];
  readonly opening: ManifestOpening;
}

const nameOf = (sequence: number): string => `manifest-${String(sequence).padStart(10, '0')}`;

export class Manifest {
  readonly #world: World;
  readonly #folder: string;
  #file: DiskFile;
  #sequence: number;
  #nonce: Buffer;
  #end: number;
  /** A commit that was rejected may have written up to here. */
  #writtenTo: number;
  /** The file has so many bytes; behind the end they are zeros. */
  #allocated: number;
  /** What a rewrite took: the file may grow to a multiple of it. */
  #freshBytes: number;

  private constructor(world: World, folder: string, file: DiskFile, sequence: number, nonce: Buffer, end: number, allocated: number) {
    this.#world = world;
    this.#folder = folder;
    this.#file = file;
    this.#sequence = sequence;
    this.#nonce = nonce;
    this.#end = end;
    this.#writtenTo = end;
    this.#allocated = allocated;
    this.#freshBytes = end;
  }

  get bytes(): number {
    return this.#end;
  }

  /** True when a fresh file would be much smaller. */
  isWorthRewriting(bytesMin: number): boolean {
    return this.#end > Math.max(bytesMin, 3 * this.#freshBytes);
  }

  static async open(world: World, folder: string): Promise<OpenedManifest> {
    await world.disk.makeFolder(folder);
    const names = (await world.disk.list(folder)).filter(name => NAME.test(name));
    const newest = names.at(-1);
    if (newest === undefined) return { manifest: null, edits: [], opening: { kind: 'new' } };
    const file = await world.disk.open(join(folder, newest));
    const size = await file.size();
    assert(size <= MANIFEST_BYTES_MAX, `${file.path} has ${size} bytes`);
    const view = Buffer.allocUnsafeSlow(size);
    const content = readManifest(view.subarray(0, await file.read(view, 0)));
    switch (content.kind) {
      case 'newer':
        await file.close();
        return { manifest: null, edits: [], opening: { kind: 'newer', version: content.version } };
      case 'corrupt':
        await file.close();
        return { manifest: null, edits: content.edits, opening: { kind: 'corrupt', what: content.what } };
      default: {
        // What a killed process wrote may be in the page cache only: it must be durable before anything relies on it.
        await file.sync();
        const manifest = new Manifest(world, folder, file, Number(newest.slice(-10)), Buffer.from(content.nonce), content.end, size);
        for (const name of names) if (name !== newest) await world.disk.remove(join(folder, name));
        if (content.kind === 'tail_cut') manifest.#writtenTo = size;
        const opening = content.kind === 'clean' ? { kind: content.kind } : { kind: content.kind, bytes: size - content.end };
        return { manifest, edits: content.edits, opening };
      }
    }
  }

  /** Begins a file that says all of `edits`, beside whatever is there: damaged files stay, under a name that says so. */
  static async fresh(world: World, folder: string, edits: readonly Edit[]): Promise<Manifest> {
    const names = (await world.disk.list(folder)).filter(name => NAME.test(name));
    const sequence = 1 + Number(names.at(-1)?.slice(-10) ?? 0);
    const manifest = await Manifest.#create(world, folder, sequence, edits);
    for (const name of names) await world.disk.rename(join(folder, name), join(folder, `damaged-${name}`));
    if (names.length > 0) await world.disk.syncFolder(folder);
    return manifest;
  }

  /**
   * Adds one record with all of `edits`. After a rejection nobody knows whether the file has them: they must be true all the same, and be
   * committed again.
   */
  async commit(edits: readonly Edit[]): Promise<void> {
    assert(edits.length > 0, 'a commit says something');
    const record = encodeRecord(edits, this.#nonce, this.#end);
    await this.#clearRest();
    await this.#write(record, this.#end);
    await this.#file.sync();
    // An empty record behind the one that was synced proves, if that one is ever found damaged, that it was whole.
    const position = this.#end + record.length;
    const cover = encodeRecord([], this.#nonce, position);
    await this.#write(cover, position);
    await this.#file.sync();
    this.#end = position + cover.length;
    this.#writtenTo = this.#end;
    await this.#growAhead();
  }

  /** Replaces the file by one that says all of `edits`, and no more. */
  async rewrite(edits: readonly Edit[]): Promise<void> {
    const fresh = await Manifest.#create(this.#world, this.#folder, this.#sequence + 1, edits);
    await this.#file.close();
    await this.#world.disk.remove(join(this.#folder, nameOf(this.#sequence)));
    this.#file = fresh.#file;
    this.#sequence = fresh.#sequence;
    this.#nonce = fresh.#nonce;
    this.#end = fresh.#end;
    this.#writtenTo = fresh.#end;
    this.#allocated = fresh.#allocated;
    this.#freshBytes = fresh.#end;
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #write(record: Buffer, position: number): Promise<void> {
    await this.#file.write([record], position);
    this.#allocated = Math.max(this.#allocated, position + record.length);
    this.#writtenTo = Math.max(this.#writtenTo, position + record.length);
  }

  /** What a commit left behind that was rejected: a record of it that is valid would make the next one look damaged. */
  async #clearRest(): Promise<void> {
    if (this.#writtenTo === this.#end) return;
    await this.#file.write([Buffer.alloc(this.#writtenTo - this.#end)], this.#end);
    await this.#file.sync();
    this.#writtenTo = this.#end;
  }

  /** As far as the disk has room for it. */
  async #growAhead(): Promise<void> {
    if (this.#allocated - this.#end >= AHEAD_BYTES_MIN) return;
    const zeros = Buffer.alloc(AHEAD_BYTES - (this.#allocated - this.#end));
    try {
      await this.#file.write([zeros], this.#allocated);
      this.#allocated += zeros.length;
    } catch (error) {
      if (!(error instanceof DiskError) || error.reason !== 'full') throw error;
    }
  }

  static async #create(world: World, folder: string, sequence: number, edits: readonly Edit[]): Promise<Manifest> {
    const path = join(folder, nameOf(sequence));
    const nonce = world.random.bytes(8);
    const file = await world.disk.open(`${path}.new`, { create: true });
    try {
      await file.truncate(0);
      const header = encodeManifestHeader(sequence, nonce);
      await file.write([header], 0);
      let end = header.length;
      for (let at = 0; at < edits.length; at += EDITS_PER_RECORD) {
        const record = encodeRecord(edits.slice(at, at + EDITS_PER_RECORD), nonce, end);
        await file.write([record], end);
        end += record.length;
      }
      const cover = encodeRecord([], nonce, end);
      const size = end + cover.length + AHEAD_BYTES;
      await file.write([cover, Buffer.alloc(AHEAD_BYTES)], end);
      await file.sync();
      await file.close();
      await world.disk.rename(`${path}.new`, path);
      await world.disk.syncFolder(folder);
      const opened = await world.disk.open(path);
      return new Manifest(world, folder, opened, sequence, nonce, end + cover.length, size);
    } catch (error) {
      await file.close();
      throw error;
    }
  }
}
