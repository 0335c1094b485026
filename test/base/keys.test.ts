import { expect, test } from 'vitest';
import { deriveKey, rolePassword } from '../../src/base/keys.ts';

const secret = Buffer.alloc(32, 7);

test('each use has its own key of 32 bytes, the same in every process', () => {
  const keys = [deriveKey(secret, 'shard-signing'), deriveKey(secret, 'peer-auth'), deriveKey(secret, 'role:app')];
  expect(keys.every(key => key.length === 32)).toBe(true);
  expect(new Set(keys.map(key => key.toString('hex'))).size).toBe(3);
  expect(deriveKey(secret, 'peer-auth')).toEqual(keys[1]);
  expect(deriveKey(Buffer.alloc(32, 8), 'peer-auth')).not.toEqual(keys[1]);
});

test('the derivation never changes, or no gateway could log in after an upgrade', () => {
  expect(deriveKey(secret, 'shard-signing').toString('hex')).toMatchInlineSnapshot(
    `"2ec53a2f5203a5f6ebdb0212a081dd1b9b91b95f3a07bc717ec7071b24b94734"`,
  );
});

test('a role password fits a connection string', () => {
  expect(rolePassword(secret, 'app')).toMatch(/^[A-Za-z0-9_-]{43}$/);
});
