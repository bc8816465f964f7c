// What a command is, and what it gets to run with.

import type { Options, Values } from './arguments.ts';
import type { ExitCode } from './exit-codes.ts';
import type { COMMON } from './options.ts';
import type { Terminal } from './terminal.ts';

export interface Invocation<O extends Options> {
  readonly values: Values<O>;
  readonly positionals: readonly string[];
  /** From --server, SLUICE_SERVER, or the default; checked. */
  readonly servers: string;
  readonly json: boolean;
  readonly terminal: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export type Verb<O extends Options> = (invocation: Invocation<O & typeof COMMON>) => Promise<ExitCode>;

export interface Command {
  /** `['topics', 'create']`. */
  readonly path: readonly string[];
  readonly summary: string;
  readonly positionals: readonly string[];
  readonly options: Options;
  readonly examples: readonly string[];
  /** Further paragraphs of the help. */
  readonly details: readonly string[];
  /** Takes its arguments itself: its flags are those of a service. */
  readonly raw: boolean;
  run(invocation: Invocation<Options>, args: readonly string[]): Promise<ExitCode>;
}

interface CommandSpec<O extends Options> {
  readonly summary: string;
  readonly positionals?: readonly string[];
  readonly options: O;
  readonly examples: readonly string[];
  readonly details?: readonly string[];
  readonly load: () => Promise<Verb<O>>;
}

/** `load` imports the verb's module, so that one verb does not wait for what another one needs. */
export function command<const O extends Options>(path: string, spec: CommandSpec<O>): Command {
  const { summary, positionals = [], options, examples, details = [], load } = spec;
  return {
    path: path.split(' '),
    summary,
    positionals,
    options,
    examples,
    details,
    raw: false,
    // The values were read by this command's own table.
    run: async invocation => (await load())(invocation as Invocation<O & typeof COMMON>),
  };
}

interface RawCommandSpec {
  readonly summary: string;
  readonly examples: readonly string[];
  readonly details?: readonly string[];
  readonly load: () => Promise<(terminal: Terminal, args: readonly string[], env: Invocation<Options>['env']) => Promise<ExitCode>>;
}

export function rawCommand(path: string, spec: RawCommandSpec): Command {
  const { summary, examples, details = [], load } = spec;
  return {
    path: path.split(' '),
    summary,
    positionals: [],
    options: {},
    examples,
    details,
    raw: true,
    run: async ({ terminal, env }, args) => (await load())(terminal, args, env),
  };
}
