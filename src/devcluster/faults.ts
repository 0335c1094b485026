/**
 * What has been done to the links, as the supervisor remembers it: conditions that somebody set on a direction, and
 * regions cut off as a whole. What holds on a direction is worked out of both, so that healing one of two isolated
 * regions does not open the way between it and the other.
 */
import { HomeportError } from '../base/errors.ts';
import { clusterLimits } from './limits.ts';
import { CLEAR, type LinkConditions } from './link.ts';
import { type DevRegion, isDevRegion, others, REGIONS } from './plan.ts';

export interface LinkName {
  readonly from: DevRegion;
  readonly to: DevRegion;
}

export interface EffectiveLink extends LinkName {
  readonly conditions: LinkConditions;
}

export const DIRECTIONS: readonly LinkName[] = REGIONS.flatMap(from => others(from).map(to => ({ from, to })));

/** @throws HP-L122 when there is no such region. */
export function parseRegion(text: string): DevRegion {
  if (isDevRegion(text)) return text;
  throw new HomeportError('HP-L122', { what: 'region', name: text, choices: REGIONS.join(', ') });
}

/** `eu-west:us-east`. @throws HP-L125 or HP-L122. */
export function parseLink(text: string): LinkName {
  const [from, to, ...more] = text.split(':');
  if (!from || !to || more.length > 0 || from === to) {
    throw new HomeportError('HP-L125', { text, what: 'a link between two regions', example: 'eu-west:us-east' });
  }
  return { from: parseRegion(from), to: parseRegion(to) };
}

/** `80ms`, `1.5s` or a bare number of milliseconds. @throws HP-L125. */
export function parseDurationMs(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s)?$/.exec(text.trim());
  const ms = Number(match?.[1]) * (match?.[2] === 's' ? 1000 : 1);
  if (match && ms <= clusterLimits.linkDelayMs) return ms;
  throw new HomeportError('HP-L125', { text, what: 'a duration of at most a minute', example: '80ms or 1.5s' });
}

/** Bytes per second: `500k`, `10M` or a bare number. @throws HP-L125. */
export function parseRate(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kKmM])?$/.exec(text.trim());
  const unit = match?.[2]?.toLowerCase();
  const rate = Math.floor(Number(match?.[1]) * (unit === 'k' ? 1_000 : unit === 'm' ? 1_000_000 : 1));
  if (match && rate >= 1) return rate;
  throw new HomeportError('HP-L125', { text, what: 'a number of bytes per second', example: '500k or 10M' });
}

export interface Rtt extends LinkName {
  readonly rttMs: number;
}

/** `eu-west:us-east=80ms`. @throws HP-L125 or HP-L122. */
export function parseRtt(text: string): Rtt {
  const at = text.lastIndexOf('=');
  if (at < 0) throw new HomeportError('HP-L125', { text, what: 'a round trip', example: 'eu-west:us-east=80ms' });
  return { ...parseLink(text.slice(0, at)), rttMs: parseDurationMs(text.slice(at + 1)) };
}

export class LinkFaults {
  readonly #set = new Map<string, LinkConditions>();
  readonly #isolated = new Set<DevRegion>();

  get isolated(): readonly DevRegion[] {
    return [...this.#isolated];
  }

  effective({ from, to }: LinkName): LinkConditions {
    const set = this.#set.get(`${from}:${to}`) ?? CLEAR;
    const isSilent = set.blackhole || this.#isolated.has(from) || this.#isolated.has(to);
    return { ...set, blackhole: isSilent };
  }

  all(): EffectiveLink[] {
    return DIRECTIONS.map(link => ({ ...link, conditions: this.effective(link) }));
  }

  set({ from, to }: LinkName, conditions: Partial<LinkConditions>): void {
    const key = `${from}:${to}`;
    this.#set.set(key, { ...(this.#set.get(key) ?? CLEAR), ...conditions });
  }

  rtt({ from, to, rttMs }: Rtt): void {
    this.set({ from, to }, { delayMs: rttMs / 2 });
    this.set({ from: to, to: from }, { delayMs: rttMs / 2 });
  }

  isolate(region: DevRegion): void {
    this.#isolated.add(region);
  }

  /** The region's links flow again; their latency and bandwidth stay. */
  heal(region: DevRegion): void {
    this.#isolated.delete(region);
    for (const link of DIRECTIONS.filter(({ from, to }) => from === region || to === region)) {
      this.set(link, { blackhole: false, cut: false });
    }
  }
}
