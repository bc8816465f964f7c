// What is made from a schema for people: the reference page, the example file, the flags of `--help`, and the configuration in force.

import { describeSource, type LoadedConfig } from './load.ts';
import { allowedOf, flagOf, formatValue, type Keys, type Schema, type Spec, variableOf } from './schema.ts';

/** Text that would end a table's cell is escaped. */
const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

const defaultOf = (spec: Spec): string => (spec.default === null ? 'none' : spec.secret ? '***' : `\`${spec.default}\``);

/** `docs/config/<service>.md`. */
export function renderReference<K extends Keys>(schema: Schema<K>): string {
  const lines = [
    `# Configuration of ${schema.service}`,
    '',
    '<!-- Made by `make generate` from the schema of the service; `make check` fails where they differ. -->',
    '',
    'A flag wins over the environment, the environment over the file, the file over the default. `--config FILE` (or `SLUICE_CONFIG`)',
    `names a YAML file of these keys; [${schema.service}.example.yaml](${schema.service}.example.yaml) is one with every key at its default.`,
    'An unknown key in a file or an unknown flag is an error, an unknown `SLUICE_…` variable a warning. `sluice config check FILE` checks',
    'a file, `sluice config show` prints what is in force and where each value comes from.',
    '',
    'Durations are written with `ms`, `s`, `m`, `h`, `d` or `w`, amounts of bytes with `B`, `KiB`, `MiB`, `GiB` or `TiB`.',
  ];
  for (const group of schema.groups) {
    lines.push('', `## ${group.title}`, '', '| key | default | allowed | what it does |', '|---|---|---|---|');
    for (const name of group.keys) {
      const spec = schema.keys[name];
      if (spec) lines.push(`| \`${name}\` | ${cell(defaultOf(spec))} | ${cell(allowedOf(spec))} | ${cell(spec.doc)} |`);
    }
  }
  lines.push('', '## Flags and variables', '', '| key | flag | variable |', '|---|---|---|');
  for (const name of schema.names) {
    const off = schema.keys[name]?.type === 'boolean' ? `, \`--no-${flagOf(name).slice(2)}\`` : '';
    lines.push(`| \`${name}\` | \`${flagOf(name)}\`${off} | \`${variableOf(name)}\` |`);
  }
  return `${lines.join('\n')}\n`;
}

/** `docs/config/<service>.example.yaml`: every key, commented out, at its default. */
export function renderExample<K extends Keys>(schema: Schema<K>): string {
  const lines = [`# Configuration of ${schema.service}. Every key is here at its default; take the # away from what you change.`];
  for (const group of schema.groups) {
    lines.push('', `# ---- ${group.title} ----`);
    for (const name of group.keys) {
      const spec = schema.keys[name];
      if (!spec) continue;
      lines.push('', ...wrapped(`${spec.doc} Takes ${allowedOf(spec)}.`, 100).map(line => `# ${line}`));
      lines.push(spec.default === null || spec.secret ? `#${name}:` : `#${name}: ${yamlText(String(spec.default))}`);
    }
  }
  return `${lines.join('\n')}\n`;
}

/** Quoted where a plain scalar would be read as something else. */
const yamlText = (text: string) => (/^[A-Za-z0-9./][A-Za-z0-9./:_-]*$/.test(text) && !text.endsWith(':') ? text : JSON.stringify(text));

function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** The flags of a service, for `--help`. */
export function renderFlags<K extends Keys>(schema: Schema<K>): string {
  const lines: string[] = [];
  for (const name of schema.names) {
    const spec = schema.keys[name];
    if (!spec) continue;
    const flag = spec.type === 'boolean' ? `--[no-]${flagOf(name).slice(2)}` : `${flagOf(name)} ${placeholderOf(spec)}`;
    lines.push(
      `  ${flag}`,
      ...wrapped(`${spec.doc} Default: ${spec.secret ? '***' : (spec.default ?? 'none')}.`, 90).map(line => `      ${line}`),
    );
  }
  return lines.join('\n');
}

function placeholderOf(spec: Spec): string {
  switch (spec.type) {
    case 'enum':
      return spec.values.join('|');
    case 'address':
      return 'HOST:PORT';
    case 'integer':
      return 'N';
    default:
      return spec.type.toUpperCase();
  }
}

export interface ShownValue {
  readonly key: string;
  readonly value: string;
  readonly source: string;
}

/** The configuration in force; secrets are masked. */
export function showConfig<K extends Keys>(schema: Schema<K>, loaded: LoadedConfig<K>): readonly ShownValue[] {
  return schema.names.map(name => {
    const spec: Spec | undefined = schema.keys[name];
    const value = loaded.config[name] ?? null;
    const shown = spec && value !== null ? (spec.secret ? '***' : formatValue(spec, value)) : '';
    return { key: name, value: shown, source: describeSource(loaded.sources[name]) };
  });
}
