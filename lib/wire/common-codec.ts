// Frames that several calls share: hellos, errors, places, positions. Each reader is called when the reader stands at the field that
// holds the message.

import { unreachable } from '#lib/types/assert.ts';
import { ERRORS, type ErrorCode, type Stored } from '#lib/types/errors.ts';
import type { ErrorFrame, HelloFrame, MovedFrame, PositionFrame, ServerHelloFrame, StoredRange } from './frames.ts';
import type { ProtoReader, ProtoWriter } from './protobuf.ts';

export function readHello(reader: ProtoReader, name: string): HelloFrame {
  let protocolVersion = 0;
  const features: string[] = [];
  let client = '';
  let token = '';
  reader.enter(name);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) protocolVersion = reader.uint32('protocol_version');
    else if (field === 2) features.push(reader.stringItem('features'));
    else if (field === 3) client = reader.string('client');
    else if (field === 4) token = reader.string('token');
    else reader.skip();
  }
  reader.leave();
  return { protocolVersion, features, client, token };
}

export function writeHello(writer: ProtoWriter, id: number, hello: HelloFrame | null): void {
  if (hello === null) return;
  const mark = writer.mark();
  writer.string(4, hello.token);
  writer.string(3, hello.client);
  writeStrings(writer, 2, hello.features);
  writer.uint(1, hello.protocolVersion);
  writer.message(id, mark);
}

export function readServerHello(reader: ProtoReader, name: string): ServerHelloFrame {
  let protocolVersion = 0;
  const features: string[] = [];
  let server = '';
  let clusterId = '';
  let keepaliveMs = 0;
  reader.enter(name);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) protocolVersion = reader.uint32('protocol_version');
    else if (field === 2) features.push(reader.stringItem('features'));
    else if (field === 3) server = reader.string('server');
    else if (field === 4) clusterId = reader.string('cluster_id');
    else if (field === 5) keepaliveMs = reader.uint32('keepalive_ms');
    else reader.skip();
  }
  reader.leave();
  return { protocolVersion, features, server, clusterId, keepaliveMs };
}

export function writeServerHello(writer: ProtoWriter, id: number, hello: ServerHelloFrame | null): void {
  if (hello === null) return;
  const mark = writer.mark();
  writer.uint(5, hello.keepaliveMs);
  writer.string(4, hello.clusterId);
  writer.string(3, hello.server);
  writeStrings(writer, 2, hello.features);
  writer.uint(1, hello.protocolVersion);
  writer.message(id, mark);
}

/** A reason that this version does not know, from a newer server, becomes `internal` with the reason in `detail`. */
export function readError(reader: ProtoReader, name: string): ErrorFrame {
  let reason = '';
  let message = '';
  let stored: Stored = 'no';
  let retryAfterMs = 0;
  const detail: [string, string][] = [];
  reader.enter(name);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) reason = reader.string('reason');
    else if (field === 2) message = reader.string('message');
    else if (field === 3) stored = reader.uint32('stored') === 0 ? 'no' : 'unknown';
    else if (field === 4) retryAfterMs = reader.uint32('retry_after_ms');
    else if (field === 5) detail.push(readDetail(reader));
    else reader.skip();
  }
  reader.leave();
  if (isErrorCode(reason)) return { reason, message, stored, retryAfterMs, detail: Object.fromEntries(detail) };
  return { reason: 'internal', message, stored, retryAfterMs, detail: { ...Object.fromEntries(detail), reason } };
}

function isErrorCode(reason: string): reason is ErrorCode {
  return Object.hasOwn(ERRORS, reason);
}

function readDetail(reader: ProtoReader): [string, string] {
  let key = '';
  let value = '';
  reader.enterItem('detail');
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) key = reader.string('key');
    else if (field === 2) value = reader.string('value');
    else reader.skip();
  }
  reader.leave();
  return [key, value];
}

