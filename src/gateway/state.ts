/** What a session and its transaction can be. The table of states and events is in SPEC.md. */
import type { TenantParts } from '../base/ids.ts';
import type { Route } from './route.ts';

/**
 * idle: no transaction. begun: BEGIN was answered here and nothing has run. seeking: waits for a route or a backend.
 * attached: a backend runs it. failed: it failed before a backend had it, or with the backend's loss; only its end is
 * awaited. closed: the client has gone.
 */
export type Phase = 'idle' | 'begun' | 'seeking' | 'attached' | 'failed' | 'closed';

/** The transaction at hand; reset when it ends. */
export class Transaction {
  /** BEGIN and SET TRANSACTION as the client sent them. */
  begin: readonly string[] = [];
  tenant: TenantParts | undefined;
  route: Route | undefined;
  /** The shard has let it in; until then nothing of it has run. */
  entered = false;
  /** A retreat from a stale route is under way: answers go nowhere. */
  retreating = false;
  /** The directory has been asked where its tenant lives. */
  asked = false;
  /** The client wants it canceled while nothing of it runs. */
  cancelled = false;
  reroutes = 0;
  heldSinceMs: number | undefined;
  /** Session settings that it changes, taken over when it commits. */
  changes: [name: string, value: string | undefined][] = [];
  settingsTouched = false;
  ruined = false;
  /** Something in it failed: what it changed is gone with it, unless it could commit all the same. */
  failedOnce = false;
  committed = false;
  /** Its COMMIT or ROLLBACK is under way. */
  endSent = false;
  /** The server has said that it dies before it came to anything that commits. */
  spared = false;
  /** A portal was bound to a statement that may end it. */
  controlBound = false;
  /** COMMIT AND CHAIN: the next one begins with the same modes. */
  chain = false;

  /** @param keepBegin for AND CHAIN */
  reset(keepBegin: boolean): void {
    if (!keepBegin) {
      this.begin = [];
      this.tenant = undefined;
    }
    this.route = undefined;
    this.entered = false;
    this.retreating = false;
    this.asked = false;
    this.cancelled = false;
    this.reroutes = 0;
    this.heldSinceMs = undefined;
    if (this.changes.length > 0) this.changes = [];
    this.settingsTouched = false;
    this.ruined = false;
    this.failedOnce = false;
    this.committed = false;
    this.endSent = false;
    this.spared = false;
    this.controlBound = false;
    this.chain = false;
  }
}
