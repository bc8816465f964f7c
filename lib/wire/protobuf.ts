// Protobuf's wire format by hand, for the frames that carry every message. The reader never throws and never reads outside its view: the
// first thing that is wrong becomes `failure`, which names the field, and from then on it reads nothing more. The writer fills a buffer
// from its last byte towards its first, so that the length of a nested message is known when its prefix is written: nothing is measured
// twice, nothing is moved.

import { isUtf8 } from 'node:buffer';
import { type ErrorCode, type Failure, fail } from '#lib/types/errors.ts';

export const VARINT = 0;
export const FIXED64 = 1;
export const LENGTH = 2;
export const FIXED32 = 5;

/** Elements of repeated fields in one request, all fields together; a batch's messages are not among them. */
export const REQUEST_ITEMS_MAX = 100_000;
/** The same for what a server sends. */
export const RESPONSE_ITEMS_MAX = 1_000_000;
export const STRING_BYTES_MAX = 64 * 1024;

const TWO_32 = 0x1_0000_0000;
export const EMPTY: Buffer = Buffer.alloc(0);

/** Reads one message field by field: `next()` gives the field's number, one of the typed methods its value, `skip()` passes it by. */
export class ProtoReader {
  /** The first thing that was wrong. */
  failure: Failure | null = null;
  readonly #view: Buffer;
  #at = 0;
  #end: number;
  #field = 0;
  #wire = 0;
  /** Singular fields of the present message that were read, a bit each. */
  #seen = 0;
  #itemsLeft: number;
  /** End, seen fields and name of the messages around the present one; the first `#depth` count. */
  readonly #ends: number[] = [];
  readonly #seens: number[] = [];
  readonly #names: string[] = [];
  #depth = 0;

  constructor(view: Buffer, itemsMax: number = REQUEST_ITEMS_MAX) {
    this.#view = view;
    this.#end = view.length;
    this.#itemsLeft = itemsMax;
  }

