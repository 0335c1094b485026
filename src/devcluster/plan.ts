/**
 * Who listens where: the ports of three regions and of the links between them. Ports are asked for by name, so that a
 * second start gives every listener the port it had, as long as that is free.
 */
import type { World } from '../base/world.ts';
import { readJson, writeWhole } from './files.ts';
import type { LinkRoute } from './links.ts';
import { allocatePorts } from './ports.ts';

export const REGIONS = ['eu-west', 'us-east', 'ap-south'] as const;
export type DevRegion = (typeof REGIONS)[number];

export function isDevRegion(text: string): text is DevRegion {
  return REGIONS.some(region => region === text);
}

const LISTENERS = ['postgres', 'nats', 'nats-monitor', 'nats-route', 'gateway', 'peer', 'http'] as const;
export type Listener = (typeof LISTENERS)[number];

/** What crosses from region to region, and the listener it ends at. */
const CROSSING = { nats: 'nats-route', peer: 'peer', postgres: 'postgres' } as const;
export type Crossing = keyof typeof CROSSING;

export interface Plan {
  port(region: DevRegion, listener: Listener): number;
  /** Where processes of `from` reach a service of `to`: a link's listener. */
  linkPort(from: DevRegion, to: DevRegion, service: Crossing): number;
  /** Reserved, and nobody listens there. */
  readonly nowherePort: number;
  readonly routes: readonly LinkRoute[];
}

export function others(region: DevRegion): DevRegion[] {
  return REGIONS.filter(other => other !== region);
}

function readPorts(file: string): Map<string, number> {
  return new Map(Object.entries(readJson(file) ?? {}).map(([name, port]) => [name, Number(port)]));
}

export async function makePlan(portsFile: string, world: World): Promise<Plan> {
  const crossings = Object.keys(CROSSING) as Crossing[]; // cast: the keys of a literal
  const pairs = REGIONS.flatMap(from => others(from).map(to => ({ from, to })));
  const linkName = (from: string, to: string, service: string) => `${from}:${to}/${service}`;
  const names = [
    ...REGIONS.flatMap(region => LISTENERS.map(listener => `${region}/${listener}`)),
    ...pairs.flatMap(({ from, to }) => crossings.map(service => linkName(from, to, service))),
    'nowhere',
  ];
  const before = readPorts(portsFile);
  const numbers = await allocatePorts(names.length, { world, prefer: names.map(name => before.get(name)) });
  const ports = new Map(names.map((name, i) => [name, numbers[i] ?? 0]));
  writeWhole(portsFile, `${JSON.stringify(Object.fromEntries(ports), null, 2)}\n`);
  const get = (name: string) => ports.get(name) ?? 0;
  const linkPort = (from: string, to: string, service: string) => get(linkName(from, to, service));
  const routes = pairs.flatMap(({ from, to }) =>
    crossings.map(service => ({
      from,
      to,
      service,
      listenPort: linkPort(from, to, service),
      targetPort: get(`${to}/${CROSSING[service]}`),
    })),
  );
  return {
    port: (region, listener) => get(`${region}/${listener}`),
    linkPort,
    nowherePort: get('nowhere'),
    routes,
  };
}
