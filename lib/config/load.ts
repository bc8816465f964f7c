// Puts a configuration together from its sources: flag > environment > file > default. Every value is checked, also one that another
// source overrides; all that is wrong is reported at once, each with where it stands, its key, its value and what is allowed. The result
// is frozen and knows the source of each value.

import { isMap, isScalar, LineCounter, type Node, parseDocument, type Scalar } from 'yaml';
import { nearestName } from './nearest.ts';
import {
  allowedOf,
  type ConfigOf,
  defaultsOf,
  flagOf,
  type Keys,
  parseValue,
  type Schema,
  type Spec,
  type Value,
  variableOf,
} from './schema.ts';

export type Source =
  | { readonly kind: 'default' }
  | { readonly kind: 'file'; readonly file: string; readonly line: number }
  | { readonly kind: 'environment'; readonly variable: string }
  | { readonly kind: 'flag'; readonly flag: string };

/** `text` is a whole sentence for people; `key` is null when no single key is meant. */
export interface ConfigError {
  readonly kind: 'unreadable' | 'syntax' | 'unknown_key' | 'unknown_flag' | 'invalid_value' | 'conflict';
  readonly key: string | null;
  /** Of the file; null: it stands elsewhere. */
  readonly line: number | null;
  readonly text: string;
}

export interface LoadedConfig<K extends Keys> {
  readonly kind: 'loaded';
  readonly config: ConfigOf<K>;
  readonly sources: Readonly<Record<keyof K & string, Source>>;
  readonly warnings: readonly string[];
  /** The file that was read; null: none was named. */
  readonly file: string | null;
}

export interface InvalidConfig {
  readonly kind: 'invalid';
  readonly errors: readonly ConfigError[];
  readonly warnings: readonly string[];
}

/** Where the sources come from. `argv` holds flags only; `readFile` throws when it cannot read. */
export interface ConfigInput {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
}

/** Variables that mean something to other parts, so no warning is due. */
const FOREIGN_VARIABLES: ReadonlySet<string> = new Set(['SLUICE_SERVER', 'SLUICE_SERVER_HTTP', 'SLUICE_NODE', 'SLUICE_CONFIG']);

/** One value as it was found, before it is checked. */
interface Found {
  readonly key: string;
  readonly text: string;
  readonly source: Source;
}

class Findings {
  readonly found: Found[] = [];
  readonly errors: ConfigError[] = [];
  readonly warnings: string[] = [];
}

/** `--config FILE`, or SLUICE_CONFIG, names the file; without one there is none. */
export function loadConfig<K extends Keys>(schema: Schema<K>, input: ConfigInput): LoadedConfig<K> | InvalidConfig {
  const findings = new Findings();
  const flags = new Findings();
  const file = readFlags(schema, input.argv, flags) ?? input.env['SLUICE_CONFIG'] ?? null;
  if (file !== null && file !== '') readFromFile(schema, file, input.readFile, findings);
  readEnvironment(schema, input.env, findings);
  findings.found.push(...flags.found);
  findings.errors.push(...flags.errors);
  return settle(schema, findings, file);
}

/** Checks a file alone, as `sluice config check` does. */
export function checkConfigFile<K extends Keys>(
  schema: Schema<K>,
  file: string,
  readFile: (path: string) => string,
): LoadedConfig<K> | InvalidConfig {
  const findings = new Findings();
  readFromFile(schema, file, readFile, findings);
  return settle(schema, findings, file);
}

