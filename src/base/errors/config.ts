/** HP-C: configuration and the command line. */
import { specs } from './spec.ts';

export const configErrors = specs({
  'HP-C101': {
    sqlstate: 'F0000',
    message: 'the configuration is not valid: {problems}',
    hint: 'correct the named settings, then run: homeport config check',
    http: 500,
  },
});
