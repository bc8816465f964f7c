// The command line: finds the command, reads its arguments, runs it, and turns what went wrong into words and an exit status. `run` does
// all of it but end the process.

import { nearestName } from '#lib/config/nearest.ts';
import { formatAddress, parseAddress } from '#lib/config/units.ts';
import { SluiceError } from '#lib/types/errors.ts';
import { type Options, parseArguments, UsageError, wrongValue } from './arguments.ts';
import type { Command, Invocation } from './command.ts';
import { COMMANDS } from './commands.ts';
import { adviceFor, EXIT, type ExitCode, exitCodeOf } from './exit-codes.ts';
import { commandHelp, exitCodesHelp, overview } from './help.ts';
import { COMMON, DEFAULT_SERVER } from './options.ts';
import { Terminal } from './terminal.ts';

type Environment = Readonly<Record<string, string | undefined>>;

async function run(args: readonly string[], env: Environment, terminal: Terminal): Promise<ExitCode> {
  const [first] = args;
  if (first === undefined) {
    terminal.note(overview(COMMANDS));
    return EXIT.usage;
  }
  if (first === 'help') return help(args.slice(1), terminal);
  if (first === '--help' || first === '-h') return help([], terminal);
  if (first === '--version') return run(['version', ...args.slice(1)], env, terminal);
  // `sluice topics --help` too, which is no command by itself.
  if (asksForHelp(args.slice(1, 2))) return help([first], terminal);
  const command = findCommand(args);
  const rest = args.slice(command.path.length);
  if (asksForHelp(rest)) return help(command.path, terminal);
  if (command.raw) return command.run(invocationOf(terminal, env, DEFAULT_SERVER), rest);
  const options: Options = { ...command.options, ...COMMON };
  const { values, positionals } = parseArguments(rest, options, command.positionals);
  const { server, json } = values as { server?: string; json?: boolean };
  const servers = checkServers(server === undefined ? 'SLUICE_SERVER' : '--server', server ?? (env['SLUICE_SERVER'] || DEFAULT_SERVER));
  return command.run({ ...invocationOf(terminal, env, servers), values, positionals, json: json ?? false }, rest);
}

function invocationOf(terminal: Terminal, env: Environment, servers: string): Invocation<Options> {
  return { values: {}, positionals: [], servers, json: false, terminal, env };
}

/** Before a `--`, which ends the options. */
function asksForHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  const options = end < 0 ? args : args.slice(0, end);
  return options.includes('--help') || options.includes('-h');
}

function findCommand(args: readonly string[]): Command {
  const found = COMMANDS.find(({ path }) => path.every((word, index) => args[index] === word));
  if (found) return found;
  const [noun = '', verb] = args;
  const verbs = COMMANDS.filter(({ path }) => path.length === 2 && path[0] === noun).map(({ path }) => path[1] ?? '');
  if (verbs.length > 0) {
    const nearest = verb === undefined ? undefined : nearestName(verb, verbs);
    const what = verb === undefined || verb.startsWith('-') ? `sluice ${noun} needs a verb` : `there is no command sluice ${noun} ${verb}`;
    throw new UsageError(`${what}; ${nearest ? `did you mean sluice ${noun} ${nearest}?` : `its verbs are ${verbs.join(', ')}`}`);
  }
  const nearest = nearestName(noun, [...new Set(COMMANDS.map(({ path }) => path[0] ?? ''))]);
  throw new UsageError(`there is no command sluice ${noun.slice(0, 60)}${nearest ? `; did you mean sluice ${nearest}?` : ''}`);
}

async function help(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  if (args.length === 0) terminal.print(overview(COMMANDS));
  else if (args[0] === 'exit-codes') terminal.print(exitCodesHelp());
  else {
    const group = COMMANDS.filter(({ path }) => args.every((word, index) => path[index] === word));
    const [only] = group;
    if (group.length > 1) terminal.print(overview(group));
    else {
      const command = only ?? findCommand(args);
      terminal.print(commandHelp(command, command.raw ? await serviceFlags() : ''));
    }
  }
  return EXIT.ok;
}

async function serviceFlags(): Promise<string> {
  return (await import('./verbs/standalone.ts')).flagsHelp();
}

function checkServers(flag: string, text: string): string {
  const addresses = text.split(',').map(part => part.trim());
  const checked = addresses.map(address => {
    const result = parseAddress(address);
    if (result.kind === 'wrong' || result.value.port === 0)
      throw wrongValue(flag, address, 'HOST:PORT, or several of them with commas between');
    return formatAddress(result.value);
  });
  return checked.join(',');
}

/** Prints what went wrong; with --json as an object on standard error. */
function report(error: unknown, args: readonly string[], env: Environment, terminal: Terminal): ExitCode {
  const json = args.includes('--json');
  if (error instanceof UsageError) {
    const command = COMMANDS.find(({ path }) => path.every((word, index) => args[index] === word));
    const hint = `'sluice help${command ? ` ${command.path.join(' ')}` : ''}' shows how it is used.`;
    return say(terminal, json, { code: 'usage', message: error.message }, hint, EXIT.usage);
  }
  if (error instanceof SluiceError) {
    const wrote = args[0] === 'produce' || args[0] === 'bench';
    const advice = adviceFor(error.code, serverIn(args) ?? env['SLUICE_SERVER'] ?? DEFAULT_SERVER);
    const detail = { code: error.code, message: error.message, stored: error.stored, detail: error.detail };
    return say(terminal, json, detail, advice, exitCodeOf(error.code, error.stored, wrote));
  }
  if (error instanceof Error && 'code' in error && 'syscall' in error) {
    return say(terminal, json, { code: String(error.code), message: error.message }, undefined, EXIT.failure);
  }
  // A mistake of ours: its place helps whoever looks for it.
  return say(
    terminal,
    json,
    { code: 'internal', message: error instanceof Error ? (error.stack ?? error.message) : String(error) },
    undefined,
    EXIT.failure,
  );
}

function serverIn(args: readonly string[]): string | undefined {
  const at = args.findIndex(argument => argument === '--server' || argument.startsWith('--server='));
  return at < 0 ? undefined : (args[at]?.split('=')[1] ?? args[at + 1]);
}

interface Said {
  readonly code: string;
  readonly message: string;
}

function say(terminal: Terminal, json: boolean, error: Said, advice: string | undefined, exitCode: ExitCode): ExitCode {
  if (json) terminal.note(JSON.stringify({ error: advice ? { ...error, advice } : error, exitCode }));
  else terminal.note(`sluice: ${error.message}${advice ? `\n${advice}` : ''}`);
  return exitCode;
}

/** A timer that some library left behind must not keep a finished command; what was written must be out. */
async function end(exitCode: ExitCode): Promise<never> {
  for (const stream of [process.stdout, process.stderr]) {
    if (stream.writableLength > 0) await new Promise<void>(resolve => stream.write('', () => resolve()));
  }
  process.exit(process.exitCode ?? exitCode);
}

const terminal = new Terminal();
const args = process.argv.slice(2);
await end(await run(args, process.env, terminal).catch((error: unknown) => report(error, args, process.env, terminal)));