  /** The number of the next field; 0: the message ends here. */
  next(): number {
    if (this.#at >= this.#end) return 0;
    const first = this.#view[this.#at] ?? 0;
    if (first < 8 || first >= 0x80) return this.#longTag();
    this.#at++;
    this.#wire = first & 7;
    this.#field = first >>> 3;
    return this.#field;
  }

  /** Records what is wrong with a field of the present message and ends the reading. */
  refuse(name: string, what: string, code: ErrorCode = 'invalid_argument'): void {
    if (this.failure !== null) return;
    const field = [...this.#names.slice(0, this.#depth), name].filter(part => part !== '').join('.');
    this.failure = fail(code, `${field === '' ? 'the message' : field} ${what}`, { field });
    this.#at = 0;
    this.#end = 0;
  }

  /** Passes by a field that this version does not know. */
  skip(): void {
    if (this.#wire === VARINT) this.#skipVarint();
    else if (this.#wire === FIXED64) this.#take(8, '');
    else if (this.#wire === LENGTH) this.#take(this.#varint(''), '');
    else if (this.#wire === FIXED32) this.#take(4, '');
    else this.refuse('', `has a field ${this.#field} of the unknown wire type ${this.#wire}`);
  }

  uint32(name: string): number {
    if (!this.#single(name, VARINT)) return 0;
    const value = this.#varint(name);
    if (value >= TWO_32) this.refuse(name, `is ${value}, over 2^32 - 1`);
    return value;
  }

  /** A count or an offset: a safe integer of 0 or more. */
  uint64(name: string): number {
    return this.#single(name, VARINT) ? this.#varint(name) : 0;
  }

  /** A signed number within ±2^53. */
  int64(name: string): number {
    return this.#single(name, VARINT) ? this.#signedVarint(name) : 0;
  }

  bool(name: string): boolean {
    return this.#single(name, VARINT) && this.#varint(name) !== 0;
  }

  fixed32(name: string): number {
    if (!this.#single(name, FIXED32)) return 0;
    const at = this.#take(4, name);
    return at < 0 ? 0 : this.#view.readUInt32LE(at);
  }

  /** A random id: 16 hex digits. */
  fixed64Hex(name: string): string {
    const at = this.#single(name, FIXED64) ? this.#take(8, name) : -1;
    return at < 0 ? NO_ID : hex32(this.#view.readUInt32LE(at + 4)) + hex32(this.#view.readUInt32LE(at));
  }

  /** A view into the message. `code` of a refusal when it comes twice or is cut off. */
  bytes(name: string, code: ErrorCode = 'invalid_argument'): Buffer {
    return this.#single(name, LENGTH, code) ? this.#lengthDelimited(name, code) : EMPTY;
  }

  string(name: string): string {
    return this.#single(name, LENGTH) ? this.#string(name) : '';
  }

  /** The values of a packed repeated field of `width` bytes each; those of 8 bytes are safe integers. */
  packed(name: string, width: 4 | 8): Buffer {
    const view = this.bytes(name);
    if (view.length % width !== 0) this.refuse(name, `has ${view.length} bytes, no multiple of ${width}`);
    else if (width === 8)
      for (let at = 4; at < view.length; at += 8) if (view.readUInt32LE(at) > 0x1f_ffff) this.refuse(name, 'has a value over 2^53 - 1');
    return this.failure === null ? view : EMPTY;
  }

  /** An element of `repeated uint32`, `repeated string`: may come many times, within the bound for the whole message. */
  uint32Item(name: string): number {
    if (!this.#item(name, VARINT)) return 0;
    const value = this.#varint(name);
    if (value >= TWO_32) this.refuse(name, `is ${value}, over 2^32 - 1`);
    return value;
  }

  stringItem(name: string): string {
    return this.#item(name, LENGTH) ? this.#string(name) : '';
  }

  /** An element of `repeated string` that is checked and left where it is; it takes no memory, so it does not count. */
  passString(name: string): void {
    if (this.#isWire(name, LENGTH) && !isUtf8(this.#lengthDelimited(name))) this.refuse(name, 'is not UTF-8');
  }

  /** Elements of a repeated number, packed or not, are appended to `into`. */
  uint32Items(name: string, into: number[]): void {
    if (this.#wire !== LENGTH) {
      const value = this.uint32Item(name);
      if (this.failure === null) into.push(value);
      return;
    }
    const length = this.#varint(name);
    const start = this.#take(length, name);
    if (start < 0) return;
    const after = this.#at;
    const outerEnd = this.#end;
    this.#at = start;
    this.#end = after;
    this.#wire = VARINT;
    while (this.#at < this.#end) {
      const value = this.uint32Item(name);
      if (this.failure !== null) return;
      into.push(value);
    }
    this.#at = after;
    this.#end = outerEnd;
  }

  /** Into a nested message; read it with `next()` until 0, then `leave()`. */
  enter(name: string): void {
    if (this.#single(name, LENGTH)) this.#enter(name);
  }

  enterItem(name: string): void {
    if (this.#item(name, LENGTH)) this.#enter(name);
  }

  /** What is not yet read of the present message: all of it right after `enter`. */
  rest(): Buffer {
    return this.#view.subarray(this.#at, this.#end);
  }

  leave(): void {
    if (this.failure !== null) return;
    const depth = --this.#depth;
    this.#at = this.#end;
    this.#end = this.#ends[depth] ?? 0;
    this.#seen = this.#seens[depth] ?? 0;
  }

  #enter(name: string): void {
    const length = this.#varint(name);
    const start = this.#take(length, name);
    if (start < 0) return;
    const depth = this.#depth++;
    this.#ends[depth] = this.#end;
    this.#seens[depth] = this.#seen;
    this.#names[depth] = name;
    this.#at = start;
    this.#end = start + length;
    this.#seen = 0;
  }

  /** Two values of one singular field would let a checker see one and a reader the other. */
  #single(name: string, wire: number, code: ErrorCode = 'invalid_argument'): boolean {
    const bit = 1 << this.#field;
    if ((this.#seen & bit) !== 0) {
      this.refuse(name, 'comes twice', code);
      return false;
    }
    this.#seen |= bit;
    return this.#isWire(name, wire, code);
  }

  #item(name: string, wire: number): boolean {
    if (--this.#itemsLeft < 0) {
      this.refuse(name, 'has too many elements');
      return false;
    }
    return this.#isWire(name, wire);
  }

  #isWire(name: string, wire: number, code: ErrorCode = 'invalid_argument'): boolean {
    if (this.#wire === wire) return true;
    this.refuse(name, `has wire type ${this.#wire} where ${wire} is expected`, code);
    return false;
  }

  /** Passes `length` bytes and says where they begin; -1 when there are not so many. */
  #take(length: number, name: string, code: ErrorCode = 'invalid_argument'): number {
    const start = this.#at;
    if (length > this.#end - start) {
      this.refuse(name, 'is longer than what holds it', code);
      return -1;
    }
    if (this.failure !== null) return -1;
    this.#at = start + length;
    return start;
  }

  #lengthDelimited(name: string, code: ErrorCode = 'invalid_argument'): Buffer {
    const length = this.#varint(name);
    const start = this.#take(length, name, code);
    return start < 0 || length === 0 ? EMPTY : this.#view.subarray(start, start + length);
  }

  #string(name: string): string {
    const view = this.#lengthDelimited(name);
    if (view.length === 0) return '';
    if (view.length > STRING_BYTES_MAX) {
      this.refuse(name, `has ${view.length} bytes, over ${STRING_BYTES_MAX}`);
      return '';
    }
    if (isUtf8(view)) return view.toString('utf8');
    this.refuse(name, 'is not UTF-8');
    return '';
  }

  #varint(name: string): number {
    const view = this.#view;
    const first = view[this.#at] ?? 0;
    if (first < 0x80 && this.#at < this.#end) {
      this.#at++;
      return first;
    }
    return this.#longVarint(name);
  }

  #longTag(): number {
    const tag = this.#varint('');
    if (this.failure !== null) return 0;
    this.#wire = tag % 8;
    this.#field = Math.floor(tag / 8);
    if (this.#field !== 0 && this.#field <= 0x1fff_ffff) return this.#field;
    this.refuse('', `has a field number ${this.#field}`);
    return 0;
  }

  #longVarint(name: string): number {
    const view = this.#view;
    let at = this.#at;
    let value = 0;
    // The first four bytes fit small integers; what follows needs multiplication.
    for (let shift = 0; shift < 28; shift += 7) {
      if (at >= this.#end) return this.#noNumber(name, 'is cut off');
      const byte = view[at++] ?? 0;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.#at = at;
        return value;
      }
    }
    for (let scale = 2 ** 28; scale <= 2 ** 63; scale *= 0x80) {
      if (at >= this.#end) return this.#noNumber(name, 'is cut off');
      const byte = view[at++] ?? 0;
      value += (byte & 0x7f) * scale;
      if (byte >= 0x80) continue;
      this.#at = at;
      return value <= Number.MAX_SAFE_INTEGER ? value : this.#noNumber(name, 'is over 2^53 - 1');
    }
    return this.#noNumber(name, 'is a number of more than 10 bytes');
  }

  #noNumber(name: string, what: string): number {
    this.refuse(name, what);
    return 0;
  }

  #signedVarint(name: string): number {
    const view = this.#view;
    // A negative number has ten bytes: sign bits above bit 63 are cut, and the last byte is 1.
    if (this.#end - this.#at < 10 || view[this.#at + 9] !== 1) return this.#varint(name);
    let low = 0n;
    for (let index = 0; index < 10; index++) {
      const byte = view[this.#at + index] ?? 0;
      if (index < 9 && byte < 0x80) return this.#varint(name);
      low |= BigInt(byte & 0x7f) << BigInt(7 * index);
    }
    const value = Number(BigInt.asIntN(64, low));
    if (!Number.isSafeInteger(value)) this.refuse(name, 'is beyond 2^53 - 1');
    else this.#at += 10;
    return value;
  }

  #skipVarint(): void {
    for (let index = 0; index < 10; index++) {
      if (this.#at >= this.#end) break;
      if ((this.#view[this.#at++] ?? 0) < 0x80) return;
    }
    this.refuse('', `has a number that is cut off, or of more than 10 bytes, in field ${this.#field}`);
  }
}

/** A random id that was not given. */
export const NO_ID = '0000000000000000';
const hex32 = (value: number): string => value.toString(16).padStart(8, '0');

/** Bytes that the varint of `value` takes. */
export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

/** Writes a varint forwards; returns the position after it. The caller has made room. */
export function putVarint(target: Buffer, value: number, at: number): number {
  let rest = value;
  let position = at;
  while (rest >= 0x8000_0000) {
    target[position++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  while (rest >= 0x80) {
    target[position++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[position++] = rest;
  return position;
}

/** Writes a signed number forwards; a negative one takes ten bytes. */
export function putInt64(target: Buffer, value: number, at: number): number {
  if (value >= 0) return putVarint(target, value, at);
  let rest = BigInt.asUintN(64, BigInt(value));
  for (let index = 0; index < 10; index++, rest >>= 7n) target[at + index] = Number(rest & 0x7fn) | (index < 9 ? 0x80 : 0);
  return at + 10;
}

/**
 * Writes a message backwards: the fields of a message from the last to the first, then `message(field, mark)` puts length and tag before
 * what was written since `mark`. Zero and empty values of singular fields are left out, as proto3 does.
 */
export class ProtoWriter {
  #buffer: Buffer;
  #at: number;

  /** `capacity` is a guess of the size: one that is not too low saves a copy. */
  constructor(capacity = 256) {
    this.#buffer = Buffer.allocUnsafe(capacity);
    this.#at = capacity;
  }

  /** How much has been written: what `message` counts from. */
  mark(): number {
    return this.#buffer.length - this.#at;
  }

  message(field: number, mark: number): void {
    this.#varint(this.mark() - mark);
    this.#varint(field * 8 + LENGTH);
  }

  uint(field: number, value: number): void {
    if (value !== 0) this.optionalUint(field, value);
  }

  /** Written even when 0; left out when null. */
  optionalUint(field: number, value: number | null): void {
    if (value === null) return;
    this.#varint(value);
    this.#varint(field * 8 + VARINT);
  }

  int64(field: number, value: number): void {
    if (value !== 0) this.optionalInt64(field, value);
  }

  optionalInt64(field: number, value: number | null): void {
    if (value === null || value >= 0) {
      this.optionalUint(field, value);
      return;
    }
    putInt64(this.#buffer, value, this.#room(10));
    this.#varint(field * 8 + VARINT);
  }

  bool(field: number, value: boolean): void {
    if (value) this.optionalUint(field, 1);
  }

  optionalFixed32(field: number, value: number | null): void {
    if (value === null) return;
    this.#buffer.writeUInt32LE(value, this.#room(4));
    this.#varint(field * 8 + FIXED32);
  }

  /** An id of 16 hex digits. */
  fixed64Hex(field: number, value: string): void {
    if (value === NO_ID || value === '') return;
    const at = this.#room(8);
    this.#buffer.writeUInt32LE(Number.parseInt(value.slice(8), 16), at);
    this.#buffer.writeUInt32LE(Number.parseInt(value.slice(0, 8), 16), at + 4);
    this.#varint(field * 8 + FIXED64);
  }

  string(field: number, value: string): void {
    if (value !== '') this.stringItem(field, value);
  }

  /** An element of a repeated field: written even when empty. */
  stringItem(field: number, value: string): void {
    const length = Buffer.byteLength(value);
    const at = this.#room(length);
    this.#buffer.write(value, at, length, 'utf8');
    this.#varint(length);
    this.#varint(field * 8 + LENGTH);
  }

  bytes(field: number, view: Uint8Array): void {
    if (view.length > 0) this.optionalBytes(field, view);
  }

  /** Written even when empty; left out when null. */
  optionalBytes(field: number, view: Uint8Array | null): void {
    if (view === null) return;
    this.raw(view);
    this.#varint(view.length);
    this.#varint(field * 8 + LENGTH);
  }

  /** Bytes without a tag: elements of a packed field, or fields that are encoded already. */
  raw(view: Uint8Array): void {
    const at = this.#room(view.length);
    this.#buffer.set(view, at);
  }

  /** A varint without a tag. */
  rawVarint(value: number): void {
    this.#varint(value);
  }

  /** What was written; the writer is used up. */
  finish(): Buffer {
    return this.#buffer.subarray(this.#at);
  }

  #varint(value: number): void {
    if (value < 0x80) {
      const at = this.#room(1);
      this.#buffer[at] = value;
    } else {
      const at = this.#room(varintBytes(value));
      putVarint(this.#buffer, value, at);
    }
  }

  /** Makes room for `bytes` before what was written; returns where they begin. */
  #room(bytes: number): number {
    if (this.#at < bytes) this.#grow(bytes);
    this.#at -= bytes;
    return this.#at;
  }

  #grow(bytes: number): void {
    const old = this.#buffer;
    const written = old.length - this.#at;
    this.#buffer = Buffer.allocUnsafe(Math.max(2 * old.length, written + bytes + 64));
    this.#at = this.#buffer.length - written;
    this.#buffer.set(old.subarray(old.length - written), this.#at);
  }
}
