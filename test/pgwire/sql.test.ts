import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseStatement } from '../../src/pgwire/sql.ts';

const first = (sql: string) => parseStatement(sql).first;
/** The texts of a string's statements. */
function pieces(sql: string): string[] {
  const found: string[] = [];
  for (let at = 0; at >= 0; ) {
    const { rest } = parseStatement(sql, at);
    found.push(sql.slice(at, rest < 0 ? undefined : rest).trim());
    at = rest;
  }
  return found;
}

describe('where a statement ends', () => {
  test.each<[string, string[]]>([
    ['select 1', ['select 1']],
    ['select 1;', ['select 1;']],
    ['select 1;;; ', ['select 1;;;']],
    ['select 1; select 2', ['select 1;', 'select 2']],
    ["select ';'; b", ["select ';';", 'b']],
    ["select 'it''s;'; b", ["select 'it''s;';", 'b']],
    ["select '\\'; b", ["select '\\';", 'b']],
    ["select E'\\';'; b", ["select E'\\';';", 'b']],
    ["select e'a'\n'\\';'; b", ["select e'a'\n'\\';';", 'b']],
    ["select e'a' -- comment\n -- more\n '\\';'; b", ["select e'a' -- comment\n -- more\n '\\';';", 'b']],
    ["select e'a' '\\'; b", ["select e'a' '\\';", 'b']],
    ["select type'\\'; b", ["select type'\\';", 'b']],
    ['select ";"; b', ['select ";";', 'b']],
    ['select $$;$$; b', ['select $$;$$;', 'b']],
    ['select $a$;$$;$b$;$a$; b', ['select $a$;$$;$b$;$a$;', 'b']],
    ['select a$b$; c$b$', ['select a$b$;', 'c$b$']],
    ['select $1; b', ['select $1;', 'b']],
    ['select /* ; /* ; */ ; */ 1; b', ['select /* ; /* ; */ ; */ 1;', 'b']],
    ['select 1 -- ;\n; b', ['select 1 -- ;\n;', 'b']],
    ['-- ;\n/* ; */ select 1; b', ['-- ;\n/* ; */ select 1;', 'b']],
    ["select 'open; b", ["select 'open; b"]],
  ])('%s', (sql, expected) => expect(pieces(sql)).toEqual(expected));
});

