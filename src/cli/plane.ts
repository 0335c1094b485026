/** A command's way to the cluster: opened with the author that the audit trail will name, closed whatever happens. */
import { userInfo } from 'node:os';
import type { ControlOptions, ControlPlane } from '../control/plane.ts';
import type { Cli } from './context.ts';

/** `--reason` beats the command's own words. */
export async function controlOptions(cli: Cli, why: string): Promise<ControlOptions> {
  const who = cli.env.HOMEPORT_ADMIN ?? userInfo().username;
  return { config: await cli.config(), world: cli.world, log: await cli.log('admin'), author: { who, why } };
}

export async function withPlane<T>(cli: Cli, why: string, work: (plane: ControlPlane) => Promise<T>): Promise<T> {
  const { ControlPlane, askDirectory } = await import('../control/plane.ts');
  const options = await controlOptions(cli, why);
  return askDirectory(async () => {
    const plane = await ControlPlane.open(options);
    try {
      return await work(plane);
    } finally {
      await plane.close();
    }
  });
}
