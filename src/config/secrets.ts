/**
 * Secrets come by reference only, `{ file: path }` or `{ env: NAME }`: a configuration file is copied, committed and
 * pasted into tickets, a secret in it is a secret no more.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import * as z from 'zod';
import { HomeportError } from '../base/errors.ts';

export type SecretRef = { readonly file: string } | { readonly env: string };

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0;
}

function parseSecretRef(value: unknown, ctx: z.core.$RefinementCtx): SecretRef {
  if (typeof value === 'object' && value !== null) {
    const keys = Object.keys(value);
    if (keys.length === 1 && 'file' in value && isText(value.file)) return { file: value.file };
    if (keys.length === 1 && 'env' in value && isText(value.env)) return { env: value.env };
  }
  const isMissing = value === undefined || value === null;
  const reason = 'must be a reference to a secret';
  const literal = !isMissing && typeof value !== 'object';
  ctx.addIssue({
    code: 'custom',
    input: value,
    message: reason,
    params: literal ? { problem: 'HP-C111' } : { isMissing },
  });
  return z.NEVER;
}

/** A secret as the configuration file may write it. */
export function secretRef(what: string) {
  const reference = (name: string) => ({
    type: 'object',
    properties: { [name]: { type: 'string', minLength: 1 } },
    required: [name],
    additionalProperties: false,
  });
  return z
    .unknown()
    .transform(parseSecretRef)
    .meta({
      description: `${what}, as { file: /path/to/secret } or { env: NAME }`,
      oneOf: [reference('file'), reference('env')],
    });
}

export interface SecretSources {
  readonly env: NodeJS.ProcessEnv;
  /** Relative paths start here: the directory of the configuration file. */
  readonly baseDir: string;
}

/**
 * The bytes of the secret.
 * @throws HP-C112 when the file cannot be read, the variable is not set, or there is nothing in it.
 */
export function readSecret(ref: SecretRef, path: string, { env, baseDir }: SecretSources): Buffer {
  const unreadable = (source: string, reason: string, remedy: string, cause?: unknown) =>
    new HomeportError('HP-C112', { path, source, reason, remedy }, { cause });
  if ('env' in ref) {
    const value = env[ref.env];
    if (value) return Buffer.from(value);
    const state = value === undefined ? 'is not set' : 'is empty';
    throw unreadable(`the variable ${ref.env}`, state, `set ${ref.env} in the environment of homeport`);
  }
  const file = resolve(baseDir, ref.file);
  let content: Buffer;
  try {
    content = readFileSync(file);
  } catch (cause) {
    const reason = `cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`;
    throw unreadable(file, reason, 'create the file, readable by the user that runs homeport alone (chmod 600)', cause);
  }
  if (content.length === 0) throw unreadable(file, 'is empty', 'write the secret into it');
  return content;
}

/** A password: the text without the line end that editors and `echo` leave behind. */
export function readPassword(ref: SecretRef, path: string, sources: SecretSources): string {
  return readSecret(ref, path, sources)
    .toString('utf8')
    .replace(/\r?\n$/, '');
}

export const CLUSTER_SECRET_BYTES = 32;

/**
 * The cluster secret: 32 bytes, as 64 hexadecimal digits, as base64, or raw.
 * @throws HP-C112 as above; HP-C113 when it has another size.
 */
export function readClusterSecret(ref: SecretRef, path: string, sources: SecretSources): Buffer {
  const content = readSecret(ref, path, sources);
  const text = content.toString('latin1').trim();
  if (/^[0-9a-fA-F]{64}$/.test(text)) return Buffer.from(text, 'hex');
  if (/^[A-Za-z0-9+/_-]{43}=?$/.test(text)) return Buffer.from(text, 'base64');
  if (content.length === CLUSTER_SECRET_BYTES) return content;
  throw new HomeportError('HP-C113', {
    path,
    reason: `must be ${CLUSTER_SECRET_BYTES} bytes (raw, in hexadecimal or base64), not ${content.length} bytes of something else`,
    remedy: 'make one and give the same to every region: openssl rand -hex 32 > cluster.secret',
  });
}
