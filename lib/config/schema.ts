// A service's configuration as one table. From the table come the TypeScript type, the validation, the defaults, the reference page and
// the example file. A default is written as a user would write it, so that the page shows what the code uses.
//
//   export const bookieSchema = defineSchema('bookie', {
//     journalBytesMax: { type: 'bytes', default: '1GiB', min: '16MiB', doc: 'Journal files together.' },
//   });
//   export type BookieConfig = ConfigOf<typeof bookieSchema.keys>;
//
// Services compose by spreading: `defineSchema('standalone', { ...bookieSchema.keys, … }, { checks: [...bookieSchema.checks] })`.

import { assert } from '#lib/types/assert.ts';
import {
  type Address,
  formatAddress,
  formatBytes,
  formatDuration,
  type Parsed,
  parseAddress,
  parseBoolean,
  parseBytes,
  parseDuration,
  parsed,
  parseInteger,
  wrong,
} from './units.ts';

interface Common {
  /** One or two sentences: what it does, and what to weigh. */
  readonly doc: string;
  /** Shown as *** wherever the configuration is shown. */
  readonly secret?: boolean;
}

/** Words that stand for a number outside the range, for instance `{ unlimited: -1 }`. */
type Words = Readonly<Record<string, number>>;

export interface StringSpec extends Common {
  readonly type: 'string';
  readonly default: string | null;
  readonly pattern?: RegExp;
  /** What `pattern` means: ends "X is not …". */
  readonly allowed?: string;
}
export interface IntegerSpec extends Common {
  readonly type: 'integer';
  readonly default: number | null;
  readonly min?: number;
  readonly max?: number;
  /** What is counted: "connections". */
  readonly unit?: string;
  readonly words?: Words;
}
/** In code: milliseconds. */
export interface DurationSpec extends Common {
  readonly type: 'duration';
  readonly default: string | null;
  readonly min?: string;
  readonly max?: string;
  readonly words?: Words;
}
/** In code: a number of bytes. */
export interface BytesSpec extends Common {
  readonly type: 'bytes';
  readonly default: string | null;
  readonly min?: string;
  readonly max?: string;
  readonly words?: Words;
}
export interface BooleanSpec extends Common {
  readonly type: 'boolean';
  readonly default: boolean;
}
/** In code: `Address`. */
export interface AddressSpec extends Common {
  readonly type: 'address';
  readonly default: string | null;
}
export interface EnumSpec extends Common {
  readonly type: 'enum';
  readonly values: readonly string[];
  readonly default: string;
}

export type Spec = StringSpec | IntegerSpec | DurationSpec | BytesSpec | BooleanSpec | AddressSpec | EnumSpec;
export type Keys = Readonly<Record<string, Spec>>;
export type Value = string | number | boolean | Address | null;

type Plain<S extends Spec> = S extends { readonly type: 'boolean' }
  ? boolean
  : S extends { readonly type: 'integer' | 'duration' | 'bytes' }
    ? number
    : S extends { readonly type: 'address' }
      ? Address
      : S extends { readonly type: 'enum'; readonly values: readonly (infer V)[] }
        ? V
        : string;

/** A key whose default is null may be absent. */
export type ValueOf<S extends Spec> = Plain<S> | (S extends { readonly default: null } ? null : never);
export type ConfigOf<K extends Keys> = { readonly [Name in keyof K]: ValueOf<K[Name]> };

/** Undefined when the values fit each other; else which do not, and why. */
export type Check<K extends Keys> = (
  config: ConfigOf<K>,
) => { readonly keys: readonly (keyof K & string)[]; readonly message: string } | undefined;

export interface Group<K extends Keys> {
  readonly title: string;
  readonly keys: readonly (keyof K & string)[];
}

export interface Schema<K extends Keys> {
  readonly service: string;
  readonly keys: K;
  readonly names: readonly (keyof K & string)[];
  /** For the reference page: every key stands in exactly one group. */
  readonly groups: readonly Group<K>[];
  readonly checks: readonly Check<K>[];
}

export interface SchemaOptions<K extends Keys> {
  readonly groups?: readonly Group<K>[];
  readonly checks?: readonly Check<K>[];
}

/** Asserts that the table itself is right: names, defaults within their ranges, a sentence for every key. */
export function defineSchema<const K extends Keys>(service: string, keys: K, options: SchemaOptions<K> = {}): Schema<K> {
  const names: readonly (keyof K & string)[] = Object.keys(keys);
  for (const name of names) {
    const spec: Spec | undefined = keys[name];
    assert(spec !== undefined && /^[a-z][A-Za-z0-9]*$/.test(name), `${service}: ${name} is not a camelCase key`);
    assert(spec.doc.length > 0, `${service}: ${name} has no doc`);
    assert(!/^no[A-Z]/.test(name), `${service}: ${name}: --no-… is how a boolean is switched off`);
    if (spec.default === null) continue;
    const result = parseValue(spec, String(spec.default));
    assert(result.kind === 'value', `${service}: the default of ${name} is not ${result.kind === 'wrong' ? result.allowed : ''}`);
  }
  return { service, keys, names, groups: groupsOf(service, names, options.groups ?? []), checks: options.checks ?? [] };
}

