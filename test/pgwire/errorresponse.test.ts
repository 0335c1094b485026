import { describe, expect, it } from 'vitest';
import { HomeportError } from '../../src/base/errors.ts';
import { realWorld } from '../../src/base/world.ts';
import {
  backendKeyData,
  decodeVirtualPid,
  encodeVirtualPid,
  newCancelKey,
  sameCancelKey,
} from '../../src/pgwire/cancelkey.ts';
import {
  errorResponse,
  errorResponseOf,
  fieldsOf,
  noticeResponse,
  parseReport,
  readReportField,
} from '../../src/pgwire/errorresponse.ts';

describe('error responses', () => {
  const error = new HomeportError('HP-P104', { parameter: 'role', why: 'it would outlive the check' });

  it('carries code, SQLSTATE, message, detail and hint', () => {
    const bytes = errorResponseOf(error, 'FATAL');
    expect(bytes[0]).toBe('E'.charCodeAt(0));
    expect(bytes.readInt32BE(1)).toBe(bytes.length - 1);
    expect(parseReport(bytes.subarray(5))).toEqual({
      severity: 'FATAL',
      sqlstate: '0A000',
      message: 'HP-P104 the startup parameter "role" is not supported',
      detail: 'it would outlive the check',
      hint: error.hint,
      routine: 'HP-P104',
    });
  });

  it('makes notices of the same fields', () => {
    expect(noticeResponse(fieldsOf(error, 'WARNING'))[0]).toBe('N'.charCodeAt(0));
  });

  it('lets no text forge another field', () => {
    const bytes = errorResponse({ severity: 'ERROR', sqlstate: '22023', message: 'a\0C00000\0' });
    expect(readReportField(bytes.subarray(5), 'C')).toBe('22023');
    expect(readReportField(bytes.subarray(5), 'M')).toBe('a?C00000?');
  });

  it.each([
    ['nothing', ''],
    ['no terminator', 'C42601\0Mabc'],
    ['no message', 'C42601\0\0'],
    ['a long SQLSTATE', 'C426011\0Mx\0\0'],
    ['endless fields', 'Sx\0'.repeat(100)],
  ])('does not take %s for a report', (_, body) => {
    expect(parseReport(Buffer.from(body))).toBeUndefined();
  });

  it('cuts a text without end', () => {
    const body = Buffer.from(`C42601\0M${'x'.repeat(1_000_000)}\0\0`);
    expect(parseReport(body)?.message.length).toBe(8192);
  });
});

describe('cancel keys', () => {
  it('writes a process id that is no real one, and reads it back', () => {
    const place = { gateway: 63, worker: 31, session: 524_287 };
    const pid = encodeVirtualPid(place);
    expect(pid).toBeGreaterThanOrEqual(2 ** 22);
    expect(pid).toBeLessThan(2 ** 31);
    expect(decodeVirtualPid(pid)).toEqual(place);
    expect(decodeVirtualPid(encodeVirtualPid({ gateway: 0, worker: 3, session: 9 }))).toEqual({
      gateway: 0,
      worker: 3,
      session: 9,
    });
    expect(decodeVirtualPid(12_345)).toBeUndefined();
    expect(decodeVirtualPid(-1)).toBeUndefined();
  });

  it('is as long as the protocol version allows', () => {
    expect(backendKeyData(1, newCancelKey(realWorld.random, 0)).length).toBe(13);
    expect(backendKeyData(1, newCancelKey(realWorld.random, 2)).readInt32BE(1)).toBe(40);
  });

  it('is compared as a whole', () => {
    expect(sameCancelKey(Buffer.from('abcd'), Buffer.from('abcd'))).toBe(true);
    expect(sameCancelKey(Buffer.from('abcd'), Buffer.from('abce'))).toBe(false);
    expect(sameCancelKey(Buffer.from('abcd'), Buffer.from('abcde'))).toBe(false);
  });
});
