import { type Kysely, sql } from 'kysely';

/** Where enrolled tables have their doors for COPY FROM; see src/shards/enroll-copy.ts. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create schema homeport_copy`.execute(db);
}
