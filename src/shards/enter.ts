/** The messages that open a tenant's transaction on a backend, ahead of the client's first. */
import type { PlacementKey, TenantKey } from '../base/ids.ts';
import { limits } from '../base/limits.ts';
import { bindAndExecute, parseFrame, SYNC } from '../pgwire/frames.ts';
import type { Backend } from './backend.ts';
import { enterProof } from './proof.ts';
import { ENTER, ENTER_PARAMETER_OIDS } from './sql.ts';

const STATEMENT = 'hp_enter';

function parseTail(): Buffer {
  const oids = Buffer.alloc(2 + ENTER_PARAMETER_OIDS.length * 4);
  oids.writeInt16BE(ENTER_PARAMETER_OIDS.length, 0);
  ENTER_PARAMETER_OIDS.forEach((oid, i) => {
    oids.writeInt32BE(oid, 2 + i * 4);
  });
  return Buffer.concat([Buffer.from(`${ENTER}\0`), oids]);
}

const PREPARE_ENTER = Buffer.concat([parseFrame(STATEMENT, parseTail()), SYNC]);

/** Prepares `enter` on a new backend. @throws LoginRefused when the shard has no such function. */
export function prepareEnter(backend: Backend): Promise<void> {
  return backend.exchange(PREPARE_ENTER);
}

/** Bind and Execute of `enter`; the same bytes serve until the backend, tenant, placement or epoch changes. */
export function enterMessage(
  backend: Backend,
  signingKey: Buffer,
  tenant: TenantKey,
  placement: { readonly key: PlacementKey; readonly epoch: number },
): Buffer {
  const known = backend.enters.get(tenant);
  if (known && known.epoch === placement.epoch && known.placement === placement.key) return known.bytes;
  const { key, epoch } = placement;
  const proof = enterProof(signingKey, { backendPid: backend.pid, tenant, placement: key, epoch });
  const bytes = bindAndExecute(STATEMENT, [tenant, key, String(epoch), proof]);
  if (backend.enters.size >= limits.backendEnters) backend.enters.clear();
  backend.enters.set(tenant, { epoch, placement: key, bytes });
  return bytes;
}
