import { describe, expect, expectTypeOf, test } from 'vitest';
import { parse } from 'yaml';
import { type ConfigInput, checkConfigFile, describeSource, loadConfig } from './load.ts';
import { nearestName } from './nearest.ts';
import { renderExample, renderFlags, renderReference, showConfig } from './render.ts';
import { type ConfigOf, defaultsOf, defineSchema } from './schema.ts';
import { type Address, formatAddress, formatBytes, formatDuration, parseAddress, parseBytes, parseDuration } from './units.ts';

const schema = defineSchema(
  'sample',
  {
    dataDir: { type: 'string', default: './data', doc: 'Where data lies.' },
    listen: { type: 'address', default: '127.0.0.1:7650', doc: 'Where gRPC listens.' },
    advertised: { type: 'address', default: null, doc: 'What clients are told.' },
    retention: { type: 'duration', default: '7d', min: '1m', words: { forever: -1 }, doc: 'How long messages stay.' },
    storageLimit: { type: 'bytes', default: '10GiB', min: '64MiB', doc: 'Bytes on disk.' },
    reserve: { type: 'bytes', default: '64MiB', doc: 'Kept free | always.' },
    connectionsMax: { type: 'integer', default: 10_000, min: 1, max: 100_000, unit: 'connections', doc: 'Connections at once.' },
    autoCreateTopics: { type: 'boolean', default: true, doc: 'Producing creates topics.' },
    logLevel: { type: 'enum', values: ['debug', 'info', 'warn'], default: 'info', doc: 'What is logged.' },
    password: { type: 'string', default: null, secret: true, doc: 'To the store.' },
    node: { type: 'string', default: 'a', pattern: /^[a-z]+$/, allowed: 'lower-case letters', doc: 'Its name.' },
  },
  {
    groups: [{ title: 'Storage', keys: ['dataDir', 'retention', 'storageLimit', 'reserve'] }],
    checks: [
      config =>
        config.reserve > config.storageLimit
          ? { keys: ['reserve', 'storageLimit'], message: 'reserve is larger than storageLimit' }
          : undefined,
    ],
  },
);

function load(options: { argv?: string[]; env?: Record<string, string>; file?: string }) {
  const input: ConfigInput = {
    argv: [...(options.file === undefined ? [] : ['--config', 'f.yaml']), ...(options.argv ?? [])],
    env: options.env ?? {},
    readFile: path => {
      if (path !== 'f.yaml' || options.file === undefined) throw new Error('ENOENT: no such file');
      return options.file;
    },
  };
  return loadConfig(schema, input);
}

function loaded(options: Parameters<typeof load>[0]) {
  const result = load(options);
  if (result.kind === 'invalid') throw new Error(result.errors.map(error => error.text).join('\n'));
  return result;
}

function errors(options: Parameters<typeof load>[0]): string[] {
  const result = load(options);
  return result.kind === 'invalid' ? result.errors.map(error => error.text) : [];
}

describe('types and defaults', () => {
  test('a schema gives the type of the configuration', () => {
    type Config = ConfigOf<typeof schema.keys>;
    expectTypeOf<Config['retention']>().toEqualTypeOf<number>();
    expectTypeOf<Config['listen']>().toEqualTypeOf<Address>();
    expectTypeOf<Config['advertised']>().toEqualTypeOf<Address | null>();
    expectTypeOf<Config['autoCreateTopics']>().toEqualTypeOf<boolean>();
    expectTypeOf<Config['logLevel']>().toEqualTypeOf<'debug' | 'info' | 'warn'>();
    expectTypeOf<Config['password']>().toEqualTypeOf<string | null>();
  });

  test('without any source every key has its default, and the result is frozen', () => {
    const { config, sources } = loaded({});
    expect(config).toEqual({
      dataDir: './data',
      listen: { host: '127.0.0.1', port: 7650 },
      advertised: null,
      retention: 604_800_000,
      storageLimit: 10 * 2 ** 30,
      reserve: 64 * 2 ** 20,
      connectionsMax: 10_000,
      autoCreateTopics: true,
      logLevel: 'info',
      password: null,
      node: 'a',
    });
    expect(defaultsOf(schema)).toEqual(config);
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.listen)).toBe(true);
    expect(sources.retention).toEqual({ kind: 'default' });
  });

  test.each([
    ['a default out of its range', { x: { type: 'bytes', default: '1KiB', min: '1MiB', doc: 'd.' } }],
    ['a default that is none of the values', { x: { type: 'enum', values: ['a'], default: 'b', doc: 'd.' } }],
    ['a key that is not camelCase', { data_dir: { type: 'string', default: 'x', doc: 'd.' } }],
    ['a key that looks like a switched off boolean', { noCache: { type: 'boolean', default: true, doc: 'd.' } }],
    ['a key without a doc', { x: { type: 'string', default: 'x', doc: '' } }],
  ] as const)('a table with %s is refused at once', (_, keys) => {
    expect(() => defineSchema('bad', keys)).toThrow(/bad:/);
  });
});

