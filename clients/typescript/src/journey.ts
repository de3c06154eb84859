/**
 * One call's way over as many connections as it takes: when to go on, when to send again, when to give up.
 *
 * A generation goes on while its reader is away, so a lost connection is followed by WatchGeneration. If the call broke
 * before its id came back, its `request_id` tells whether it was accepted.
 *
 * Sending a call again may pay again: a gateway that does not know a generation may have been restarted and have forgotten
 * it. So that is done only if the call reached nobody, if the gateway refused it unpaid for the moment (`isDueAgain`), or if
 * the gateway itself said that the generation ended and nothing was spent. Everything else ends with the error of the lost
 * connection, which says that the outcome is unknown.
 */

import { INITIAL_BACKOFF_MS, MAX_ATTEMPTS, MAX_BACKOFF_MS } from "./deadlines.js";
import { forgotten, PictorError } from "./errors.js";

/** What passes time and makes chance; tests bring their own. */
export interface Surroundings {
  /** Waits so many milliseconds; rejects when the signal aborts. */
  sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  /** A number from 0 to 1. */
  jitter: () => number;
  /** Told when a connection is lost and will be tried again; the first time, not of every try. */
  onLost: (error: PictorError) => void;
}

/** Longest wait before each try: a restart of the gateway fits in, a broken network does not go on for ever. */
const DELAYS_MS = [100, 300, 1000, 3000, 5000, 5000, 5000];

/** Counts the tries of one call since it last brought something. */
export class Patience {
  private tries = 0;

  constructor(
    private readonly around: Surroundings,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** Something arrived: begin to count anew. */
  progress(): void {
    this.tries = 0;
  }

  /**
   * Waits until the next try is due; half of each delay is random, so that clients do not come back as one.
   *
   * @throws PictorError `error` itself, if all tries are used up.
   */
  async wait(error: PictorError): Promise<void> {
    const delay = DELAYS_MS[this.tries];
    if (delay === undefined) {
      throw error;
    }
    if (this.tries === 0) {
      this.around.onLost(error);
    }
    this.tries += 1;
    await this.around.sleep((delay * (1 + this.around.jitter())) / 2, this.signal);
  }
}

/**
 * Waits until a call that nobody took is due again.
 *
 * @param attempt how many were made.
 * @returns false, at once, if somebody may have taken it, or all attempts are used up.
 */
export async function isDueAgain(
  error: PictorError,
  attempt: number,
  around: Surroundings,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (!error.isFreeToRepeat || attempt >= MAX_ATTEMPTS) {
    return false;
  }
  const longest = Math.min(INITIAL_BACKOFF_MS * 2 ** (attempt - 1), MAX_BACKOFF_MS);
  await around.sleep(error.pushbackMs ?? longest * around.jitter(), signal);
  return true;
}

/** Keeps the tries of one generation's call, and the last connection that was lost. */
export class Journey {
  private lost: PictorError | undefined;
  private readonly patience: Patience;

  /**
   * @param around passes time.
   * @param find asks the gateway for the id of the generation with a `request_id`.
   * @param requestId names the call; undefined for who only watches.
   * @param isWithdrawnWhenLost whether CANCELLED after a lost connection is our doing, and nobody's wish.
   * @param signal ends every wait.
   */
  constructor(
    around: Surroundings,
    private readonly find: (requestId: string) => Promise<string>,
    private readonly requestId: string | undefined,
    private readonly isWithdrawnWhenLost: boolean,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.patience = new Patience(around, signal);
  }

  /** Something arrived: count the tries anew. */
  progress(): void {
    this.patience.progress();
  }

  /**
   * Waits until it is time to go on after an error.
   *
   * @param error what the call or the last try ended with.
   * @param known names the generation, if that is known.
   * @returns the id of the generation to watch, or undefined if the call is to be sent again.
   * @throws PictorError if there is nothing to go on with: it is `error`, or the lost connection that went before it.
   */
  async next(error: PictorError, known: string | undefined): Promise<string | undefined> {
    error.requestId = this.requestId;
    if (this.lost && error.code === "NOT_FOUND") {
      this.lost.message = forgotten(`generation ${this.lost.generationId}`, "whether it was made");
      throw this.lost;
    }
    error.generationId = known ?? error.generationId;
    if (error.isUnsent && error.generationId === undefined) {
      throw error;
    }
    if (this.hasEndedForNothing(error)) {
      this.lost = undefined;
      await this.patience.wait(error);
      return undefined;
    }
    if (!error.isLost) {
      throw error;
    }
    error.generationId ??= await this.acceptedAs(error);
    error.paid = this.requestId !== undefined;
    await this.patience.wait(error);
    this.lost = error;
    return error.generationId;
  }

  private hasEndedForNothing(error: PictorError): boolean {
    const weSeemedGone = error.reason === "CANCELLED" && this.isWithdrawnWhenLost && this.lost !== undefined;
    const isOurs = this.requestId !== undefined;
    return isOurs && error.isEnd && !error.paid && (weSeemedGone || error.reason === "SHUTTING_DOWN");
  }

  private async acceptedAs(lost: PictorError): Promise<string> {
    if (lost.reason !== "UNREACHABLE" || this.requestId === undefined) {
      throw lost; // refused, not accepted
    }
    for (;;) {
      try {
        return await this.find(this.requestId);
      } catch (error) {
        this.signal?.throwIfAborted();
        const answer = error as PictorError;
        if (!answer.isUnsent) {
          throw unknown(lost, this.requestId, answer);
        }
        await this.patience.wait(unknown(lost, this.requestId, answer)); // nobody there: it may be starting again
      }
    }
  }
}

function unknown(lost: PictorError, requestId: string, answer: PictorError): PictorError {
  const hint =
    answer.isLost && !answer.isUnsent ? "; asking for it broke off too, perhaps the address wants https://" : "";
  const error = new PictorError(
    lost.code,
    `${lost.message}; it is unknown whether the call was accepted: look for its request_id ${requestId}${hint}`,
    { metadata: { ...lost.metadata, request_id: requestId }, cause: lost.cause },
  );
  error.paid = true;
  error.requestId = requestId;
  return error;
}
