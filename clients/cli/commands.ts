// All commands. Their modules are loaded when they run.

import { type Command, command, rawCommand } from './command.ts';
import {
  BENCH_CONSUME,
  BENCH_LATENCY,
  BENCH_PRODUCE,
  CONSUME,
  NONE,
  PRODUCE,
  READ,
  SUBSCRIPTIONS_CREATE,
  SUBSCRIPTIONS_DELETE,
  SUBSCRIPTIONS_SEEK,
  TOPICS_CREATE,
  TOPICS_DELETE,
  TOPICS_LIST,
  TOPICS_UPDATE,
} from './options.ts';

const FORMAT_DETAILS = [
  'Format: %v payload, %k key, %o offset, %p partition, %t append time, %T the same in ms, %h headers as JSON, %n number of the message in this run, %% a percent sign; \\n \\t \\r \\0 \\\\. Payload and key are written as the bytes they are.',
];

export const COMMANDS: readonly Command[] = [
  rawCommand('standalone', {
    summary: 'run a whole server in this process: broker, bookie, index',
    examples: [
      'sluice standalone',
      'sluice standalone --data-dir /var/lib/sluice --listen 0.0.0.0:7650',
      'sluice standalone --config sluice.yaml',
    ],
    details: ['--json logs JSON lines (--log-format json).'],
    load: async () => (await import('./verbs/standalone.ts')).standalone,
  }),
  command('produce', {
    summary: 'publish lines',
    positionals: ['TOPIC'],
    options: PRODUCE,
    examples: [
      "echo 'hello, world' | sluice produce greetings",
      'sluice produce orders --file orders.csv --key-from field:1:, --acks-file orders.acks',
      "tail -F app.log | sluice produce logs --key-from 'regex:^(\\S+)'",
    ],
    details: [
      'A line is bytes up to a newline; the newline is not part of the message, a last line needs none, an empty line is an empty message. A line may have up to 5 MiB.',
      'Keys: field:N is the Nth field between blanks, counted from 1; field:N:SEPARATOR the Nth between separators (\\t is a tab); regex:PATTERN the first group of the pattern, or what it matches; json:PATH a member of a line of JSON, for instance json:user.id. A line that has none is sent without a key.',
      'Success means that every line is synced to disk. The client sends again what a restarting server did not acknowledge; each line is stored once.',
    ],
    load: async () => (await import('./verbs/produce.ts')).produce,
  }),
  command('consume', {
    summary: 'write the messages of a subscription to standard output and acknowledge them',
    positionals: ['TOPIC'],
    options: CONSUME,
    examples: [
      'sluice consume greetings --subscription mine --from earliest --count 1',
      "sluice consume orders --subscription billing --until-end --format '%p %o %k %v\\n'",
    ],
    details: [
      'A message is acknowledged once it has been written. Stop the command and start it again: it goes on where it was.',
      ...FORMAT_DETAILS,
    ],
    load: async () => (await import('./verbs/consume.ts')).consume,
  }),
  command('read', {
    summary: 'write messages to standard output, without a subscription',
    positionals: ['TOPIC'],
    options: READ,
    examples: [
      'sluice read orders --until-end > orders.txt',
      "sluice read orders --partition 0 --from 1000 --count 10 --format '%o %t %v\\n'",
      'sluice read logs --from 15m',
    ],
    details: FORMAT_DETAILS,
    load: async () => (await import('./verbs/read.ts')).read,
  }),
  command('topics create', {
    summary: 'create a topic',
    positionals: ['TOPIC'],
    options: TOPICS_CREATE,
    examples: ['sluice topics create orders', 'sluice topics create orders --partitions 8 --retention 30d --backlog-quota 10GiB'],
    load: async () => (await import('./verbs/topics.ts')).createTopic,
  }),
  command('topics list', {
    summary: 'list the topics of a namespace',
    options: TOPICS_LIST,
    examples: ['sluice topics list', 'sluice topics list --namespace public/default --json'],
    load: async () => (await import('./verbs/topics.ts')).listTopics,
  }),
  command('topics describe', {
    summary: 'show a topic: policies, partitions, offsets, sizes',
    positionals: ['TOPIC'],
    options: NONE,
    examples: ['sluice topics describe orders'],
    load: async () => (await import('./verbs/topics.ts')).describeTopic,
  }),
  command('topics update', {
    summary: 'change the policies of a topic; those that are not named stay',
    positionals: ['TOPIC'],
    options: TOPICS_UPDATE,
    examples: ['sluice topics update orders --retention 1d', 'sluice topics update orders --unset retention,backlog-quota'],
    load: async () => (await import('./verbs/topics.ts')).updateTopic,
  }),
  command('topics delete', {
    summary: 'delete a topic with its messages and subscriptions',
    positionals: ['TOPIC'],
    options: TOPICS_DELETE,
    examples: ['sluice topics delete orders', 'sluice topics delete orders --if-exists'],
    load: async () => (await import('./verbs/topics.ts')).deleteTopic,
  }),
  command('subscriptions create', {
    summary: 'create a subscription',
    positionals: ['TOPIC', 'NAME'],
    options: SUBSCRIPTIONS_CREATE,
    examples: ['sluice subscriptions create orders billing --from earliest'],
    load: async () => (await import('./verbs/subscriptions.ts')).createSubscription,
  }),
  command('subscriptions list', {
    summary: 'list the subscriptions of a topic',
    positionals: ['TOPIC'],
    options: NONE,
    examples: ['sluice subscriptions list orders'],
    load: async () => (await import('./verbs/subscriptions.ts')).listSubscriptions,
  }),
  command('subscriptions describe', {
    summary: 'show a subscription: cursors, backlog, consumers',
    positionals: ['TOPIC', 'NAME'],
    options: NONE,
    examples: ['sluice subscriptions describe orders billing'],
    load: async () => (await import('./verbs/subscriptions.ts')).describeSubscription,
  }),
  command('subscriptions seek', {
    summary: 'move a subscription to an offset or a time',
    positionals: ['TOPIC', 'NAME'],
    options: SUBSCRIPTIONS_SEEK,
    examples: ['sluice subscriptions seek orders billing --to earliest', 'sluice subscriptions seek orders billing --to 1h'],
    load: async () => (await import('./verbs/subscriptions.ts')).seekSubscription,
  }),
  command('subscriptions delete', {
    summary: 'delete a subscription',
    positionals: ['TOPIC', 'NAME'],
    options: SUBSCRIPTIONS_DELETE,
    examples: ['sluice subscriptions delete orders billing'],
    load: async () => (await import('./verbs/subscriptions.ts')).deleteSubscription,
  }),
  command('bench produce', {
    summary: 'measure publishing',
    options: BENCH_PRODUCE,
    examples: [
      'sluice bench produce --size 100 --messages 5000000',
      'sluice bench produce --unbatched --in-flight 1000 --messages 500000 --json',
    ],
    load: async () => (await import('./verbs/bench-produce.ts')).benchProduce,
  }),
  command('bench consume', {
    summary: 'measure consuming a backlog',
    options: BENCH_CONSUME,
    examples: ['sluice bench consume --topic bench --messages 5000000'],
    load: async () => (await import('./verbs/bench-consume.ts')).benchConsume,
  }),
  command('bench latency', {
    summary: 'measure publishing one message at a time',
    options: BENCH_LATENCY,
    examples: ['sluice bench latency --size 100 --messages 4000'],
    load: async () => (await import('./verbs/bench-produce.ts')).benchLatency,
  }),
  command('config check', {
    summary: 'check a configuration file',
    positionals: ['FILE'],
    options: NONE,
    examples: ['sluice config check sluice.yaml'],
    load: async () => (await import('./verbs/config.ts')).checkConfig,
  }),
  rawCommand('config show', {
    summary: 'show the configuration in force: each value and where it is from',
    examples: ['sluice config show', 'sluice config show --config sluice.yaml --retention 1d'],
    details: ['Takes the flags of sluice standalone, reads the same environment, and masks secrets.'],
    load: async () => (await import('./verbs/config.ts')).showConfiguration,
  }),
  command('version', {
    summary: 'print the version',
    options: NONE,
    examples: ['sluice version', 'sluice version --json'],
    load: async () => (await import('./verbs/version.ts')).version,
  }),
];