describe('sources', () => {
  test('flag wins over environment, environment over file, file over default', () => {
    const file = 'retention: 1d\nstorageLimit: 1GiB\nnode: filed\n';
    const env = { SLUICE_RETENTION: '2d', SLUICE_STORAGE_LIMIT: '2GiB' };
    const { config, sources } = loaded({ file, env, argv: ['--retention', '3d'] });
    expect([config.retention, config.storageLimit, config.node, config.dataDir]).toEqual([3 * 86_400_000, 2 * 2 ** 30, 'filed', './data']);
    expect(
      Object.values({ a: sources.retention, b: sources.storageLimit, c: sources.node, d: sources.dataDir }).map(describeSource),
    ).toEqual(['--retention', 'SLUICE_STORAGE_LIMIT', 'f.yaml:3', 'default']);
  });

  test('flags are --key value, --key=value, --switch, --no-switch, --switch=false; the last one counts', () => {
    expect(loaded({ argv: ['--data-dir=/x=y', '--no-auto-create-topics'] }).config).toMatchObject({
      dataDir: '/x=y',
      autoCreateTopics: false,
    });
    expect(loaded({ argv: ['--auto-create-topics=false'] }).config.autoCreateTopics).toBe(false);
    expect(loaded({ argv: ['--auto-create-topics', '--node', 'b', '--node', 'c'] }).config.node).toBe('c');
  });

  test('SLUICE_CONFIG names the file when no flag does', () => {
    const result = loadConfig(schema, { argv: [], env: { SLUICE_CONFIG: 'f.yaml' }, readFile: () => 'node: z' });
    expect(result.kind === 'loaded' && [result.config.node, result.file]).toEqual(['z', 'f.yaml']);
  });

  test('an empty file, and one of comments only, set nothing', () => {
    for (const file of ['', '# nothing\n', '---\n']) expect(loaded({ file }).config).toEqual(loaded({}).config);
  });

  test('a number in a file is taken as text where the key takes text', () => {
    expect(loaded({ file: 'dataDir: 2024\nreserve: 4096' }).config).toMatchObject({ dataDir: '2024', reserve: 4096 });
  });

  test('an unknown variable only warns, with the nearest one; those of other parts do not', () => {
    const result = loaded({ env: { SLUICE_DATADIR: 'x', SLUICE_ZZZZZZ: '1', SLUICE_SERVER: 'h:1', HOME: '/' } });
    expect(result.warnings).toEqual([
      'SLUICE_DATADIR is not a known variable and has no effect; did you mean SLUICE_DATA_DIR?',
      'SLUICE_ZZZZZZ is not a known variable and has no effect',
    ]);
  });
});

