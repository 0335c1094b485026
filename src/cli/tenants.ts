/** `homeport tenants`: the register of who lives where. */
import { type Command, InvalidArgumentError } from 'commander';
import { parseTenantKey } from '../base/ids.ts';
import { type Cli, examples } from './context.ts';
import { exitCodes } from './exit.ts';
import { withPlane } from './plane.ts';

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 1 to 999999.');
  return Number(text);
}

export function register(program: Command, cli: Cli): void {
  const tenants = program
    .command('tenants')
    .description('register tenants, list them, show where one lives')
    .addHelpText(
      'after',
      examples(
        ['homeport tenants add acme', 'where the ring puts it'],
        ['homeport tenants add eu/anker', 'in domain eu: its data never leaves that domain'],
        ['homeport tenants list', 'all of them, with their shards'],
        ['homeport tenants show acme --json', 'one of them, for a script'],
      ),
    );
  tenants
    .command('add')
    .description('register a tenant; it lives where its placement says. Done already: nothing changes')
    .argument('<tenant...>', '[domain/]name')
    .action((names: string[]) => addTenants(cli, names));
  tenants
    .command('list')
    .description('registered tenants and their shards; exit code 4 when a shard could not be asked')
    .option('--limit <n>', 'at most so many', wholeNumber, 1000)
    .action((options: { limit: number }) => list(cli, options.limit));
  tenants
    .command('show')
    .description('where a tenant lives, and who registered it')
    .argument('<tenant>', '[domain/]name')
    .action((name: string) => show(cli, name));
}

async function addTenants(cli: Cli, names: readonly string[]): Promise<void> {
  const keys = names.map(parseTenantKey);
  await withPlane(cli, 'tenants add', async plane => {
    const { registerTenant } = await import('../control/tenants.ts');
    const done: Awaited<ReturnType<typeof registerTenant>>[] = [];
    for (const key of keys) done.push(await registerTenant(plane, key));
    cli.output.result(done, () =>
      done
        .map(({ tenant, region, shard, added }) => {
          return `${tenant} ${added ? 'lives' : 'was registered before, and lives'} on ${shard} (${region})`;
        })
        .join('\n'),
    );
  });
}

async function list(cli: Cli, limit: number): Promise<void> {
  await withPlane(cli, 'tenants list', async plane => {
    const { listAllTenants } = await import('../control/tenants.ts');
    const found = await listAllTenants(plane, { limit });
    const { tenants, missing, more } = found;
    cli.output.list(
      tenants,
      [
        { title: 'TENANT', value: row => row.tenant },
        { title: 'DOMAIN', value: row => row.domain },
        { title: 'SHARD', value: row => row.shard },
        { title: 'SINCE', value: row => row.createdAt.toISOString().slice(0, 10) },
      ],
      emptyText(missing.length > 0),
      found,
    );
    if (more) cli.output.note(`there are more than ${limit}; ask for them with --limit`);
    for (const { why } of missing) cli.output.note(`its tenants are missing here: ${why}`);
    if (missing.length > 0) process.exitCode = exitCodes.unreachable.code;
  });
}

function emptyText(someMissing: boolean): string {
  if (someMissing) return 'no tenants are registered on the shards that answer';
  return 'no tenants are registered; homeport tenants add <name> registers one';
}

async function show(cli: Cli, name: string): Promise<void> {
  const key = parseTenantKey(name);
  await withPlane(cli, 'tenants show', async plane => {
    const { showTenant } = await import('../control/tenants.ts');
    const tenant = await showTenant(plane, key);
    cli.output.result(tenant, ({ registered, region, shard, placement, epoch, pinned }) => {
      const origin = registered
        ? `registered by ${registered.createdBy} on ${registered.createdAt.toISOString().slice(0, 10)}`
        : 'not registered; it is served all the same';
      return `${key.key} lives on ${shard} (${region}), ${pinned ? 'pinned' : 'by its slot'}: ${placement}, epoch ${epoch}\n${origin}`;
    });
  });
}
