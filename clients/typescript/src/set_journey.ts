/**
 * A set's way over as many connections as it takes: the same set is sent again, with the same `request_id`.
 *
 * The gateway joins or replays each generation of a set that it knows, so nothing is paid twice. A gateway that has
 * forgotten them (its database was in memory, or is another one) would draw them anew, so it is asked first whether it knows
 * every one that was heard of. A set of which not even the id came back cannot be asked for, and is not sent again.
 */

import { forgotten, PictorError } from "./errors.js";
import { Patience, type Surroundings } from "./journey.js";
import type { SetAssembler } from "./sets.js";

/** Keeps the tries of one set. */
export class SetJourney {
  private wasLost = false;
  private readonly patience: Patience;

  /**
   * @param around passes time.
   * @param listed asks the gateway for the ids of the generations of a set.
   * @param requestId names the set's call.
   * @param seen what has arrived of the set.
   * @param signal ends every wait.
   */
  constructor(
    around: Surroundings,
    private readonly listed: (setId: string) => Promise<ReadonlySet<string>>,
    private readonly requestId: string,
    private readonly seen: SetAssembler,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.patience = new Patience(around, signal);
  }

  /** Something new arrived: count the tries anew. What is only repeated does not count, or it could go on for ever. */
  progress(): void {
    this.patience.progress();
  }

  /**
   * Waits until the set is to be sent again after an error.
   *
   * @throws PictorError if it cannot be gone on with.
   */
  async next(error: PictorError): Promise<void> {
    if (!error.isLost || (error.isUnsent && this.seen.setId === undefined)) {
      throw error;
    }
    this.wasLost = true;
    const { setId } = this.seen;
    if (setId === undefined) {
      throw error;
    }
    await this.patience.wait(error);
    const isKnown = await this.isKnown(setId).catch((failure: unknown) => {
      this.signal?.throwIfAborted();
      return this.next(failure as PictorError).then(() => true);
    });
    if (!isKnown) {
      const unknown = unfollowed(error, setId, this.requestId);
      if (this.seen.generationIds.length > 0) {
        throw unknown;
      }
      await this.next(unknown); // it may be about to open the first one
    }
  }

  /** The same error, with what to look for: once the set may have been accepted, money may be spent. */
  about(error: PictorError): PictorError {
    const { setId } = this.seen;
    error.requestId = this.requestId;
    if (setId !== undefined) {
      error.metadata = { ...error.metadata, set_id: setId };
    }
    if (this.mayBePaid && !error.paid) {
      error.paid = true;
      const what =
        setId === undefined ? "it is unknown whether the set was accepted" : `money may be spent on set ${setId}`;
      error.message += `; ${what}: send it again with request_id ${this.requestId}`;
    }
    return error;
  }

  private async isKnown(setId: string): Promise<boolean> {
    const listed = await this.listed(setId);
    return listed.size > 0 && this.seen.generationIds.every((id) => listed.has(id));
  }

  private get mayBePaid(): boolean {
    return this.wasLost || this.seen.setId !== undefined;
  }
}

/** A copy: an error may be waited with more than once. */
function unfollowed(lost: PictorError, setId: string, requestId: string): PictorError {
  const text = `${forgotten(`set ${setId}`, "what was made")} (request_id ${requestId})`;
  const error = new PictorError(lost.code, text, { cause: lost.cause });
  error.paid = true;
  return error;
}
