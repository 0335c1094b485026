/**
 * SASLprep (RFC 4013) exactly as Postgres applies it to passwords: where the profile refuses a password, the bytes are
 * used as they are, so that a password that was set anywhere still logs in here.
 */
import { LEFT_TO_RIGHT, NOTHING, PROHIBITED, RIGHT_TO_LEFT, SPACES, UNASSIGNED } from './saslprep-tables.ts';

/** The mapping step: odd spaces become a space, soft hyphens, joiners and variation selectors vanish. */
function map(text: string): string {
  let mapped = '';
  for (const character of text) {
    const codePoint = character.codePointAt(0) ?? 0;
    if (SPACES.has(codePoint)) mapped += ' ';
    else if (!NOTHING.has(codePoint)) mapped += character;
  }
  return mapped;
}

/** RFC 3454 §6: right-to-left text must begin and end so and hold nothing from left to right. */
function bidirectional(codePoints: readonly number[]): boolean {
  if (!codePoints.some(codePoint => RIGHT_TO_LEFT.has(codePoint))) return true;
  if (codePoints.some(codePoint => LEFT_TO_RIGHT.has(codePoint))) return false;
  return RIGHT_TO_LEFT.has(codePoints[0] ?? 0) && RIGHT_TO_LEFT.has(codePoints.at(-1) ?? 0);
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false;
  return true;
}

/** The password as it goes into PBKDF2. */
export function saslPrep(password: string): string {
  if (isAscii(password) || !password.isWellFormed()) return password;
  const normalised = map(password).normalize('NFKC');
  const codePoints = Array.from(normalised, character => character.codePointAt(0) ?? 0);
  if (codePoints.length === 0) return password;
  if (codePoints.some(codePoint => PROHIBITED.has(codePoint) || UNASSIGNED.has(codePoint))) return password;
  return bidirectional(codePoints) ? normalised : password;
}
