/**
 * Changes of who may write here. A change takes the exclusive locks that transactions hold shared: it waits for writers
 * in flight, those that come meanwhile queue behind it, and read the fence as it left it (I1, I6).
 */
import type pg from 'pg';
import { HomeportError } from '../base/errors.ts';
import type { PlacementKey, TenantKey } from '../base/ids.ts';
import { inTransaction, sqlstateOf } from './admin.ts';
import { listEnrolled } from './enroll.ts';
import { LOCK_CLASS } from './sql.ts';

export type FenceRole = 'primary' | 'replica' | 'closed';

export interface Fence {
  readonly placement: PlacementKey;
  readonly epoch: number;
  readonly role: FenceRole;
  /** Of a pinned tenant: its slot, which must not be entered for it. */
  readonly through: PlacementKey | undefined;
}

export interface FenceChange {
  readonly placement: PlacementKey;
  readonly epoch: number;
  /** Of a `tenant:` placement: the slot to keep it out of, null to let it back in. What it was when left out. */
  readonly through?: PlacementKey | null;
  /** How long to wait for writers in flight; new ones wait as long. */
  readonly waitMs: number;
}

const LOCK_NOT_AVAILABLE = '55P03';
const COLUMNS = 'placement, epoch::float8 as epoch, role, through';

interface Row {
  placement: PlacementKey;
  epoch: number;
  role: FenceRole;
  through: PlacementKey | null;
}

function fence(row: Row): Fence {
  return { ...row, through: row.through ?? undefined };
}

export async function readFence(admin: pg.ClientBase, placement: PlacementKey): Promise<Fence | undefined> {
  const { rows } = await admin.query<Row>(`select ${COLUMNS} from homeport.fence where placement = $1`, [placement]);
  return rows[0] && fence(rows[0]);
}

/** All fences, or those whose placement starts with `prefix`: what the directory is rebuilt from (I11). */
export async function listFences(admin: pg.ClientBase, prefix = ''): Promise<Fence[]> {
  const { rows } = await admin.query<Row>(
    `select ${COLUMNS} from homeport.fence where starts_with(placement, $1) order by placement`,
    [prefix],
  );
  return rows.map(fence);
}

/** Slots before tenants, everywhere: two changers of one pin can't wait for each other. */
async function lockExclusively(
  admin: pg.ClientBase,
  placements: readonly PlacementKey[],
  waitMs: number,
): Promise<void> {
  await admin.query(`set local lock_timeout = ${Math.max(1, Math.round(waitMs))}`);
  for (const placement of [...new Set(placements)].sort()) {
    try {
      await admin.query(`select pg_advisory_xact_lock(${LOCK_CLASS}, hashtext($1))`, [placement]);
    } catch (cause) {
      if (sqlstateOf(cause) !== LOCK_NOT_AVAILABLE) throw cause;
      throw new HomeportError('HP-S402', { placement, waitMs }, { cause });
    }
  }
}

/** I1: opening takes an epoch of its own; only repeating what was done already is let through. */
function follows(current: Fence | undefined, epoch: number, role: FenceRole): boolean {
  if (!current || epoch > current.epoch) return true;
  return epoch === current.epoch && (role !== 'primary' || current.role === 'primary');
}

/**
 * One change inside the caller's transaction; the locks are held until it ends.
 * @throws HP-S401 when the epoch does not follow, HP-S402 when writers in flight take longer than `waitMs`.
 */
export async function changeFence(admin: pg.ClientBase, role: FenceRole, change: FenceChange): Promise<Fence> {
  const { placement, epoch } = change;
  // Read before the locks only to know what to lock: a tenant's slot changes under the tenant's own lock alone.
  const before = await readFence(admin, placement);
  const slots = [before?.through, change.through].filter(slot => slot !== undefined && slot !== null);
  await lockExclusively(admin, [...slots, placement], change.waitMs);
  const current = await readFence(admin, placement);
  if (!follows(current, epoch, role) || current?.through !== before?.through) {
    throw new HomeportError('HP-S401', { placement, epoch, current: current?.epoch });
  }
  const through = change.through === undefined ? current?.through : change.through;
  const { rows } = await admin.query<Row>(
    `insert into homeport.fence (placement, epoch, role, through) values ($1, $2, $3, $4)
     on conflict (placement) do update set epoch = excluded.epoch, role = excluded.role, through = excluded.through,
       changed_at = now() returning ${COLUMNS}`,
    [placement, epoch, role, through ?? null],
  );
  const changed = rows[0];
  if (!changed) throw new HomeportError('HP-S401', { placement, epoch, current: current?.epoch });
  return fence(changed);
}

/** Lets writers in under a new epoch. Repeating it changes nothing. */
export async function openFence(admin: pg.ClientBase, change: FenceChange): Promise<Fence> {
  return inTransaction(admin, () => changeFence(admin, 'primary', change));
}

/** When it returns, no writer is in flight and none gets in. */
export async function closeFence(admin: pg.ClientBase, change: FenceChange): Promise<Fence> {
  return inTransaction(admin, () => changeFence(admin, 'closed', change));
}

/**
 * Opens many placements that have no fence here, in one statement. Needs no locks: a placement without a fence has no
 * writers. Those that have one are left alone.
 * @returns the placements that were opened.
 */
export async function openFresh(
  admin: pg.ClientBase,
  placements: readonly PlacementKey[],
  epoch: number,
): Promise<PlacementKey[]> {
  const { rows } = await admin.query<{ placement: PlacementKey }>(
    `insert into homeport.fence (placement, epoch, role) select unnest($1::text[]), $2, 'primary'
     on conflict (placement) do nothing returning placement`,
    [placements, epoch],
  );
  return rows.map(row => row.placement);
}

/** The enrolled tables in which a tenant has rows: empty means that it can be placed anywhere without a move. */
export async function hasRows(admin: pg.ClientBase, tenant: TenantKey): Promise<string[]> {
  const found: string[] = [];
  for (const { schema, table, tenantColumn } of await listEnrolled(admin)) {
    const [name, column] = [`${quoted(schema)}.${quoted(table)}`, quoted(tenantColumn)];
    const { rowCount } = await admin.query(`select from ${name} where ${column} = $1 limit 1`, [tenant]);
    if (rowCount) found.push(name);
  }
  return found;
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
