import { describe, expect, expectTypeOf, test } from 'vitest';
import { type Options, parseArguments, UsageError, type Values } from './arguments.ts';
import { COMMANDS } from './commands.ts';
import { adviceFor, EXIT, EXIT_MEANINGS, exitCodeOf } from './exit-codes.ts';
import { commandHelp, exitCodesHelp, overview } from './help.ts';
import { COMMON } from './options.ts';
import { parsePosition } from './position.ts';
import { table } from './terminal.ts';

const OPTIONS = {
  file: { type: 'text', doc: 'd' },
  count: { type: 'integer', min: 1, doc: 'd' },
  untilEnd: { type: 'flag', doc: 'd' },
  retention: { type: 'duration', words: { forever: -1 }, doc: 'd' },
  size: { type: 'bytes', min: 0, doc: 'd' },
  wait: { type: 'boolean', doc: 'd' },
  mode: { type: 'choice', values: ['fast', 'slow'], doc: 'd' },
} as const satisfies Options;

const parse = (args: string, positionals: readonly string[] = ['TOPIC']) =>
  parseArguments(args.split(' ').filter(Boolean), OPTIONS, positionals);
const refusal = (args: string, positionals?: readonly string[]) => {
  try {
    parse(args, positionals);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
  }
  throw new Error(`${args} was not refused`);
};

describe('arguments', () => {
  test('every type of option, in both spellings, with what must follow', () => {
    const { values, positionals } = parse('t --file a=b --count=3 --until-end --retention 7d --size 1KiB --wait false --mode slow');
    expect(positionals).toEqual(['t']);
    expect(values).toEqual({ file: 'a=b', count: 3, untilEnd: true, retention: 604_800_000, size: 1024, wait: false, mode: 'slow' });
    expectTypeOf<Values<typeof OPTIONS>['mode']>().toEqualTypeOf<'fast' | 'slow' | undefined>();
    expectTypeOf<Values<typeof OPTIONS>['count']>().toEqualTypeOf<number | undefined>();
  });

  test('what is not given is undefined, and a flag false', () => {
    expect(parse('t').values).toEqual({
      file: undefined,
      count: undefined,
      untilEnd: false,
      retention: undefined,
      size: undefined,
      wait: undefined,
      mode: undefined,
    });
  });

  test('words, the last of two, what follows --, and a lone hyphen', () => {
    expect(parse('t --retention forever --count 1 --count 2').values).toMatchObject({ retention: -1, count: 2 });
    expect(parse('-- --file', ['TOPIC']).positionals).toEqual(['--file']);
    expect(parse('-', ['TOPIC']).positionals).toEqual(['-']);
    expect(parseArguments(['t', '--file', '--odd'], OPTIONS, ['TOPIC']).values.file).toBe('--odd');
  });

  test.each([
    ['', 'TOPIC is missing'],
    ['a b', '"b" is not expected here'],
    ['t --cuont 1', 'there is no option --cuont; did you mean --count?'],
    ['t --zzzzzzzzz', 'there is no option --zzzzzzzzz'],
    ['t --Xfile=1', 'there is no option --Xfile; did you mean --file?'],
    ['t -f', 'there is no option -f'],
    ['t --count', '--count needs a value: INTEGER'],
    ['t --mode', '--mode needs a value: fast|slow'],
    ['t --count 0', '--count: "0" is not at least 1'],
    ['t --count x', '--count: "x" is not a whole number'],
    ['t --count 1.5', '--count: "1.5" is not a whole number'],
    ['t --until-end=yes', '--until-end takes no value'],
    ['t --retention 7', '--retention: "7" is not a duration: a number with ms, s, m, h, d or w, for instance 90s or 7d, or forever'],
    ['t --size big', '--size: "big" is not an amount of bytes: a number with B, KiB, MiB, GiB or TiB, for instance 10GiB'],
    ['t --wait maybe', '--wait: "maybe" is not true or false'],
    ['t --mode other', '--mode: "other" is not one of fast, slow'],
  ])('%j is refused: %s', (args, message) => {
    expect(refusal(args)).toBe(message);
  });

  test('an empty name is refused by what it stands for', () => {
    expect(() => parseArguments([''], OPTIONS, ['TOPIC'])).toThrow('TOPIC is empty');
  });
});

test('positions: words, offsets, times with and without a zone, a while ago; nothing else', () => {
  const now = Date.parse('2026-11-24T12:00:00Z');
  const at = (text: string) => parsePosition('--from', text, now);
  expect([at('earliest'), at('latest'), at('0'), at('17')]).toEqual(['earliest', 'latest', { offset: 0 }, { offset: 17 }]);
  expect(at('2026-11-24T11:00:00Z')).toEqual({ time: now - 3_600_000 });
  expect(at('2026-11-24')).toEqual({ time: Date.parse('2026-11-24') });
  expect(at('15m')).toEqual({ time: now - 900_000 });
  for (const bad of ['', '-1', 'first', '1.5', '99999999999999999999', '2026', '2026-13-45', 'yesterday']) {
    if (bad === '2026') expect(at(bad)).toEqual({ offset: 2026 });
    else expect(() => at(bad), bad).toThrow(UsageError);
  }
});

describe('exit statuses', () => {
  test('each has a meaning', () => {
    expect(EXIT_MEANINGS.map(([code]) => code).sort()).toEqual(Object.values(EXIT).sort());
  });

  test('a refusal is told by its kind; an unknown fate wins where something was written', () => {
    expect(exitCodeOf('topic_not_found', 'no', true)).toBe(EXIT.notFound);
    expect(exitCodeOf('unavailable', 'no', true)).toBe(EXIT.unreachable);
    expect(exitCodeOf('timeout', 'unknown', true)).toBe(EXIT.unknownFate);
    expect(exitCodeOf('timeout', 'unknown', false)).toBe(EXIT.unreachable);
    expect(exitCodeOf('storage_full', 'no', true)).toBe(EXIT.retryable);
    expect(exitCodeOf('data_loss', 'no', false)).toBe(EXIT.failure);
    expect(adviceFor('unavailable', 'h:1')).toContain('h:1');
  });
});

describe('help', () => {
  test('every command is in the overview, and has a help with its options and an example', () => {
    const all = overview(COMMANDS);
    for (const command of COMMANDS) {
      const name = command.path.join(' ');
      expect(all).toContain(`  ${name}`);
      const text = commandHelp(command, 'FLAGS');
      expect(text).toContain(`sluice ${name}: ${command.summary}`);
      expect(command.examples.length).toBeGreaterThan(0);
      for (const example of command.examples) expect(example).toContain(`sluice ${name}`);
      if (!command.raw) expect(text).toContain('--server HOST:PORT,…');
    }
    expect(exitCodesHelp()).toContain('130');
  });

  test('the options in the examples are known', () => {
    for (const command of COMMANDS.filter(({ raw }) => !raw)) {
      const known = Object.keys({ ...command.options, ...COMMON }).map(
        name => `--${name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)}`,
      );
      for (const example of command.examples) {
        for (const [flag] of example.matchAll(/--[a-z-]+/g)) expect(known, example).toContain(flag);
      }
    }
  });

  test('no option of a command hides a common one', () => {
    for (const command of COMMANDS) for (const name of Object.keys(COMMON)) expect(Object.keys(command.options)).not.toContain(name);
  });
});

test('a table pads its columns but the last', () => {
  expect(table(['A', 'LONG'], [['xyz', '1']])).toBe('A    LONG\nxyz  1');
});
