// Names of tenants, namespaces, topics, subscriptions and producers: checked here and nowhere else.

import { type Failure, fail } from './errors.ts';

const NAME = /^[A-Za-z0-9._-]{1,200}$/;
/** Names that begin with it belong to Sluice. */
export const RESERVED_PREFIX = '_sluice';
export const DEFAULT_TENANT = 'public';
export const DEFAULT_NAMESPACE = 'default';

/** The three parts of a topic's full name, `tenant/namespace/topic`. */
export interface TopicName {
  readonly tenant: string;
  readonly namespace: string;
  readonly topic: string;
}

/** Undefined when `name` is good; else the refusal, which names `field`. */
export function checkName(field: string, name: string): Failure | undefined {
  if (name === '') return fail('invalid_argument', `${field} is empty`, { field });
  if (!NAME.test(name)) {
    const shown = name.length > 40 ? `${name.slice(0, 40)}… (${name.length} characters)` : name;
    return fail('invalid_argument', `${field} ${JSON.stringify(shown)} is not 1 to 200 characters of A-Z a-z 0-9 . _ -`, { field });
  }
  if (name === '.' || name === '..') return fail('invalid_argument', `${field} ${JSON.stringify(name)} is not a name`, { field });
  if (name.startsWith(RESERVED_PREFIX))
    return fail('invalid_argument', `${field} ${JSON.stringify(name)}: names that begin with ${RESERVED_PREFIX} are reserved`, { field });
  return undefined;
}

/** Reads `topic`, or `tenant/namespace/topic`. A bare name means `public/default/…`. */
export function parseTopicName(field: string, text: string): TopicName | Failure {
  const parts = text.split('/');
  if (parts.length !== 1 && parts.length !== 3)
    return fail('invalid_argument', `${field} ${JSON.stringify(text.slice(0, 80))} is neither a topic nor tenant/namespace/topic`, {
      field,
    });
  const [tenant = DEFAULT_TENANT, namespace = DEFAULT_NAMESPACE, topic = ''] =
    parts.length === 3 ? parts : [undefined, undefined, parts[0]];
  return checkName(field, tenant) ?? checkName(field, namespace) ?? checkName(field, topic) ?? { tenant, namespace, topic };
}

/** `tenant/namespace/topic`, always in full: the key of the catalog. */
export function fullTopicName(name: TopicName): string {
  return `${name.tenant}/${name.namespace}/${name.topic}`;
}

/** As people read it: without `public/default/`. */
export function shortTopicName(name: TopicName): string {
  return name.tenant === DEFAULT_TENANT && name.namespace === DEFAULT_NAMESPACE ? name.topic : fullTopicName(name);
}
