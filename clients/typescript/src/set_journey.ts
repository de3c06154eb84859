/**
 * A set's way over as many connections as it takes: the same set is sent again, with the same `request_id`.
 *
 * The gateway joins or replays each generation of a set that it knows, so nothing is paid twice. A gateway that has
 * forgotten them (its database was in memory, or is another one) would draw all of them anew, so it is asked for one of
 * those that were seen first.
 */

import type { PictorError } from "./errors.js";
import { Patience, type Surroundings } from "./journey.js";
import type { SetAssembler } from "./sets.js";

/** Keeps the tries of one set. */
export class SetJourney {
  private wasLost = false;
  private readonly patience: Patience;

  /**
   * @param around passes time.
   * @param look asks the gateway for a generation.
   * @param requestId names the set's call.
   * @param seen what has arrived of the set.
   * @param signal ends every wait.
   */
  constructor(
    around: Surroundings,
    private readonly look: (generationId: string) => Promise<unknown>,
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
    if (!error.isLost || (error.isUnsent && !this.mayBePaid)) {
      throw error;
    }
    this.wasLost = true;
    await this.patience.wait(error);
    await this.checkKnown(error);
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
      error.message += `; ${what}: send it again with request_id ${this.requestId}, which pays nothing twice`;
    }
    return error;
  }

  private get mayBePaid(): boolean {
    return this.wasLost || this.seen.setId !== undefined;
  }

  private async checkKnown(lost: PictorError): Promise<void> {
    const { generationId, setId } = this.seen;
    if (generationId === undefined) {
      return;
    }
    try {
      await this.look(generationId);
    } catch (error) {
      this.signal?.throwIfAborted();
      const answer = error as PictorError;
      if (answer.isLost) {
        return this.next(answer);
      }
      if (answer.code !== "NOT_FOUND") {
        throw answer;
      }
      lost.paid = true;
      lost.message += `; the gateway does not know generation ${generationId} of set ${setId} any more, so it is unknown what was made, and request_id ${this.requestId} may pay again`;
      throw lost;
    }
  }
}
