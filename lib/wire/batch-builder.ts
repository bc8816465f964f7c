// Packs messages into Batch bytes as they come: one growing buffer, no object per message.

import { assert } from '#lib/types/assert.ts';
import { type Failure, fail } from '#lib/types/errors.ts';
import { BATCH_BYTES_MAX, BATCH_COUNT_MAX, MESSAGE_BYTES_MAX } from '#lib/types/limits.ts';
import { MESSAGE_TAG } from './batch-cursor.ts';
import { encodeBatchInfoView } from './batch-info.ts';
import type { BatchInfoView } from './frames.ts';
import { murmur2 } from './murmur2.ts';
import { putInt64, putVarint, varintBytes } from './protobuf.ts';

/** A message to be packed. Text is written as UTF-8; null and absent are the same, and differ from empty. */
export interface MessageInput {
  readonly key?: Uint8Array | string | null | undefined;
  readonly payload?: Uint8Array | string | null | undefined;
  readonly headers?: readonly (readonly [string, Uint8Array | string])[] | undefined;
  readonly eventTimeMs?: number | null | undefined;
}

/** A finished batch; its bytes belong to the taker. */
export interface BuiltBatch {
  readonly batchView: Buffer;
  readonly info: BatchInfoView;
  /** Where `batchView` lies, from its first byte on. */
  readonly buffer: Buffer;
}

type Part = Uint8Array | string;

const KEY = 0x0a;
const PAYLOAD = 0x12;
const HEADER = 0x1a;
const EVENT_TIME = 0x20;
const HEADER_NAME = 0x0a;
const HEADER_VALUE = 0x12;

export class BatchBuilder {
  /** Messages so far. */
  count = 0;
  readonly #capacity: number;
  readonly #bytesMax: number;
  #buffer: Buffer;
  #at = 0;
  /** Of the message that is being appended. */
  #keyBytes = 0;
  #payloadBytes = 0;
  /** A value per message, once one has a key. */
  #hashes: Uint32Array | null = null;
  #hashesDiffer = false;

  /** `capacity`: the usual size of a batch. `bytesMax`: what would make it larger is not taken, unless it is the first message. */
  constructor(capacity = 64 * 1024, bytesMax: number = BATCH_BYTES_MAX) {
    this.#capacity = capacity;
    this.#bytesMax = bytesMax;
    this.#buffer = Buffer.allocUnsafe(capacity);
  }

  /** Of the batch so far. */
  get bytes(): number {
    return this.#at;
  }

