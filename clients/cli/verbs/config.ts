// `sluice config check FILE` and `sluice config show`: what a server would make of a configuration, without starting one.

import { readFileSync } from 'node:fs';
import { checkConfigFile, type InvalidConfig, loadConfig } from '#lib/config/load.ts';
import { showConfig } from '#lib/config/render.ts';
import { standaloneSchema } from '../../../services/standalone/config.ts';
import type { Invocation, Verb } from '../command.ts';
import { EXIT, type ExitCode } from '../exit-codes.ts';
import type { NONE } from '../options.ts';
import { type Terminal, table } from '../terminal.ts';

const readFile = (path: string) => readFileSync(path, 'utf8');

export const checkConfig: Verb<typeof NONE> = async ({ terminal, json, positionals }) => {
  const file = positionals[0] ?? '';
  const result = checkConfigFile(standaloneSchema, file, readFile);
  if (result.kind === 'invalid') return refuse(terminal, json, result);
  const set = showConfig(standaloneSchema, result).filter(row => row.source !== 'default');
  if (json) terminal.printJson({ file, valid: true, keys: set.length });
  else terminal.print(`${file} is valid: ${set.length} ${set.length === 1 ? 'key' : 'keys'} set`);
  return EXIT.ok;
};

export async function showConfiguration(
  terminal: Terminal,
  args: readonly string[],
  env: Invocation<typeof NONE>['env'],
): Promise<ExitCode> {
  const json = args.includes('--json');
  const argv = args.filter(argument => argument !== '--json');
  const result = loadConfig(standaloneSchema, { argv, env, readFile });
  for (const warning of result.warnings) terminal.note(`sluice: ${warning}`);
  if (result.kind === 'invalid') return refuse(terminal, json, result);
  const rows = showConfig(standaloneSchema, result);
  if (json) terminal.printJson(Object.fromEntries(rows.map(({ key, value, source }) => [key, { value, source }])));
  else
    terminal.print(
      table(
        ['KEY', 'VALUE', 'SOURCE'],
        rows.map(({ key, value, source }) => [key, value, source]),
      ),
    );
  return EXIT.ok;
}

function refuse(terminal: Terminal, json: boolean, result: InvalidConfig): ExitCode {
  if (json) terminal.printJson({ valid: false, errors: result.errors });
  else for (const error of result.errors) terminal.note(`sluice: ${error.text}`);
  return EXIT.usage;
}
