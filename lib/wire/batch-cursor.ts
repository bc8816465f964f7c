// Walks the bytes of a Batch, checking every field on the way: one pass that tells positions and makes no objects. It never throws and
// never reads outside its view.

import { isUtf8 } from 'node:buffer';
import { type Failure, fail } from '#lib/types/errors.ts';
import { BATCH_COUNT_MAX, MESSAGE_BYTES_MAX } from '#lib/types/limits.ts';
import type { MessageView } from './frames.ts';
import { murmur2 } from './murmur2.ts';

/** `messages`, length-delimited: the only field of a Batch. */
export const MESSAGE_TAG = 0x0a;

/** Walks a batch without making objects: positions of the present message and of its fields, −1 for what is absent. */
export class BatchCursor {
  /** Messages passed, the present one included. */
  count = 0;
  /** The present message with its framing is [start, end); what lies between the framing and `end` is the Message. */
  start = 0;
  end = 0;
  keyStart = -1;
  keyEnd = -1;
  payloadStart = -1;
  payloadEnd = -1;
  headers = 0;
  eventTimeMs: number | null = null;
  /** What was wrong, once `next` has answered false. */
  failure: Failure | null = null;
  readonly #view: Buffer;
  #bodyStart = 0;
  #at = 0;

  constructor(view: Buffer) {
    this.#view = view;
  }

