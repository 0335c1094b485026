/** What a cluster keeps to itself, made at its first start: passwords, the cluster secret, a certificate. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { promisify } from 'node:util';
import type { World } from '../base/world.ts';
import { clusterLimits } from './limits.ts';
import type { Places } from './places.ts';

const run = promisify(execFile);

export const SECRET_NAMES = ['cluster', 'nats', 'nats-route', 'postgres-admin', 'app'] as const;
export type SecretName = (typeof SECRET_NAMES)[number];
export type Secrets = Readonly<Record<SecretName, string>>;

/** Hexadecimal, so that none needs quoting in a URL, a shell or a configuration file. */
export function ensureSecrets(places: Places, world: World): Secrets {
  const entries = SECRET_NAMES.map(name => {
    const file = places.secret(name);
    // 32 bytes for the cluster secret, as the configuration demands; people see and paste the others
    const length = name === 'cluster' ? 32 : 16;
    if (!existsSync(file)) writeFileSync(file, `${world.random.bytes(length).toString('hex')}\n`, { mode: 0o600 });
    return [name, readFileSync(file, 'utf8').trim()] as const;
  });
  return Object.fromEntries(entries) as Record<SecretName, string>; // cast: one entry for each name
}

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** @returns undefined when there is no `openssl`: the gateways then listen without TLS, on loopback. */
export async function ensureCertificate(places: Places): Promise<Certificate | undefined> {
  const [cert, key] = [places.tls('cert.pem'), places.tls('key.pem')];
  if (existsSync(cert) && existsSync(key)) return { cert, key };
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-sha256'];
  args.push('-days', '3650', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1');
  try {
    await run('openssl', [...args, '-keyout', key, '-out', cert], { timeout: clusterLimits.toolMs });
  } catch {
    return undefined; // not installed, or LibreSSL too old for -addext: TLS is a convenience here
  }
  return { cert, key };
}
