import pg from 'pg';
import type { Target } from './target.ts';

/** For `poll`: true once a login and a query went well. */
export async function canConnect(target: Target): Promise<true | undefined> {
  const { host, port, database, user, password, options } = target;
  const client = new pg.Client({ host, port, database, user, password, options });
  client.on('error', () => undefined); // the query below reports it
  try {
    await client.connect();
    await client.query('select count(*) from pgbench_branches');
    return true;
  } catch {
    return undefined; // not up yet: asked again until the time is up
  } finally {
    await client.end().catch(() => undefined);
  }
}
