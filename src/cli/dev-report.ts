/** What `homeport dev` shows people. */
import { existsSync } from 'node:fs';
import { delimiter, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ClusterStatus, RegionAddresses } from '../devcluster/cluster.ts';
import { DEFAULT_DIR } from './dev-options.ts';
import { table } from './output.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/**
 * How `homeport` is typed here. npm puts directories on PATH that a person's shell does not have, so what was started by
 * it is started with it again.
 */
export function commandName(env: NodeJS.ProcessEnv): string {
  if (env.npm_lifecycle_event !== undefined) return 'npx homeport';
  const path = (env.PATH ?? '').split(delimiter).filter(directory => directory !== '');
  if (path.some(directory => existsSync(join(directory, 'homeport')))) return 'homeport';
  return relative('', ROOT) === '' ? 'npx homeport' : `node ${quoted(join(ROOT, 'bin', 'homeport.mjs'))}`;
}

/** As a shell takes it for one word. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
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
  const atDir = status.dir === resolve(DEFAULT_DIR) ? '' : ` --dir ${quoted(shortPath(status.dir))}`;
  const dev = (words: string) => `${command} dev ${words}${atDir}`;
  const next = [
    ...(gateways
      ? [
          [`psql '${first?.pg}?options=-c%20homeport.tenant%3Dacme'`, 'speak for the tenant acme, from anywhere'],
          [`${command} explain acme -c ${quoted(config)}`, 'where it lives, and why'],
        ]
      : []),
    [dev('status'), 'what runs, and its logs'],
    [dev('kill us-east'), `lose a region; ${dev('start us-east')} brings it back`],
    [dev('isolate ap-south'), `cut it off from the others; ${dev('heal ap-south')}`],
    ...(background ? [[dev('stop'), 'stop everything; the data stays']] : []),
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
