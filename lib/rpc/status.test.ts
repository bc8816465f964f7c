import { Metadata, status } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { ERRORS, type ErrorCode, fail, unknownFate } from '#lib/types/errors.ts';
import { failureOfStatus, STATUS_DETAILS_KEY, serviceError } from './status.ts';
import { decodeStatusDetails, encodeStatusDetails } from './status-details.ts';

describe('status', () => {
  it('carries every error of the table both ways', () => {
    for (const code of Object.keys(ERRORS) as ErrorCode[]) {
      for (const failure of [
        fail(code, `what happened: ${code}`, { field: 'topic', holder: 'ü ✓' }, 1234),
        unknownFate(code, 'perhaps stored', { at: '7' }),
      ]) {
        const error = serviceError(failure);
        expect(error.code).toBe(status[ERRORS[code].status]);
        expect(failureOfStatus(error)).toEqual(failure);
      }
    }
  });

  it('says that the fate is unknown when gRPC itself ended the call', () => {
    const end = (code: status, details = '') => failureOfStatus({ code, details, metadata: new Metadata() });
    expect(end(status.OK)).toBeUndefined();
    expect(end(status.UNAVAILABLE, 'No connection established')).toMatchObject({ code: 'unavailable', stored: 'unknown' });
    expect(end(status.DEADLINE_EXCEEDED)).toMatchObject({ code: 'timeout', stored: 'unknown' });
    expect(end(status.CANCELLED)).toMatchObject({ code: 'cancelled', stored: 'unknown' });
    expect(end(status.UNIMPLEMENTED)).toMatchObject({ code: 'unsupported', stored: 'no' });
    expect(end(status.UNKNOWN)).toMatchObject({ code: 'internal', stored: 'unknown' });
    expect(end(status.RESOURCE_EXHAUSTED, 'Received message larger than max (20 vs 10)')).toMatchObject({ code: 'response_too_large' });
  });

  it('keeps a code that this version does not know within its status', () => {
    const error = serviceError(fail('topic_not_found', 'x'));
    error.metadata.set(
      STATUS_DETAILS_KEY,
      encodeStatusDetails({
        code: 8,
        message: 'later',
        reason: 'made_up_later',
        domain: 'sluice',
        metadata: { stored: 'no' },
        retryDelayMs: 0,
      }),
    );
    expect(failureOfStatus({ code: status.RESOURCE_EXHAUSTED, details: '', metadata: error.metadata })).toMatchObject({
      code: 'overloaded',
      stored: 'no',
      message: 'later',
    });
  });

  it('fits headers: long texts and halves of characters are cut', () => {
    const error = serviceError(fail('invalid_argument', `${'x'.repeat(999)}😀${'y'.repeat(100_000)}`, { field: 'z'.repeat(100_000) }));
    expect(() => encodeURI(error.details)).not.toThrow();
    const packed = error.metadata.get(STATUS_DETAILS_KEY)[0];
    expect(packed?.length).toBeLessThan(4_000);
    expect(failureOfStatus(error)).toMatchObject({ code: 'invalid_argument' });
  });

  it('takes no harm from bytes that are no Status', () => {
    const good = encodeStatusDetails({ code: 3, message: 'm', reason: 'r', domain: 'd', metadata: { a: 'b' }, retryDelayMs: 1500 });
    expect(decodeStatusDetails(good)).toMatchObject({ reason: 'r', domain: 'd', metadata: { a: 'b' }, retryDelayMs: 1500 });
    for (let cut = 0; cut < good.length; cut++) decodeStatusDetails(good.subarray(0, cut));
    for (let at = 0; at < good.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const bad = Buffer.from(good);
        bad[at] = (bad[at] ?? 0) ^ (1 << bit);
        decodeStatusDetails(bad);
      }
    }
    expect(decodeStatusDetails(Buffer.from([0xff]))).toBeUndefined();
  });
});
