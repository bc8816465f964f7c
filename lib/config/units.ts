// Amounts as people write them: durations (`7d`), bytes (`10GiB`), addresses (`HOST:PORT`). One parser and one formatter each; what a
// formatter writes, its parser reads back to the same value. A bad text is answered with what is allowed, never thrown.

/** Where to listen or connect. An IPv6 host stands here without its brackets. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** `value`, or what would have been allowed: ends the sentence "X is not …". */
export type Parsed<T> = { readonly kind: 'value'; readonly value: T } | { readonly kind: 'wrong'; readonly allowed: string };

export const parsed = <T>(value: T): Parsed<T> => ({ kind: 'value', value });
export const wrong = (allowed: string): { readonly kind: 'wrong'; readonly allowed: string } => ({ kind: 'wrong', allowed });

const DURATION_UNITS: readonly (readonly [unit: string, ms: number])[] = [
  ['w', 604_800_000],
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
];

const BYTE_UNITS: readonly (readonly [unit: string, bytes: number])[] = [
  ['TiB', 2 ** 40],
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
  ['B', 1],
];

const AMOUNT = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/;

function parseAmount(text: string, units: readonly (readonly [string, number])[], allowed: string): Parsed<number> {
  const match = AMOUNT.exec(text);
  if (!match) return wrong(allowed);
  const unit = units.find(([name]) => name === match[2]);
  const value = Number(match[1]) * (unit?.[1] ?? 1);
  if (!unit && value !== 0) return wrong(allowed);
  return Number.isSafeInteger(value) ? parsed(value) : wrong(allowed);
}

/** Milliseconds. A unit is needed, except with 0. */
export function parseDuration(text: string): Parsed<number> {
  return parseAmount(text, DURATION_UNITS, 'a duration: a number with ms, s, m, h, d or w, for instance 90s or 7d');
}

/** Bytes; a plain number means bytes. Units are powers of 1024. */
export function parseBytes(text: string): Parsed<number> {
  const allowed = 'an amount of bytes: a number with B, KiB, MiB, GiB or TiB, for instance 10GiB';
  return /^\d+$/.test(text) ? parseAmount(`${text}B`, BYTE_UNITS, allowed) : parseAmount(text, BYTE_UNITS, allowed);
}

export function parseInteger(text: string): Parsed<number> {
  const value = Number(text);
  return /^[+-]?\d+$/.test(text) && Number.isSafeInteger(value) ? parsed(value) : wrong('a whole number');
}

export function parseBoolean(text: string): Parsed<boolean> {
  if (text === 'true') return parsed(true);
  if (text === 'false') return parsed(false);
  return wrong('true or false');
}

/** `HOST:PORT` or `[IPV6]:PORT`; port 0 means any free one. */
export function parseAddress(text: string): Parsed<Address> {
  const allowed = 'an address: HOST:PORT with a port of 0 to 65535, for instance 127.0.0.1:7650 or [::1]:7650';
  if (text.startsWith(':')) return wrong(`${allowed}; for every interface write 0.0.0.0${/^:\d+$/.test(text) ? text : ':PORT'}`);
  const match = /^(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host === undefined || port > 65_535 ? wrong(allowed) : parsed(Object.freeze({ host, port }));
}

/** In the largest unit that gives a whole number. */
function formatAmount(value: number, units: readonly (readonly [string, number])[]): string {
  for (const [unit, size] of units) if (value >= size && value % size === 0) return `${value / size}${unit}`;
  return `${value}${units[units.length - 1]?.[0] ?? ''}`;
}

/** People read 7d more easily than 1w. */
export const formatDuration = (ms: number): string => formatAmount(ms, DURATION_UNITS.slice(1));
export const formatBytes = (bytes: number): string => formatAmount(bytes, BYTE_UNITS);
export const formatAddress = ({ host, port }: Address): string => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
