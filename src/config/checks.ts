/**
 * What no single setting can tell: whether the settings fit each other. Each check names the sections that it reads and
 * runs when those are well-formed, so that one typing error elsewhere does not hide what is wrong here.
 */

import { HomeportError } from '../base/errors.ts';
import { isName } from '../base/ids.ts';
import { didYouMean } from '../base/suggest.ts';
import { formatHostPort, isLocalHost, SCRAM_VERIFIER } from './forms.ts';
import { parseTenantPattern } from './patterns.ts';
import type { SectionName, Settings } from './schema.ts';

export type Report = (path: readonly string[], reason: string, remedy: string) => void;

interface Check<Name extends SectionName = SectionName> {
  readonly needs: readonly Name[];
  readonly run: (sections: Pick<Settings, Name>, report: Report) => void;
}

function check<Name extends SectionName>(needs: readonly Name[], run: Check<Name>['run']): Check {
  return { needs, run: run as Check['run'] }; // cast: runChecks calls it only with the sections that it needs
}

/** The region in a shard's id: `eu-west-1` → `eu-west`. */
export function regionOfShard(shard: string): string | undefined {
  return /^(.+)-[1-9]\d{0,3}$/.exec(shard)?.[1];
}

function unknownRegion(region: string, known: readonly string[]): string {
  return `${region} is not one of the regions (${known.join(', ') || 'there are none'})${didYouMean(region, known)}`;
}

const ownRegion = check(['region', 'regions'], ({ region, regions }, report) => {
  const known = Object.keys(regions);
  if (!known.includes(region)) {
    report(['region'], unknownRegion(region, known), `add regions.${region}, or name one of the others`);
    return;
  }
  for (const [name, { peers }] of Object.entries(regions)) {
    if (name === region || peers.length > 0) continue;
    const remedy = `list where its gateways' peer listeners are reached from here, such as [gw.${name}:6433]`;
    report(['regions', name, 'peers'], 'another region without a gateway that can be reached', remedy);
  }
});

const ownShards = check(['region', 'regions', 'shards'], ({ region, regions, shards }, report) => {
  if (!Object.hasOwn(regions, region)) return; // said by ownRegion, and what follows from it would only be noise
  for (const id of Object.keys(shards)) {
    if (regionOfShard(id) === region) continue;
    report(
      ['shards', id],
      `a shard of ${region} is called ${region}-<number>`,
      `rename it to ${region}-1, or move it to remoteShards`,
    );
  }
});

const ordinals = check(['shards', 'remoteShards'], ({ shards, remoteShards }, report) => {
  const owners = new Map<number, string>();
  for (const [section, list] of Object.entries({ shards, remoteShards })) {
    for (const [id, { ordinal }] of Object.entries(list)) {
      const owner = owners.get(ordinal);
      if (owner === undefined) owners.set(ordinal, id);
      else report([section, id, 'ordinal'], `${owner} has ${ordinal} already`, 'give every shard a number of its own');
    }
  }
});

const remoteShards = check(['region', 'regions', 'remoteShards'], ({ region, regions, remoteShards }, report) => {
  const known = Object.keys(regions);
  for (const [id, shard] of Object.entries(remoteShards)) {
    const path = ['remoteShards', id];
    const named = regionOfShard(id);
    if (named === undefined || !isName(named)) {
      report(path, 'a shard is called <region>-<number>', 'rename it, such as us-east-1');
    } else if (named === region) {
      report(path, `it belongs to ${region}, the region served here`, 'move it to shards');
    } else if (shard.region !== undefined && shard.region !== named) {
      report([...path, 'region'], `the shard's name says ${named}`, 'leave region out, or rename the shard');
    } else if (!known.includes(named)) {
      report(path, unknownRegion(named, known), `add regions.${named}, or rename the shard`);
    }
  }
});

const domains = check(['regions', 'domains'], ({ regions, domains }, report) => {
  const known = Object.keys(regions);
  for (const [name, members] of Object.entries(domains)) {
    if (name === 'global' && members !== 'all') {
      report(['domains', 'global'], 'the domain global is every region', 'write global: all, or choose another name');
    }
    if (members === 'all') continue;
    members.forEach((member, i) => {
      if (!known.includes(member))
        report(
          ['domains', name, String(i)],
          unknownRegion(member, known),
          `add regions.${member}, or correct the name`,
        );
    });
  }
});

