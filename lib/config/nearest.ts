// "Did you mean": the known name that is nearest to a mistyped one.

/** Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, (before[j - 2] ?? 0) + 1);
      row.push(best);
    }
    before = last;
    last = row;
  }
  return last[b.length] ?? 0;
}

/** Case, hyphens and underscores do not count: `data-dir` is `dataDir`. */
const plain = (name: string) => name.toLowerCase().replace(/[-_.]/g, '');

/** The nearest of `names`, if one is near enough to be what was meant. */
export function nearestName(name: string, names: readonly string[]): string | undefined {
  const wanted = plain(name.slice(0, 64));
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(wanted.length / 3)) + 1;
  for (const candidate of names) {
    const other = plain(candidate);
    // A name that begins or ends another one (`limit`, `storageLimit`) is one edit away, whatever its length.
    const partOf = wanted.length >= 4 && (other.startsWith(wanted) || other.endsWith(wanted));
    const edits = partOf ? 1 : distance(wanted, other);
    if (edits < bestDistance) {
      best = candidate;
      bestDistance = edits;
    }
  }
  return best;
}