/** Later findings override earlier ones. */
function settle<K extends Keys>(schema: Schema<K>, findings: Findings, file: string | null): LoadedConfig<K> | InvalidConfig {
  const values: Record<string, Value> = { ...defaultsOf(schema) };
  const sources: Record<string, Source> = {};
  for (const name of schema.names) sources[name] = { kind: 'default' };
  for (const { key, text, source } of findings.found) {
    const spec = specOf(schema, key);
    const result = parseValue(spec, text);
    if (result.kind === 'wrong') {
      findings.errors.push(invalidValue(key, spec, text, result.allowed, source));
      continue;
    }
    values[key] = result.value;
    sources[key] = source;
  }
  // The table's type says what each parsed value is; the compiler cannot follow it through the loop above.
  const config = Object.freeze(values) as ConfigOf<K>;
  if (findings.errors.length === 0) crossCheck(schema, config, sources, findings);
  if (findings.errors.length > 0) {
    const errors = findings.errors.sort((a, b) => (a.line ?? Number.MAX_SAFE_INTEGER) - (b.line ?? Number.MAX_SAFE_INTEGER));
    return { kind: 'invalid', errors, warnings: findings.warnings };
  }
  return { kind: 'loaded', config, sources: Object.freeze(sources) as Record<keyof K & string, Source>, warnings: findings.warnings, file };
}

function specOf<K extends Keys>(schema: Schema<K>, name: string): Spec {
  const spec = schema.keys[name];
  if (!spec) throw new TypeError(`${schema.service} has no key ${name}`);
  return spec;
}

function crossCheck<K extends Keys>(
  schema: Schema<K>,
  config: ConfigOf<K>,
  sources: Readonly<Record<string, Source>>,
  findings: Findings,
): void {
  for (const check of schema.checks) {
    const conflict = check(config);
    if (!conflict) continue;
    const where = conflict.keys.map(key => `${key} from ${describeSource(sources[key] ?? { kind: 'default' })}`).join(', ');
    findings.errors.push({ kind: 'conflict', key: conflict.keys[0] ?? null, line: null, text: `${conflict.message} (${where})` });
  }
}

function invalidValue(key: string, spec: Spec, text: string, allowed: string, source: Source): ConfigError {
  const shown = spec.secret ? 'the value' : JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
  return { kind: 'invalid_value', key, line: lineOf(source), text: `${describeSource(source)}: ${key}: ${shown} is not ${allowed}` };
}

const lineOf = (source: Source): number | null => (source.kind === 'file' ? source.line : null);

/** As it stands before a message: `sluice.yaml:3`, `SLUICE_LISTEN`, `--listen`. */
export function describeSource(source: Source): string {
  switch (source.kind) {
    case 'default':
      return 'default';
    case 'file':
      return `${source.file}:${source.line}`;
    case 'environment':
      return source.variable;
    case 'flag':
      return source.flag;
  }
}

// ---- flags -------------------------------------------------------------------------------------------------------------------

/** `--key value`, `--key=value`; a boolean is `--key`, `--key=false` or `--no-key`. Given twice, the last one counts. */
function readFlags<K extends Keys>(schema: Schema<K>, argv: readonly string[], findings: Findings): string | undefined {
  const names = new Map<string, string>(schema.names.map(name => [flagOf(name), name]));
  let file: string | undefined;
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index] ?? '';
    const equals = argument.startsWith('--') ? argument.indexOf('=') : -1;
    const flag = equals < 0 ? argument : argument.slice(0, equals);
    const name = names.get(flag);
    const negated = flag.startsWith('--no-') ? names.get(`--${flag.slice(5)}`) : undefined;
    if (equals < 0 && negated !== undefined && schema.keys[negated]?.type === 'boolean') {
      findings.found.push({ key: negated, text: 'false', source: { kind: 'flag', flag } });
      continue;
    }
    if (name === undefined && flag !== '--config') {
      findings.errors.push(unknownFlag(argument, [...names.keys(), '--config']));
      continue;
    }
    const isSwitch = name !== undefined && schema.keys[name]?.type === 'boolean';
    const value = equals >= 0 ? argument.slice(equals + 1) : isSwitch ? 'true' : argv[++index];
    if (value === undefined || (equals < 0 && value.startsWith('--'))) {
      const allowed = name === undefined ? 'a file' : allowedOf(specOf(schema, name));
      findings.errors.push({ kind: 'invalid_value', key: name ?? null, line: null, text: `${flag} needs a value: ${allowed}` });
      if (value !== undefined) index--;
    } else if (name === undefined) file = value;
    else findings.found.push({ key: name, text: value, source: { kind: 'flag', flag } });
  }
  return file;
}

