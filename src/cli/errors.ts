/** `homeport errors`: the catalogue, for the person who has a code in a log and no time. */
import type { Command } from 'commander';
import { catalogue, type ErrorCode } from '../base/errors/catalogue.ts';
import { HomeportError } from '../base/errors.ts';
import { didYouMean } from '../base/suggest.ts';
import { type Cli, examples } from './context.ts';
import { errorDocs, readable } from './errordocs.ts';
import type { Output } from './output.ts';

const codes = Object.keys(catalogue) as ErrorCode[]; // cast: the catalogue's keys are the codes

export function register(program: Command, cli: Cli): void {
  program
    .command('errors [code]')
    .description('what an error code means and what to do next')
    .option('--markdown', 'all of them as the text of ERRORS.md')
    .addHelpText(
      'after',
      examples(
        ['homeport errors', 'all codes, one per line'],
        ['homeport errors HP-C101', 'what happened, and the next thing to do'],
        ['homeport errors hp-c1 --json', 'those that begin like this, for a script'],
      ),
    )
    .action((code: string | undefined, options: { markdown?: boolean }) => {
      if (options.markdown) cli.output.result(errorDocs(), text => text.trimEnd());
      else show(cli.output, code?.toUpperCase());
    });
}

function entry(code: ErrorCode) {
  const { sqlstate, message, detail, hint, http } = catalogue[code];
  return { code, sqlstate, http, message: readable(message), detail: detail && readable(detail), next: readable(hint) };
}

function show(output: Output, code: string | undefined): void {
  const found = codes.filter(known => code === undefined || known === code || known.startsWith(code));
  const [only] = found;
  if (only === undefined)
    throw new HomeportError('HP-C201', { code: code ?? '', suggestion: didYouMean(code ?? '', codes) });
  if (found.length > 1 || code === undefined) {
    const columns = [
      { title: 'CODE', value: (row: ReturnType<typeof entry>) => row.code },
      { title: 'SQLSTATE', value: (row: ReturnType<typeof entry>) => row.sqlstate },
      { title: 'WHAT HAPPENED', value: (row: ReturnType<typeof entry>) => row.message },
    ];
    output.list(found.map(entry), columns, 'there are no error codes');
    return;
  }
  output.result(entry(only), ({ sqlstate, http, message, detail, next }) => {
    const more = detail === undefined ? '' : `\n  ${detail}`;
    return `${only}  ${message}${more}\n  Next: ${next}\n  SQLSTATE ${sqlstate}, HTTP ${http}`;
  });
}
