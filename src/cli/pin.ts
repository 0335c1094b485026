/** `homeport pin` and `homeport unpin`: a tenant's placement of its own. */
import type { Command } from 'commander';
import { parseTenantKey } from '../base/ids.ts';
import { type Cli, examples } from './context.ts';
import { withPlane } from './plane.ts';

interface PinOptions {
  readonly to: string;
  readonly reason?: string;
  readonly dryRun?: boolean;
}

export function register(program: Command, cli: Cli): void {
  program
    .command('pin')
    .summary('keep a tenant on one shard, whatever the ring says')
    .description(
      'Keeps a tenant on one shard, whatever the ring says. Its transactions wait for the moment of the change.\n' +
        'A tenant that has data on another shard is refused: moving data is not built yet. A change that broke off is\n' +
        'finished by running the command again.',
    )
    .argument('<tenant>', '[domain/]name')
    .requiredOption('--to <shard>', 'a shard, or a region that has one shard')
    .option('--reason <text>', 'for the audit trail')
    .option('--dry-run', 'say what would happen, change nothing')
    .addHelpText('after', examples(['homeport pin acme --to eu-west', 'before its first row is written']))
    .action((name: string, options: PinOptions) => pinOne(cli, name, options));
  program
    .command('unpin')
    .summary('let a tenant live where its slot lives')
    .description('Takes a pin away: the tenant lives where its slot lives. Refused when its data is elsewhere.')
    .argument('<tenant>', '[domain/]name')
    .option('--reason <text>', 'for the audit trail')
    .option('--dry-run', 'say what would happen, change nothing')
    .addHelpText('after', examples(['homeport unpin acme --dry-run', 'where it would live then']))
    .action((name: string, options: Omit<PinOptions, 'to'>) => unpinOne(cli, name, options));
}

async function pinOne(cli: Cli, name: string, options: PinOptions): Promise<void> {
  const tenant = parseTenantKey(name);
  await withPlane(cli, options.reason ?? 'pin', async plane => {
    const { pin } = await import('../control/pins.ts');
    const report = await pin(plane, tenant, plane.homeNamed(options.to), { dryRun: options.dryRun ?? false });
    cli.output.result(report, ({ outcome, home, before, epoch }) => {
      const place = `${home.shard} (${home.region})`;
      if (outcome === 'unchanged') return `${tenant.key} was pinned to ${place} already`;
      const from = before.shard === home.shard ? 'where it was' : `it was on ${before.shard}`;
      return `${tenant.key} ${outcome === 'pinned' ? 'is pinned' : 'would be pinned'} to ${place}, epoch ${epoch}; ${from}`;
    });
  });
}

async function unpinOne(cli: Cli, name: string, options: Omit<PinOptions, 'to'>): Promise<void> {
  const tenant = parseTenantKey(name);
  await withPlane(cli, options.reason ?? 'unpin', async plane => {
    const { unpin } = await import('../control/pins.ts');
    const report = await unpin(plane, tenant, { dryRun: options.dryRun ?? false });
    cli.output.result(report, ({ outcome, home }) => {
      const verb = outcome === 'unpinned' ? 'lives' : 'would live';
      return `${tenant.key} ${verb} where its slot lives: ${home.shard} (${home.region})`;
    });
  });
}
