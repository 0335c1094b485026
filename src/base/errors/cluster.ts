/** HP-L: the local cluster of `homeport dev` and its processes. */
import { specs } from './spec.ts';

export const clusterErrors = specs({});
