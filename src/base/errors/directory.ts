/** HP-D: tenants, domains, placements and the directory that holds them. */
import { specs } from './spec.ts';

export const directoryErrors = specs({
  'HP-D101': {
    sqlstate: '22023',
    message: '"{tenant}" is not a tenant key: {why}',
    hint: 'use [domain/]name, 1 to 200 bytes of UTF-8 without control characters, for example acme or eu/acme',
    http: 400,
  },
});
