/** tls-server-end-point (RFC 5929 §4.1): a certificate's hash, by the hash function of its own signature. */
import { createHash } from 'node:crypto';

/** Signature algorithms by their DER object identifiers (hex); MD5 and SHA-1 are replaced by SHA-256, says the RFC. */
const HASHES: Readonly<Record<string, string>> = {
  '2a864886f70d010104': 'sha256', // md5WithRSAEncryption
  '2a864886f70d010105': 'sha256', // sha1WithRSAEncryption
  '2a864886f70d01010b': 'sha256', // sha256WithRSAEncryption
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  '2a864886f70d01010e': 'sha224',
  '2a8648ce3d0401': 'sha256', // ecdsa-with-SHA1
  '2a8648ce3d040301': 'sha224',
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
};

interface Element {
  readonly start: number;
  readonly end: number;
}

/** The content of the DER element at `at`, or undefined when it has not the tag or does not fit. */
function element(der: Buffer, at: number, tag: number): Element | undefined {
  if (der[at] !== tag) return undefined;
  const first = der[at + 1] ?? 0xff;
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  if (lengthBytes > 4 || at + 2 + lengthBytes > der.length) return undefined;
  const length = lengthBytes === 0 ? first : der.readUIntBE(at + 2, lengthBytes);
  const start = at + 2 + lengthBytes;
  return start + length <= der.length ? { start, end: start + length } : undefined;
}

/**
 * @param certificate DER, as `raw` of Node's certificates has it.
 * @returns undefined for signatures without a hash of their own (Ed25519) or with it in parameters (RSA-PSS): such a
 *   connection is not bound, and PLUS not offered.
 */
export function endPointHash(certificate: Buffer): Buffer | undefined {
  const outer = element(certificate, 0, 0x30);
  const signed = outer && element(certificate, outer.start, 0x30);
  const algorithm = signed && element(certificate, signed.end, 0x30);
  const id = algorithm && element(certificate, algorithm.start, 0x06);
  const hash = id && HASHES[certificate.subarray(id.start, id.end).toString('hex')];
  return hash === undefined ? undefined : createHash(hash).update(certificate).digest();
}
