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
