/** What can be said on the command line of the pgbench comparison. */
import { parseArgs } from 'node:util';

export const SCRIPTS = ['select', 'tpcb'] as const;
export const MODES = ['simple', 'extended', 'prepared'] as const;
export const TARGETS = ['direct', 'pgbouncer', 'homeport'] as const;
export type Script = (typeof SCRIPTS)[number];
export type Mode = (typeof MODES)[number];
export type TargetName = (typeof TARGETS)[number];

export interface BenchOptions {
  readonly seconds: number;
  readonly rounds: number;
  readonly scripts: readonly Script[];
  readonly modes: readonly Mode[];
  readonly clients: readonly number[];
  readonly targets: readonly TargetName[];
  /** pgbench's scale: 100,000 accounts each. */
  readonly scale: number;
  /** Idle connections for the memory figure; 0 leaves it out. */
  readonly idle: number;
  readonly json: boolean;
}

export const USAGE = `npm run bench -- [options]

  --quick              one short round of few cells: a look, not a result
  --seconds <n>        of each run (default 5)
  --rounds <n>         of all targets in turn, of which the median counts (default 5)
  --scripts <list>     ${SCRIPTS.join(',')}
  --modes <list>       ${MODES.join(',')}
  --clients <list>     1,8,32
  --targets <list>     ${TARGETS.join(',')}
  --scale <n>          of the pgbench tables, 100,000 accounts each (default 10)
  --idle <n>           idle connections for the memory figure (default 5000; 0 leaves it out)
  --json               the figures as JSON on standard output
`;

function listOf<T extends string>(option: string, text: string, allowed: readonly T[]): T[] {
  return text.split(',').map(word => {
    const found = allowed.find(each => each === word.trim());
    if (found === undefined) throw new Error(`--${option}: "${word}" is none of ${allowed.join(', ')}`);
    return found;
  });
}

function positive(option: string, text: string, least = 1): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least)
    throw new Error(`--${option}: "${text}" is not a whole number from ${least}`);
  return value;
}

/** @returns undefined when help was asked for. @throws Error with the sentence to print. */
export function readOptions(argv: readonly string[]): BenchOptions | undefined {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  const { values } = parseArgs({
    args: [...argv],
    options: {
      quick: flag,
      json: flag,
      help: flag,
      seconds: text,
      rounds: text,
      scripts: text,
      modes: text,
      clients: text,
      targets: text,
      scale: text,
      idle: text,
    },
  });
  if (values.help) return undefined;
  const quick = values.quick;
  return {
    seconds: positive('seconds', values.seconds ?? (quick ? '2' : '5')),
    rounds: positive('rounds', values.rounds ?? (quick ? '1' : '5')),
    scripts: listOf('scripts', values.scripts ?? SCRIPTS.join(','), SCRIPTS),
    modes: listOf('modes', values.modes ?? (quick ? 'simple,extended' : MODES.join(',')), MODES),
    clients: (values.clients ?? (quick ? '1,8' : '1,8,32')).split(',').map(word => positive('clients', word)),
    targets: listOf('targets', values.targets ?? TARGETS.join(','), TARGETS),
    scale: positive('scale', values.scale ?? (quick ? '1' : '10')),
    idle: positive('idle', values.idle ?? (quick ? '500' : '5000'), 0),
    json: values.json,
  };
}