describe('what is wrong is said with place, key, value and what is allowed', () => {
  test.each([
    [
      'a duration without a unit',
      'retention: 7',
      'f.yaml:1: retention: "7" is not a duration: a number with ms, s, m, h, d or w, for instance 90s or 7d, or forever',
    ],
    ['a duration below its range', '\nretention: 1s', 'f.yaml:2: retention: "1s" is not a duration of at least 1m, or forever'],
    [
      'bytes with a decimal unit',
      'storageLimit: 10GB',
      'f.yaml:1: storageLimit: "10GB" is not an amount of bytes: a number with B, KiB, MiB, GiB or TiB, for instance 10GiB',
    ],
    ['bytes below their range', 'storageLimit: 1MiB', 'f.yaml:1: storageLimit: "1MiB" is not an amount of bytes of at least 64MiB'],
    [
      'a negative amount',
      'reserve: -1',
      'f.yaml:1: reserve: "-1" is not an amount of bytes: a number with B, KiB, MiB, GiB or TiB, for instance 10GiB',
    ],
    ['a number out of its range', 'connectionsMax: 0', 'f.yaml:1: connectionsMax: "0" is not a number of connections from 1 to 100000'],
    ['a number that is none', 'connectionsMax: 1e3', 'f.yaml:1: connectionsMax: "1e3" is not a whole number'],
    ['a boolean that is none', 'autoCreateTopics: yes', 'f.yaml:1: autoCreateTopics: "yes" is not true or false'],
    [
      'an address without a port',
      'listen: localhost',
      'f.yaml:1: listen: "localhost" is not an address: HOST:PORT with a port of 0 to 65535, for instance 127.0.0.1:7650 or [::1]:7650',
    ],
    [
      'a port that is none',
      'listen: h:65536',
      'f.yaml:1: listen: "h:65536" is not an address: HOST:PORT with a port of 0 to 65535, for instance 127.0.0.1:7650 or [::1]:7650',
    ],
    ['a value that is none of the choices', 'logLevel: loud', 'f.yaml:1: logLevel: "loud" is not one of debug, info, warn'],
    ['a text that does not fit its pattern', 'node: A1', 'f.yaml:1: node: "A1" is not lower-case letters'],
    ['a key without a value', 'retention:', 'f.yaml:1: retention has no value: it takes a duration of at least 1m, or forever'],
    ['a list where one value is meant', 'dataDir: [a, b]', 'f.yaml:1: dataDir is not a single value: it takes a text that is not empty'],
    ['a table where one value is meant', 'dataDir:\n  a: b', 'f.yaml:1: dataDir is not a single value: it takes a text that is not empty'],
    ['an unknown key near a known one', 'storage_limit: 1GiB', 'f.yaml:1: there is no key "storage_limit"; did you mean storageLimit?'],
    ['another unknown key', '\n\nretenton: 1d', 'f.yaml:3: there is no key "retenton"; did you mean retention?'],
    ['a file that is a list', '- a', 'f.yaml:1: a configuration file is a list of "key: value" lines'],
    ['a file that is one word', 'hello', 'f.yaml:1: a configuration file is a list of "key: value" lines'],
  ])('%s', (_, file, message) => {
    expect(errors({ file })).toEqual([message]);
  });

  test('what every object has is no key', () => {
    for (const name of ['constructor', '__proto__', 'toString'])
      expect(errors({ file: `${name}: 1` })[0]).toContain(`there is no key "${name}"`);
  });

  test('an unknown key far from all others lists them', () => {
    expect(errors({ file: 'xqzw: 1' })[0]).toContain('the keys are dataDir, listen,');
  });

  test('a key twice and bad YAML name their line', () => {
    expect(errors({ file: 'node: a\nnode: b' })[0]).toMatch(/^f\.yaml:2: .*unique/);
    expect(errors({ file: 'node: "a' })[0]).toMatch(/^f\.yaml:1: /);
    expect(errors({ file: 'a: b: c' })[0]).toMatch(/^f\.yaml:1: /);
  });

  test('a file that cannot be read says why', () => {
    const result = loadConfig(schema, {
      argv: ['--config', 'missing.yaml'],
      env: {},
      readFile: () => {
        throw new Error('ENOENT: no such file');
      },
    });
    expect(result.kind === 'invalid' && result.errors[0]?.text).toBe(
      'the configuration file missing.yaml cannot be read: ENOENT: no such file',
    );
  });

  test('flags: unknown with the nearest, without a value, and what is no flag', () => {
    expect(errors({ argv: ['--datadir', 'x'] })[0]).toBe('there is no flag "--datadir"; did you mean --data-dir?');
    expect(errors({ argv: ['--retention'] })).toEqual(['--retention needs a value: a duration of at least 1m, or forever']);
    expect(errors({ argv: ['--retention', '--node', 'b'] })).toEqual(['--retention needs a value: a duration of at least 1m, or forever']);
    expect(errors({ argv: ['--no-retention'] })[0]).toContain('there is no flag "--no-retention"');
    expect(errors({ argv: ['here'] })).toEqual(['"here" is not expected here: only flags are']);
    expect(errors({ argv: ['--config'] })).toEqual(['--config needs a value: a file']);
    expect(errors({ argv: ['--listen', ':7650'] })[0]).toContain('for every interface write 0.0.0.0:7650');
  });

  test('an empty variable is a value, and a wrong one', () => {
    expect(errors({ env: { SLUICE_LISTEN: '' } })[0]).toMatch(/^SLUICE_LISTEN: listen: "" is not an address/);
  });

  test('everything that is wrong is said at once, also what another source overrides', () => {
    const found = errors({
      file: 'retention: x\nnope12345678: 1',
      env: { SLUICE_NODE_NAME: 'a', SLUICE_RETENTION: 'y' },
      argv: ['--retention', '1d', '--wat'],
    });
    expect(found).toHaveLength(4);
  });

  test('what is wrong in a file is told in the order of its lines', () => {
    expect(errors({ file: 'retention: x\nnope12345678: 1\nnode: A', argv: ['--wat'] }).map(text => text.slice(0, 8))).toEqual([
      'f.yaml:1',
      'f.yaml:2',
      'f.yaml:3',
      'there is',
    ]);
  });

  test('values that do not fit each other are refused with where both come from', () => {
    expect(errors({ file: 'storageLimit: 64MiB', argv: ['--reserve', '65MiB'] })).toEqual([
      'reserve is larger than storageLimit (reserve from --reserve, storageLimit from f.yaml:1)',
    ]);
  });

  test('a secret is shown neither in messages nor in the configuration', () => {
    const secret = defineSchema('s', { key: { type: 'integer', default: null, secret: true, doc: 'd.' } });
    const result = loadConfig(secret, { argv: [], env: { SLUICE_KEY: 'hunter2' }, readFile: () => '' });
    expect(result.kind === 'invalid' && result.errors[0]?.text).toBe('SLUICE_KEY: key: the value is not a whole number');
    expect(JSON.stringify(showConfig(schema, loaded({ env: { SLUICE_PASSWORD: 'hunter2' } })))).not.toContain('hunter2');
  });

  test('a file alone can be checked', () => {
    expect(checkConfigFile(schema, 'f.yaml', () => 'retention: 1h').kind).toBe('loaded');
    expect(checkConfigFile(schema, 'f.yaml', () => 'retention: 1 parsec').kind).toBe('invalid');
  });
});

