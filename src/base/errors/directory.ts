/** HP-D: tenants, domains, placements and the directory that holds them. */
import { specs } from './spec.ts';

export const directoryErrors = specs({
  'HP-D101': {
    sqlstate: '22023',
    message: '"{tenant}" is not a tenant key: {why}',
    hint: 'use [domain/]name, 1 to 200 bytes of UTF-8 without control characters, for example acme or eu/acme',
    http: 400,
  },
  'HP-D102': {
    sqlstate: '22023',
    message: 'there is no domain "{domain}" in this cluster',
    hint: 'use a domain of the configuration (homeport config print), or leave it out for the domain "global"',
    http: 404,
  },
  'HP-D103': {
    sqlstate: '22023',
    message: '{key} can not be placed in {region}: the domain "{domain}" is limited to {regions}',
    hint: "choose a shard in one of the domain's regions; what a domain allows is set in the configuration",
    http: 409,
  },
  'HP-D104': {
    sqlstate: '22023',
    message: 'there is no shard "{shard}" in region {region}',
    hint: 'see which shards there are with: homeport config print',
    http: 404,
  },
  'HP-D105': {
    sqlstate: '55000',
    message: 'the domain "{domain}" has no shard with a weight in its regions ({regions})',
    hint: 'add a shard there, or give one a weight above 0',
    http: 409,
  },
  'HP-D106': {
    sqlstate: '22023',
    message: 'the secondaries of {key} are not in distinct regions other than the home: {secondaries}',
    hint: 'name at most one secondary in each region, and none in the region of the home',
    http: 400,
  },
  'HP-D201': {
    sqlstate: '40001',
    message: '{key} was changed by {who} at {when}, while you were changing it: {what}',
    detail: 'Your change was not made. It was meant for revision {expected}; the record is now at revision {revision}.',
    hint: 'look at what it is now, and repeat your change if you still want it',
    http: 409,
  },
  'HP-D202': {
    sqlstate: '40001',
    message: '{key} is being changed by somebody else, and the change can not be read yet',
    detail: 'Your change was not made.',
    hint: 'look at it in a few seconds, and repeat your change if you still want it',
    http: 409,
  },
  'HP-D203': {
    sqlstate: '08007',
    message: 'whether {key} was changed is not known: no answer from the directory for {seconds} s',
    detail: 'The write {write} may be stored now or later, or not at all. {found}',
    hint: 'when NATS has a quorum again, look at the record; the audit trail says which writes took effect',
    http: 504,
  },
  'HP-D204': {
    sqlstate: '08006',
    message: 'the audit record for a change of {key} could not be stored within {seconds} s',
    detail: 'Nothing was changed: a change is recorded before it is made.',
    hint: 'check that most of the NATS servers run and reach each other (their logs say), then repeat the change',
    http: 503,
  },
  'HP-D205': {
    sqlstate: '55000',
    message: 'the directory was initialised with other parameters: {differences}',
    detail: 'Nothing was changed. The number of slots and the name of a cluster are fixed when it is created.',
    hint: 'use the parameters that it has; regions, domains and shards are added by commands of their own',
    http: 409,
  },
  'HP-D206': {
    sqlstate: '55000',
    message: 'the epoch of {key} can only grow: it is {current} and the change says {proposed}',
    detail: 'Nothing was changed.',
    hint: 'look at what it is now, and repeat your change from there',
    http: 409,
  },
  'HP-D301': {
    sqlstate: '08001',
    message: 'none of the NATS servers answers: {servers}',
    hint: 'check that they run and that nats.servers names them (homeport config print); on a local cluster: homeport dev status',
    http: 503,
  },
  'HP-D302': {
    sqlstate: '08001',
    message: 'the NATS server at {server} is version {version}; Homeport needs {minimum} or later',
    detail:
      'On older servers compare-and-set on a replicated bucket lets two writers win, and acknowledged writes are not on disk.',
    hint: 'upgrade nats-server to {minimum} or later on every node',
    http: 503,
  },
  'HP-D303': {
    sqlstate: '55000',
    message: 'the directory is not initialised: {missing}',
    hint: 'run once for the whole cluster: homeport init',
    http: 503,
  },
  'HP-D304': {
    sqlstate: '53000',
    message: 'too many tenants are being looked up at once (limit {limit})',
    hint: 'retry shortly; this passes when the directory answers again',
    http: 503,
  },
  'HP-D305': {
    sqlstate: '08006',
    message: 'the directory can not be read, and {key} is not known here',
    detail: 'Tenants that were seen here before are still served.',
    hint: 'retry shortly; check that NATS runs and is reachable from here (homeport config print shows nats.servers)',
    http: 503,
  },
  'HP-D306': {
    sqlstate: '08001',
    message: 'the directory can not be reached, and there is no snapshot of it in {file}',
    hint: 'start again when NATS is reachable; a gateway that has run once starts without it',
    http: 503,
  },
  'HP-D308': {
    sqlstate: '08006',
    message: 'reading the stream {stream} broke off: {why}',
    hint: 'try again; if it goes on, look into the logs of the NATS servers',
    http: 503,
  },
  'HP-D307': {
    sqlstate: 'XX001',
    message: 'the directory record {key} can not be read: {why}',
    hint: 'another tool or another version wrote it; restore it from the audit trail',
    http: 500,
  },
});
