// The options of every command, as tables: `commands.ts` shows them in the help, `arguments.ts` reads them, and each verb takes its types
// from them. Nothing here loads the client.

import type { Options } from './arguments.ts';
import { POSITION_DOC } from './position.ts';

export const DEFAULT_SERVER = '127.0.0.1:7650';

/** Every command has these. */
export const COMMON = {
  server: {
    type: 'text',
    value: 'HOST:PORT,…',
    shownDefault: DEFAULT_SERVER,
    doc: 'Servers to connect to; any one of them will do. Also SLUICE_SERVER.',
  },
  json: { type: 'flag', doc: 'Print the result as JSON, for programs.' },
  help: { type: 'flag', doc: 'Show this help.' },
} as const satisfies Options;

const start = { type: 'text', value: 'POSITION' } as const;
const policies = {
  retention: { type: 'duration', words: { forever: -1 }, value: 'DURATION', doc: 'How long messages are kept from publish: 7d, forever.' },
  backlogQuota: {
    type: 'bytes',
    words: { unlimited: -1 },
    value: 'BYTES',
    doc: 'Unacknowledged bytes per partition at which publishing is refused: 10GiB, unlimited.',
  },
  dedupWindow: { type: 'duration', value: 'DURATION', doc: 'How long an idempotency id is remembered.' },
} as const satisfies Options;

export const PRODUCE = {
  file: { type: 'text', value: 'PATH', doc: 'Read lines from this file instead of standard input.' },
  keyFrom: { type: 'text', value: 'RULE', doc: 'Take the key from the line: field:N, field:N:SEPARATOR, regex:PATTERN or json:PATH.' },
  partition: { type: 'integer', min: 0, value: 'N', doc: 'Send to this partition only.' },
  acksFile: {
    type: 'text',
    value: 'PATH',
    doc: 'Write line,partition,offset of each line, in order, as its acknowledgement arrives. Lines count from 1.',
  },
  timeout: {
    type: 'duration',
    min: 1,
    value: 'DURATION',
    shownDefault: '2m',
    doc: 'How long a line may wait for its acknowledgement, while a server restarts for instance, before the command fails.',
  },
  name: {
    type: 'text',
    value: 'NAME',
    doc: "The producer's name, under which repeats are recognised. One is made for each run otherwise.",
  },
} as const satisfies Options;

export const CONSUME = {
  subscription: { type: 'text', value: 'NAME', doc: 'The durable cursor. It is created unless --must-exist says otherwise.' },
  from: { ...start, shownDefault: 'latest', doc: `Where a new subscription starts: ${POSITION_DOC}. An existing one goes on where it is.` },
  count: { type: 'integer', min: 1, value: 'N', doc: 'Stop after so many messages.' },
  untilEnd: { type: 'flag', doc: 'Stop at what was the end when the command began.' },
  format: { type: 'text', value: 'FORMAT', shownDefault: "'%v\\n'", doc: 'How a message is written; see Format.' },
  mustExist: { type: 'flag', doc: 'Fail where the subscription does not exist.' },
  wait: { type: 'boolean', value: 'true|false', shownDefault: 'true', doc: 'Wait while another consumer holds the subscription, or fail.' },
  name: { type: 'text', value: 'NAME', doc: "The consumer's name. One that returns under its name replaces its ghost at once." },
} as const satisfies Options;

export const READ = {
  partition: { type: 'integer', min: 0, value: 'N', doc: 'Read this partition only.' },
  from: { ...start, shownDefault: 'earliest', doc: `Where to start: ${POSITION_DOC}.` },
  count: { type: 'integer', min: 1, value: 'N', doc: 'Stop after so many messages.' },
  untilEnd: { type: 'flag', doc: 'Stop at what was the end when the command began; without it, go on with what is published later.' },
  format: { type: 'text', value: 'FORMAT', shownDefault: "'%v\\n'", doc: 'How a message is written; see Format.' },
} as const satisfies Options;

export const TOPICS_CREATE = {
  partitions: { type: 'integer', min: 1, value: 'N', doc: "How many partitions; the namespace's default otherwise." },
  ...policies,
  ifNotExists: { type: 'flag', doc: 'Succeed where the topic exists already, whatever its settings.' },
} as const satisfies Options;

export const TOPICS_LIST = {
  namespace: { type: 'text', value: 'TENANT/NAMESPACE', shownDefault: 'public/default', doc: 'Whose topics.' },
} as const satisfies Options;

export const TOPICS_UPDATE = {
  ...policies,
  unset: {
    type: 'text',
    value: 'NAME,…',
    doc: 'Policies that the topic shall no longer set for itself: retention, backlog-quota, dedup-window.',
  },
} as const satisfies Options;

export const TOPICS_DELETE = {
  ifExists: { type: 'flag', doc: 'Succeed where there is no such topic.' },
} as const satisfies Options;

export const SUBSCRIPTIONS_CREATE = {
  from: { ...start, shownDefault: 'latest', doc: `Where it starts: ${POSITION_DOC}.` },
} as const satisfies Options;

export const SUBSCRIPTIONS_SEEK = {
  to: { ...start, doc: `Where to go: ${POSITION_DOC}. Messages that are passed again are delivered again.` },
  partition: { type: 'integer', min: 0, value: 'N', doc: 'Move this partition only.' },
} as const satisfies Options;

export const SUBSCRIPTIONS_DELETE = {
  ifExists: { type: 'flag', doc: 'Succeed where there is no such subscription.' },
} as const satisfies Options;

export const NONE = {} as const satisfies Options;

const bench = {
  topic: { type: 'text', value: 'TOPIC', shownDefault: 'bench', doc: 'The topic; it is created if it does not exist.' },
  serverHttp: {
    type: 'text',
    value: 'HOST:PORT',
    doc: "Where the server's /metrics are, for its CPU time and memory. By default the port after --server's, where that answers. Also SLUICE_SERVER_HTTP.",
  },
} as const satisfies Options;

export const BENCH_PRODUCE = {
  ...bench,
  size: { type: 'bytes', min: 0, value: 'BYTES', shownDefault: '100', doc: "A message's payload." },
  messages: { type: 'integer', min: 1, value: 'N', shownDefault: '1000000', doc: 'How many.' },
  inFlight: {
    type: 'integer',
    min: 1,
    value: 'N',
    shownDefault: '1000',
    doc: 'With --unbatched: callers at once. Without: unanswered batches of a producer, at most 64.',
  },
  unbatched: { type: 'flag', doc: 'Each caller awaits its send before the next, as a server that handles requests does.' },
} as const satisfies Options;

export const BENCH_CONSUME = {
  ...bench,
  messages: { type: 'integer', min: 1, value: 'N', doc: 'Stop after so many; by default at what was the end at the start.' },
  subscription: {
    type: 'text',
    value: 'NAME',
    doc: 'A new one from the earliest message on, by default made for this run and deleted after it.',
  },
} as const satisfies Options;

export const BENCH_LATENCY = {
  ...bench,
  size: { type: 'bytes', min: 0, value: 'BYTES', shownDefault: '100', doc: "A message's payload." },
  messages: { type: 'integer', min: 1, value: 'N', shownDefault: '2000', doc: 'How many, one after the other.' },
} as const satisfies Options;
