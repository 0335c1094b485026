/** The command line: reads it, runs one command, and turns whatever comes out into text and an exit code. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { realWorld } from '../base/world.ts';
import { type CommandRow, commandRows } from './commands.ts';
import { Cli, examples, type Surroundings } from './context.ts';
import { exitCodeOf, exitCodes } from './exit.ts';

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  const isManifest = typeof manifest === 'object' && manifest !== null && 'version' in manifest;
  return isManifest ? String(manifest.version) : 'unknown';
}

function exitCodeHelp(): string {
  const lines = Object.values(exitCodes).map(({ code, means }) => `  ${String(code).padStart(3)}  ${means}`);
  return ['', '', 'Exit codes:', ...lines].join('\n');
}

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

function createProgram({ out, err }: Surroundings): Command {
  return new Command('homeport')
    .description('Pins every tenant to a home region, and is the door to its Postgres data from any other.')
    .version(version(), '-V, --version', 'print the version')
    .option(
      '-c, --config <file>',
      'the configuration (default: $HOMEPORT_CONFIG, ./homeport.yaml, /etc/homeport/homeport.yaml, a local cluster in ./.homeport)',
    )
    .option('--set <path=value>', 'override one setting, such as listen.pg=127.0.0.1:6432 (repeatable)', collect)
    .option('--json', 'one line of JSON instead of text')
    .option('-v, --verbose', 'say more: causes, stack traces, debug logs')
    .configureHelp({ showGlobalOptions: true, sortSubcommands: true })
    .configureOutput({ writeOut: text => out.write(text), writeErr: text => err.write(text) })
    .showHelpAfterError('(homeport --help shows what there is)')
    .addHelpText(
      'after',
      examples(
        ['homeport config check', 'is the configuration right?'],
        ['homeport errors HP-C101', 'what does this code mean, and what now?'],
        ['homeport <command> --help', 'options and examples of one command'],
      ) + exitCodeHelp(),
    )
    .exitOverride();
}

/** Global flags whose value is the next word: a file called `dev` is not the command. */
const VALUED = new Set(['-c', '--config', '--set']);

/** The command that was typed, if it is one of ours: the first word that is neither a flag nor a flag's value. */
function chosenRow(rows: readonly CommandRow[], argv: readonly string[]): CommandRow | undefined {
  const words = argv.filter((word, i) => !word.startsWith('-') && !VALUED.has(argv[i - 1] ?? ''));
  const name = words[0] === 'help' ? words[1] : words[0];
  return rows.find(({ commands }) => name !== undefined && Object.hasOwn(commands, name));
}

function usageExitCode(error: CommanderError): number {
  return error.exitCode === 0 ? exitCodes.ok.code : exitCodes.usage.code;
}

/** Runs the command line and returns its exit code. */
export async function run(argv: readonly string[], surroundings: Surroundings, rows = commandRows): Promise<number> {
  const program = createProgram(surroundings);
  const cli = new Cli(program, surroundings);
  try {
    const chosen = chosenRow(rows, argv);
    for (const row of rows) {
      if (row === chosen) (await row.load()).register(program, cli);
      else for (const [name, summary] of Object.entries(row.commands)) program.command(name).description(summary);
    }
    if (argv.length === 0) {
      program.outputHelp();
      return exitCodes.ok.code;
    }
    await program.parseAsync(argv, { from: 'user' });
    return Number(process.exitCode ?? exitCodes.ok.code);
  } catch (error) {
    if (error instanceof CommanderError) return usageExitCode(error);
    cli.output.error(error);
    return exitCodeOf(error);
  }
}

export async function main(argv: readonly string[]): Promise<void> {
  // A reader that has seen enough (`| head`) ends the command, quietly.
  process.stdout.on('error', error => process.exit('code' in error && error.code === 'EPIPE' ? 0 : 1));
  process.exitCode = await run(argv, { env: process.env, world: realWorld, out: process.stdout, err: process.stderr });
}
