// The one table of errors. A code says what is wrong, whether and where to try again, and which gRPC status carries it; what became
// of the work travels beside it (`stored`). `lib/rpc` maps to and from gRPC, in one place; docs/protocol.md lists the same codes.

/** What a caller may do with the same request: nothing, the same again, ask another broker, or look up and open again. */
export type Retry = 'never' | 'same' | 'elsewhere' | 'refresh';

/** gRPC's own status names, of which we use these. */
export type StatusName =
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'OUT_OF_RANGE'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'DATA_LOSS'
  | 'DEADLINE_EXCEEDED'
  | 'CANCELLED';

interface ErrorSpec {
  readonly status: StatusName;
  readonly retry: Retry;
  /** One sentence for docs/protocol.md. */
  readonly meaning: string;
}

export const ERRORS = {
  invalid_argument: { status: 'INVALID_ARGUMENT', retry: 'never', meaning: 'A field is wrong; the message names it.' },
  corrupt_batch: { status: 'INVALID_ARGUMENT', retry: 'never', meaning: "A batch's structure, count or checksum does not hold." },
  message_too_large: { status: 'INVALID_ARGUMENT', retry: 'never', meaning: 'A message is over 5 MiB, or a batch over 8 MiB.' },
  response_too_large: {
    status: 'RESOURCE_EXHAUSTED',
    retry: 'never',
    meaning: 'A single message exceeds what the client accepts; it names the channel option to raise.',
  },
  unsupported: { status: 'UNIMPLEMENTED', retry: 'never', meaning: 'This server does not have the feature or the protocol version.' },
  tenant_not_found: { status: 'NOT_FOUND', retry: 'never', meaning: 'There is no such tenant.' },
  namespace_not_found: { status: 'NOT_FOUND', retry: 'never', meaning: 'There is no such namespace.' },
  topic_not_found: {
    status: 'NOT_FOUND',
    retry: 'refresh',
    meaning: 'There is no such topic, or the one that was meant has been deleted.',
  },
  subscription_not_found: { status: 'NOT_FOUND', retry: 'never', meaning: 'There is no such subscription.' },
  already_exists: { status: 'ALREADY_EXISTS', retry: 'never', meaning: 'What should be created exists, with other settings.' },
  not_empty: { status: 'FAILED_PRECONDITION', retry: 'never', meaning: 'What should be deleted still contains something.' },
  changed: { status: 'ABORTED', retry: 'refresh', meaning: 'It has changed since the version that the request names.' },
  subscription_busy: {
    status: 'FAILED_PRECONDITION',
    retry: 'same',
    meaning: 'Another consumer holds the exclusive subscription; the message says who, from where and since when.',
  },
  consumer_replaced: { status: 'ABORTED', retry: 'never', meaning: "A consumer of the same name has taken this one's place." },
  fenced: { status: 'FAILED_PRECONDITION', retry: 'never', meaning: 'A newer epoch of this producer has been opened.' },
  out_of_sequence: { status: 'ABORTED', retry: 'same', meaning: 'The batch before this one was not accepted; send that one first.' },
  sequence_reused: { status: 'INVALID_ARGUMENT', retry: 'never', meaning: 'This sequence was used for other bytes.' },
  sequence_too_old: {
    status: 'FAILED_PRECONDITION',
    retry: 'never',
    meaning: 'The sequence is older than what is remembered; whether it was stored is not known.',
  },
  producer_unknown: { status: 'FAILED_PRECONDITION', retry: 'refresh', meaning: 'The producer is not open here; open it again.' },
  not_owner: { status: 'UNAVAILABLE', retry: 'elsewhere', meaning: 'This broker does not own the partition.' },
  overloaded: { status: 'RESOURCE_EXHAUSTED', retry: 'same', meaning: 'A queue is full; wait and send again.' },
  backlog_quota: { status: 'RESOURCE_EXHAUSTED', retry: 'same', meaning: 'Unacknowledged messages fill the backlog quota.' },
  storage_full: { status: 'RESOURCE_EXHAUSTED', retry: 'same', meaning: 'The bookies have no space; writing goes on when there is.' },
  storage_unavailable: { status: 'UNAVAILABLE', retry: 'same', meaning: 'Too few bookies answer.' },
  unavailable: { status: 'UNAVAILABLE', retry: 'same', meaning: 'The server is starting, stopping or cannot be reached.' },
  timeout: { status: 'DEADLINE_EXCEEDED', retry: 'same', meaning: 'No answer within the deadline.' },
  cancelled: { status: 'CANCELLED', retry: 'never', meaning: 'The caller closed before there was an answer.' },
  data_loss: { status: 'DATA_LOSS', retry: 'never', meaning: 'Stored bytes do not match their checksum.' },
  internal: { status: 'INTERNAL', retry: 'never', meaning: 'A bug in the server; its log has the details.' },
} as const satisfies Record<string, ErrorSpec>;

export type ErrorCode = keyof typeof ERRORS;

/** What became of the work: certainly not stored, or unknown. */
export type Stored = 'no' | 'unknown';

/** An expected refusal: a value that is returned, never thrown. `detail` carries names and ids (`field`, `holder`, `since` …). */
export interface Failure {
  readonly kind: 'failure';
  readonly code: ErrorCode;
  readonly message: string;
  readonly stored: Stored;
  readonly detail: Readonly<Record<string, string>>;
  /** Wait at least so many milliseconds before trying again; 0: no hint. */
  readonly retryAfterMs: number;
}

/** A refusal of which nothing was stored; `unknown(...)` is its twin for work whose fate is open. */
export function fail(code: ErrorCode, message: string, detail: Readonly<Record<string, string>> = {}, retryAfterMs = 0): Failure {
  return { kind: 'failure', code, message, stored: 'no', detail, retryAfterMs };
}

/** A refusal of work that may have been stored. */
export function unknownFate(code: ErrorCode, message: string, detail: Readonly<Record<string, string>> = {}): Failure {
  return { kind: 'failure', code, message, stored: 'unknown', detail, retryAfterMs: 0 };
}

/** True for a refusal, in a union of an answer and a `Failure`. */
export function isFailure(value: unknown): value is Failure {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'failure';
}

/** What the SDK and the edges of the server throw: a `Failure` as an `Error`. */
export class SluiceError extends Error {
  override readonly name = 'SluiceError';
  readonly code: ErrorCode;
  readonly stored: Stored;
  readonly retry: Retry;
  readonly detail: Readonly<Record<string, string>>;
  readonly retryAfterMs: number;

  constructor(failure: Failure, options?: ErrorOptions) {
    super(failure.message, options);
    this.code = failure.code;
    this.stored = failure.stored;
    this.retry = ERRORS[failure.code].retry;
    this.detail = failure.detail;
    this.retryAfterMs = failure.retryAfterMs;
  }
}
