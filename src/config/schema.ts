/**
 * What may stand in the configuration, once: the zod schema that checks it, the defaults, and the type that the rest of
 * Homeport sees. `Settings` is what was written, `Config` is what it means: secrets read, paths absolute, ids checked.
 */
import { availableParallelism } from 'node:os';
import * as z from 'zod';
import { type Domain, isName, type RegionId, type ShardId } from '../base/ids.ts';
import { defaults } from '../base/limits.ts';
import { type HostPort, hostPort, natsUrl, SCRAM_VERIFIER } from './forms.ts';
import { secretRef } from './secrets.ts';

export type { HostPort } from './forms.ts';

export interface TlsFiles {
  /** Absolute paths of PEM files. */
  readonly cert: string;
  readonly key: string;
  readonly ca?: string;
  /** Refuse clients that do not ask for TLS. */
  readonly required: boolean;
}

export interface ShardConfig {
  /** A name or address, or the absolute path of the directory of a Unix socket. */
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly admin: { readonly user: string; readonly password: string };
  readonly tls: boolean;
  readonly weight: number;
  /** This shard's alone in the whole cluster, for ever: what the ids made on it leave when divided by 1024. */
  readonly ordinal: number;
}

export interface RemoteShardConfig extends ShardConfig {
  readonly region: RegionId;
}

export interface UserConfig {
  /** `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, as Postgres writes it. */
  readonly verifier: string;
  /** `*`, `eu/*` or tenant keys; read them with `parseTenantPattern`. */
  readonly tenants: readonly string[];
  readonly poolMode: 'transaction' | 'session';
}

export interface Config {
  readonly cluster: { readonly name: string; readonly secret: Buffer };
  readonly region: RegionId;
  readonly listen: {
    readonly pg: HostPort;
    readonly peer: HostPort;
    readonly http: HostPort;
    readonly tls: TlsFiles | undefined;
    /** Plain text beyond loopback was asked for, in so many words. */
    readonly insecure: boolean;
  };
  readonly workers: number;
  readonly nats: {
    readonly servers: string[];
    readonly user?: string;
    readonly password?: string;
    readonly tls?: { readonly ca?: string };
  };
  /** This region's shards. */
  readonly shards: Readonly<Record<ShardId, ShardConfig>>;
  /** Every region, the own one included, and where its gateways' peer listeners are reached from here. */
  readonly regions: Readonly<Record<RegionId, { readonly peers: readonly HostPort[] }>>;
  /** Every other region's shards, as admins and agents reach them from here. */
  readonly remoteShards: Readonly<Record<ShardId, RemoteShardConfig>>;
  readonly domains: Readonly<Record<Domain, readonly RegionId[] | 'all'>>;
  readonly users: Readonly<Record<string, UserConfig>>;
  readonly limits: Limits;
  readonly log: { readonly level: LogLevel };
  /** Absolute path: snapshots of the directory. */
  readonly stateDir: string;
}

const positive = (what: string, fallback: number) =>
  z.int().min(1).max(10_000_000).default(fallback).describe(`${what} (a whole number from 1)`);
const filePath = (what: string) => z.string().min(1).describe(`${what} (a path; relative ones start at this file)`);
const text = (what: string) => z.string().min(1).describe(what);

const name = z
  .string()
  .refine(isName, { error: 'must be 2 to 40 lower-case letters, digits and dashes, starting with a letter' });
const regionName = name.describe('the name of a region, such as eu-west');

const shard = {
  host: text('host name, address, or the directory of a Unix socket'),
  port: z.int().min(1).max(65_535).default(5432).describe('the port of Postgres'),
  database: text('the name of the database').default('app'),
  admin: z
    .strictObject({
      user: text('the role that owns the tables').default('homeport_admin'),
      password: secretRef('its password'),
    })
    .describe('how Homeport administers the shard'),
  tls: z.boolean().optional().describe('true or false; without it, TLS is used beyond loopback and Unix sockets'),
  ordinal: z.int().min(0).max(1023).describe('a number from 0 to 1023 that no other shard of the cluster has or had'),
  weight: z.number().positive().max(1_000_000).default(1).describe('the share of tenants that the shard takes'),
};

