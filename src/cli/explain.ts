import type { Command } from 'commander';
import { parseTenantKey } from '../base/ids.ts';
import type { Explanation } from '../directory/explain.ts';
import { type Cli, examples } from './context.ts';
import { table } from './output.ts';
import { withPlane } from './plane.ts';

export function register(program: Command, cli: Cli): void {
  program
    .command('explain')
    .summary('where a tenant lives, and why')
    .description(
      'Says where a tenant lives and why: hash, slot, ring order with scores, pin, epoch, home, secondaries.',
    )
    .argument('<tenant>', '[domain/]name')
    .addHelpText(
      'after',
      examples(
        ['homeport explain acme', 'every step from the name to the shard'],
        ['homeport explain eu/anker --json', 'the same for a script'],
      ),
    )
    .action((name: string) => run(cli, name));
}

async function run(cli: Cli, name: string): Promise<void> {
  const tenant = parseTenantKey(name);
  await withPlane(cli, 'explain', async plane => {
    const { explain } = await import('../directory/explain.ts');
    const { listShards } = await import('../directory/placing.ts');
    const explanation = explain({ ...(await plane.whereIs(tenant)), shards: await listShards(plane.store) });
    cli.output.result(explanation, text);
  });
}

function text(e: Explanation): string {
  const ring = table(e.ring, [
    { title: '  RING ORDER', value: row => `  ${row.shard}` },
    { title: 'REGION', value: row => row.region },
    { title: 'WEIGHT', value: row => row.weight },
    { title: 'SCORE', value: row => row.score.toFixed(4) },
  ]);
  const secondaries = e.secondaries.map(({ shard }) => shard).join(', ') || 'none';
  return [
    `${e.tenant} lives on ${e.home.shard} in ${e.home.region}: ${e.why}.`,
    '',
    `  domain       ${e.domain} (${e.regions.join(', ')})`,
    `  hash         ${e.hash}, slot ${e.slot} of ${e.slots}`,
    `  placement    ${e.placement}, ${e.state}, epoch ${e.epoch}`,
    `  home         ${e.home.shard} (${e.home.region})`,
    `  secondaries  ${secondaries}`,
    `  pin          ${e.pin ? `${e.pin.home.shard}, epoch ${e.pin.epoch}, ${e.pin.state}` : 'none'}`,
    '',
    ring,
  ].join('\n');
}