describe('units', () => {
  test.each(['0ms', '1ms', '1500ms', '90s', '7d', '2w', '36h'])('the duration %s comes back as the same amount', text => {
    const first = parseDuration(text);
    if (first.kind === 'wrong') throw new Error(first.allowed);
    expect(parseDuration(formatDuration(first.value))).toEqual(first);
  });
  test('fractions are fine while they give whole milliseconds and bytes', () => {
    expect(parseDuration('1.5s')).toEqual({ kind: 'value', value: 1500 });
    expect(parseDuration('0.5ms').kind).toBe('wrong');
    expect(parseBytes('0.5KiB')).toEqual({ kind: 'value', value: 512 });
    expect(parseBytes('99999999999TiB').kind).toBe('wrong');
    expect(parseDuration('0')).toEqual({ kind: 'value', value: 0 });
    expect([formatBytes(1536), formatBytes(10 * 2 ** 30)]).toEqual(['1536B', '10GiB']);
  });
  test('addresses', () => {
    expect(parseAddress('[::1]:80')).toEqual({ kind: 'value', value: { host: '::1', port: 80 } });
    expect(formatAddress({ host: '::1', port: 80 })).toBe('[::1]:80');
    for (const bad of ['', ':', 'a', 'a:', 'a:b', '::1:80', 'a:1:2', 'http://a:1', 'a:-1', 'a:123456'])
      expect(parseAddress(bad).kind, bad).toBe('wrong');
  });
});

test('the nearest name: typing slips, case and hyphens, parts of a name; nothing for what is far', () => {
  const names = ['dataDir', 'retention', 'storageLimit', 'httpListen'];
  expect(['datadir', 'data-dir', 'retnetion', 'limit', 'http_listn', 'q', 'somethingElse'].map(name => nearestName(name, names))).toEqual([
    'dataDir',
    'dataDir',
    'retention',
    'storageLimit',
    'httpListen',
    undefined,
    undefined,
  ]);
});

describe('what is rendered', () => {
  test('the example file, with every key taken in, gives the defaults', () => {
    const text = renderExample(schema);
    expect(parse(text)).toBeNull();
    const taken = text.replace(/^#([a-z]\w*: .*)$/gim, '$1');
    expect(Object.keys(parse(taken))).toHaveLength(schema.names.length - 2); // Those without a default stay comments.
    expect(loaded({ file: taken }).config).toEqual(loaded({}).config);
  });

  test('the reference page has every key once, its flag and variable, and escapes what would break a table', () => {
    const text = renderReference(schema);
    for (const name of schema.names) expect(text.match(new RegExp(`^\\| \`${name}\` \\|`, 'gm'))).toHaveLength(2);
    expect(text).toContain('| `storageLimit` | `10GiB` | an amount of bytes of at least 64MiB | Bytes on disk. |');
    expect(text).toContain('| `autoCreateTopics` | `--auto-create-topics`, `--no-auto-create-topics` | `SLUICE_AUTO_CREATE_TOPICS` |');
    expect(text).toContain('Kept free \\| always.');
  });

  test('the flags and the configuration in force', () => {
    expect(renderFlags(schema)).toContain('  --log-level debug|info|warn\n      What is logged. Default: info.');
    expect(showConfig(schema, loaded({ argv: ['--retention', 'forever'] })).find(row => row.key === 'retention')).toEqual({
      key: 'retention',
      value: 'forever',
      source: '--retention',
    });
  });
});
