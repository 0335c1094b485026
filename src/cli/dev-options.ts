/** Where the cluster is kept when nobody says otherwise. */
export const DEFAULT_DIR = '.homeport';

/** Options of `homeport dev` itself; its subcommands use `dir`. */
export interface DevOptions {
  readonly dir: string;
  readonly detach?: boolean;
  readonly empty?: boolean;
  readonly rtt?: readonly string[];
  /** False after `--no-gateways`. */
  readonly gateways: boolean;
  readonly background?: boolean;
}
