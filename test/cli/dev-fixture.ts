/** The command line with `homeport dev` alone, as a process of its own: tests signal and kill it. */
import { realWorld } from '../../src/base/world.ts';
import { run } from '../../src/cli/main.ts';

process.exitCode = await run(
  process.argv.slice(2),
  { env: process.env, world: realWorld, out: process.stdout, err: process.stderr },
  [{ commands: { dev: 'the local cluster' }, load: () => import('../../src/cli/dev.ts') }],
);
