// The texts of the help, made from the tables of commands and options.

import { type Option, type Options, optionFlag } from './arguments.ts';
import type { Command } from './command.ts';
import { EXIT_MEANINGS } from './exit-codes.ts';
import { COMMON } from './options.ts';

const WIDTH = 100;

export function overview(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(usageName).map(name => name.length));
  return [
    'Usage: sluice COMMAND [ARGUMENTS]',
    '',
    ...commands.map(command => `  ${usageName(command).padEnd(width)}  ${command.summary}`),
    `  ${'help [COMMAND]'.padEnd(width)}  show this, the help of a command, or: help exit-codes`,
    '',
    'Every command takes --server HOST:PORT,… (SLUICE_SERVER), --json and --help.',
    "Topics are named tenant/namespace/topic; a bare name means public/default/… . Begin with 'sluice standalone'.",
  ].join('\n');
}

const usageName = (command: Command): string => [...command.path, ...command.positionals].join(' ');

export function commandHelp(command: Command, flags = ''): string {
  const lines = [
    `sluice ${command.path.join(' ')}: ${command.summary}`,
    '',
    `Usage: sluice ${usageName(command)}${command.raw ? ' [FLAGS]' : ' [OPTIONS]'}`,
  ];
  for (const paragraph of command.details) lines.push('', ...wrap(paragraph, 0));
  if (command.raw) lines.push('', 'Flags:', flags);
  else lines.push('', 'Options:', ...optionLines({ ...command.options, ...COMMON }));
  lines.push('', 'Examples:', ...command.examples.map(example => `  ${example}`));
  return lines.join('\n');
}

function optionLines(options: Options): string[] {
  return Object.entries(options).flatMap(([name, option]) => [
    `  ${optionFlag(name)}${placeholder(option)}`,
    ...wrap(option.shownDefault ? `${option.doc} Default: ${option.shownDefault}.` : option.doc, 6),
  ]);
}

function placeholder(option: Option): string {
  if (option.type === 'flag') return '';
  return option.type === 'choice' ? ` ${option.values.join('|')}` : ` ${option.value ?? option.type.toUpperCase()}`;
}

export function exitCodesHelp(): string {
  const lines = EXIT_MEANINGS.flatMap(([code, meaning]) => {
    const [first = '', ...rest] = wrap(meaning, 6);
    return [`  ${String(code).padEnd(3)} ${first.trimStart()}`, ...rest];
  });
  return ['How a command ends:', '', ...lines].join('\n');
}

function wrap(text: string, indent: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent + line.length + 1 + word.length > WIDTH) {
      lines.push(' '.repeat(indent) + line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, ' '.repeat(indent) + line];
}