const limitSettings = z.strictObject({
  clients: positive('client connections in this region', defaults.clients),
  perTenant: positive('backends that one tenant holds at once', defaults.perTenant),
  perUser: positive('backends that one user holds at once', defaults.perUser),
  perShard: positive('backends on one shard', defaults.perShard),
  queue: positive('transactions that wait for a backend of one shard', defaults.queue),
  queueMs: positive('milliseconds that one of them waits', defaults.queueMs),
});
export type Limits = Readonly<z.output<typeof limitSettings>>;

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const settingsSchema = z.strictObject({
  cluster: z
    .strictObject({
      name: text('the name of the cluster, the same in every region').default('homeport'),
      secret: secretRef('32 bytes, the same in every region'),
    })
    .describe('what all regions share: name and secret'),
  region: regionName.describe('the region that this process serves, such as eu-west'),
  listen: z
    .strictObject({
      pg: hostPort('where applications connect').default({ host: '127.0.0.1', port: 6432 }),
      peer: hostPort('where gateways of other regions connect').default({ host: '127.0.0.1', port: 6433 }),
      http: hostPort('where the HTTP interface is').default({ host: '127.0.0.1', port: 6434 }),
      tls: z
        .strictObject({
          cert: filePath('the certificate, PEM'),
          key: filePath('its private key, PEM'),
          ca: filePath('the authorities that other gateways are checked against, PEM').optional(),
          required: z.boolean().default(true).describe('true or false: refuse clients without TLS'),
        })
        .optional()
        .describe('certificate and key of the listeners'),
      insecure: z.boolean().default(false).describe('true allows plain text beyond loopback'),
    })
    .prefault({})
    .describe('the listeners of this process'),
  workers: z
    .int()
    .min(1)
    .max(256)
    .default(() => Math.min(4, availableParallelism()))
    .describe('gateway processes (a whole number from 1 to 256)'),
  nats: z
    .strictObject({
      servers: z.array(natsUrl).min(1).describe('a list of addresses such as [nats://127.0.0.1:4222]'),
      user: text('the NATS user').optional(),
      password: secretRef('the NATS password').optional(),
      tls: z
        .strictObject({ ca: filePath('the authority, PEM').optional() })
        .optional()
        .describe('TLS to NATS'),
    })
    .describe('the NATS servers of this region'),
  shards: z
    .record(name, z.strictObject(shard))
    .default({})
    .describe("this region's shards by id, such as eu-west-1: { host: db1, admin: { password: { file: db1.pw } } }"),
  regions: z
    .record(regionName, z.strictObject({ peers: z.array(hostPort('a peer listener')).default([]) }))
    .describe('every region and its gateways, such as { eu-west: {}, us-east: { peers: [gw.us:6433] } }'),
  remoteShards: z
    .record(name, z.strictObject({ ...shard, region: regionName.optional() }))
    .default({})
    .describe("the other regions' shards by id, in the form of shards"),
  domains: z
    .record(
      name,
      z.union([z.literal('all'), z.array(regionName).min(1)], { error: 'must be all or a list of regions' }),
    )
    .default({})
    .describe('the domains and their regions, such as { eu: [eu-west] }'),
  users: z
    .record(
      z.string().regex(/^(?!pg_|homeport)[a-z_][a-z0-9_]{0,62}$/, {
        error:
          'must be a role name: a lower-case letter or _, then letters, digits, _; not starting with pg_ or homeport',
      }),
      z.strictObject({
        verifier: z
          .string()
          .regex(SCRAM_VERIFIER, { error: 'is not a SCRAM verifier' })
          .describe(
            'SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>, as in pg_authid.rolpassword; never a password',
          ),
        tenants: z.array(z.string()).min(1).describe('a list of tenants the user may speak for: "*", "eu/*" or acme'),
        poolMode: z.enum(['transaction', 'session']).default('transaction').describe('transaction or session'),
      }),
    )
    .default({})
    .describe('the users of the gateway by role name'),
  limits: limitSettings.prefault({}).describe('what this region admits'),
  log: z
    .strictObject({
      level: z
        .enum(LOG_LEVELS)
        .default('info')
        .describe(`one of ${LOG_LEVELS.join(', ')}`),
    })
    .prefault({})
    .describe('what is logged'),
  stateDir: filePath('the directory for snapshots').default('state'),
});

/** What was written, with defaults. */
export type Settings = z.output<typeof settingsSchema>;
export type SectionName = keyof Settings;

/** The configuration file's JSON Schema, for editors and for the errors' remedies. */
export function settingsJsonSchema(): z.core.JSONSchema.JSONSchema {
  return z.toJSONSchema(settingsSchema, { io: 'input', unrepresentable: 'any' });
}
