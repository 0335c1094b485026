/** HP-C: configuration (1xx) and the command line (2xx). */
import { specs } from './spec.ts';

export const configErrors = specs({
  'HP-C101': {
    sqlstate: 'F0000',
    message: 'the configuration has {count}; nothing was started',
    detail: '{problems}',
    hint: 'correct the settings named above, then run: homeport config check',
    http: 500,
  },
  'HP-C102': {
    sqlstate: '58P01',
    message: 'the configuration file {file} cannot be read: {reason}',
    hint: 'name the file with --config or HOMEPORT_CONFIG, and make it readable for the account that the process runs as',
    http: 500,
  },
  'HP-C103': {
    sqlstate: 'F0000',
    message: '{file}:{line}: not valid YAML: {reason}',
    hint: 'correct that line, then run: homeport config check',
    http: 500,
  },
  'HP-C110': {
    sqlstate: 'F0000',
    message: '{path} is not a setting{suggestion}',
    hint: 'remove it, or see the names that exist with: homeport config schema',
    http: 500,
  },
  'HP-C111': {
    sqlstate: '28000',
    message: '{path} holds a secret as plain text, which ends up in backups and version control',
    hint: 'write it as {path}: { file: /path/to/secret } or { env: NAME }, and replace the secret that was exposed',
    http: 500,
  },
  'HP-C112': {
    sqlstate: '58P01',
    message: '{path} refers to {source}, which {reason}',
    hint: '{remedy}',
    http: 500,
  },
  'HP-C113': {
    sqlstate: '22023',
    message: '{path} {reason}',
    hint: '{remedy}',
    http: 500,
  },
  'HP-C114': {
    sqlstate: 'F0000',
    message: '{path} is missing',
    hint: '{remedy}',
    http: 500,
  },
  'HP-C115': {
    sqlstate: 'F0000',
    message: '{path} does not fit the rest: {reason}',
    hint: '{remedy}',
    http: 500,
  },
  'HP-C201': {
    sqlstate: '02000',
    message: 'there is no error code {code}{suggestion}',
    hint: 'list all of them with: homeport errors',
    http: 404,
  },
  'HP-C202': {
    sqlstate: '42601',
    message: '--set {text} is not of the form path=value',
    hint: 'write it like --set listen.pg=127.0.0.1:6432',
    http: 400,
  },
  'HP-C203': {
    sqlstate: '22023',
    message: 'no password came on standard input',
    hint: 'pipe it in, for example: homeport config verifier < app.password',
    http: 400,
  },
});
