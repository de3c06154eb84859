/** A set's stream as typed events: steps of several generations, each with the item it belongs to. */

import { damaged } from "./errors.js";
import { Assembler, type Event } from "./events.js";
import type { GenerationEvent } from "./gen/pictor/v1/generation_pb.js";
import type { GenerateSetResponse, SetSummary } from "./gen/pictor/v1/image_service_pb.js";

/** What every event of a set has. */
interface About {
  /** The item this is about; empty for the set as a whole. */
  itemKey: string;
  /** The model asked for this item; empty if the router decides. */
  model: string;
  /** The generation this is about; empty before it exists. */
  generationId: string;
}

/** One step of a set; `type` tells which. */
export type SetEvent = About &
  (
    | { type: "setAccepted"; setId: string; outputCount: number }
    | { type: "step"; event: Event }
    | { type: "itemFailed"; reason: string; text: string }
    | { type: "summary"; summary: SetSummary }
  );

/**
 * Turns a set's messages into events; every generation has an assembler of its own.
 *
 * After a lost connection the same set is sent again and its messages come from the beginning; what was told before is
 * dropped. What the loss withdrew from the queue may be heard once more as `CANCELLED` while the gateway clears it away:
 * that is nobody's wish, so it is not told, and the set counts as unfinished.
 */
export class SetAssembler {
  /** Names the set, once it is known to be accepted. */
  setId: string | undefined;
  /** Whether the summary was told. */
  isCompleted = false;
  private readonly generations = new Map<string, Assembler>();
  private readonly failed = new Set<string>();
  private isAccepted = false;
  private wasLost = false;
  private isWithheld = false;
  private hasEnded = false;

  /** @param isWithdrawnWhenLost whether the gateway gives up what is not sent when the connection is lost. */
  constructor(private readonly isWithdrawnWhenLost: boolean) {}

  /** The set's generations that were heard of. */
  get generationIds(): string[] {
    return [...this.generations.keys()];
  }

  /** The set will come again from the beginning: after a broken connection, or because it is unfinished. */
  interrupt(): void {
    this.wasLost = !this.hasEnded;
    this.hasEnded = false;
    this.isWithheld = false;
    for (const each of this.generations.values()) {
      each.interrupt();
    }
  }

  /**
   * Takes one message; answers the events that are whole with it, and are new.
   *
   * @throws PictorError DATA_LOSS if the bytes of a picture do not fit together.
   */
  feed({ itemKey, model, generationId, step: { case: kind, value } }: GenerateSetResponse): SetEvent[] {
    const about = { itemKey, model, generationId };
    switch (kind) {
      case "setAccepted": {
        const isNew = !this.isAccepted;
        this.isAccepted = true;
        this.setId = value.setId;
        return isNew ? [{ ...about, type: kind, setId: value.setId, outputCount: value.outputCount }] : [];
      }
      case "itemFailed": {
        const item = JSON.stringify([itemKey, model]);
        const isNew = !this.failed.has(item);
        if (isNew && this.wasLost && this.isWithdrawnWhenLost && value.reason === "CANCELLED") {
          this.isWithheld = true;
          return [];
        }
        this.failed.add(item);
        return isNew ? [{ ...about, type: kind, reason: value.reason, text: value.text }] : [];
      }
      case "summary":
        this.hasEnded = true;
        this.isCompleted = !this.isWithheld;
        return this.isCompleted ? [{ ...about, type: kind, summary: value }] : [];
      case "event":
        return value.event.case === "heartbeat" ? [] : this.step(about, value);
      case undefined: // of a kind that is newer than we are
        return [];
    }
  }

  private step(about: About, message: GenerationEvent): SetEvent[] {
    if (about.generationId === "") {
      throw damaged("a step of a set names no generation");
    }
    const assembler = this.generations.get(about.generationId) ?? new Assembler();
    this.generations.set(about.generationId, assembler);
    return assembler.isCompleted ? [] : assembler.feed(message).map((event) => ({ ...about, type: "step", event }));
  }
}
