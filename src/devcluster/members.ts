/** The processes of a cluster: which there are, and how each is started. */
import type { World } from '../base/world.ts';
import type { LinkFaults } from './faults.ts';
import type { Launcher, NatsUnit, Unit } from './launcher.ts';
import { LinksProcess } from './links-process.ts';
import type { MemberSpec } from './member.ts';
import type { Places } from './places.ts';
import { type DevRegion, others, type Plan, REGIONS } from './plan.ts';
import type { ProcessIdentity } from './process.ts';
import type { Secrets } from './secrets.ts';
import { startServe } from './serve.ts';
import { ADMIN, DATABASE, NATS_USER } from './settings.ts';

export interface MembersInput {
  readonly places: Places;
  readonly plan: Plan;
  readonly secrets: Secrets;
  readonly launcher: Launcher;
  readonly faults: LinkFaults;
  readonly env: NodeJS.ProcessEnv;
  readonly world: World;
  readonly settings: Readonly<Record<string, string>>;
  /** The script that is run with `serve --config <file>`. */
  readonly entry: string;
}

/** What the cluster must reach beyond pausing and killing; undefined until it has been started. */
export class Handles {
  links: LinksProcess | undefined;
  readonly nats = new Map<DevRegion, NatsUnit>();
}

type OnProcess = (identity: ProcessIdentity) => void;

function links(input: MembersInput, handles: Handles): MemberSpec {
  const { plan, places, world, faults } = input;
  const logFile = places.log('links');
  const start = async (onProcess: OnProcess): Promise<Unit> => {
    const process = await LinksProcess.start({ routes: plan.routes, logFile, clock: world.clock, onProcess });
    for (const { from, to, conditions } of faults.all()) await process.change(from, to, conditions);
    handles.links = process;
    return process.unit;
  };
  const ports = Object.fromEntries(
    plan.routes.map(({ from, to, service, listenPort }) => [`${from}:${to}/${service}`, listenPort]),
  );
  return { name: 'links', kind: 'links', region: undefined, ports, dataDir: undefined, logFile, start };
}

function postgres(region: DevRegion, input: MembersInput): MemberSpec {
  const { places, plan, secrets, launcher, world, settings } = input;
  const name = `${region}/postgres`;
  const port = plan.port(region, 'postgres');
  const dataDir = places.postgresData(region);
  const logFile = places.log(name);
  const start = (onProcess: OnProcess) =>
    launcher.postgres({
      dataDir,
      port,
      socketDir: places.postgresSockets(region),
      superuser: ADMIN,
      password: secrets['postgres-admin'],
      database: DATABASE,
      logFile,
      settings: { ...settings, cluster_name: `homeport/${region}` },
      onProcess,
      world,
    });
  return { name, kind: 'postgres', region, ports: { postgres: port }, dataDir, logFile, start };
}

function nats(region: DevRegion, input: MembersInput, handles: Handles): MemberSpec {
  const { places, plan, secrets, launcher, world } = input;
  const name = `${region}/nats`;
  const dataDir = places.region(region, 'nats');
  const logFile = places.log(name);
  const ports = {
    client: plan.port(region, 'nats'),
    monitor: plan.port(region, 'nats-monitor'),
    route: plan.port(region, 'nats-route'),
  };
  const start = async (onProcess: OnProcess): Promise<Unit> => {
    const unit = await launcher.nats({
      name: region,
      dataDir,
      logFile,
      clientPort: ports.client,
      monitorPort: ports.monitor,
      user: NATS_USER,
      password: secrets.nats,
      cluster: {
        routePort: ports.route,
        routes: others(region).map(to => ({ host: launcher.linkHost, port: plan.linkPort(region, to, 'nats') })),
        password: secrets['nats-route'],
        nowherePort: plan.nowherePort,
      },
      onProcess,
      world,
    });
    handles.nats.set(region, unit);
    return unit;
  };
  return { name, kind: 'nats', region, ports, dataDir, logFile, start };
}

function gateway(region: DevRegion, input: MembersInput): MemberSpec {
  const { places, plan, env, world, entry } = input;
  const name = `${region}/gateway`;
  const logFile = places.log(name);
  const ports = {
    pg: plan.port(region, 'gateway'),
    peer: plan.port(region, 'peer'),
    http: plan.port(region, 'http'),
  };
  const configFile = places.region(region, 'homeport.yaml');
  const start = (onProcess: OnProcess) => startServe({ region, entry, configFile, logFile, env, onProcess, world });
  return { name, kind: 'gateway', region, ports, dataDir: places.region(region, 'state'), logFile, start };
}

/** In the order in which they are shown. Without `serve` there are no gateways. */
export function memberSpecs(input: MembersInput, handles: Handles, serve: boolean): MemberSpec[] {
  const ofRegion = (region: DevRegion) => [
    postgres(region, input),
    nats(region, input, handles),
    ...(serve ? [gateway(region, input)] : []),
  ];
  return [...REGIONS.flatMap(ofRegion), links(input, handles)];
}
