// Little-endian fields one after the other: `ByteWriter` puts them into a buffer that grows, `ByteReader` takes them out again.
// A reader never throws and never reads past its end: the first field that does not hold sets `problem`, and all later ones read as zero,
// so that a decoder checks once, at its end.

import { assert } from '#lib/types/assert.ts';
import { readU64, writeU64 } from './entry.ts';

const FIRST_BYTES = 256;

export class ByteWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(firstBytes = FIRST_BYTES) {
    this.#buffer = Buffer.allocUnsafe(firstBytes);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): void {
    const at = this.#grow(1);
    this.#buffer.writeUInt8(value, at);
  }

  u16(value: number): void {
    const at = this.#grow(2);
    this.#buffer.writeUInt16LE(value, at);
  }

  u32(value: number): void {
    const at = this.#grow(4);
    this.#buffer.writeUInt32LE(value, at);
  }

  /** A safe integer ≥ 0. */
  u64(value: number): void {
    const at = this.#grow(8);
    writeU64(this.#buffer, value, at);
  }

  bytes(view: Uint8Array): void {
    const at = this.#grow(view.length);
    this.#buffer.set(view, at);
  }

  /** `digits` hex digits as they are, half as many bytes. */
  hex(text: string): void {
    const at = this.#grow(text.length / 2);
    const written = this.#buffer.write(text, at, 'hex');
    assert(written === text.length / 2, `${text} is not hex`);
  }

  uuid(text: string): void {
    assert(text.length === 36, `${text} is not a UUID`);
    this.hex(text.slice(0, 8) + text.slice(9, 13) + text.slice(14, 18) + text.slice(19, 23) + text.slice(24));
  }

  /** Length (u16) and UTF-8. */
  text(text: string): void {
    const bytes = Buffer.from(text, 'utf8');
    assert(bytes.length <= 0xffff, 'a text of at most 65,535 bytes');
    this.u16(bytes.length);
    this.bytes(bytes);
  }

  /** Leaves room for a u32 that is known later; `patchU32` fills it. */
  reserveU32(): number {
    return this.#grow(4);
  }

  patchU32(at: number, value: number): void {
    assert(at + 4 <= this.#length, 'a patch lies in what was written');
    this.#buffer.writeUInt32LE(value, at);
  }

  /** What was written so far: a view that later writes may move away from. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #grow(count: number): number {
    const at = this.#length;
    this.#length = at + count;
    if (this.#length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length));
      this.#buffer.copy(larger, 0, 0, at);
      this.#buffer = larger;
    }
    return at;
  }
}

export class ByteReader {
  /** What is wrong; undefined while nothing is. */
  problem: string | undefined;
  readonly #view: Buffer;
  #at: number;

  constructor(view: Buffer, at = 0) {
    this.#view = view;
    this.#at = at;
  }

  get at(): number {
    return this.#at;
  }

  get left(): number {
    return this.#view.length - this.#at;
  }

  u8(): number {
    return this.#take(1) ? this.#view.readUInt8(this.#at - 1) : 0;
  }

  u16(): number {
    return this.#take(2) ? this.#view.readUInt16LE(this.#at - 2) : 0;
  }

  u32(): number {
    return this.#take(4) ? this.#view.readUInt32LE(this.#at - 4) : 0;
  }

  u64(): number {
    if (!this.#take(8)) return 0;
    const value = readU64(this.#view, this.#at - 8);
    return Number.isSafeInteger(value) ? value : this.fail(`a number over 2^53 at byte ${this.#at - 8}`, 0);
  }

  /** A view of the next `count` bytes; empty when there are fewer. */
  bytes(count: number): Buffer {
    return this.#take(count) ? this.#view.subarray(this.#at - count, this.#at) : this.#view.subarray(0, 0);
  }

  hex(digits: number): string {
    return this.#take(digits / 2) ? this.#view.toString('hex', this.#at - digits / 2, this.#at) : '0'.repeat(digits);
  }

  uuid(): string {
    const hex = this.hex(32);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  }

  text(): string {
    return this.bytes(this.u16()).toString('utf8');
  }

  /** Notes the first problem; returns `otherwise`, so that it can end an expression. */
  fail<T>(problem: string, otherwise: T): T {
    this.problem ??= problem;
    return otherwise;
  }

  /** To be called last: everything must have been read. */
  end(): void {
    if (this.left > 0) this.fail(`${this.left} bytes too many`, undefined);
  }

  #take(count: number): boolean {
    if (this.problem !== undefined) return false;
    if (count > this.#view.length - this.#at) return this.fail(`ends at byte ${this.#view.length}, within a field`, false);
    this.#at += count;
    return true;
  }
}