  /** To the next message: false at the end, and at wrong bytes, which `failure` then describes. */
  next(): boolean {
    const view = this.#view;
    if (this.failure !== null || this.end >= view.length) return false;
    this.start = this.end;
    if (view[this.start] !== MESSAGE_TAG) return this.#wrong('has a field that is not `messages`');
    const length = this.#length(this.start + 1, view.length);
    if (length < 0) return this.#wrong('is cut off');
    const end = this.#at + length;
    if (end - this.start > MESSAGE_BYTES_MAX) return this.#tooLarge(end - this.start);
    if (this.count >= BATCH_COUNT_MAX) return this.#wrong(`is one too many: a batch has at most ${BATCH_COUNT_MAX}`);
    this.#bodyStart = this.#at;
    if (!this.#fields(end)) return false;
    this.end = end;
    this.count++;
    return true;
  }

  key(): Buffer | null {
    return this.keyStart < 0 ? null : this.#view.subarray(this.keyStart, this.keyEnd);
  }

  payload(): Buffer | null {
    return this.payloadStart < 0 ? null : this.#view.subarray(this.payloadStart, this.payloadEnd);
  }

  /** 0 without a key. */
  keyHash(): number {
    return this.keyStart < 0 ? 0 : murmur2(this.#view, this.keyStart, this.keyEnd);
  }

  /** The present message as an object with views. */
  message(): MessageView {
    const headers = this.headers === 0 ? NO_HEADERS : this.#readHeaders();
    return { key: this.key(), payload: this.payload(), headers, eventTimeMs: this.eventTimeMs };
  }

  *[Symbol.iterator](): Iterator<MessageView> {
    while (this.next()) yield this.message();
  }

  /** Passes the fields of one message up to `end`. A field that comes twice would let two readers see different messages. */
  #fields(end: number): boolean {
    const view = this.#view;
    this.keyStart = -1;
    this.payloadStart = -1;
    this.headers = 0;
    this.eventTimeMs = null;
    while (this.#at < end) {
      const tag = view[this.#at] ?? 0;
      if (tag === 0x12) {
        if (this.payloadStart >= 0) return this.#wrong('has two payloads');
        const length = this.#length(this.#at + 1, end);
        if (length < 0) return this.#wrong('has a payload that is cut off');
        this.payloadStart = this.#at;
        this.payloadEnd = this.#at += length;
      } else if (tag === 0x0a) {
        if (this.keyStart >= 0) return this.#wrong('has two keys');
        const length = this.#length(this.#at + 1, end);
        if (length < 0) return this.#wrong('has a key that is cut off');
        this.keyStart = this.#at;
        this.keyEnd = this.#at += length;
      } else if (tag === 0x1a) {
        const length = this.#length(this.#at + 1, end);
        if (length < 0) return this.#wrong('has a header that is cut off');
        this.headers++;
        if (!this.#header(this.#at + length)) return false;
      } else if (tag === 0x20) {
        if (this.eventTimeMs !== null) return this.#wrong('has two event times');
        if (!this.#eventTime(end)) return false;
      } else if (!this.#unknownField(end, 4)) return false;
    }
    return true;
  }

  #header(end: number): boolean {
    const view = this.#view;
    let seen = 0;
    while (this.#at < end) {
      const tag = view[this.#at] ?? 0;
      if (tag !== 0x0a && tag !== 0x12) {
        if (!this.#unknownField(end, 2)) return false;
        continue;
      }
      const bit = tag === 0x0a ? 1 : 2;
      if ((seen & bit) !== 0) return this.#wrong('has a header with a field twice');
      seen |= bit;
      const length = this.#length(this.#at + 1, end);
      if (length < 0) return this.#wrong('has a header that is cut off');
      if (tag === 0x0a && !isName(view, this.#at, this.#at + length)) return this.#wrong('has a header whose name is not UTF-8');
      this.#at += length;
    }
    return true;
  }

  #eventTime(end: number): boolean {
    const view = this.#view;
    const start = this.#at + 1;
    if (!this.#passVarint(start, end)) return this.#wrong('has an event time that is no number');
    const bytes = this.#at - start;
    let value = 0;
    for (let at = Math.min(this.#at, start + 9) - 1; at >= start; at--) value = value * 0x80 + ((view[at] ?? 0) & 0x7f);
    if (bytes === 10) value = negative(view, start);
    this.eventTimeMs = value;
    return Number.isSafeInteger(value) || this.#wrong('has an event time beyond 2^53');
  }

  /** A field from a later version. Those up to `known` come here only in another wire type, or with a tag longer than it must be. */
  #unknownField(end: number, known: number): boolean {
    const tagStart = this.#at;
    if (!this.#passVarint(tagStart, Math.min(end, tagStart + 5))) return this.#wrong('has a field number that is none');
    const tag = readTag(this.#view, tagStart, this.#at);
    const field = Math.floor(tag / 8);
    if (field === 0 || field > 0x1fff_ffff) return this.#wrong(`has a field number ${field}`);
    if (field <= known) return this.#wrong(`has a field ${field} that is written in another way than the contract says`);
    const wire = tag % 8;
    if (wire === 0) return this.#passVarint(this.#at, end) || this.#wrong(`has a field ${field} that is cut off`);
    if (wire === 2) {
      const length = this.#length(this.#at, end);
      if (length < 0) return this.#wrong(`has a field ${field} that is cut off`);
      this.#at += length;
      return true;
    }
    if (wire !== 1 && wire !== 5) return this.#wrong(`has a field ${field} of the unknown wire type ${wire}`);
    this.#at += wire === 1 ? 8 : 4;
    return this.#at <= end || this.#wrong(`has a field ${field} that is cut off`);
  }

  /** Reads a length at `at` and stands behind it; −1 when it is none or goes beyond `end`. */
  #length(at: number, end: number): number {
    const view = this.#view;
    let length = view[at] ?? 0x80;
    let position = at + 1;
    if (length >= 0x80) {
      length &= 0x7f;
      let scale = 0x80;
      for (let byte = 0x80; byte >= 0x80; scale *= 0x80) {
        if (position >= end || position - at >= 10) return -1;
        byte = view[position++] ?? 0;
        length += (byte & 0x7f) * scale;
      }
    }
    this.#at = position;
    return length <= end - position ? length : -1;
  }

  #passVarint(at: number, end: number): boolean {
    const most = Math.min(end, at + 10);
    for (let position = at; position < most; position++) {
      if ((this.#view[position] ?? 0) >= 0x80) continue;
      this.#at = position + 1;
      return true;
    }
    return false;
  }

  #readHeaders(): (readonly [string, Buffer])[] {
    const view = this.#view;
    const headers: (readonly [string, Buffer])[] = [];
    this.#at = this.#bodyStart;
    while (this.#at < this.end) {
      if (view[this.#at] !== 0x1a) this.#passField(this.end);
      else {
        const length = this.#length(this.#at + 1, this.end);
        headers.push(this.#readHeader(this.#at + length));
      }
    }
    return headers;
  }

  #readHeader(end: number): readonly [string, Buffer] {
    const view = this.#view;
    let name = '';
    let value = view.subarray(end, end);
    while (this.#at < end) {
      const tag = view[this.#at];
      if (tag !== 0x0a && tag !== 0x12) this.#passField(end);
      else {
        const length = this.#length(this.#at + 1, end);
        if (tag === 0x0a) name = view.toString('utf8', this.#at, this.#at + length);
        else value = view.subarray(this.#at, this.#at + length);
        this.#at += length;
      }
    }
    return [name, value];
  }

  /** Passes any field of a message that `next` has accepted. */
  #passField(end: number): void {
    const tag = this.#view[this.#at] ?? 0;
    if (tag === 0x20) this.#passVarint(this.#at + 1, end);
    else if (tag === 0x0a || tag === 0x12) {
      const length = this.#length(this.#at + 1, end);
      this.#at += length;
    } else this.#unknownField(end, 0);
  }

  #wrong(what: string): false {
    this.failure = fail('corrupt_batch', `message ${this.count} of the batch ${what}`, { message: String(this.count) });
    return false;
  }

  #tooLarge(bytes: number): false {
    const message = `message ${this.count} of the batch has ${bytes} bytes, over ${MESSAGE_BYTES_MAX}`;
    this.failure = fail('message_too_large', message, { message: String(this.count) });
    return false;
  }
}

const NO_HEADERS: readonly (readonly [string, Buffer])[] = [];

function readTag(view: Buffer, start: number, end: number): number {
  let tag = 0;
  for (let at = end - 1; at >= start; at--) tag = tag * 0x80 + ((view[at] ?? 0) & 0x7f);
  return tag;
}

function isName(view: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if ((view[at] ?? 0) >= 0x80) return isUtf8(view.subarray(start, end));
  return true;
}

/** The number in a varint of ten bytes: two's complement in 64 bits. */
function negative(view: Buffer, start: number): number {
  let value = 0n;
  for (let index = 0; index < 10; index++) value |= BigInt((view[start + index] ?? 0) & 0x7f) << BigInt(7 * index);
  return Number(BigInt.asIntN(64, value));
}