const userTenants = check(['users', 'domains'], ({ users, domains }, report) => {
  const known = ['global', ...Object.keys(domains)];
  for (const [user, { tenants }] of Object.entries(users)) {
    tenants.forEach((pattern, i) => {
      const path = ['users', user, 'tenants', String(i)];
      try {
        const parsed = parseTenantPattern(pattern);
        if (parsed.kind === 'all' || known.includes(parsed.domain)) return;
        report(
          path,
          `${parsed.domain} is not a domain${didYouMean(parsed.domain, known)}`,
          `add domains.${parsed.domain}, or correct the name`,
        );
      } catch (error) {
        if (!(error instanceof HomeportError)) throw error;
        report(path, error.message, 'write "*", "eu/*" or a tenant key such as acme');
      }
    });
  }
});

/** RFC 7677 asks for at least 4096; millions of rounds per log-in would be a way to stop the gateway. */
const SCRAM_ITERATIONS = { least: 4096, most: 1_000_000 };

const verifiers = check(['users'], ({ users }, report) => {
  for (const [user, { verifier }] of Object.entries(users)) {
    const iterations = Number(SCRAM_VERIFIER.exec(verifier)?.groups?.iterations);
    if (iterations >= SCRAM_ITERATIONS.least && iterations <= SCRAM_ITERATIONS.most) continue;
    const { least, most } = SCRAM_ITERATIONS;
    report(
      ['users', user, 'verifier'],
      `${iterations} iterations, not ${least} to ${most}`,
      `set the password anew with scram_iterations = ${least}`,
    );
  }
});

const listeners = check(['listen'], ({ listen }, report) => {
  for (const name of ['pg', 'peer', 'http'] as const) {
    const isOpen = !isLocalHost(listen[name].host);
    if (isOpen && !listen.insecure && !listen.tls) {
      const remedy = 'set listen.tls: { cert, key }; or, on a network that you trust, listen.insecure: true';
      report(['listen', name], `${formatHostPort(listen[name])} can be reached from elsewhere in plain text`, remedy);
    }
  }
  const isOpenPg = !isLocalHost(listen.pg.host);
  if (isOpenPg && listen.tls && !listen.tls.required && !listen.insecure) {
    report(
      ['listen', 'tls', 'required'],
      'clients from elsewhere could leave TLS out',
      'set it to true; or listen.insecure: true',
    );
  }
  const addresses = [listen.pg, listen.peer, listen.http].filter(address => address.port !== 0).map(formatHostPort);
  const twice = addresses.find((address, i) => addresses.indexOf(address) !== i);
  if (twice !== undefined) report(['listen'], `${twice} is given twice`, 'give pg, peer and http a port each');
});

const limitsFit = check(['limits', 'workers'], ({ limits, workers }, report) => {
  for (const name of ['perTenant', 'perUser'] as const) {
    if (limits[name] <= limits.clients) continue;
    report(
      ['limits', name],
      `${limits[name]} is more than limits.clients (${limits.clients})`,
      `lower limits.${name}, or raise limits.clients`,
    );
  }
  if (limits.perTenant > limits.perShard) {
    const reason = `one tenant's ${limits.perTenant} backends are more than its shard has (limits.perShard, ${limits.perShard})`;
    report(['limits', 'perTenant'], reason, 'lower limits.perTenant, or raise limits.perShard');
  }
  if (limits.perShard < workers) {
    const reason = `${limits.perShard} backends cannot be shared by ${workers} workers`;
    report(['limits', 'perShard'], reason, `raise it to ${workers} at least, or lower workers`);
  }
});

const natsUser = check(['nats'], ({ nats }, report) => {
  if ((nats.user === undefined) === (nats.password === undefined)) return;
  const absent = nats.user === undefined ? 'user' : 'password';
  report(['nats', absent], 'user and password belong together', `set nats.${absent} too, or neither`);
});

const checks = [
  ownRegion,
  ownShards,
  ordinals,
  remoteShards,
  domains,
  userTenants,
  verifiers,
  listeners,
  limitsFit,
  natsUser,
];

/** Runs every check whose sections are well-formed. */
export function runChecks(sections: Partial<Settings>, report: Report): void {
  for (const { needs, run } of checks) {
    if (needs.every(name => sections[name] !== undefined)) run(sections as Settings, report); // cast: the needed ones are there
  }
}
