#!/usr/bin/env node
/**
 * The command line. The sources are TypeScript, which Node 24 and newer run as they are; an older Node starts the one
 * that came with the project and passes signals and the exit code through.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const MIN_NODE_MAJOR = 24;
const root = dirname(dirname(fileURLToPath(import.meta.url)));

function runOnOwnNode() {
  const node = join(root, 'node_modules', '.bin', 'node');
  if (!existsSync(node)) {
    process.stderr.write(
      `homeport needs Node ${MIN_NODE_MAJOR} or newer; this is ${process.versions.node}.\n  Next: node ${join(root, 'bin', 'setup.mjs')}\n`,
    );
    process.exit(1);
  }
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  // A terminal's Ctrl-C reaches the child by itself; passing it on as well would look like a second one.
  process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'));
  child.on('error', error => {
    process.stderr.write(`homeport: could not start ${node}: ${error.message}\n`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

async function runHere() {
  const { enableCompileCache, getCompileCacheDir } = await import('node:module');
  enableCompileCache();
  // workers and background processes load the same sources
  const cache = getCompileCacheDir();
  if (cache !== undefined) process.env.NODE_COMPILE_CACHE ??= cache;
  const { main } = await import('../src/cli/main.ts');
  await main(process.argv.slice(2));
}

if (Number(process.versions.node.split('.')[0]) < MIN_NODE_MAJOR) runOnOwnNode();
else await runHere();
