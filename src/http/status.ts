/**
 * The HTTP side of a region for machines that watch it: alive, ready, metrics. No secrets, no tenant data, no writes;
 * the data and admin APIs come with their own authentication.
 */
import { createServer, type Server, type ServerResponse } from 'node:http';

export interface StatusSource {
  /** Why the region should get no traffic now; empty: it should. */
  readiness(): Promise<readonly string[]>;
  /** The page for Prometheus. */
  metrics(): Promise<string>;
  /** Name, region and listeners, for people who open the address in a browser. */
  about(): Readonly<Record<string, unknown>>;
}

type Answer = { readonly status: number; readonly type: string; readonly body: string };

const json = (status: number, body: unknown): Answer => ({
  status,
  type: 'application/json',
  body: `${JSON.stringify(body)}\n`,
});

async function answer(path: string, source: StatusSource): Promise<Answer> {
  switch (path) {
    case '/':
      return json(200, { ...source.about(), pages: ['/healthz', '/readyz', '/metrics'] });
    case '/healthz':
      return json(200, { healthy: true });
    case '/readyz': {
      const reasons = await source.readiness();
      return json(reasons.length === 0 ? 200 : 503, { ready: reasons.length === 0, reasons });
    }
    case '/metrics':
      return { status: 200, type: 'text/plain; version=0.0.4; charset=utf-8', body: await source.metrics() };
    default:
      return json(404, { error: `there is no page ${path.slice(0, 200)}`, pages: ['/healthz', '/readyz', '/metrics'] });
  }
}

function send(response: ServerResponse, { status, type, body }: Answer): void {
  response.writeHead(status, {
    'content-type': type,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  response.end(body);
}

/** @returns the server, listening, and the port that it really has. */
export function serveStatus(
  at: { readonly host: string; readonly port: number },
  source: StatusSource,
): Promise<{ server: Server; port: number }> {
  const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000 }, (request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') return send(response, json(405, { error: 'only GET' }));
    const path = (request.url ?? '/').split('?')[0] ?? '/';
    answer(path, source).then(
      found => send(response, found),
      (error: unknown) => send(response, json(500, { error: error instanceof Error ? error.message : String(error) })),
    );
  });
  server.maxConnections = 256;
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(at.port, at.host, () => {
      server.removeListener('error', reject);
      const address = server.address();
      resolve({ server, port: typeof address === 'object' && address ? address.port : at.port });
    });
  });
}
