/** HP-G: routing, pools, holds and the hop between gateways. */
import { specs } from './spec.ts';

export const gatewayErrors = specs({});
