/** TLS at the server's side of the Postgres protocol: after an SSLRequest, or at once ("direct", with ALPN). */
import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls';
import { endPointHash } from './endpoint.ts';

const ALPN = 'postgresql';
/** libpq in asynchronous mode looks at its socket, not at what OpenSSL has decoded: longer records make it hang. */
const MAX_RECORD_BYTES = 8192;

export interface ServerTls {
  readonly context: SecureContext;
}

/** @param files the PEM texts themselves. @throws what OpenSSL says when they don't fit together. */
export function serverTls(files: { cert: string | Buffer; key: string | Buffer; ca?: string | Buffer }): ServerTls {
  return {
    context: createSecureContext({
      ...files,
      minVersion: 'TLSv1.2',
      honorCipherOrder: true,
      // No renegotiation, no tickets: Postgres drivers use neither, and each is memory that a stranger can ask for.
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_TICKET,
    }),
  };
}

export interface Encrypted {
  readonly socket: TLSSocket;
  /** For channel binding; undefined when the certificate can't be bound to. */
  readonly endPoint: Buffer | undefined;
}

/**
 * Resolves when the handshake is done, or with undefined when it failed and the socket is gone. It has no time limit
 * of its own: whoever accepted the connection destroys the raw socket when its time is up.
 */
export function encrypt(raw: Socket, tls: ServerTls, options: { direct: boolean }): Promise<Encrypted | undefined> {
  // Errors of the raw socket come out of the TLS socket that owns its handle now; this one must not be thrown.
  raw.on('error', () => raw.destroy());
  const socket = new TLSSocket(raw, {
    isServer: true,
    secureContext: tls.context,
    ALPNProtocols: [ALPN],
    requestCert: false,
  });
  // Without a tls.Server around it Node reports TLS errors only here, before and after the handshake, and leaves
  // the socket as it is: nobody would ever hear of a connection that has gone bad.
  socket.on('_tlsError', () => socket.destroy());
  return new Promise(resolve => {
    const failed = () => resolve(undefined);
    socket.once('close', failed);
    socket.once('error', failed);
    socket.once('secure', () => {
      socket.off('close', failed);
      // Direct TLS without ALPN could be another protocol's bytes, sent here by a trick (ALPACA).
      if (options.direct && socket.alpnProtocol !== ALPN) {
        socket.destroy();
        return resolve(undefined);
      }
      socket.off('error', failed);
      socket.setMaxSendFragment(MAX_RECORD_BYTES);
      const certificate = socket.getX509Certificate();
      resolve({ socket, endPoint: certificate && endPointHash(certificate.raw) });
    });
  });
}
