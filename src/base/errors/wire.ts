/** HP-P: the Postgres wire protocol, TLS and authentication. */
import { specs } from './spec.ts';

export const wireErrors = specs({
  'HP-P101': {
    sqlstate: '08P01',
    message: 'invalid startup packet: {why}',
    hint: 'connect with a Postgres driver (protocol 3.0 or 3.2)',
    http: 400,
  },
  'HP-P102': {
    sqlstate: '0A000',
    message: 'unsupported frontend protocol {version}: this gateway speaks 3.0 and 3.2',
    hint: 'use a driver that speaks protocol 3, which is every one since PostgreSQL 7.4',
    http: 400,
  },
  'HP-P103': {
    sqlstate: '28000',
    message: 'no Postgres user name was given',
    hint: 'name the user in the connection string: postgresql://app@host/app',
    http: 400,
  },
  'HP-P104': {
    sqlstate: '0A000',
    message: 'the startup parameter "{parameter}" is not supported',
    detail: '{why}',
    hint: 'remove it from the connection string or PGOPTIONS; settings that a pooled connection can carry may be SET later',
    http: 400,
  },
  'HP-P105': {
    sqlstate: '22023',
    message: 'the startup parameter "{parameter}" can\'t be "{value}": {why}',
    hint: 'correct it in the connection string or PGOPTIONS',
    http: 400,
  },
  'HP-P106': {
    sqlstate: '42601',
    message: "the startup options can't be read: {why}",
    hint: 'write options=-c name=value, with a backslash before a space in the value, for example -c homeport.tenant=acme',
    http: 400,
  },
  'HP-P107': {
    sqlstate: '28000',
    message: 'this gateway takes only TLS connections',
    hint: 'add sslmode=require (or verify-full) to the connection string',
    http: 403,
  },
  'HP-P108': {
    sqlstate: '28P01',
    message: 'password authentication failed for user "{user}"',
    hint: 'check user and password; users are listed under "users" in the gateway\'s configuration',
    http: 401,
  },
  'HP-P109': {
    sqlstate: '08P01',
    message: 'authentication failed for user "{user}": {why}',
    hint: 'use a driver that supports SCRAM-SHA-256 and give it a password',
    http: 400,
  },
  'HP-P110': {
    sqlstate: '28000',
    message: 'channel binding was negotiated down: {why}',
    hint: 'nothing between client and gateway may end TLS; look for a proxy, or for an attacker',
    http: 403,
  },
  'HP-P111': {
    sqlstate: '57014',
    message: 'authentication did not finish within {limitMs} ms',
    hint: 'look at the network between client and gateway, then connect again',
    http: 408,
  },
});
