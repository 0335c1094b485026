/** What a target is: a way to the Postgres of the comparison. */
import type { Mode, TargetName } from './options.ts';
import type { Shard } from './shard.ts';

/** Where and how large a target is built. */
export interface Place {
  readonly shard: Shard;
  /** For its files; is removed at the end. */
  readonly directory: string;
  readonly scale: number;
  /** Backends that a proxy may open. */
  readonly backends: number;
  /** Idle clients that it must be able to hold, beside the busy ones. */
  readonly idle: number;
}

export interface Target {
  readonly name: TargetName;
  readonly label: string;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly password: string;
  /** PGOPTIONS */
  readonly options: string;
  /** The root of the proxy's processes; undefined where there is no proxy. */
  readonly proxyPid: number | undefined;
  /** Why this target has no figure in a mode; undefined when it has. */
  leavesOut(mode: Mode): string | undefined;
  stop(): Promise<void>;
}
