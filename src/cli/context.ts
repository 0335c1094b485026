/**
 * What every command is given. A command's file exports `register(program, cli)`, which adds the command and its options;
 * `cli` answers when the command runs, after the command line has been read.
 */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { HomeportError } from '../base/errors.ts';
import type { World } from '../base/world.ts';
import type { ConfigSources } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import type { Logger } from '../observe/log.ts';
import { Output, type Sink } from './output.ts';

/** The shape of a command's file. */
export interface CommandModule {
  register(program: Command, cli: Cli): void;
}

/** Flags that every command understands, before or behind its name. */
export interface GlobalOptions {
  readonly config?: string;
  readonly set?: readonly string[];
  readonly json?: boolean;
  readonly verbose?: boolean;
}

export interface Surroundings {
  readonly env: NodeJS.ProcessEnv;
  readonly world: World;
  readonly out: Sink;
  readonly err: Sink;
}

/** The last one is the local cluster's: commands work beside a running `homeport dev` without being told. */
const CONFIG_FILES = ['homeport.yaml', '/etc/homeport/homeport.yaml', '.homeport/regions/eu-west/homeport.yaml'];

export class Cli {
  readonly env: NodeJS.ProcessEnv;
  readonly world: World;
  readonly #program: Command;
  readonly #surroundings: Surroundings;

  constructor(program: Command, surroundings: Surroundings) {
    this.#program = program;
    this.#surroundings = surroundings;
    this.env = surroundings.env;
    this.world = surroundings.world;
  }

  get options(): GlobalOptions {
    return this.#program.opts<GlobalOptions>();
  }

  get output(): Output {
    const { json = false, verbose = false } = this.options;
    return new Output({ json, verbose, out: this.#surroundings.out, err: this.#surroundings.err });
  }

  /** `--config`, `HOMEPORT_CONFIG`, `./homeport.yaml`, `/etc/homeport/homeport.yaml`, the local cluster: the first that is there. */
  configFile(): string | undefined {
    const named = this.options.config ?? this.env.HOMEPORT_CONFIG;
    return named || CONFIG_FILES.find(file => existsSync(file));
  }

  /** Where the configuration comes from: what another process needs to read the same one. */
  async sources(extra: Readonly<Record<string, unknown>> = {}): Promise<ConfigSources> {
    const { parseValue } = await import('../config/sources.ts');
    const flags = (this.options.set ?? []).map(text => {
      const equals = text.indexOf('=');
      if (equals < 1) throw new HomeportError('HP-C202', { text });
      return [text.slice(0, equals), parseValue(text.slice(equals + 1))] as const;
    });
    return { file: this.configFile(), env: this.env, overrides: { ...Object.fromEntries(flags), ...extra } };
  }

  /** @throws ConfigError (HP-C101), HP-C102, HP-C103, HP-C202 */
  async config(extra: Readonly<Record<string, unknown>> = {}): Promise<Config> {
    const { loadConfig } = await import('../config/load.ts');
    return loadConfig(await this.sources(extra));
  }

  /** A logger that leaves standard output to the command's result. */
  async log(component: string, level = this.options.verbose ? 'debug' : 'warn'): Promise<Logger> {
    const { createLogger } = await import('../observe/log.ts');
    return createLogger({ level, component, destination: 2 });
  }
}

/** Examples under a command's `--help`: the line to type, and what it is for. */
export function examples(...lines: readonly (readonly [command: string, purpose: string])[]): string {
  const width = Math.max(...lines.map(([command]) => command.length));
  return ['', 'Examples:', ...lines.map(([command, purpose]) => `  $ ${command.padEnd(width)}   # ${purpose}`)].join(
    '\n',
  );
}
