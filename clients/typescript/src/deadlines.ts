/** How long calls may take, in milliseconds, and how often they are tried: as `protos/service_config.json` says. */

/** A call that only looks something up. */
export const READ_MS = 10_000;
/** One connection of a download or upload. */
export const TRANSFER_MS = 120_000;
/** A generation: longer than the slowest model. */
export const GENERATION_MS = 600_000;
/** A set: many generations. */
export const SET_MS = 1_800_000;

/** Tries of a call that nobody took, the first one included. */
export const MAX_ATTEMPTS = 3;
/** The wait before the second try; it doubles for each further one. */
export const INITIAL_BACKOFF_MS = 200;
/** Longest wait between such tries. */
export const MAX_BACKOFF_MS = 2_000;