function unknownFlag(argument: string, flags: readonly string[]): ConfigError {
  const shown = JSON.stringify(argument.slice(0, 60));
  if (!argument.startsWith('-'))
    return { kind: 'unknown_flag', key: null, line: null, text: `${shown} is not expected here: only flags are` };
  const nearest = nearestName(
    argument.replace(/^-+|=.*$/g, ''),
    flags.map(flag => flag.slice(2)),
  );
  return { kind: 'unknown_flag', key: null, line: null, text: `there is no flag ${shown}${nearest ? `; did you mean --${nearest}?` : ''}` };
}

// ---- environment -------------------------------------------------------------------------------------------------------------

/** Unknown SLUICE_… variables only warn: another version, or another program, may know them. */
function readEnvironment<K extends Keys>(schema: Schema<K>, env: ConfigInput['env'], findings: Findings): void {
  const names = new Map<string, string>(schema.names.map(name => [variableOf(name), name]));
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith('SLUICE_') || text === undefined) continue;
    const key = names.get(variable);
    if (key !== undefined) findings.found.push({ key, text, source: { kind: 'environment', variable } });
    else if (!FOREIGN_VARIABLES.has(variable)) {
      const nearest = nearestName(
        variable.slice(7),
        [...names.keys()].map(name => name.slice(7)),
      );
      findings.warnings.push(`${variable} is not a known variable and has no effect${nearest ? `; did you mean SLUICE_${nearest}?` : ''}`);
    }
  }
}

// ---- file --------------------------------------------------------------------------------------------------------------------

function readFromFile<K extends Keys>(schema: Schema<K>, file: string, readFile: (path: string) => string, findings: Findings): void {
  let text: string;
  try {
    text = readFile(file);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    findings.errors.push({ kind: 'unreadable', key: null, line: null, text: `the configuration file ${file} cannot be read: ${reason}` });
    return;
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true });
  const lineAt = (position: number | undefined) => lines.linePos(position ?? 0).line;
  for (const problem of document.errors) {
    const line = lineAt(problem.pos[0]);
    findings.errors.push({ kind: 'syntax', key: null, line, text: `${file}:${line}: ${problem.message}` });
  }
  const empty = document.contents === null || (isScalar(document.contents) && document.contents.value === null);
  if (document.errors.length > 0 || empty) return;
  if (!isMap<Scalar<string>, Node | null>(document.contents)) {
    findings.errors.push({ kind: 'syntax', key: null, line: 1, text: `${file}:1: a configuration file is a list of "key: value" lines` });
    return;
  }
  for (const { key, value } of document.contents.items) {
    readEntry(schema, String(key.value), value, { kind: 'file', file, line: lineAt(key.range?.[0]) }, findings);
  }
}

function readEntry<K extends Keys>(schema: Schema<K>, key: string, value: Node | null, source: Source, findings: Findings): void {
  const spec = Object.hasOwn(schema.keys, key) ? schema.keys[key] : undefined;
  if (!spec) {
    const nearest = nearestName(key, schema.names);
    const hint = nearest ? `did you mean ${nearest}?` : `the keys are ${schema.names.join(', ')}`;
    const text = `${describeSource(source)}: there is no key ${JSON.stringify(key.slice(0, 60))}; ${hint}`;
    findings.errors.push({ kind: 'unknown_key', key, line: lineOf(source), text });
    return;
  }
  if (!isScalar(value) || value.value === null) {
    const what = isScalar(value) || value === null ? 'has no value' : 'is not a single value';
    const text = `${describeSource(source)}: ${key} ${what}: it takes ${allowedOf(spec)}`;
    findings.errors.push({ kind: 'invalid_value', key, line: lineOf(source), text });
    return;
  }
  // As it was written: `0x10` or `1e3` is not what a flag would take, so a file does not take it either.
  findings.found.push({ key, text: typeof value.value === 'string' ? value.value : (value.source ?? String(value.value)), source });
}
