/**
 * The changes that administrators and state machines make to placements, checked against topology and residency before
 * they are written. The checks are made on what was read a moment ago, so they catch mistakes; what keeps two changes
 * apart is the compare-and-set.
 */
import { HomeportError } from '../base/errors.ts';
import { type Domain, type PlacementKey, parseTenantKey, type TenantParts, tenantPlacement } from '../base/ids.ts';
import { kindOf, placementToKvKey, shardKey, TOPOLOGY_KEY, tenantKvKey } from './keys.ts';
import {
  type Home,
  type Placement,
  placementFrom,
  type RecordBodies,
  type ShardSpec,
  type StoredTopology,
} from './records.ts';
import { domainRegions, eligibleShards, ringOrder } from './ring.ts';
import { type Author, type DirectoryStore, type Expected, lostTo, placementSummary, type Versioned } from './store.ts';

/** @throws HP-D303 when there is none. */
export async function readTopology(store: DirectoryStore): Promise<Versioned<'topology'>> {
  const topology = await store.read('topology', TOPOLOGY_KEY);
  if (!topology) throw new HomeportError('HP-D303', { missing: 'there is no topology' });
  return topology;
}

export async function listShards(store: DirectoryStore): Promise<ShardSpec[]> {
  const shards: ShardSpec[] = [];
  for await (const { record } of store.list('shard')) {
    shards.push({ id: record.id, region: record.region, weight: record.weight });
  }
  return shards.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Registers a shard or changes its weight. Moves nobody: it changes what the ring proposes from now on. */
export async function putShard(store: DirectoryStore, shard: ShardSpec, author: Author): Promise<Versioned<'shard'>> {
  const { record } = await readTopology(store);
  if (!record.regions.includes(shard.region)) {
    throw new HomeportError('HP-D104', { shard: shard.id, region: shard.region });
  }
  const key = shardKey(shard.id);
  const was = await store.read('shard', key);
  if (was && was.record.region !== shard.region) {
    throw new HomeportError('HP-D104', { shard: shard.id, region: shard.region }); // a shard doesn't change its region
  }
  return store.write('shard', key, { version: 1, ...shard }, was ?? 'absent', author);
}

export interface PinRequest {
  readonly home: Home;
  /** Default: the ring's order over the other regions of the domain. */
  readonly secondaries?: readonly Home[];
  readonly state?: 'active' | 'opening';
  /** The pin that this change is meant for, as the admin saw it. Default: as it is now. */
  readonly expected?: Expected<'tenant'>;
}

/**
 * Gives a tenant a placement of its own. A change of home takes the next epoch, counted on from a pin that was taken away.
 * @throws HP-D102..D106 for a wish that can't be, and as `DirectoryStore.write`.
 */
export async function pinTenant(
  store: DirectoryStore,
  tenant: TenantParts,
  request: PinRequest,
  author: Author,
): Promise<Placement> {
  const key = tenantKvKey(tenant.key);
  const placement = tenantPlacement(tenant.key);
  const [topology, shards] = [(await readTopology(store)).record, await listShards(store)];
  checkHome(placement, topology, tenant.domain, request.home, shards);
  const secondaries = request.secondaries ?? ringSecondaries(placement, topology, tenant.domain, request.home, shards);
  checkSecondaries(placement, topology, tenant.domain, request.home, secondaries, shards);

  const was = request.expected ?? (await store.read('tenant', key)) ?? 'absent';
  const before = was === 'absent' ? undefined : was.record;
  const stays = before && before.state !== 'released' && before.home.shard === request.home.shard;
  const epoch = stays ? before.epoch : (before?.epoch ?? 0) + 1;
  const body = {
    version: 1 as const,
    key: placement,
    home: request.home,
    secondaries: [...secondaries],
    epoch,
    state: request.state ?? 'active',
  };
  const { record, revision } = await store.write('tenant', key, body, was, author);
  return { ...body, secondaries: body.secondaries, epoch: record.epoch, revision };
}

/** Takes a pin away: the tenant lives at its slot's placement again. @returns false when it had none. */
export async function unpinTenant(
  store: DirectoryStore,
  tenant: TenantParts,
  author: Author,
  expected?: Versioned<'tenant'>,
): Promise<boolean> {
  const key = tenantKvKey(tenant.key);
  const was = expected ?? (await store.read('tenant', key));
  if (!was || was.record.state === 'released') return false;
  const body = { version: 1 as const, key: was.record.key, state: 'released' as const, epoch: was.record.epoch + 1 };
  await store.write('tenant', key, body, was, author);
  return true;
}

/** Changes a placement that exists, slot or pin, for the state machines of moves and failovers. */
export async function changePlacement(
  store: DirectoryStore,
  was: Placement,
  next: Pick<Placement, 'home' | 'secondaries' | 'epoch' | 'state'>,
  author: Author,
): Promise<Placement> {
  const topology = (await readTopology(store)).record;
  const shards = await listShards(store);
  const domain = domainOf(was.key);
  checkHome(was.key, topology, domain, next.home, shards);
  checkSecondaries(was.key, topology, domain, next.home, next.secondaries, shards);
  const current = await readPlacement(store, was.key);
  if (!current) throw new HomeportError('HP-D303', { missing: `there is no placement ${was.key}` });
  const { record, revision } = current.versioned;
  // A read never invents: a later revision than the one this change was decided on means that the change has lost. An
  // earlier one only means a stale read, and the compare-and-set will say.
  if (revision > was.revision) {
    const what = placementSummary(record);
    throw lostTo(current.key, { write: record.write, atMs: record.write.atMs, what, expected: was.revision, revision });
  }
  const expected = { record, revision: was.revision };
  const body: RecordBodies['slot'] = { version: 1, key: was.key, ...next, secondaries: [...next.secondaries] };
  const written = await store.write(current.kind, current.key, body, expected, author);
  return { ...was, ...next, revision: written.revision };
}

export async function readPlacement(store: DirectoryStore, key: PlacementKey) {
  const kvKey = placementToKvKey(key) ?? '';
  const kind = kindOf(kvKey);
  if (kind !== 'slot' && kind !== 'tenant') throw new HomeportError('HP-D307', { key, why: 'it is no placement key' });
  const versioned = await store.read<'slot' | 'tenant'>(kind, kvKey);
  if (!versioned || versioned.record.state === 'released') return undefined;
  return { kind, key: kvKey, versioned, placement: placementFrom(versioned.record, versioned.revision) };
}

function domainOf(key: PlacementKey): Domain {
  if (key.startsWith('tenant:')) return parseTenantKey(key.slice('tenant:'.length)).domain;
  return key.split(':')[1] as Domain; // cast: slot keys are made of checked parts
}

/** I9 at the source: no placement outside the domain's regions is ever written. */
function checkHome(
  key: PlacementKey,
  topology: StoredTopology,
  domain: Domain,
  home: Home,
  shards: readonly ShardSpec[],
) {
  const regions = domainRegions(topology, domain);
  if (!regions) throw new HomeportError('HP-D102', { domain });
  if (!shards.some(s => s.id === home.shard && s.region === home.region))
    throw new HomeportError('HP-D104', { ...home });
  if (!regions.includes(home.region)) {
    throw new HomeportError('HP-D103', { key, region: home.region, domain, regions: regions.join(', ') });
  }
}

function checkSecondaries(
  key: PlacementKey,
  topology: StoredTopology,
  domain: Domain,
  home: Home,
  secondaries: readonly Home[],
  shards: readonly ShardSpec[],
) {
  for (const secondary of secondaries) checkHome(key, topology, domain, secondary, shards);
  const regions = [home, ...secondaries].map(h => h.region);
  if (new Set(regions).size === regions.length) return;
  const named = secondaries.map(s => `${s.region}/${s.shard}`).join(', ');
  throw new HomeportError('HP-D106', { key, secondaries: named });
}

function ringSecondaries(
  key: PlacementKey,
  topology: StoredTopology,
  domain: Domain,
  home: Home,
  shards: readonly ShardSpec[],
): Home[] {
  const taken = new Set([home.region]);
  const chosen: Home[] = [];
  for (const { shard } of ringOrder(key, eligibleShards(topology, shards, domain))) {
    if (chosen.length >= topology.secondaries || taken.has(shard.region)) continue;
    taken.add(shard.region);
    chosen.push({ region: shard.region, shard: shard.id });
  }
  return chosen;
}
