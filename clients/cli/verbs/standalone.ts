// `sluice standalone`: hands its flags to the server. The server's code is loaded here and nowhere else, so that other verbs start fast.

import { renderFlags } from '#lib/config/render.ts';
import { standaloneSchema } from '../../../services/standalone/config.ts';
import type { Invocation } from '../command.ts';
import { EXIT, type ExitCode } from '../exit-codes.ts';
import type { NONE } from '../options.ts';
import type { Terminal } from '../terminal.ts';

/** The server ends the process itself when it cannot start; here it returns once it has been stopped. */
export async function standalone(_terminal: Terminal, args: readonly string[], env: Invocation<typeof NONE>['env']): Promise<ExitCode> {
  const argv = args.flatMap(argument => (argument === '--json' ? ['--log-format', 'json'] : [argument]));
  const { runStandalone } = await import('../../../services/standalone/main.ts');
  await runStandalone(argv, env);
  return EXIT.ok;
}

export function flagsHelp(): string {
  return `  --config FILE\n      Read the configuration from this YAML file.\n${renderFlags(standaloneSchema)}`;
}
