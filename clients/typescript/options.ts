// The client's defaults and the checks of what users give: wrong options are `SluiceError` with `invalid_argument` that names the field.

import { fail, isFailure, SluiceError } from '#lib/types/errors.ts';
import { BATCH_BYTES_MAX, BATCH_COUNT_MAX, KIB, MIB, PRODUCER_WINDOW_MAX } from '#lib/types/limits.ts';
import { checkName, parseTopicName, shortTopicName } from '#lib/types/names.ts';
import { VERSION } from '#lib/types/version.ts';
import type { PositionFrame } from '#lib/wire/frames.ts';
import type { LaneOptions } from './core/lane.ts';
import type { ConnectOptions, ProducerOptions, Start } from './types.ts';

export interface ConnectSettings {
  readonly servers: readonly string[];
  /** Of the program, with the client's version behind it. */
  readonly client: string;
  readonly memoryBytesMax: number;
  readonly requestTimeoutMs: number;
}

const SERVER = /^(\[[0-9a-fA-F:.]+\]|[^\s:/[\]]+):(\d{1,5})$/;

export function invalid(field: string, what: string): SluiceError {
  return new SluiceError(fail('invalid_argument', `${field} ${what}`, { field }));
}

export function connectSettings(options: ConnectOptions): ConnectSettings {
  const given = options.servers ?? '127.0.0.1:7650';
  const servers = (typeof given === 'string' ? given.split(',') : given).map(server => server.trim()).filter(server => server !== '');
  if (servers.length === 0) throw invalid('servers', 'names no server');
  for (const server of servers) if (!SERVER.test(server)) throw invalid('servers', `has ${JSON.stringify(server)}, which is not HOST:PORT`);
  const own = `sluice-typescript/${VERSION}`;
  return {
    servers,
    client: options.clientName === undefined || options.clientName === '' ? own : `${options.clientName} (${own})`,
    memoryBytesMax: within('memoryBytesMax', options.memoryBytesMax, 256 * MIB, 64 * KIB, Number.MAX_SAFE_INTEGER),
    requestTimeoutMs: within('requestTimeoutMs', options.requestTimeoutMs, 10_000, 1, 2 ** 31 - 1),
  };
}

export function laneOptions(options: ProducerOptions): LaneOptions {
  const batching = options.batching ?? true;
  return {
    batchBytesMax: within('batchBytesMax', options.batchBytesMax, 128 * KIB, 1, BATCH_BYTES_MAX),
    batchCountMax: batching ? within('batchCountMax', options.batchCountMax, BATCH_COUNT_MAX, 1, BATCH_COUNT_MAX) : 1,
    lingerMs: within('lingerMs', options.lingerMs, 1, 0, 1),
    window: within('window', options.window, PRODUCER_WINDOW_MAX, 1, PRODUCER_WINDOW_MAX),
    sendTimeoutMs: within('sendTimeoutMs', options.sendTimeoutMs, 30_000, 1, 2 ** 31 - 1),
    ackNone: options.acks === 'none',
  };
}

export function within(field: string, value: number | undefined, otherwise: number, least: number, most: number): number {
  if (value === undefined) return otherwise;
  if (!(value >= least && value <= most)) throw invalid(field, `is ${value}; it may be ${least} to ${most}`);
  return value;
}

/** As ids show it: without `public/default/`. Throws for what is no topic's name. */
export function topicName(text: string): string {
  const name = parseTopicName('topic', text);
  if (isFailure(name)) throw new SluiceError(name);
  return shortTopicName(name);
}

export function checkedName(field: string, name: string): string {
  const wrong = checkName(field, name);
  if (wrong) throw new SluiceError(wrong);
  return name;
}

export function positionOf(start: Start): PositionFrame {
  if (start === 'earliest' || start === 'latest') return { kind: start };
  if ('offset' in start) {
    if (!Number.isSafeInteger(start.offset) || start.offset < 0) throw invalid('offset', `is ${start.offset}, no offset`);
    return { kind: 'offset', offset: start.offset };
  }
  const timeMs = start.time instanceof Date ? start.time.getTime() : start.time;
  if (!Number.isFinite(timeMs)) throw invalid('time', 'is no time');
  return { kind: 'time', timeMs: Math.floor(timeMs) };
}
