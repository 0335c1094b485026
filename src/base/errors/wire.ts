/** HP-P: the Postgres wire protocol, TLS and authentication. */
import { specs } from './spec.ts';

export const wireErrors = specs({});
