// Takes a message's key out of its line: `--key-from`. Lines are bytes; a key is bytes, too, or absent where the line has none.
//   field:N        the Nth field between runs of blanks, counted from 1 (as awk does)
//   field:N:SEP    the Nth field between single separators SEP, for instance field:2:, or field:1:\t
//   regex:RE       the first group of RE, or what it matches; the line is read as UTF-8
//   json:a.b       the member b of the member a of a line of JSON; other values than texts in their JSON form

export type KeyFrom = (line: Buffer) => Buffer | undefined;
export type KeyFromResult = { readonly kind: 'key'; readonly of: KeyFrom } | { readonly kind: 'wrong'; readonly allowed: string };

const ALLOWED = 'field:N, field:N:SEPARATOR, regex:PATTERN or json:PATH';

export function parseKeyFrom(text: string): KeyFromResult {
  const colon = text.indexOf(':');
  const rest = text.slice(colon + 1);
  switch (text.slice(0, Math.max(0, colon))) {
    case 'field':
      return parseField(rest);
    case 'regex':
      return parseRegex(rest);
    case 'json':
      return rest === '' ? wrong() : { kind: 'key', of: jsonKey(rest.split('.')) };
    default:
      return wrong();
  }
}

const wrong = (allowed = ALLOWED): KeyFromResult => ({ kind: 'wrong', allowed });

function parseField(rest: string): KeyFromResult {
  const match = /^([1-9]\d{0,5})(?::(.+))?$/s.exec(rest);
  if (!match) return wrong();
  const number = Number(match[1]);
  if (match[2] === undefined) return { kind: 'key', of: line => blankField(line, number) };
  const separator = Buffer.from(match[2] === '\\t' ? '\t' : match[2]);
  return { kind: 'key', of: line => separatedField(line, number, separator) };
}

const isBlank = (byte: number | undefined) => byte === 32 || byte === 9 || byte === 13;

function blankField(line: Buffer, number: number): Buffer | undefined {
  let at = 0;
  for (let field = 1; ; field++) {
    while (at < line.length && isBlank(line[at])) at++;
    if (at === line.length) return undefined;
    const start = at;
    while (at < line.length && !isBlank(line[at])) at++;
    if (field === number) return line.subarray(start, at);
  }
}

function separatedField(line: Buffer, number: number, separator: Buffer): Buffer | undefined {
  let start = 0;
  for (let field = 1; ; field++) {
    const end = line.indexOf(separator, start);
    if (field === number) return line.subarray(start, end < 0 ? line.length : end);
    if (end < 0) return undefined;
    start = end + separator.length;
  }
}

function parseRegex(pattern: string): KeyFromResult {
  try {
    const regex = new RegExp(pattern, 'u');
    return {
      kind: 'key',
      of: line => {
        const match = regex.exec(line.toString());
        const found = match?.[1] ?? match?.[0];
        return found === undefined ? undefined : Buffer.from(found);
      },
    };
  } catch (error) {
    return wrong(`a regular expression: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function jsonKey(path: readonly string[]): KeyFrom {
  return line => {
    let value: unknown;
    try {
      value = JSON.parse(line.toString());
    } catch {
      return undefined; // A line that is no JSON has no key.
    }
    for (const name of path) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
      value = (value as Record<string, unknown>)[name];
    }
    if (value === undefined || value === null) return undefined;
    return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
  };
}
