/**
 * What `homeport dev` does between "Postgres and NATS are up" and "gateways start": it makes the shards and the
 * directory fit to be served, and puts the sample shops in. Found done already, it changes nothing.
 */
import { loadConfig } from '../config/load.ts';
import { initialiseCluster } from '../control/initialise.ts';
import { ControlPlane } from '../control/plane.ts';
import { enrollAll } from '../control/schema.ts';
import type { Prepare, PrepareInput } from '../devcluster/cluster.ts';
import { createLogger } from '../observe/log.ts';
import { addSampleShops, createSampleTables, SAMPLE_TABLES } from './sample.ts';

export const prepare: Prepare = async (input: PrepareInput) => {
  const { world, progress, regions } = input;
  // One region's view is enough: every shard is reached from it, through the links.
  const config = loadConfig({ file: regions['eu-west'].configFile, env: {} });
  const log = createLogger({ level: 'warn', component: 'dev', destination: 2 });
  const options = { config, world, log, author: { who: 'homeport dev', why: 'start of the local cluster' } };
  await initialiseCluster(options, progress);
  // Later they are the user's to change, or to drop.
  if (input.empty || !input.firstStart) return;
  const plane = await ControlPlane.open(options);
  try {
    await createSampleTables(plane);
    await enrollAll(config, SAMPLE_TABLES, {});
    const added = await addSampleShops(plane);
    if (added > 0) progress(`${added} sample shops are open`);
  } finally {
    await plane.close();
  }
};
