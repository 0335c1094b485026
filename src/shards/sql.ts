/**
 * What gateways and agents send to a shard word for word, and what a shard answers with. The functions themselves are
 * in `migrations/`, their contract in SPEC.md.
 */

/** Parameters: tenant, placement, epoch, proof, all in text format. Returns one row with one empty (void) column. */
export const ENTER = 'select homeport.enter($1,$2,$3,$4)';

const TEXT_OID = 25;
const INT8_OID = 20;
export const ENTER_PARAMETER_OIDS: readonly number[] = [TEXT_OID, TEXT_OID, INT8_OID, TEXT_OID];

/** SQLSTATEs that a shard raises by itself. */
export const SHARD_SQLSTATE = {
  /** Wrong epoch, wrong role, or no such placement here: nothing has run, look up again. DETAIL is a `StaleDetail`. */
  stale: 'HP001',
  /** The region's support has run out. Not raised yet. */
  unsupported: 'HP002',
  /** The proof is not good for this backend: end the backend's connection, it is of no use to anybody. */
  badProof: 'HP003',
  /** A statement on an enrolled table without a verified tenant context. */
  noTenant: 'HP004',
} as const;

/** Postgres' own answer to `enter` under REPEATABLE READ and SERIALIZABLE when the fence has just changed. */
export const SERIALIZATION_FAILURE = '40001';

/** Of an error that `enter` failed with: may the transaction, of which nothing has run, be looked up and sent again? */
export function isStaleEntry(sqlstate: string): boolean {
  return sqlstate === SHARD_SQLSTATE.stale || sqlstate === SERIALIZATION_FAILURE;
}

/** The DETAIL of HP001, as JSON: the fence that stood in the way, `absent` and 0 when there is none. */
export interface StaleDetail {
  readonly placement: string;
  readonly epoch: number;
  readonly role: 'primary' | 'replica' | 'closed' | 'absent';
}

/** 'HOME': the first key of every advisory lock of ours; the second is hashtext(placement). */
export const LOCK_CLASS = 0x484f4d45;

/** Generated ids leave the shard's ordinal as remainder of this, so no two shards ever make the same one. */
export const MAX_SHARDS = 1024;

/** Name of the publication of all enrolled tables. */
export const PUBLICATION = 'homeport';
