import type { Command } from 'commander';
import { type Cli, examples } from './context.ts';

export function register(program: Command, cli: Cli): void {
  program
    .command('serve')
    .summary('run the gateway of one region')
    .description(
      'Runs the gateway of one region in the foreground: its workers and its status page. Prints one JSON line when all\n' +
        'workers listen. SIGTERM lets running transactions finish and refuses new ones (SQLSTATE 57P01).',
    )
    .addHelpText(
      'after',
      examples(
        ['homeport serve --config eu-west.yaml', 'serve the region that the file names'],
        ['homeport serve --set workers=4', 'with four worker processes'],
      ),
    )
    .action(() => run(cli));
}

async function run(cli: Cli): Promise<void> {
  const config = await cli.config();
  const { createLogger } = await import('../observe/log.ts');
  const log = createLogger({ level: config.log.level, component: 'serve' });
  const { serve } = await import('../main.ts');
  const { file, overrides = {} } = await cli.sources();
  const args = [...(file === undefined ? [] : ['--config', file]), '--overrides', JSON.stringify(overrides)];
  const serving = await serve(config, args, cli.world, log);
  const { pg, peer, http } = serving;
  const ready = { ready: true, region: config.region, pid: process.pid, pg, peer, http };
  cli.output.result(ready, JSON.stringify);
  await new Promise<void>(resolve => {
    const stop = (signal: string) => {
      log.info({ signal }, 'ending: running transactions may finish');
      resolve();
    };
    process.once('SIGTERM', stop);
    process.once('SIGINT', stop);
  });
  await serving.stop();
}
