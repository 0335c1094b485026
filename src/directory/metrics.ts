/** Plain counters, read by whoever exports them. They only grow. */
export class DirectoryMetrics {
  /** Look-ups of tenants that weren't known, and those made past the cache. */
  resolves = 0;
  refreshes = 0;
  /** Reads of the directory, those that a lagging replica answered, and those without an answer. */
  reads = 0;
  readsBehind = 0;
  readsFailed = 0;
  /** Records that a watch brought, and gaps in a watch. */
  slotEvents = 0;
  pinEvents = 0;
  gaps = 0;
  /** Pins forgotten because the watch could have missed a change. */
  pinsCleared = 0;
  /** Records that were not believed: a lower epoch than before, or not of the right form. */
  refused = 0;
  /** The stream was made anew under us. */
  replaced = 0;
}
