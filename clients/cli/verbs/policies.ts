// Policies between options, the client and people.

import type { Policies } from '#clients/typescript/index.ts';
import { formatBytes, formatDuration } from '#lib/config/units.ts';

export interface PolicyOptions {
  readonly retention: number | undefined;
  readonly backlogQuota: number | undefined;
  readonly dedupWindow: number | undefined;
}

/** Only what is given. */
export function policiesOf({ retention, backlogQuota, dedupWindow }: PolicyOptions): Policies {
  return {
    ...(retention === undefined ? {} : { retentionMs: retention }),
    ...(backlogQuota === undefined ? {} : { backlogBytesMax: backlogQuota }),
    ...(dedupWindow === undefined ? {} : { dedupWindowMs: dedupWindow }),
  };
}

/** By the names of the options. */
export const POLICY_FIELDS = {
  retention: 'retentionMs',
  'backlog-quota': 'backlogBytesMax',
  'dedup-window': 'dedupWindowMs',
} as const satisfies Record<string, keyof Policies>;

/** `retention 7d · backlog-quota unlimited`. */
export function showPolicies(policies: Policies): string {
  const parts: string[] = [];
  const { retentionMs, backlogBytesMax, dedupWindowMs } = policies;
  if (retentionMs !== undefined) parts.push(`retention ${retentionMs < 0 ? 'forever' : formatDuration(retentionMs)}`);
  if (backlogBytesMax !== undefined) parts.push(`backlog-quota ${backlogBytesMax < 0 ? 'unlimited' : formatBytes(backlogBytesMax)}`);
  if (dedupWindowMs !== undefined) parts.push(`dedup-window ${formatDuration(dedupWindowMs)}`);
  return parts.join(' · ');
}
