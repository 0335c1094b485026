/** What `homeport dev` shows people. */
import { relative } from 'node:path';
import type { ClusterStatus, RegionAddresses } from '../devcluster/cluster.ts';
import { table } from './output.ts';

/** How `homeport` is typed here: after npm start nobody has it on PATH. */
export function commandName(env: NodeJS.ProcessEnv): string {
  return env.npm_lifecycle_event === undefined ? 'homeport' : 'npx homeport';
}

function shortPath(path: string): string {
  const short = relative('', path);
  return short === '' || short.startsWith('..') ? path : short;
}

function regionText({ name, pg, http, shards }: RegionAddresses, gateways: boolean): string {
  const rows = [
    ...(gateways ? [`    connect  ${pg}`, `    HTTP     ${http}`] : []),
    ...shards.map(shard => `    shard    ${shard.pg}   (${shard.id}, past the gateway, as owner)`),
  ];
  return [`  ${name}`, ...rows].join('\n');
}

export interface ReadyInput {
  readonly status: ClusterStatus;
  readonly seconds: number;
  readonly gateways: boolean;
  readonly command: string;
  readonly background: boolean;
}

/** The page of addresses, and what to type next. */
export function readyText({ status, seconds, gateways, command, background }: ReadyInput): string {
  const regions = status.regions.map(region => regionText(region, gateways));
  const [first] = status.regions;
  const config = shortPath(first?.configFile ?? '');
  const next = [
    ...(gateways
      ? [
          [`psql '${first?.pg}?options=-c%20homeport.tenant%3Dacme'`, 'speak for the tenant acme, from anywhere'],
          [`${command} explain acme -c ${config}`, 'where it lives, and why'],
        ]
      : []),
    [`${command} dev status`, 'what runs, and its logs'],
    [`${command} dev kill us-east`, `lose a region; ${command} dev start us-east brings it back`],
    [`${command} dev isolate ap-south`, `cut it off from the others; ${command} dev heal ap-south`],
    ...(background ? [[`${command} dev stop`, 'stop everything; the data stays']] : []),
  ];
  const lines = next.map(([line = '', purpose = '']) => `  ${line}\n      ${purpose}`);
  const where = `three regions on this machine, ready in ${seconds.toFixed(1)} s; everything is in ${shortPath(status.dir)}`;
  const end = background ? [] : ['', 'Ctrl-C stops everything; the data stays for the next start.'];
  return ['', `Homeport: ${where}`, '', regions.join('\n\n'), '', 'Next:', ...lines, ...end].join('\n');
}

function linkFaults({ links, isolated }: ClusterStatus): string[] {
  const changed = links.filter(
    ({ delayMs, bytesPerSecond, blackhole, cut }) => delayMs > 0 || bytesPerSecond !== undefined || blackhole || cut,
  );
  const rows = changed.map(({ from, to, delayMs, bytesPerSecond, blackhole, cut }) => {
    const what = [
      delayMs > 0 ? `delay ${delayMs} ms` : '',
      bytesPerSecond === undefined ? '' : `${bytesPerSecond} bytes/s`,
      blackhole ? 'black hole' : '',
      cut ? 'cut' : '',
    ];
    return `  ${from} → ${to}: ${what.filter(Boolean).join(', ')}`;
  });
  return [
    ...(isolated.length > 0 ? ['', `isolated: ${isolated.join(', ')}`] : []),
    ...(rows.length > 0 ? ['', 'links:', ...rows] : []),
  ];
}

export function statusText(status: ClusterStatus): string {
  const processes = table(status.processes, [
    { title: 'PROCESS', value: row => row.name },
    { title: 'STATE', value: row => row.state },
    { title: 'PID', value: row => row.pid },
    {
      title: 'PORTS',
      value: row =>
        row.kind === 'links'
          ? ''
          : Object.entries(row.ports)
              .map(pair => pair.join(' '))
              .join(', '),
    },
    { title: 'LOG', value: row => shortPath(row.logFile) },
  ]);
  return [processes, ...linkFaults(status)].join('\n');
}
