/** All error codes, joined from one file per area. The first letter after `HP-` names the area. */
import { adminErrors } from './admin.ts';
import { clusterErrors } from './cluster.ts';
import { configErrors } from './config.ts';
import { directoryErrors } from './directory.ts';
import { gatewayErrors } from './gateway.ts';
import { shardErrors } from './shards.ts';
import type { ErrorSpec } from './spec.ts';
import { wireErrors } from './wire.ts';

const all = {
  ...configErrors,
  ...directoryErrors,
  ...shardErrors,
  ...wireErrors,
  ...gatewayErrors,
  ...clusterErrors,
  ...adminErrors,
};

export type ErrorCode = keyof typeof all;

export const catalogue: Readonly<Record<ErrorCode, ErrorSpec>> = all;
