/** What a client is sent when it has proved who it is: one write from AuthenticationOk to ReadyForQuery. */
import { backendKeyData } from '../pgwire/cancelkey.ts';
import { Back, frame, parameterStatus, readyFrame, Status } from '../pgwire/frames.ts';
import type { Startup } from '../pgwire/startup.ts';

const AUTHENTICATION_OK = frame(Back.authentication, Buffer.alloc(4));

/** What every Postgres 18 reports; a shard's own values replace these as soon as one has been reached. */
export const DEFAULT_PARAMETERS: ReadonlyMap<string, string> = new Map([
  ['server_version', '18.0'],
  ['server_encoding', 'UTF8'],
  ['client_encoding', 'UTF8'],
  ['DateStyle', 'ISO, MDY'],
  ['IntervalStyle', 'postgres'],
  ['TimeZone', 'UTC'],
  ['integer_datetimes', 'on'],
  ['standard_conforming_strings', 'on'],
  ['is_superuser', 'off'],
  ['in_hot_standby', 'off'],
  ['default_transaction_read_only', 'off'],
  ['scram_iterations', '4096'],
]);

/** Takes over what a shard reports of itself; who is logged in there, and as what, is no client's business. */
export function learn(into: Map<string, string>, reported: ReadonlyMap<string, string>): void {
  for (const name of DEFAULT_PARAMETERS.keys()) {
    const value = reported.get(name);
    if (value !== undefined && name !== 'is_superuser') into.set(name, value);
  }
}

export interface Welcome {
  readonly parameters: ReadonlyMap<string, string>;
  readonly startup: Startup;
  readonly pid: number;
  readonly key: Buffer;
}

export function welcome({ parameters, startup, pid, key }: Welcome): Buffer {
  const told = new Map([...parameters, ['session_authorization', startup.user]]);
  told.set('application_name', startup.settings.get('application_name') ?? '');
  // Postgres spells the reported names its own way; clients give them in any case.
  const spelling = new Map([...told.keys()].map(name => [name.toLowerCase(), name]));
  for (const [name, value] of startup.settings) {
    const reported = spelling.get(name.toLowerCase());
    if (reported !== undefined) told.set(reported, reportedValue(reported, value));
  }
  const statuses = [...told].map(([name, value]) => parameterStatus(name, value));
  return Buffer.concat([AUTHENTICATION_OK, ...statuses, backendKeyData(pid, key), readyFrame(Status.idle)]);
}

/** `ISO` alone leaves the order of day and month as it was. */
function reportedValue(name: string, value: string): string {
  if (name === 'DateStyle' && !value.includes(',')) return `${value}, MDY`;
  return name === 'client_encoding' ? 'UTF8' : value;
}
