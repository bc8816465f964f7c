// google.rpc.Status with ErrorInfo and RetryInfo as bytes: what `grpc-status-details-bin` carries. Any gRPC client of any language reads
// it; the three messages are so small that their codec stands here instead of a dependency. A decoder answers undefined to bytes that
// are no Status: they come from a peer.

/** What the two details say; `retryDelayMs` 0: none. */
export interface StatusDetails {
  readonly code: number;
  readonly message: string;
  readonly reason: string;
  readonly domain: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly retryDelayMs: number;
}

const ERROR_INFO = 'type.googleapis.com/google.rpc.ErrorInfo';
const RETRY_INFO = 'type.googleapis.com/google.rpc.RetryInfo';

export function encodeStatusDetails(details: StatusDetails): Buffer {
  const info = [stringField(1, details.reason), stringField(2, details.domain)];
  for (const [key, value] of Object.entries(details.metadata))
    info.push(bytesField(3, Buffer.concat([stringField(1, key), stringField(2, value)])));
  const parts = [varintField(1, details.code), stringField(2, details.message), anyField(ERROR_INFO, Buffer.concat(info))];
  if (details.retryDelayMs > 0) {
    const duration = Buffer.concat([
      varintField(1, Math.floor(details.retryDelayMs / 1000)),
      varintField(2, (Math.floor(details.retryDelayMs) % 1000) * 1_000_000),
    ]);
    parts.push(anyField(RETRY_INFO, bytesField(1, duration)));
  }
  return Buffer.concat(parts);
}

export function decodeStatusDetails(view: Uint8Array): StatusDetails | undefined {
  const status = fields(view);
  if (!status) return undefined;
  let reason = '';
  let domain = '';
  const metadata: Record<string, string> = {};
  let retryDelayMs = 0;
  for (const any of status.filter(isBytes(3))) {
    const inner = fields(any.bytes);
    if (!inner) return undefined;
    const type = text(inner, 1);
    const value = fields(inner.find(isBytes(2))?.bytes ?? new Uint8Array());
    if (!value) return undefined;
    if (type === ERROR_INFO) {
      reason = text(value, 1);
      domain = text(value, 2);
      for (const pair of value.filter(isBytes(3))) {
        const parts = fields(pair.bytes);
        if (parts) metadata[text(parts, 1)] = text(parts, 2);
      }
    } else if (type === RETRY_INFO) {
      const duration = fields(value.find(isBytes(1))?.bytes ?? new Uint8Array()) ?? [];
      retryDelayMs = number(duration, 1) * 1000 + Math.floor(number(duration, 2) / 1_000_000);
    }
  }
  return { code: number(status, 1), message: text(status, 2), reason, domain, metadata, retryDelayMs };
}

type Field = { readonly id: number; readonly varint: number } | BytesField;
interface BytesField {
  readonly id: number;
  readonly bytes: Uint8Array;
}

const isBytes =
  (id: number) =>
  (field: Field): field is BytesField =>
    field.id === id && 'bytes' in field;

function text(all: readonly Field[], id: number): string {
  const field = all.find(isBytes(id));
  return field ? Buffer.from(field.bytes.buffer, field.bytes.byteOffset, field.bytes.length).toString('utf8') : '';
}

function number(all: readonly Field[], id: number): number {
  for (const field of all) if (field.id === id && 'varint' in field) return field.varint;
  return 0;
}

/** The fields of one message, or undefined when these bytes are none. */
function fields(view: Uint8Array): Field[] | undefined {
  const all: Field[] = [];
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 1; shift <= 2 ** 63; shift *= 128) {
      const byte = view[at++];
      if (byte === undefined) return Number.NaN;
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
    }
    return Number.NaN;
  };
  while (at < view.length) {
    const tag = varint();
    const id = Math.floor(tag / 8);
    const wire = tag % 8;
    if (wire === 0) {
      const value = varint();
      if (Number.isNaN(value)) return undefined;
      all.push({ id, varint: value });
    } else if (wire === 2) {
      const length = varint();
      if (!(length <= view.length - at)) return undefined;
      all.push({ id, bytes: view.subarray(at, at + length) });
      at += length;
    } else if (wire === 1 || wire === 5) at += wire === 1 ? 8 : 4;
    else return undefined;
  }
  return at === view.length ? all : undefined;
}

function varintBytes(value: number): Buffer {
  const out: number[] = [];
  let rest = value;
  while (rest >= 0x80) {
    out.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  out.push(rest);
  return Buffer.from(out);
}

const varintField = (id: number, value: number): Buffer => Buffer.concat([varintBytes(id * 8), varintBytes(value)]);
const bytesField = (id: number, bytes: Buffer): Buffer => Buffer.concat([varintBytes(id * 8 + 2), varintBytes(bytes.length), bytes]);
const stringField = (id: number, value: string): Buffer => bytesField(id, Buffer.from(value, 'utf8'));
const anyField = (type: string, value: Buffer): Buffer => bytesField(3, Buffer.concat([stringField(1, type), bytesField(2, value)]));
