/** The small written forms of the configuration: `host:port`, NATS addresses, SCRAM verifiers. */
import { isIPv4 } from 'node:net';
import * as z from 'zod';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Iterations, salt, StoredKey and ServerKey (32 bytes each, base64), as Postgres keeps them in `pg_authid`. */
export const SCRAM_VERIFIER =
  /^SCRAM-SHA-256\$(?<iterations>[1-9]\d{3,6}):(?<salt>[A-Za-z0-9+/]{8,172}={0,2})\$(?<storedKey>[A-Za-z0-9+/]{43}=):(?<serverKey>[A-Za-z0-9+/]{43}=)$/;

/** Reads `db1:5432`, `10.0.0.1:5432` and `[::1]:5432`. */
export function parseHostPort(text: string): HostPort | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host === undefined || port > 65_535 ? undefined : { host, port };
}

export function formatHostPort({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** True when only this machine can reach the address: loopback, or the directory of a Unix socket. */
export function isLocalHost(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('/') || (isIPv4(host) && host.startsWith('127.'));
}

/** `host:port`, or `{ host, port }`. Port 0 asks the system for a free one. */
export function hostPort(what: string) {
  return z
    .unknown()
    .transform((value, ctx): HostPort => {
      const parsed = typeof value === 'string' ? parseHostPort(value) : hostPortObject.safeParse(value).data;
      if (parsed) return parsed;
      const params = { isMissing: value === undefined || value === null };
      ctx.addIssue({ code: 'custom', input: value, message: 'must be an address of the form host:port', params });
      return z.NEVER;
    })
    .meta({
      description: `${what}, such as 127.0.0.1:6432`,
      anyOf: [
        { type: 'string', pattern: ':[0-9]{1,5}$' },
        {
          type: 'object',
          properties: { host: { type: 'string' }, port: { type: 'integer', minimum: 0, maximum: 65_535 } },
          required: ['host', 'port'],
          additionalProperties: false,
        },
      ],
    });
}

const hostPortObject = z.strictObject({ host: z.string().min(1), port: z.int().min(0).max(65_535) });

/** `nats://host:port` or `tls://host:port`, without credentials: they would be a secret in plain text. */
export const natsUrl = z
  .string()
  .superRefine((value, ctx) => {
    const url = URL.parse(value.includes('://') ? value : `nats://${value}`);
    if (url && ['nats:', 'tls:'].includes(url.protocol) && url.hostname !== '') {
      if (url.username === '' && url.password === '') return;
      const params = { problem: 'HP-C113', remedy: 'write nats.user, and nats.password: { file: … } or { env: … }' };
      ctx.addIssue({ code: 'custom', message: 'holds credentials in plain text', params });
      return;
    }
    ctx.addIssue({ code: 'custom', message: 'must be an address such as nats://127.0.0.1:4222' });
  })
  .describe('an address such as nats://127.0.0.1:4222');
