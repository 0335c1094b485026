/** HP-S: what a shard holds: migrations, fences, enrolment, roles. */
import { specs } from './spec.ts';

export const shardErrors = specs({});
