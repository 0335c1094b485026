/** Reads the configuration from all its sources, and either returns all of it, checked, or says all that is wrong. */
import { dirname, resolve } from 'node:path';
import { HomeportError } from '../base/errors.ts';
import { runChecks } from './checks.ts';
import { ConfigError, problemsOf } from './problems.ts';
import { type Resolver, resolveSettings } from './resolve.ts';
import { type Config, type Settings, settingsSchema } from './schema.ts';
import { applyEnvironment, applyOverrides, fillEmpty, formatPath, Origins, readYaml, type Tree } from './sources.ts';

export interface ConfigSources {
  /** The YAML file; without it everything comes from the environment and the overrides. */
  readonly file?: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** Flags: paths (`listen.pg`) or sections to values. They win over all else. */
  readonly overrides?: Readonly<Record<string, unknown>> | undefined;
}

/** The sections that are well-formed, each judged by itself. */
function goodSections(tree: Tree): Partial<Settings> {
  const sections = Object.entries(settingsSchema.shape).flatMap(([name, schema]) => {
    const result = schema.safeParse(tree[name]);
    return result.success && result.data !== undefined ? [[name, result.data]] : [];
  });
  return Object.fromEntries(sections) as Partial<Settings>; // cast: each entry was parsed by its own section's schema
}

/**
 * @throws ConfigError (HP-C101) with every problem found, each with its path and remedy.
 * @throws HomeportError HP-C102 or HP-C103 when the file cannot be read or is not YAML.
 */
export function loadConfig({ file, env, overrides = {} }: ConfigSources): Config {
  const origins = new Origins();
  const tree = file === undefined ? {} : readYaml(file);
  const problems = applyEnvironment(tree, env, origins);
  applyOverrides(tree, overrides, origins);
  // cast: a tree stays a tree when its empty parts are filled
  const written = fillEmpty(tree) as Tree;

  problems.push(...problemsOf(settingsSchema.safeParse(written).error?.issues ?? [], written, origins));
  const sections = goodSections(written);
  const via: Resolver = {
    env,
    baseDir: file === undefined ? process.cwd() : dirname(resolve(file)),
    attempt(step) {
      try {
        return step();
      } catch (error) {
        if (!(error instanceof HomeportError)) throw error;
        problems.push(error);
        return undefined;
      }
    },
  };
  runChecks(sections, (path, reason, remedy) => {
    problems.push(new HomeportError('HP-C115', { path: origins.label(path), reason, remedy }));
  });
  const config = resolveSettings(sections, via);
  if (problems.length > 0) throw new ConfigError(problems);
  return assertComplete(config);
}

function assertComplete(config: Partial<Config>): Config {
  const names = Object.keys(settingsSchema.shape);
  const absent = names.filter(name => !Object.hasOwn(config, name));
  if (absent.length === 0) return config as Config; // cast: every section is there
  throw new ConfigError(
    absent.map(
      name => new HomeportError('HP-C114', { path: formatPath([name]), remedy: 'see: homeport config schema' }),
    ),
  );
}