describe('what a statement is', () => {
  const plain = { kind: 'other', residue: 'none', control: false };
  const other = (residue: string) => ({ kind: 'other', residue, control: true });
  test.each<[string, object]>([
    ['', { kind: 'empty' }],
    [' ;; -- x', { kind: 'empty' }],
    ['; select 1', plain],
    ['/* x */ BEGIN', { kind: 'begin', text: 'BEGIN' }],
    [
      'begin isolation level repeatable read, read only',
      { kind: 'begin', text: 'begin isolation level repeatable read, read only' },
    ],
    [
      'start transaction read write not deferrable',
      { kind: 'begin', text: 'start transaction read write not deferrable' },
    ],
    ['begin /* x */ read only', { kind: 'other', residue: 'none', control: true }],
    ['commit', { kind: 'end', commit: true, chain: false }],
    ['end work and no chain', { kind: 'end', commit: true, chain: false }],
    ['rollback transaction and chain', { kind: 'end', commit: false, chain: true }],
    ['rollback to savepoint A', { kind: 'savepoint', name: 'a', back: true }],
    ['savepoint "A"', { kind: 'savepoint', name: 'A', back: false }],
    ["commit prepared 'x'", { kind: 'other', residue: 'none', control: true }],
    ["prepare transaction 'x'", { kind: 'other', residue: 'none', control: true }],
    [
      'set transaction isolation level serializable',
      { kind: 'set-transaction', text: 'set transaction isolation level serializable' },
    ],
    ["set homeport.tenant = 'eu/acme'", { kind: 'set-homeport', name: 'tenant', value: 'eu/acme', local: false }],
    ['set local homeport.tenant to acme', { kind: 'set-homeport', name: 'tenant', value: 'acme', local: true }],
    ['reset homeport.tenant', { kind: 'set-homeport', name: 'tenant', value: undefined, local: false }],
    ['SHOW Homeport.Home', { kind: 'show-homeport', name: 'home' }],
    ['show all', plain],
    ["set work_mem = '1MB'", { kind: 'set', name: 'work_mem', value: "'1MB'" }],
    ['set search_path to "$user", public', { kind: 'set', name: 'search_path', value: '"$user", public' }],
    ['set session a.b to -1.5', { kind: 'set', name: 'a.b', value: '-1.5' }],
    ['set x to default', { kind: 'set', name: 'x', value: undefined }],
    ["set x to E'a'", other('session')],
    ["set x to 'a\\'", other('session')],
    ['set x to (select 1)', other('session')],
    ["set time zone 'UTC'", { kind: 'set', name: 'timezone', value: "'UTC'" }],
    ["set names 'utf8'", { kind: 'set', name: 'client_encoding', value: "'utf8'" }],
    ['set local x = 1', { kind: 'set-local' }],
    ['set constraints all deferred', { kind: 'set-local' }],
    ['set role x', other('settings')],
    [
      'set session characteristics as transaction read only',
      { kind: 'set', name: 'default_transaction_read_only', value: 'on' },
    ],
    ['reset all', { kind: 'set', name: 'all', value: undefined }],
    ['discard all', { kind: 'discard', everything: true }],
    ['deallocate prepare all', { kind: 'discard', everything: false }],
    ['deallocate "S 1"', { kind: 'deallocate', name: 'S 1' }],
    ['discard plans', other('settings')],
    ['listen x', other('session')],
    ['prepare x as select 1', other('session')],
    ['do $$ begin end $$', other('settings')],
    ['declare c cursor with hold for select 1', other('session')],
    ['declare c cursor for select 1', plain],
    ['create temp table t (a int)', other('session')],
    ["select set_config('a', 'b', false)", other('settings')],
    ["update pg_catalog.pg_settings set setting = 'a'", other('settings')],
    ['select U&"\\0073et_config"(1)', other('settings')],
    ['select pg_try_advisory_lock(1)', other('session')],
    ['select pg_advisory_xact_lock(1)', plain],
    ['vacuum (full) items', { kind: 'outside', what: 'VACUUM' }],
    ['create unique index  concurrently i on t (a)', { kind: 'outside', what: 'CREATE UNIQUE INDEX CONCURRENTLY' }],
    ['create index i on t (a)', other('settings')],
    ['insert into t values (1)', plain],
  ])('%s', (sql, expected) => expect(first(sql)).toEqual(expected));

  test.each([
    ['copy items from stdin', { schema: undefined, table: 'items' }],
    ['COPY "My"."Items" (a, b) FROM STDIN with (format csv)', { schema: 'My', table: 'Items' }],
  ])('%s', (sql, from) => expect(first(sql)).toMatchObject({ kind: 'copy', from }));
});

describe('any text', () => {
  const parts = fc.constantFrom(
    ...[
      "'",
      "''",
      '"',
      '$$',
      '$a$',
      ';',
      '--',
      '\n',
      '/*',
      '*/',
      'E',
      '\\',
      ' ',
      'begin',
      'set x to ',
      'commit',
      'select',
      'copy a from stdin',
      'é',
      '\0',
    ],
  );
  const texts = fc.oneof(
    fc.string(),
    fc.array(fc.oneof(parts, fc.string({ maxLength: 4 })), { maxLength: 40 }).map(all => all.join('')),
  );

  test('is read without a throw, and its rest lies behind what was read', () => {
    void fc.assert(
      fc.property(texts, sql => {
        let at = 0;
        for (let steps = 0; at >= 0; steps++) {
          expect(steps).toBeLessThanOrEqual(sql.length);
          const { rest } = parseStatement(sql, at);
          expect(rest === -1 || (rest > at && rest < sql.length)).toBe(true);
          if (rest > 0) expect(sql.slice(0, rest)).toContain(';');
          at = rest;
        }
      }),
      { numRuns: 3000 },
    );
  });

  test('of a megabyte is read in a time that grows with its length', () => {
    for (const unit of ["select 'x'; ", 'set x to a, ', "e'a'\n", '/*', '$a', '--\n', 'begin;']) {
      const sql = unit.repeat(Math.ceil(200_000 / unit.length));
      const started = performance.now();
      pieces(sql);
      expect(performance.now() - started).toBeLessThan(5_000);
    }
  });
});
