// docs/operations/cli.md, made from the tables of commands, options and exit statuses.

import { type Options, optionFlag } from './arguments.ts';
import type { Command } from './command.ts';
import { COMMANDS } from './commands.ts';
import { EXIT_MEANINGS } from './exit-codes.ts';
import { COMMON } from './options.ts';

const INTRODUCTION = [
  '# The command line',
  '',
  '<!-- Made by `make generate` from the tables in clients/cli; `make check` fails where they differ. -->',
  '',
  'Every command takes the options of the first table. `sluice help COMMAND` shows what is below in a terminal. Results go to standard',
  'output, everything else (errors, hints, the progress line of long work on a terminal) to standard error. With `--json` a result is one',
  'JSON object on one line (`consume` and `read`: one per message), and an error is one object on standard error:',
  '`{"error":{"code":…,"message":…,"stored":…,"advice":…},"exitCode":…}` with the codes of [protocol.md](../protocol.md).',
  '',
  'Topics are named `tenant/namespace/topic`; a bare name means `public/default/…`.',
  '',
  'The first SIGINT or SIGTERM ends a command cleanly: `produce` reads no further and waits for what it has sent, `consume` acknowledges what',
  'it has written. A second one ends it at once, and so does the first one before there is anything to finish.',
];

const cell = (text: string) => text.replaceAll('|', '\\|');

export function cliManual(): string {
  const lines = [...INTRODUCTION, '', ...optionTable(COMMON)];
  for (const command of COMMANDS) lines.push('', ...section(command));
  lines.push('', '## Exit statuses', '', '| status | means |', '|---|---|');
  for (const [code, meaning] of EXIT_MEANINGS) lines.push(`| ${code} | ${cell(meaning)} |`);
  return `${lines.join('\n')}\n`;
}

function section(command: Command): string[] {
  const name = ['sluice', ...command.path, ...command.positionals].join(' ');
  const lines = [`## ${command.path.join(' ')}`, '', `\`${name}\`: ${command.summary}.`];
  for (const paragraph of command.details) lines.push('', paragraph.replace(/([%\\]\S)(?=[ ,;.])/g, '`$1`'));
  if (command.raw) lines.push('', 'Its flags are the keys of [the configuration](../config/standalone.md).');
  if (Object.keys(command.options).length > 0) lines.push('', ...optionTable(command.options));
  return [...lines, '', ...command.examples.map(example => `    ${example}`)];
}

function optionTable(options: Options): string[] {
  const lines = ['| option | default | what it does |', '|---|---|---|'];
  for (const [name, option] of Object.entries(options)) {
    const value =
      option.type === 'flag' ? '' : ` ${option.type === 'choice' ? option.values.join('|') : (option.value ?? option.type.toUpperCase())}`;
    lines.push(
      `| \`${optionFlag(name)}${cell(value)}\` | ${option.shownDefault ? `\`${cell(option.shownDefault)}\`` : ''} | ${cell(option.doc)} |`,
    );
  }
  return lines;
}
