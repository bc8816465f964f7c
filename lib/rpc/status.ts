// The one place where a `Failure` becomes a gRPC status and a gRPC status a `Failure`, on the server and on the client. The status has
// the code of the error table; `grpc-status-details-bin` carries ErrorInfo (reason = our code, domain "sluice", what became of the work,
// the details) and RetryInfo. A status without our details comes from gRPC itself, and then the fate of the work is not known.

import { Metadata, type ServiceError, type StatusObject, status } from '@grpc/grpc-js';
import { ERRORS, type ErrorCode, type Failure, fail, type StatusName, type Stored } from '#lib/types/errors.ts';
import type { ErrorFrame } from '#lib/wire/frames.ts';
import { decodeStatusDetails, encodeStatusDetails } from './status-details.ts';

export const ERROR_DOMAIN = 'sluice';
export const STATUS_DETAILS_KEY = 'grpc-status-details-bin';
/** ErrorInfo metadata key of what became of the work: "no" or "unknown". */
export const STORED_KEY = 'stored';
/** Headers are bounded; longer texts are cut. */
const TEXT_MAX = 1000;
const DETAILS_MAX = 16;

/** What grpc-js takes as a call's end: `callback(error)`, `call.emit('error', error)`. */
export function serviceError(failure: Failure): ServiceError {
  const text = cut(failure.message);
  const code = status[ERRORS[failure.code].status];
  const metadata = new Metadata();
  const info: Record<string, string> = { [STORED_KEY]: failure.stored };
  for (const [key, value] of Object.entries(failure.detail).slice(0, DETAILS_MAX)) if (key !== STORED_KEY) info[key] = cut(value);
  metadata.set(
    STATUS_DETAILS_KEY,
    encodeStatusDetails({
      code,
      message: text,
      reason: failure.code,
      domain: ERROR_DOMAIN,
      metadata: info,
      retryDelayMs: failure.retryAfterMs,
    }),
  );
  return Object.assign(new Error(text), { code, details: text, metadata });
}

/** What a call's end says: undefined when it is no refusal (OK). */
export function failureOfStatus(end: Pick<StatusObject, 'code' | 'details' | 'metadata'>): Failure | undefined {
  if (end.code === status.OK) return undefined;
  const packed = end.metadata?.get(STATUS_DETAILS_KEY)[0];
  const details = packed instanceof Buffer ? decodeStatusDetails(packed) : undefined;
  if (details?.domain === ERROR_DOMAIN) {
    const { [STORED_KEY]: stored, ...detail } = details.metadata;
    return {
      kind: 'failure',
      code: isErrorCode(details.reason) ? details.reason : codeOfStatus(end.code, end.details),
      message: details.message,
      stored: stored === 'no' ? 'no' : 'unknown',
      detail,
      retryAfterMs: details.retryDelayMs,
    };
  }
  const code = codeOfStatus(end.code, end.details);
  const stored: Stored = code === 'unsupported' || code === 'message_too_large' ? 'no' : 'unknown';
  return { ...fail(code, end.details === '' ? ERRORS[code].meaning : end.details), stored };
}

/** A refusal as a frame of a stream, and back. */
export function errorFrame(failure: Failure): ErrorFrame {
  return {
    reason: failure.code,
    message: failure.message,
    stored: failure.stored,
    retryAfterMs: failure.retryAfterMs,
    detail: failure.detail,
  };
}

export function failureOfFrame(frame: ErrorFrame): Failure {
  return {
    kind: 'failure',
    code: frame.reason,
    message: frame.message,
    stored: frame.stored,
    detail: frame.detail,
    retryAfterMs: frame.retryAfterMs,
  };
}

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERRORS, text);
}

/** For ends that do not come from Sluice's own code: the transport, gRPC's limits, a proxy between. */
const CODES: Readonly<Record<StatusName, ErrorCode>> = {
  INVALID_ARGUMENT: 'invalid_argument',
  NOT_FOUND: 'topic_not_found',
  ALREADY_EXISTS: 'already_exists',
  PERMISSION_DENIED: 'invalid_argument',
  RESOURCE_EXHAUSTED: 'overloaded',
  FAILED_PRECONDITION: 'invalid_argument',
  ABORTED: 'unavailable',
  OUT_OF_RANGE: 'invalid_argument',
  UNIMPLEMENTED: 'unsupported',
  INTERNAL: 'unavailable',
  UNAVAILABLE: 'unavailable',
  DATA_LOSS: 'data_loss',
  DEADLINE_EXCEEDED: 'timeout',
  CANCELLED: 'cancelled',
};

function codeOfStatus(code: number, text: string): ErrorCode {
  if (code === status.RESOURCE_EXHAUSTED && /Received message larger than max/.test(text)) return 'response_too_large';
  if (code === status.RESOURCE_EXHAUSTED && /message larger than max/i.test(text)) return 'message_too_large';
  const name = status[code];
  return name !== undefined && isStatusName(name) ? CODES[name] : 'internal';
}

const isStatusName = (name: string): name is StatusName => Object.hasOwn(CODES, name);

/** Cut to a length, and without lone halves of surrogate pairs, which a header cannot carry. */
function cut(text: string): string {
  return (text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text).toWellFormed();
}
