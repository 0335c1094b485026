/** HP-S: what a shard holds: migrations (1xx), enrolment (2xx), roles (3xx), fences (4xx), tenants (5xx), what SQL meets (6xx). */
import { specs } from './spec.ts';

export const shardErrors = specs({
  'HP-S101': {
    sqlstate: 'F0000',
    message: 'migrating failed on {failed} of {total} shards: {why}',
    detail: 'Done: {done}. A file that failed on one shard was rolled back on all of them.',
    hint: 'mend what the message names, then run homeport migrate again: it goes on where it stopped',
    http: 500,
  },
  'HP-S102': {
    sqlstate: '55P03',
    message: 'another migration is running on shard {shard}',
    detail: 'Waited {waitedMs} ms for it. Nothing was changed.',
    hint: 'wait for it to end, then run homeport migrate again',
    http: 409,
  },
  'HP-S103': {
    sqlstate: 'F0000',
    message: 'migration {file} is not the one that ran on shard {shard}: its content has changed since',
    hint: 'restore the file as it was and write the change as a new migration',
    http: 409,
  },
  'HP-S104': {
    sqlstate: 'F0000',
    message: 'the migrations do not follow on what ran on shard {shard}: {why}',
    hint: 'give new files names that sort after all that have run, and keep the old files',
    http: 409,
  },
  'HP-S105': {
    sqlstate: '2D000',
    message: 'migration {file} ended its transaction by itself on shard {shard}',
    detail: 'What came before its COMMIT or ROLLBACK can no longer be undone together with the other shards.',
    hint: 'take BEGIN, COMMIT and ROLLBACK out of the file; a single statement that can not run in a transaction goes into a file that starts with "-- homeport: no-transaction"',
    http: 400,
  },
  'HP-S106': {
    sqlstate: '08006',
    message: 'shard {shard} can not be reached: {why}',
    detail: 'Nothing was changed on any shard.',
    hint: 'check the shard and its address in the configuration: homeport config print',
    http: 503,
  },
  'HP-S201': {
    sqlstate: '42P16',
    message: 'can not enroll {tables}: {reasons}',
    detail: 'Nothing was changed.',
    hint: 'make the named changes in a migration, then run homeport enroll again; --dry-run shows all steps',
    http: 409,
  },
  'HP-S202': {
    sqlstate: '55000',
    message: 'this database is shard {found} with ordinal {foundOrdinal}, not {shard} with ordinal {ordinal}',
    detail:
      'Ids made here leave that ordinal as their remainder; with another one they would collide with another shard.',
    hint: 'correct the address of {shard}, or its ordinal, in the configuration',
    http: 409,
  },
  'HP-S301': {
    sqlstate: '42501',
    message: 'role {role} can not be used for applications: {reasons}',
    detail: 'Row-level security would not hold for it (I8).',
    hint: 'take these from the role, or name another user in the configuration',
    http: 409,
  },
  'HP-S401': {
    sqlstate: '55000',
    message: 'the fence of {placement} stands at epoch {current}; it can not be set to {epoch}',
    detail: 'I1: every change of home takes a higher epoch than any before it.',
    hint: 'read the placement again: homeport explain shows the epoch that holds',
    http: 409,
  },
  'HP-S402': {
    sqlstate: '55P03',
    message: 'writers of {placement} did not finish within {waitMs} ms',
    detail: 'The fence is as it was, and they go on.',
    hint: 'find the transactions that are still open in pg_stat_activity, or allow a longer wait',
    http: 503,
  },
  'HP-S501': {
    sqlstate: '42704',
    message: 'tenant {tenant} is not registered on shard {shard}',
    hint: 'homeport tenants list shows them; homeport tenants add registers one',
    http: 404,
  },
  'HP-S601': {
    sqlstate: 'HP004',
    message: 'no tenant: this transaction has not been entered for one',
    hint: "connect through a gateway and say whose data it is about, for example: SET homeport.tenant = 'acme'; what follows a COMMIT inside one query string goes as a query of its own",
    http: 400,
  },
});
