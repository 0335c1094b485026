/** What the gateway needs of the world around it, as narrow as it uses it. */
import type { Logger } from 'pino';
import type { PlacementKey, RegionId, ShardId, TenantKey, TenantParts } from '../base/ids.ts';
import type { World } from '../base/world.ts';
import type { Output } from '../pgwire/output.ts';
import type { Pool } from '../shards/pool.ts';
import type { PreparedTexts } from '../shards/prepared.ts';

export interface PlacedAt {
  readonly key: PlacementKey;
  readonly home: { readonly region: RegionId; readonly shard: ShardId };
  readonly epoch: number;
  readonly state: string;
}

export type Whereabouts =
  | { readonly kind: 'placed'; readonly tenant: TenantKey; readonly placement: PlacedAt }
  | { readonly kind: 'unknown-domain'; readonly domain: string }
  | { readonly kind: 'unknown-yet' };

/** The directory as the data path sees it: hints that make things fast; the fence in the shard is what counts (I6). */
export interface Locator {
  locate(tenant: TenantParts): Whereabouts;
  resolve(tenant: TenantParts): Promise<Whereabouts>;
  /** Past the cache, after a shard has said that the cached answer is stale. */
  refresh(tenant: TenantParts): Promise<Whereabouts>;
}

export interface GatewayUser {
  readonly name: string;
  /** Whether the user may work for this tenant. */
  mayUse(tenant: TenantParts): boolean;
  readonly poolMode: 'transaction' | 'session';
}

export interface Counters {
  transactions: number;
  forwarded: number;
  reroutes: number;
  refusals: number;
  clients: number;
}

/** Everything that the sessions of one worker share. */
export interface Gateway {
  readonly region: RegionId;
  readonly database: string;
  readonly world: World;
  readonly log: Logger;
  readonly locator: Locator;
  readonly shards: ReadonlyMap<ShardId, Pool>;
  /** Pools of connections to the gateways of the other regions. */
  readonly peers: ReadonlyMap<RegionId, Pool>;
  readonly signingKey: Buffer;
  readonly texts: PreparedTexts;
  readonly users: ReadonlyMap<string, GatewayUser>;
  /** Gathers what goes to clients during one turn; sessions never interleave within a turn. */
  readonly toClient: Output;
  readonly toBackend: Output;
  /** What a server tells a new client about itself; from the first shard that was reached. */
  readonly serverParameters: Map<string, string>;
  readonly counters: Counters;
  draining: boolean;
}
