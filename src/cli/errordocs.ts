/** ERRORS.md, written from the catalogue: `npm run docs:errors`. A test says when it is out of date. */
import { catalogue } from '../base/errors/catalogue.ts';
import type { ErrorSpec } from '../base/errors/spec.ts';
import { exitCodes } from './exit.ts';

/** What the letter behind `HP-` stands for. A code in an area without a row here fails a test. */
export const areas: Readonly<Record<string, string>> = {
  A: 'Administration: pins, tenants, shards',
  C: 'Configuration and command line',
  D: 'Tenants, domains and the directory',
  G: 'The gateway: routing, pools and limits',
  L: 'The local cluster of `homeport dev`',
  P: 'The Postgres wire protocol and authentication',
  S: 'Shards: migrations, fences and enrolment',
};

/** `{tenant}` → `‹tenant›`: a place that the error fills in. */
export function readable(template: string): string {
  return template.replaceAll(/\{(\w+)\}/g, '‹$1›');
}

function cell(text: string): string {
  return readable(text).replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('\n', ' ');
}

function row([code, spec]: readonly [string, ErrorSpec]): string {
  const what = spec.detail === undefined ? cell(spec.message) : `${cell(spec.message)}<br>${cell(spec.detail)}`;
  return `| <a id="${code.toLowerCase()}"></a>${code} | ${spec.sqlstate} | ${spec.http} | ${what} | ${cell(spec.hint)} |`;
}

function section(letter: string, title: string): string[] {
  const entries = Object.entries(catalogue)
    .filter(([code]) => code.startsWith(`HP-${letter}`))
    .sort(([a], [b]) => a.localeCompare(b, 'en'));
  if (entries.length === 0) return [];
  const head = ['| code | SQLSTATE | HTTP | what happened | next |', '|---|---|---|---|---|'];
  return ['', `## HP-${letter}: ${title}`, '', ...head, ...entries.map(row)];
}

export function errorDocs(): string {
  const intro = [
    '# Errors',
    '',
    '<!-- Written from the catalogue in src/base/errors/ by `npm run docs:errors`; change it there. -->',
    '',
    'Every refusal has a code that never changes. SQL clients get it in the message, with the SQLSTATE and the next step as',
    'HINT; the HTTP interfaces answer with the status; `homeport errors <code>` prints an entry. ‹words› in angle quotes are',
    'filled in.',
  ];
  const codes = Object.values(exitCodes).map(({ code, means }) => `| ${code} | ${means} |`);
  const exits = ['', '## Exit codes of `homeport`', '', '| code | means |', '|---|---|', ...codes];
  const sections = Object.entries(areas).flatMap(([letter, title]) => section(letter, title));
  return [...intro, ...sections, ...exits, ''].join('\n');
}