  /** `full`: nothing was taken, begin another batch. `keyHash`, where it is known, saves computing it again. */
  append(message: MessageInput, keyHash = -1): 'appended' | 'full' | Failure {
    const body = this.#measure(message);
    const total = 1 + varintBytes(body) + body;
    if (total > MESSAGE_BYTES_MAX) return fail('message_too_large', `the message has ${total} bytes, over ${MESSAGE_BYTES_MAX}`);
    if (this.count > 0 && (this.#at + total > this.#bytesMax || this.count >= BATCH_COUNT_MAX)) return 'full';
    if (this.#buffer.length - this.#at < total) this.#grow(total);
    const end = this.#at + total;
    this.#buffer[this.#at] = MESSAGE_TAG;
    this.#at = putVarint(this.#buffer, body, this.#at + 1);
    this.#fields(message, keyHash);
    assert(this.#at === end, 'a message has the size that was computed for it');
    this.count++;
    return 'appended';
  }

  /** The batch and what a broker must know of it; the builder is empty again and goes on in `next`, which it grows if it must. */
  take(next: Buffer = Buffer.allocUnsafe(this.#capacity)): BuiltBatch {
    const column = this.#hashes === null ? [] : this.#hashes.subarray(0, this.#hashesDiffer ? this.count : 1);
    const view = this.#buffer.subarray(0, this.#at);
    const built = { batchView: view, info: encodeBatchInfoView(this.count, column), buffer: this.#buffer };
    this.#buffer = next;
    this.reset();
    return built;
  }

  /** Drops what is in it. */
  reset(): void {
    this.count = 0;
    this.#at = 0;
    this.#hashes = null;
    this.#hashesDiffer = false;
  }

  /** Bytes of the Message, without its framing in the batch. */
  #measure(message: MessageInput): number {
    const { key, payload, headers, eventTimeMs } = message;
    let bytes = 0;
    if (key !== null && key !== undefined) {
      this.#keyBytes = partBytes(key);
      bytes += lengthDelimited(this.#keyBytes);
    }
    if (payload !== null && payload !== undefined) {
      this.#payloadBytes = partBytes(payload);
      bytes += lengthDelimited(this.#payloadBytes);
    }
    if (headers !== undefined) for (const header of headers) bytes += lengthDelimited(headerBytes(header));
    if (eventTimeMs !== null && eventTimeMs !== undefined) bytes += 1 + (eventTimeMs < 0 ? 10 : varintBytes(eventTimeMs));
    return bytes;
  }

  #fields(message: MessageInput, keyHash: number): void {
    const { key, payload, headers, eventTimeMs } = message;
    let hash = 0;
    if (key !== null && key !== undefined) {
      this.#part(KEY, key, this.#keyBytes);
      hash = keyHash >= 0 ? keyHash : murmur2(this.#buffer, this.#at - this.#keyBytes, this.#at);
    }
    if (hash !== 0 || this.#hashes !== null) this.#addHash(hash);
    if (payload !== null && payload !== undefined) this.#part(PAYLOAD, payload, this.#payloadBytes);
    if (headers !== undefined) for (const header of headers) this.#header(header);
    if (eventTimeMs !== null && eventTimeMs !== undefined) {
      this.#buffer[this.#at++] = EVENT_TIME;
      this.#at = putInt64(this.#buffer, eventTimeMs, this.#at);
    }
  }

  #header(header: readonly [string, Part]): void {
    this.#buffer[this.#at++] = HEADER;
    this.#at = putVarint(this.#buffer, headerBytes(header), this.#at);
    const [name, value] = header;
    if (name.length > 0) this.#part(HEADER_NAME, name, partBytes(name));
    if (value.length > 0) this.#part(HEADER_VALUE, value, partBytes(value));
  }

  #part(tag: number, part: Part, bytes: number): void {
    const buffer = this.#buffer;
    buffer[this.#at] = tag;
    const at = putVarint(buffer, bytes, this.#at + 1);
    // Text of as many bytes as characters is ASCII, which is copied faster as latin1.
    if (typeof part !== 'string') buffer.set(part, at);
    else if (part.length === bytes) buffer.write(part, at, 'latin1');
    else buffer.write(part, at, 'utf8');
    this.#at = at + bytes;
  }

  #addHash(hash: number): void {
    let hashes = this.#hashes;
    if (hashes === null || hashes.length === this.count) {
      const longer = new Uint32Array(Math.max(256, 2 * this.count));
      if (hashes !== null) longer.set(hashes);
      this.#hashes = hashes = longer;
    }
    hashes[this.count] = hash;
    if (hash !== hashes[0]) this.#hashesDiffer = true;
  }

  #grow(bytes: number): void {
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, this.#at + bytes));
    larger.set(this.#buffer.subarray(0, this.#at));
    this.#buffer = larger;
  }
}

const partBytes = (part: Part): number => (typeof part === 'string' ? Buffer.byteLength(part) : part.length);
const lengthDelimited = (bytes: number): number => 1 + varintBytes(bytes) + bytes;
/** Zero for what is empty: proto3 leaves it out. */
const implicit = (part: Part): number => (part.length === 0 ? 0 : lengthDelimited(partBytes(part)));
const headerBytes = (header: readonly [string, Part]): number => implicit(header[0]) + implicit(header[1]);
