/** `homeport init`, `homeport migrate` and `homeport enroll`: what the shards hold. */
import { readdirSync } from 'node:fs';
import type { Command } from 'commander';
import { HomeportError } from '../base/errors.ts';
import type { MigrateProgress, MigrateReport } from '../shards/migrate.ts';
import { type Cli, examples } from './context.ts';
import { controlOptions } from './plane.ts';

export function register(program: Command, cli: Cli): void {
  program
    .command('init')
    .summary('make a cluster of the configured regions')
    .description(
      'Makes a cluster of the configured regions: the directory, the schema and roles of every shard, the first fences.\n' +
        'Run again it finishes what is missing and changes nothing else.',
    )
    .addHelpText('after', examples(['homeport init -c eu-west.yaml', 'once, from any region']))
    .action(() => init(cli));
  program
    .command('migrate')
    .summary('bring all shards to the same schema')
    .description(
      "Brings all shards to the same schema: Homeport's own, then your *.sql files in the order of their names. All\n" +
        'shards or a report of which ones and why; run again it goes on where it stopped.',
    )
    .argument('[directory]', 'your migrations: *.sql files')
    .addHelpText('after', examples(['homeport migrate db/migrations', 'own and user migrations on every shard']))
    .action((directory: string | undefined) => migrate(cli, directory));
  program
    .command('enroll')
    .summary('put tables under the tenant rules')
    .description(
      'Puts tables under the tenant rules, on every shard: row-level security by tenant, the default of the tenant\n' +
        'column, the publication, rights of the application users, ids that never collide. A table that does not fit is\n' +
        'refused with everything that has to change.',
    )
    .argument('<table...>', 'tables, with their schema when it is not public')
    .option('--dry-run', 'print each statement and its reason, change nothing')
    .option('--tenant-column <name>', 'the column that holds the tenant', 'tenant_id')
    .addHelpText('after', examples(['homeport enroll orders order_lines --dry-run', 'what would be done, and why']))
    .action((tables: string[], options: EnrollFlags) => enroll(cli, tables, options));
}

async function init(cli: Cli): Promise<void> {
  const { initialiseCluster } = await import('../control/initialise.ts');
  const report = await initialiseCluster(await controlOptions(cli, 'init'), text => cli.output.note(text));
  cli.output.result(report, ({ directoryRecords, migrations, roles, fences }) => {
    const changed = directoryRecords + migrations + roles + fences;
    if (changed === 0) return 'nothing was missing';
    return `directory: ${directoryRecords} records; shards: ${migrations} migrations, ${roles} roles, ${fences} fences`;
  });
}

function tell(event: MigrateProgress): string {
  switch (event.kind) {
    case 'connected':
      return `${event.shard}: connected, no other migration runs`;
    case 'own':
      return `${event.shard}: ${event.migration}`;
    case 'user':
      return `${event.migration} on ${event.shards.join(', ')}`;
    case 'current':
      return `${event.shard}: up to date`;
  }
}

/** Before any shard is spoken to. @throws HP-A110 */
function mustBeReadable(directory: string): void {
  let files: string[];
  try {
    files = readdirSync(directory);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HomeportError('HP-A110', { directory, why }, { cause });
  }
  if (files.some(file => file.endsWith('.sql'))) return;
  throw new HomeportError('HP-A110', { directory, why: 'it has no *.sql files' });
}

async function migrate(cli: Cli, directory: string | undefined): Promise<void> {
  const { migrateAll } = await import('../control/schema.ts');
  if (directory !== undefined) mustBeReadable(directory);
  const onProgress = (event: MigrateProgress) => cli.output.note(tell(event));
  const { reports } = await migrateAll(await cli.config(), cli.world, { userMigrations: directory, onProgress });
  cli.output.result(reports, (all: readonly MigrateReport[]) => {
    const ran = all.reduce((sum, { own, user }) => sum + own.length + user.length, 0);
    return ran === 0
      ? `${all.length} shards were up to date`
      : `${all.length} shards are up to date; ${ran} migrations ran`;
  });
}

interface EnrollFlags {
  readonly dryRun?: boolean;
  readonly tenantColumn: string;
}

async function enroll(cli: Cli, tables: readonly string[], flags: EnrollFlags): Promise<void> {
  const { enrollAll } = await import('../control/schema.ts');
  const { dryRun = false, tenantColumn } = flags;
  const reports = await enrollAll(await cli.config(), tables, { dryRun, tenantColumn });
  const result = [...reports].map(([shard, report]) => ({ shard, ...report }));
  cli.output.result(result, () => result.map(report => enrollText(report, dryRun)).join('\n\n'));
}

type Enrolled = { readonly shard: string } & import('../shards/enroll.ts').EnrollReport;

function enrollText({ shard, tables, warnings }: Enrolled, dryRun: boolean): string {
  const lines = tables.flatMap(({ table, steps }) => {
    const open = steps.filter(step => step.state !== 'already');
    if (open.length === 0) return [`${shard}: ${table} is enrolled already`];
    if (!dryRun) return [`${shard}: ${table} is enrolled now (${open.length} steps)`];
    return [`${shard}: ${table}`, ...open.map(({ sql, why }) => `  would run: ${sql}\n    because ${why}`)];
  });
  return [...lines, ...warnings.map(warning => `${shard}: look at this: ${warning}`)].join('\n');
}