/** The configuration of nobody who changed anything: for tests and for servers inside other programs. */
export function defaultsOf<K extends Keys>(schema: Schema<K>): ConfigOf<K> {
  const values: Record<string, Value> = {};
  for (const name of schema.names) {
    const spec: Spec | undefined = schema.keys[name];
    const result = spec && spec.default !== null ? parseValue(spec, String(spec.default)) : undefined;
    values[name] = result?.kind === 'value' ? result.value : null;
  }
  // Each value was parsed by its key's own spec; the compiler cannot follow that through the loop.
  return Object.freeze(values) as ConfigOf<K>;
}

function groupsOf<K extends Keys>(service: string, names: readonly (keyof K & string)[], groups: readonly Group<K>[]): readonly Group<K>[] {
  const grouped = groups.flatMap(group => group.keys);
  assert(new Set(grouped).size === grouped.length, `${service}: a key stands in two groups`);
  for (const name of grouped) assert(names.includes(name), `${service}: a group names the unknown key ${name}`);
  const rest = names.filter(name => !grouped.includes(name));
  return rest.length === 0 ? groups : [{ title: groups.length === 0 ? 'Settings' : 'Others', keys: rest }, ...groups];
}

/** Reads one value as it stands in a file, a flag or a variable. */
export function parseValue(spec: Spec, text: string): Parsed<Value> {
  switch (spec.type) {
    case 'string':
      return text !== '' && (spec.pattern?.test(text) ?? true) ? parsed(text) : wrong(allowedOf(spec));
    case 'integer':
      return ranged(spec, text, parseInteger(text), spec.min, spec.max);
    case 'duration':
      return ranged(spec, text, parseDuration(text), limit(spec.min, parseDuration), limit(spec.max, parseDuration));
    case 'bytes':
      return ranged(spec, text, parseBytes(text), limit(spec.min, parseBytes), limit(spec.max, parseBytes));
    case 'boolean':
      return parseBoolean(text);
    case 'address':
      return parseAddress(text);
    case 'enum':
      return spec.values.includes(text) ? parsed(text) : wrong(allowedOf(spec));
  }
}

function ranged(
  spec: IntegerSpec | DurationSpec | BytesSpec,
  text: string,
  result: Parsed<number>,
  min: number | undefined,
  max: number | undefined,
): Parsed<number> {
  const word = spec.words !== undefined && Object.hasOwn(spec.words, text) ? spec.words[text] : undefined;
  if (word !== undefined) return parsed(word);
  if (result.kind === 'wrong') return wrong(spec.words ? `${result.allowed}, or ${Object.keys(spec.words).join(', ')}` : result.allowed);
  const inRange = (min === undefined || result.value >= min) && (max === undefined || result.value <= max);
  return inRange ? result : wrong(allowedOf(spec));
}

function limit(text: string | undefined, parse: (text: string) => Parsed<number>): number | undefined {
  if (text === undefined) return undefined;
  const result = parse(text);
  assert(result.kind === 'value', `${text} is no limit`);
  return result.value;
}

/** What a key allows, in words: for messages and for the reference page. */
export function allowedOf(spec: Spec): string {
  switch (spec.type) {
    case 'string':
      return spec.allowed ?? 'a text that is not empty';
    case 'enum':
      return `one of ${spec.values.join(', ')}`;
    case 'boolean':
      return 'true or false';
    case 'address':
      return 'HOST:PORT';
    case 'integer':
      return `${spec.unit ? `a number of ${spec.unit}` : 'a whole number'}${rangeOf(spec)}`;
    case 'duration':
      return `a duration${rangeOf(spec)}`;
    case 'bytes':
      return `an amount of bytes${rangeOf(spec)}`;
  }
}

function rangeOf(spec: IntegerSpec | DurationSpec | BytesSpec): string {
  const words = spec.words ? `, or ${Object.keys(spec.words).join(', ')}` : '';
  if (spec.min !== undefined && spec.max !== undefined) return ` from ${spec.min} to ${spec.max}${words}`;
  if (spec.min !== undefined) return ` of at least ${spec.min}${words}`;
  if (spec.max !== undefined) return ` of at most ${spec.max}${words}`;
  return words;
}

/** A value as a user would write it. */
export function formatValue(spec: Spec, value: Value): string {
  if (value === null) return '';
  if (typeof value === 'object') return formatAddress(value);
  if (typeof value !== 'number') return String(value);
  const words = 'words' in spec && spec.words ? Object.entries(spec.words) : [];
  const word = words.find(([, number]) => number === value);
  if (word) return word[0];
  if (spec.type === 'duration') return formatDuration(value);
  return spec.type === 'bytes' ? formatBytes(value) : String(value);
}

/** `dataDir` → `--data-dir`. */
export const flagOf = (name: string): string => `--${name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`;
/** `dataDir` → `SLUICE_DATA_DIR`. */
export const variableOf = (name: string): string => `SLUICE_${name.replace(/[A-Z]/g, letter => `_${letter}`).toUpperCase()}`;
