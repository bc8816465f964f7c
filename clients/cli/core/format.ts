// `--format`: how a received message is written. Directives: %v payload, %k key, %o offset, %p partition, %t append time (ISO 8601),
// %T append time in milliseconds, %h headers as JSON, %n the message's number in this run (from 1), %% a percent sign. Escapes: \n \t \r \0 \\.
// Payload and key are written as the bytes they are. A null payload or key is written as nothing.

export interface Printable {
  readonly partition: number;
  readonly offset: number;
  readonly key: Uint8Array | null | undefined;
  readonly payload: Uint8Array | null | undefined;
  readonly appendTimeMs: number;
  readonly headers: readonly (readonly [name: string, value: Uint8Array])[];
}

/** Appends a message to whatever collects the output. */
export type Printer = (message: Printable, number: number, append: (bytes: Uint8Array) => void) => void;
export type FormatResult = { readonly kind: 'printer'; readonly print: Printer } | { readonly kind: 'wrong'; readonly allowed: string };

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', '0': '\0', '\\': '\\' };
const NEWLINE = Buffer.from('\n');

/** Payload and newline: what is written unless told otherwise. */
export const printPayload: Printer = (message, _number, append) => {
  if (message.payload) append(message.payload);
  append(NEWLINE);
};

export function parseFormat(format: string): FormatResult {
  const parts: Printer[] = [];
  let literal = '';
  const endLiteral = () => {
    const bytes = Buffer.from(literal);
    literal = '';
    if (bytes.length > 0) parts.push((_message, _number, append) => append(bytes));
  };
  for (let at = 0; at < format.length; at++) {
    const character = format[at] ?? '';
    const next = format[at + 1] ?? '';
    if (character === '\\') {
      const meant = ESCAPES[next];
      if (meant === undefined) return { kind: 'wrong', allowed: `a format: \\${next} is none of \\n \\t \\r \\0 \\\\` };
      literal += meant;
      at++;
    } else if (character === '%' && next !== '%') {
      const directive = Object.hasOwn(DIRECTIVES, next) ? DIRECTIVES[next] : undefined;
      if (!directive) return { kind: 'wrong', allowed: `a format: %${next} is none of %v %k %o %p %t %T %h %n %%` };
      endLiteral();
      parts.push(directive);
      at++;
    } else {
      if (character === '%') at++;
      literal += character;
    }
  }
  endLiteral();
  return {
    kind: 'printer',
    print: (message, number, append) => {
      for (const part of parts) part(message, number, append);
    },
  };
}

const DIRECTIVES: Readonly<Record<string, Printer>> = {
  v: ({ payload }, _number, append) => {
    if (payload) append(payload);
  },
  k: ({ key }, _number, append) => {
    if (key) append(key);
  },
  o: ({ offset }, _number, append) => append(Buffer.from(`${offset}`)),
  p: ({ partition }, _number, append) => append(Buffer.from(`${partition}`)),
  t: ({ appendTimeMs }, _number, append) => append(Buffer.from(new Date(appendTimeMs).toISOString())),
  T: ({ appendTimeMs }, _number, append) => append(Buffer.from(`${appendTimeMs}`)),
  h: ({ headers }, _number, append) => append(Buffer.from(JSON.stringify(headersOf(headers)))),
  n: (_message, number, append) => append(Buffer.from(`${number}`)),
};

/** As pairs: a name may occur more than once. */
const headersOf = (headers: Printable['headers']) => headers.map(([name, value]) => [name, Buffer.from(value).toString()]);

/** `--json`: one object a line. Bytes that are no UTF-8 come as base64 under `payloadBase64` and `keyBase64`. */
export const printJson: Printer = (message, _number, append) => {
  const { partition, offset, appendTimeMs, headers } = message;
  const object = { partition, offset, appendTimeMs, ...bytesAs('key', message.key), ...bytesAs('payload', message.payload) };
  append(Buffer.from(`${JSON.stringify(headers.length > 0 ? { ...object, headers: headersOf(headers) } : object)}\n`));
};

function bytesAs(name: string, bytes: Uint8Array | null | undefined): Record<string, string | null> {
  if (!bytes) return { [name]: null };
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = view.toString();
  return Buffer.from(text).equals(view) ? { [name]: text } : { [`${name}Base64`]: view.toString('base64') };
}
