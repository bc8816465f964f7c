// What an acknowledgement says, checked and put in order: flat ranges, ascending, that do not touch.

/** Undefined: a span is empty, turned round, no offset, or beyond `end`. */
export function normalizeSpans(spans: readonly (readonly [number, number])[], end: number): number[] | undefined {
  let ordered = true;
  let below = -1;
  for (const [first, last] of spans) {
    if (!Number.isSafeInteger(first) || !Number.isSafeInteger(last) || first < 0 || last <= first || last > end) return undefined;
    if (first <= below) ordered = false;
    below = last;
  }
  const sorted = ordered ? spans : spans.slice().sort((a, b) => a[0] - b[0]);
  const flat: number[] = [];
  for (const [first, last] of sorted) {
    const reached = flat.at(-1) ?? -1;
    if (first > reached) flat.push(first, last);
    else if (last > reached) flat[flat.length - 1] = last;
  }
  return flat;
}
