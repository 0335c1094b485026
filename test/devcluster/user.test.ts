import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { blockedAt, chooseUser } from '../../src/devcluster/user.ts';

const dir = mkdtempSync(join(tmpdir(), 'hp-user-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const PASSWD = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
postgres:x:70:70::/var/lib/postgresql:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
ada:x:1000:1000::/home/ada:/bin/bash
`;

test('root hands down to who called sudo, or to nobody, or to whoever there is', () => {
  expect(chooseUser(PASSWD, '1000')?.name).toBe('ada');
  expect(chooseUser(PASSWD, undefined)?.name).toBe('nobody');
  expect(chooseUser(PASSWD, '0')?.name).toBe('nobody');
  expect(chooseUser('root:x:0:0::/:/bin/sh\napp:x:900:900::/:/bin/sh', undefined)?.uid).toBe(900);
  expect(chooseUser('root:x:0:0::/:/bin/sh', undefined)).toBeUndefined();
});

test('the directory that keeps a user out is found, however far up it is', () => {
  const deep = join(dir, 'a', 'b', 'c');
  mkdirSync(deep, { recursive: true });
  for (const path of [dir, join(dir, 'a'), join(dir, 'a', 'b'), deep]) chmodSync(path, 0o755);
  const nobody = { uid: 65_534, gid: 65_534, name: 'nobody' };
  expect(blockedAt(deep, nobody)).toBeUndefined();
  chmodSync(join(dir, 'a'), 0o700);
  expect(blockedAt(deep, nobody)).toBe(join(dir, 'a'));
  chmodSync(join(dir, 'a'), 0o755);
});
