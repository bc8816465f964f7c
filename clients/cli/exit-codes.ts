// How the command ends: one status per kind of outcome, so that a script can tell what to do. docs/operations/cli.md and `sluice help
// exit-codes` are made from this table.

import type { ErrorCode } from '#lib/types/errors.ts';

export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  unreachable: 3,
  notFound: 4,
  conflict: 5,
  retryable: 6,
  unknownFate: 7,
  interrupted: 130,
  terminated: 143,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export const EXIT_MEANINGS: readonly (readonly [code: ExitCode, meaning: string])[] = [
  [EXIT.ok, 'Done. For a command that runs until it is stopped (consume or read without an end, standalone): stopped by a signal.'],
  [EXIT.failure, 'It failed for a reason that none of the others names; the message says which.'],
  [EXIT.usage, 'The command line or a configuration is wrong. Nothing was sent.'],
  [EXIT.unreachable, 'No server answered at --server.'],
  [EXIT.notFound, 'There is no such topic, subscription, namespace or tenant.'],
  [EXIT.conflict, 'It exists already, has changed meanwhile, is not empty, or is held by another consumer.'],
  [EXIT.retryable, 'The server has no room now (quota, space, load); the same command may succeed later.'],
  [EXIT.unknownFate, 'It failed, and what was sent last may or may not be stored.'],
  [EXIT.interrupted, 'Interrupted (SIGINT) before its end; what was accepted before has been finished.'],
  [EXIT.terminated, 'Terminated (SIGTERM) before its end; what was accepted before has been finished.'],
];

const BY_CODE: Partial<Record<ErrorCode, ExitCode>> = {
  invalid_argument: EXIT.usage,
  unavailable: EXIT.unreachable,
  timeout: EXIT.unreachable,
  topic_not_found: EXIT.notFound,
  subscription_not_found: EXIT.notFound,
  namespace_not_found: EXIT.notFound,
  tenant_not_found: EXIT.notFound,
  already_exists: EXIT.conflict,
  changed: EXIT.conflict,
  not_empty: EXIT.conflict,
  subscription_busy: EXIT.conflict,
  consumer_replaced: EXIT.conflict,
  fenced: EXIT.conflict,
  overloaded: EXIT.retryable,
  backlog_quota: EXIT.retryable,
  storage_full: EXIT.retryable,
  storage_unavailable: EXIT.retryable,
};

/** `unknown` fate wins over the code: a script must not blindly repeat it. */
export function exitCodeOf(code: ErrorCode, stored: 'no' | 'unknown', wrote: boolean): ExitCode {
  if (wrote && stored === 'unknown') return EXIT.unknownFate;
  return BY_CODE[code] ?? EXIT.failure;
}

/** What to do about a refusal, where more can be said than the server's message does. */
export function adviceFor(code: ErrorCode, servers: string): string | undefined {
  switch (code) {
    case 'unavailable':
    case 'timeout':
      return `Is a server running at ${servers}? Start one with 'sluice standalone', or name another with --server HOST:PORT (SLUICE_SERVER).`;
    case 'topic_not_found':
      return "'sluice topics list' shows the topics; 'sluice topics create TOPIC' makes one.";
    case 'subscription_not_found':
      return "'sluice subscriptions list TOPIC' shows them; 'sluice subscriptions create TOPIC NAME' makes one.";
    case 'subscription_busy':
      return 'Wait for the other consumer to leave, or use another --subscription.';
    case 'backlog_quota':
      return "Consume or delete a subscription that lags ('sluice subscriptions list TOPIC'), or raise the quota with 'sluice topics update'.";
    case 'storage_full':
      return 'Free space on the disk of the server, shorten the retention, or delete topics.';
    default:
      return undefined;
  }
}
