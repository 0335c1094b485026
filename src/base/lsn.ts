/**
 * Postgres log sequence numbers: a 64-bit byte position in the WAL, written `X/Y` in hexadecimal.
 * An LSN is not unique per change (rows of one COPY share it), so it orders commits and nothing finer.
 */
export type Lsn = bigint & { readonly brand: 'Lsn' };

export const LSN_ZERO = 0n as Lsn; // cast: InvalidXLogRecPtr

const FORM = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/;

/** @returns undefined when `text` is not of the form `16/B374D848`. */
export function parseLsn(text: string): Lsn | undefined {
  const match = FORM.exec(text);
  if (!match) return undefined;
  return ((BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`)) as Lsn; // cast: checked form
}

export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`;
}
