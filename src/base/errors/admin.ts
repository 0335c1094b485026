/** HP-A: operations of admins: pins, tenants, the cluster as a whole. */
import { specs } from './spec.ts';

export const adminErrors = specs({
  'HP-A101': {
    sqlstate: '22023',
    message: '"{name}" names no single shard',
    hint: 'use a shard, or a region that has one shard; known here: {known}',
    http: 404,
  },
  'HP-A102': {
    sqlstate: '22023',
    message: 'the way to shard {shard} is not in this configuration',
    hint: 'add it to shards or remoteShards, or run the command where it is known',
    http: 409,
  },
  'HP-A103': {
    sqlstate: '55006',
    message: '{tenant} has data on {shard}, so its home cannot change to {wanted}',
    detail: 'Found rows in {tables}. Nothing was changed; {shard} still serves the tenant.',
    hint: 'pin it to {shard}, where it is (homeport pin {tenant} --to {shard}); moving data between homes is not built yet',
    http: 409,
  },
  'HP-A104': {
    sqlstate: '55000',
    message: '{tenant} has no pin: it lives where its slot lives',
    hint: 'see where that is: homeport explain {tenant}',
    http: 404,
  },
  'HP-A105': {
    sqlstate: '55000',
    message: 'a change of the pin of {tenant} to {wanted} was begun and is not finished',
    detail: 'Its transactions are held until it is. Its data is safe where it was.',
    hint: 'finish it first: homeport pin {tenant} --to {wanted}',
    http: 409,
  },
  'HP-A106': {
    sqlstate: '08001',
    message: 'shard {shard} can not be reached: {why}',
    detail: 'A change that had begun stays as it is, and is finished by running the same command again.',
    hint: 'check that it runs (in the local cluster: homeport dev status) and its address: homeport config print',
    http: 503,
  },
  'HP-A107': {
    sqlstate: '55006',
    message: '{tenant} got data on {shard} while its home was changing to {wanted}, so it was pinned to {shard}',
    detail: 'Found rows in {tables}. Nothing is lost, and {shard} serves the tenant.',
    hint: 'leave it there, or let it live by its slot again: homeport unpin {tenant}',
    http: 409,
  },
  'HP-A108': {
    sqlstate: '08006',
    message: 'the directory did not answer: {why}',
    detail: 'NATS runs, but has no quorum, or is electing a leader, which takes seconds.',
    hint: 'run the command again in some seconds; if that goes on, look at the NATS servers (in the local cluster: homeport dev status)',
    http: 503,
  },
  'HP-A109': {
    sqlstate: '58000',
    message: 'listen.{setting} is {address}, and that cannot be listened on: {why}',
    detail: 'Nothing was started.',
    hint: 'end what listens there (a gateway that runs already?), or choose another address: --set listen.{setting}=<host:port>',
    http: 500,
  },
  'HP-A110': {
    sqlstate: '58000',
    message: 'there are no migrations to be read in {directory}: {why}',
    detail: 'Nothing was changed on any shard.',
    hint: 'name the directory that holds your *.sql files',
    http: 400,
  },
  'HP-A111': {
    sqlstate: '58000',
    message: 'worker {worker} of the gateway ended {times} times before it was ready: {why}',
    detail:
      'Nothing is served; its workers were ended. The log on standard output and the lines on standard error have every attempt.',
    hint: 'put right what it says, then start again: homeport serve',
    http: 500,
  },
});
