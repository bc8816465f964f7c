// Strict readers for JSON that was stored: every field is checked for its type and range when it is read, so that nothing of a damaged or
// foreign record reaches the partition's state. A reader throws `FieldError`, which the decoder of the record turns into a value.

/** What a reader found wrong; caught by the decoder that called it, never further. */
export class FieldError extends Error {
  override readonly name = 'FieldError';
}

export type Fields = Readonly<Record<string, unknown>>;

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function fieldsOf(value: unknown, what: string): Fields {
  if (!isFields(value)) throw new FieldError(`${what} is no object`);
  return value;
}

/** A safe integer ≥ 0. */
export function amount(value: unknown, what: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw new FieldError(`${what} is no integer of 0 or more`);
  return value;
}

/** A safe integer ≥ -1; -1 stands for "none". */
export function amountOrNone(value: unknown, what: string): number {
  return value === -1 ? -1 : amount(value, what);
}

export function text(value: unknown, what: string): string {
  if (typeof value !== 'string') throw new FieldError(`${what} is no text`);
  return value;
}

export function flag(value: unknown, what: string): boolean {
  if (typeof value !== 'boolean') throw new FieldError(`${what} is neither true nor false`);
  return value;
}

export function list(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new FieldError(`${what} is no list`);
  return value;
}

/** [first, end, first, end, …], ascending, without empty ranges and without ranges that touch. */
export function flatRanges(value: unknown, what: string): number[] {
  const flat = list(value, what).map(item => amount(item, what));
  if (flat.length % 2 !== 0) throw new FieldError(`${what} has a range without an end`);
  for (let at = 0, below = -1; at < flat.length; at += 2) {
    const first = flat[at] ?? 0;
    const end = flat[at + 1] ?? 0;
    if (first <= below || end <= first) throw new FieldError(`${what} is not in order`);
    below = end;
  }
  return flat;
}

/** Exactly these keys and no others: a record of a newer version must not be half understood. */
export function onlyKeys(fields: Fields, known: readonly string[], what: string): void {
  for (const key of Object.keys(fields)) if (!known.includes(key)) throw new FieldError(`${what} has the unknown field ${key}`);
}
