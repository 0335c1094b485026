import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BrokenInvariant } from '../../src/base/assert.ts';
import { HomeportError } from '../../src/base/errors.ts';
import { commandRows } from '../../src/cli/commands.ts';
import { exitCodeOf, exitCodes } from '../../src/cli/exit.ts';
import { errorJson, table } from '../../src/cli/output.ts';
import { commandRow, homeport } from './terminal.ts';

const quietly = () => undefined;

describe('the command line', () => {
  test('shows every command, examples and exit codes without loading any command', async () => {
    const loaded: string[] = [];
    const rows = [
      commandRow('one', quietly, () => loaded.push('one')),
      commandRow('two', quietly, () => loaded.push('two')),
    ];
    const help = await homeport(['--help'], {}, rows);
    expect(help.code).toBe(0);
    for (const text of ['the command one', 'the command two', 'Examples:', 'Exit codes:'])
      expect(help.out).toContain(text);
    for (const { code, means } of Object.values(exitCodes)) expect(help.out).toContain(`${code}  ${means}`);
    expect(loaded).toEqual([]);
    expect((await homeport([], {}, rows)).out).toBe(help.out);
  });

  test('loads the command that was typed, alone, wherever its flags stand', async () => {
    for (const argv of [
      ['two'],
      ['--json', 'two'],
      ['-c', 'x.yaml', 'two'],
      ['-c', 'one', 'two'],
      ['--set', 'one', 'two'],
      ['two', '--json'],
      ['help', 'two'],
    ]) {
      const loaded: string[] = [];
      const rows = [
        commandRow('one', quietly, () => loaded.push('one')),
        commandRow('two', quietly, () => loaded.push('two')),
      ];
      await homeport(argv, {}, rows);
      expect(loaded).toEqual(['two']);
    }
  });

  test.each([[['conifg']], [['config', 'chek']], [['--nonsense']], [['errors', 'a', 'b']]])(
    'refuses %j with 2 and a hint',
    async argv => {
      const { code, out, err } = await homeport(argv);
      expect([code, out]).toEqual([2, '']);
      expect(err).toContain('homeport --help shows what there is');
    },
  );

  test('says the version', async () => {
    expect(await homeport(['--version'])).toMatchObject({ code: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
  });

  test.each(commandRows.flatMap(({ commands }) => Object.keys(commands)))('%s has help with examples', async name => {
    const { code, out } = await homeport([name, '--help']);
    expect(code).toBe(0);
    expect(out).toContain('Examples:');
    expect(out).toContain(`homeport ${name}`);
  });

  test('starts as a process, fast, and exits with the code', () => {
    const bin = join(import.meta.dirname, '../../bin/homeport.mjs');
    const done = spawnSync(process.execPath, [bin, 'errors', 'HP-C999', '--json'], { encoding: 'utf8' });
    expect(done.status).toBe(5);
    expect(JSON.parse(done.stderr)).toMatchObject({ error: { code: 'HP-C201' } });
  });
});

describe('what a command throws', () => {
  const failing = (error: unknown) => [
    commandRow('fail', () => {
      throw error;
    }),
  ];

  test('is told with code and next step, for people or machines', async () => {
    const rows = failing(new HomeportError('HP-D101', { tenant: 'x', why: 'y' }));
    const { code, out, err } = await homeport(['fail'], {}, rows);
    expect([code, out]).toEqual([2, '']);
    expect(err).toMatch(/^error: HP-D101 "x" is not a tenant key: y\n {2}Next: use/);
    const json = await homeport(['fail', '--json'], {}, rows);
    expect(JSON.parse(json.err)).toMatchObject({
      error: { code: 'HP-D101', sqlstate: '22023', next: expect.stringContaining('use') },
    });
  });

  test('without a code is told, with its stack and cause when asked', async () => {
    const rows = failing(new Error('broke', { cause: new Error('deeper') }));
    expect(await homeport(['fail'], {}, rows)).toEqual({ code: 1, out: '', err: 'error: broke\n' });
    const { err } = await homeport(['fail', '--verbose'], {}, rows);
    expect(err).toMatch(/at .*frame\.test\.ts/);
    expect(err).toContain('Cause: deeper');
  });

  test('as a broken invariant is owned up to', async () => {
    expect((await homeport(['fail'], {}, failing(new BrokenInvariant('I1 …')))).err).toContain(
      'a fault of Homeport itself',
    );
  });
});

test('exit codes follow the catalogue', () => {
  expect(exitCodeOf(new HomeportError('HP-C101'))).toBe(2);
  expect(exitCodeOf(new HomeportError('HP-D101'))).toBe(2);
  expect(exitCodeOf(new HomeportError('HP-C201'))).toBe(5);
  expect(exitCodeOf(new Error('x'))).toBe(1);
  const codes = Object.values(exitCodes).map(({ code }) => code);
  expect(new Set(codes).size).toBe(codes.length);
});

test('tables line up, also with characters of two code units', () => {
  const rows = [
    { name: 'eu-west-1', tenants: 12 },
    { name: '𝒳', tenants: 1_000 },
    { name: 'x', tenants: undefined },
  ];
  const columns = [
    { title: 'SHARD', value: (row: (typeof rows)[number]) => row.name },
    { title: 'TENANTS', value: (row: (typeof rows)[number]) => row.tenants },
  ];
  expect(table(rows, columns).split('\n')).toEqual([
    'SHARD      TENANTS',
    'eu-west-1       12',
    '𝒳             1000',
    'x          –',
  ]);
});

test('errors in JSON keep what belongs to them', () => {
  expect(errorJson(new Error('x'))).toEqual({ message: 'x' });
  expect(errorJson('x')).toEqual({ message: 'x' });
});