export function writeError(writer: ProtoWriter, id: number, error: ErrorFrame | null): void {
  if (error === null) return;
  const mark = writer.mark();
  for (const [key, value] of Object.entries(error.detail).reverse()) {
    const pair = writer.mark();
    writer.stringItem(2, value);
    writer.stringItem(1, key);
    writer.message(5, pair);
  }
  writer.uint(4, error.retryAfterMs);
  writer.uint(3, error.stored === 'no' ? 0 : 1);
  writer.string(2, error.message);
  writer.string(1, error.reason);
  writer.message(id, mark);
}

export function readMoved(reader: ProtoReader, name: string): MovedFrame {
  let address = '';
  let tlsServerName = '';
  let metadataVersion = 0;
  reader.enter(name);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) address = reader.string('address');
    else if (field === 2) tlsServerName = reader.string('tls_server_name');
    else if (field === 3) metadataVersion = reader.uint64('metadata_version');
    else reader.skip();
  }
  reader.leave();
  return { address, tlsServerName, metadataVersion };
}

export function writeMoved(writer: ProtoWriter, id: number, moved: MovedFrame | null): void {
  if (moved === null) return;
  const mark = writer.mark();
  writer.uint(3, moved.metadataVersion);
  writer.string(2, moved.tlsServerName);
  writer.string(1, moved.address);
  writer.message(id, mark);
}

/** Exactly one arm; a position without any is refused. */
export function readPosition(reader: ProtoReader, name: string): PositionFrame {
  let position: PositionFrame | null = null;
  reader.enter(name);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field > 4) {
      reader.skip();
      continue;
    }
    if (position !== null) reader.refuse('at', 'is given twice');
    if (field === 1) position = readFlag(reader, 'earliest');
    else if (field === 2) position = readFlag(reader, 'latest');
    else if (field === 3) position = { kind: 'offset', offset: reader.uint64('offset') };
    else position = { kind: 'time', timeMs: reader.int64('time_ms') };
  }
  if (position === null) reader.refuse('at', 'is not given');
  reader.leave();
  return position ?? { kind: 'latest' };
}

function readFlag(reader: ProtoReader, kind: 'earliest' | 'latest'): PositionFrame {
  if (!reader.bool(kind)) reader.refuse(kind, 'is false: set it, or another position');
  return { kind };
}

export function writePosition(writer: ProtoWriter, id: number, position: PositionFrame | null): void {
  if (position === null) return;
  const mark = writer.mark();
  if (position.kind === 'earliest') writer.bool(1, true);
  else if (position.kind === 'latest') writer.bool(2, true);
  else if (position.kind === 'offset') writer.optionalUint(3, position.offset);
  else if (position.kind === 'time') writer.optionalInt64(4, position.timeMs);
  else unreachable(position);
  writer.message(id, mark);
}

export function readStoredRange(reader: ProtoReader, name: string): StoredRange {
  let offset = 0;
  let count = 0;
  let partition = 0;
  let duplicate = false;
  reader.enter(name);
  for (let field = reader.next(); field !== 0; field = reader.next()) {
    if (field === 1) offset = reader.uint64('offset');
    else if (field === 2) count = reader.uint32('count');
    else if (field === 3) partition = reader.uint32('partition');
    else if (field === 4) duplicate = reader.bool('duplicate');
    else reader.skip();
  }
  reader.leave();
  return { offset, count, partition, duplicate };
}

export function writeStoredRange(writer: ProtoWriter, id: number, range: StoredRange): void {
  const mark = writer.mark();
  writer.bool(4, range.duplicate);
  writer.uint(3, range.partition);
  writer.uint(2, range.count);
  writer.uint(1, range.offset);
  writer.message(id, mark);
}

export function writeStrings(writer: ProtoWriter, id: number, values: readonly string[]): void {
  for (let index = values.length - 1; index >= 0; index--) writer.stringItem(id, values[index] ?? '');
}

/** Writes `values` so that they are read in their order: `write` is called from the last to the first. */
export function writeEach<T>(values: readonly T[], write: (value: T) => void): void {
  for (let index = values.length - 1; index >= 0; index--) {
    const value = values[index];
    if (value !== undefined) write(value);
  }
}
