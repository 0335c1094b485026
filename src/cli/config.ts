/** `homeport config`: is it right, what is in force, what may be written. */
import { text } from 'node:stream/consumers';
import type { Command } from 'commander';
import { HomeportError } from '../base/errors.ts';
import { type Cli, examples } from './context.ts';

export function register(program: Command, cli: Cli): void {
  const config = program
    .command('config')
    .description('check, print and describe the configuration')
    .addHelpText(
      'after',
      examples(
        ['homeport config check -c eu-west.yaml', 'every problem at once, each with its remedy'],
        ['homeport config print --set log.level=debug', 'what would be in force, secrets masked'],
        ['HOMEPORT_REGION=us-east homeport config print', 'any setting may come from a variable'],
        ['homeport config schema > homeport.schema.json', 'JSON Schema, for the editor'],
      ),
    );
  config
    .command('check')
    .description('read the configuration as serve would, and name everything that is wrong with it')
    .action(() => check(cli));
  config
    .command('print')
    .description('print the configuration that is in force, with defaults, without secrets')
    .action(() => print(cli));
  config
    .command('schema')
    .description('print the JSON Schema of the configuration file')
    .action(() => schema(cli));
  config
    .command('verifier')
    .description('turn a password, read from standard input, into the verifier of a user in the configuration')
    .addHelpText(
      'after',
      examples(['openssl rand -base64 24 | tee app.password | homeport config verifier', 'a new one']),
    )
    .action(() => verifier(cli));
}

async function check(cli: Cli): Promise<void> {
  const config = await cli.config();
  const file = cli.configFile() ?? null;
  const summary = {
    valid: true,
    file,
    region: config.region,
    regions: Object.keys(config.regions),
    shards: Object.keys(config.shards),
    users: Object.keys(config.users),
  };
  cli.output.result(summary, ({ region, regions, shards, users }) => {
    const counts = `${regions.length} regions, ${shards.length} own shards, ${users.length} users`;
    return `${file ?? 'the environment'}: valid; region ${region} (${counts})`;
  });
}

async function print(cli: Cli): Promise<void> {
  const config = await cli.config();
  const { maskConfig, printConfig } = await import('../config/print.ts');
  cli.output.result(maskConfig(config), () => printConfig(config).trimEnd());
}

async function schema(cli: Cli): Promise<void> {
  const { settingsJsonSchema } = await import('../config/schema.ts');
  cli.output.result(settingsJsonSchema(), value => JSON.stringify(value, null, 2));
}

/** The password comes through a pipe, never as an argument, which every user of the machine could read. */
async function verifier(cli: Cli): Promise<void> {
  if (process.stdin.isTTY) throw new HomeportError('HP-C203');
  const password = (await text(process.stdin)).replace(/\r?\n$/, '');
  if (password === '') throw new HomeportError('HP-C203');
  const { buildVerifier } = await import('../pgwire/scram-keys.ts');
  const built = await buildVerifier(password, { salt: cli.world.random.bytes(16) });
  cli.output.result({ verifier: built }, () => built);
}
