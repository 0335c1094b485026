/** A valid configuration with its secrets in a directory of its own, to be bent by the tests. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { HomeportError } from '../../src/base/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { ConfigError } from '../../src/config/problems.ts';
import type { Config } from '../../src/config/schema.ts';

export const DB_PASSWORD = 'correct horse battery staple';
export const VERIFIER = `SCRAM-SHA-256$4096:${'c2FsdHNhbHRzYWx0c2FsdA=='}$${'A'.repeat(43)}=:${'B'.repeat(43)}=`;

export class Workshop {
  readonly dir = mkdtempSync(join(tmpdir(), 'homeport-config-'));

  constructor() {
    this.write('cluster.secret', `${'ab'.repeat(32)}\n`);
    this.write('db.pw', `${DB_PASSWORD}\n`);
  }

  /** @returns the absolute path. */
  write(name: string, content: string | Buffer): string {
    const file = join(this.dir, name);
    writeFileSync(file, content);
    return file;
  }

  settings(): Record<string, unknown> {
    return {
      cluster: { name: 'demo', secret: { file: 'cluster.secret' } },
      region: 'eu-west',
      listen: { pg: '127.0.0.1:6432' },
      nats: { servers: ['nats://127.0.0.1:4222'] },
      shards: { 'eu-west-1': { host: '/tmp/pg', port: 5433, ordinal: 1, admin: { password: { file: 'db.pw' } } } },
      regions: { 'eu-west': null, 'us-east': { peers: ['127.0.0.1:7433', '[::1]:7433'] } },
      remoteShards: { 'us-east-1': { host: 'db.us', ordinal: 2, admin: { password: { env: 'DB_PW' } } } },
      domains: { eu: ['eu-west'] },
      users: { app: { verifier: VERIFIER, tenants: ['*'] } },
    };
  }

  load(
    changes: Record<string, unknown> = {},
    env: NodeJS.ProcessEnv = {},
    overrides: Record<string, unknown> = {},
  ): Config {
    const file = this.write('homeport.yaml', stringify({ ...this.settings(), ...changes }));
    return loadConfig({ file, env: { DB_PW: 'from env', ...env }, overrides });
  }

  /** What is wrong with it: `code message`, one line each. */
  problems(
    changes: Record<string, unknown>,
    env: NodeJS.ProcessEnv = {},
    overrides: Record<string, unknown> = {},
  ): string[] {
    return this.refusals(changes, env, overrides).map(({ code, message }) => `${code} ${message}`);
  }

  refusals(
    changes: Record<string, unknown>,
    env: NodeJS.ProcessEnv = {},
    overrides: Record<string, unknown> = {},
  ): HomeportError[] {
    try {
      this.load(changes, env, overrides);
    } catch (error) {
      if (error instanceof ConfigError) return [...error.problems];
      if (error instanceof HomeportError) return [error];
      throw error;
    }
    return [];
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}
