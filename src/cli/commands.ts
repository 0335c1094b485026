/**
 * The commands, and the files that hold them. Only the file of the command that was typed is loaded, so that
 * `homeport --help` costs nothing; the summaries here are what the overview shows.
 */
import type { CommandModule } from './context.ts';

export interface CommandRow {
  /** Name and summary of each command that the file registers. */
  readonly commands: Readonly<Record<string, string>>;
  readonly load: () => Promise<CommandModule>;
}

export const commandRows: readonly CommandRow[] = [
  { commands: { serve: 'run the gateway of one region' }, load: () => import('./serve.ts') },
  {
    commands: {
      init: 'make a cluster of the configured regions',
      migrate: 'bring all shards to the same schema',
      enroll: 'put tables under the tenant rules',
    },
    load: () => import('./migrate.ts'),
  },
  { commands: { tenants: 'register tenants, list them, show where one lives' }, load: () => import('./tenants.ts') },
  {
    commands: {
      pin: 'keep a tenant on one shard, whatever the ring says',
      unpin: 'let a tenant live where its slot lives',
    },
    load: () => import('./pin.ts'),
  },
  { commands: { explain: 'where a tenant lives, and why' }, load: () => import('./explain.ts') },
  { commands: { config: 'check, print and describe the configuration' }, load: () => import('./config.ts') },
  {
    commands: { dev: 'run three regions on this machine: Postgres, NATS and Homeport, with links that can fail' },
    load: () => import('./dev.ts'),
  },
  { commands: { errors: 'what an error code means and what to do next' }, load: () => import('./errors.ts') },
];
