// The meta part of a batch entry: EntryMeta of proto/sluice/v1/storage.proto, written and read by hand. The BatchInfo goes in byte for byte
// as the client sent it; the ProducerMark is what the partition needs at replay to know a repeat.

import { assert } from '#lib/types/assert.ts';

/** ProducerMark of the contract. `name` '' with an id: a `Send`; `instance` is 16 hex digits or ''. */
export interface ProducerMark {
  readonly name: string;
  readonly epoch: number;
  readonly sequence: number;
  readonly prevSequence: number;
  readonly instance: string;
  readonly idempotencyId: string;
}

const MARK = 0x0a;
const INFO = 0x12;

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

/** Writes `value` as a varint at `at`; returns where it ends. */
function writeVarint(target: Buffer, value: number, at: number): number {
  let rest = value;
  let to = at;
  while (rest >= 128) {
    target[to++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  target[to++] = rest;
  return to;
}

function markBytes(mark: ProducerMark, nameBytes: number, idBytes: number): number {
  let bytes = 0;
  if (nameBytes > 0) bytes += 1 + varintBytes(nameBytes) + nameBytes;
  if (mark.epoch > 0) bytes += 1 + varintBytes(mark.epoch);
  if (mark.sequence > 0) bytes += 1 + varintBytes(mark.sequence);
  if (mark.prevSequence > 0) bytes += 1 + varintBytes(mark.prevSequence);
  if (mark.instance !== '') bytes += 9;
  if (idBytes > 0) bytes += 1 + varintBytes(idBytes) + idBytes;
  return bytes;
}

function writeMark(target: Buffer, mark: ProducerMark, nameBytes: number, idBytes: number, from: number): number {
  let at = from;
  if (nameBytes > 0) {
    target[at++] = 0x0a;
    at = writeVarint(target, nameBytes, at);
    at += target.write(mark.name, at, 'utf8');
  }
  if (mark.epoch > 0) {
    target[at++] = 0x10;
    at = writeVarint(target, mark.epoch, at);
  }
  if (mark.sequence > 0) {
    target[at++] = 0x18;
    at = writeVarint(target, mark.sequence, at);
  }
  if (mark.prevSequence > 0) {
    target[at++] = 0x20;
    at = writeVarint(target, mark.prevSequence, at);
  }
  if (mark.instance !== '') {
    target[at++] = 0x29;
    target.writeUInt32LE(Number.parseInt(mark.instance.slice(8), 16), at);
    target.writeUInt32LE(Number.parseInt(mark.instance.slice(0, 8), 16), at + 4);
    at += 8;
  }
  if (idBytes > 0) {
    target[at++] = 0x32;
    at = writeVarint(target, idBytes, at);
    at += target.write(mark.idempotencyId, at, 'utf8');
  }
  return at;
}

/** The bytes before the BatchInfo's own: the mark, if there is one, and the info's tag and length. */
export function encodeMetaHead(mark: ProducerMark | null, infoBytes: number): Buffer {
  const nameBytes = mark === null ? 0 : Buffer.byteLength(mark.name);
  const idBytes = mark === null ? 0 : Buffer.byteLength(mark.idempotencyId);
  const size = mark === null ? 0 : markBytes(mark, nameBytes, idBytes);
  const head = Buffer.allocUnsafe((mark === null ? 0 : 1 + varintBytes(size) + size) + 1 + varintBytes(infoBytes));
  let at = 0;
  if (mark !== null) {
    assert(mark.instance === '' || /^[0-9a-f]{16}$/.test(mark.instance), 'an instance is 16 hex digits');
    head[at++] = MARK;
    at = writeVarint(head, size, at);
    at = writeMark(head, mark, nameBytes, idBytes, at);
  }
  head[at++] = INFO;
  at = writeVarint(head, infoBytes, at);
  assert(at === head.length, 'the meta part has the size that was counted');
  return head;
}

/** A position in bytes that are read; every read checks the end. */
interface Cursor {
  readonly view: Buffer;
  at: number;
  readonly end: number;
}

function readVarint(cursor: Cursor): number {
  let value = 0;
  let scale = 1;
  for (let n = 0; n < 8 && cursor.at < cursor.end; n++) {
    const byte = cursor.view[cursor.at++] ?? 0;
    value += (byte & 127) * scale;
    if (byte < 128) return Number.isSafeInteger(value) ? value : -1;
    scale *= 128;
  }
  return -1;
}

/** Skips or returns one field's bytes; false: the field is damaged. */
function skipField(cursor: Cursor, wireType: number): boolean {
  if (wireType === 0) return readVarint(cursor) >= 0;
  const bytes = wireType === 1 ? 8 : wireType === 5 ? 4 : wireType === 2 ? readVarint(cursor) : -1;
  if (bytes < 0 || cursor.at + bytes > cursor.end) return false;
  cursor.at += bytes;
  return true;
}

function readMark(view: Buffer): ProducerMark | string {
  const cursor: Cursor = { view, at: 0, end: view.length };
  const numbers = [0, 0, 0, 0, 0];
  let name = '';
  let instance = '';
  let idempotencyId = '';
  while (cursor.at < cursor.end) {
    const tag = readVarint(cursor);
    const from = cursor.at;
    if (tag < 0 || !skipField(cursor, tag & 7)) return 'the producer mark is damaged';
    const field = tag >>> 3;
    if ((field === 1 || field === 6) && (tag & 7) === 2) {
      const inner: Cursor = { view, at: from, end: view.length };
      readVarint(inner);
      const value = view.toString('utf8', inner.at, cursor.at);
      if (field === 1) name = value;
      else idempotencyId = value;
    } else if (field >= 2 && field <= 4 && (tag & 7) === 0) {
      numbers[field] = readVarint({ view, at: from, end: view.length });
    } else if (field === 5 && (tag & 7) === 1) {
      instance = hex(view.readUInt32LE(from + 4)) + hex(view.readUInt32LE(from));
    }
  }
  const [, , epoch = 0, sequence = 0, prevSequence = 0] = numbers;
  return { name, epoch, sequence, prevSequence, instance, idempotencyId };
}

const hex = (value: number): string => value.toString(16).padStart(8, '0');

/** Reads what `encodeMetaHead` and the info's bytes made; text: what is wrong. */
export function decodeMeta(meta: Buffer): { readonly mark: ProducerMark | null; readonly infoView: Buffer } | string {
  const cursor: Cursor = { view: meta, at: 0, end: meta.length };
  let mark: ProducerMark | null = null;
  let infoView = meta.subarray(0, 0);
  while (cursor.at < cursor.end) {
    const tag = readVarint(cursor);
    const from = cursor.at;
    if (tag < 0 || !skipField(cursor, tag & 7)) return 'the meta part is damaged';
    if (tag !== MARK && tag !== INFO) continue;
    const inner: Cursor = { view: meta, at: from, end: meta.length };
    readVarint(inner);
    const view = meta.subarray(inner.at, cursor.at);
    if (tag === INFO) infoView = view;
    else {
      const read = readMark(view);
      if (typeof read === 'string') return read;
      mark = read;
    }
  }
  return { mark, infoView };
}
