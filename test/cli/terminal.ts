/** A command line run inside the test, with what it wrote. */
import type { Command } from 'commander';
import { realWorld } from '../../src/base/world.ts';
import type { CommandRow } from '../../src/cli/commands.ts';
import type { Cli } from '../../src/cli/context.ts';
import { run } from '../../src/cli/main.ts';

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export async function homeport(
  argv: readonly string[],
  env: NodeJS.ProcessEnv = {},
  rows?: readonly CommandRow[],
): Promise<Said> {
  const out: string[] = [];
  const err: string[] = [];
  const surroundings = {
    env,
    world: realWorld,
    out: { write: (text: string) => out.push(text) },
    err: { write: (text: string) => err.push(text) },
  };
  const code = await run(argv, surroundings, rows);
  return { code, out: out.join(''), err: err.join('') };
}

/** One command that does what the test says. */
export function commandRow(name: string, action: (cli: Cli) => void | Promise<void>, onLoad?: () => void): CommandRow {
  const register = (program: Command, cli: Cli) => void program.command(name).action(() => action(cli));
  return {
    commands: { [name]: `the command ${name}` },
    load: async () => {
      onLoad?.();
      return { register };
    },
  };
}
