/** A set's stream as typed events: steps of several generations, each with the item it belongs to. */

import { damaged } from "./errors.js";
import { Assembler, type Event } from "./events.js";
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

/** Turns a set's messages into events; every generation has an assembler of its own. */
export class SetAssembler {
  private readonly generations = new Map<string, Assembler>();

  /**
   * Takes one message; answers the events that are whole with it.
   *
   * @throws PictorError DATA_LOSS if the bytes of a picture do not fit together.
   */
  feed({ itemKey, model, generationId, step: { case: kind, value } }: GenerateSetResponse): SetEvent[] {
    const about = { itemKey, model, generationId };
    switch (kind) {
      case "setAccepted":
        return [{ ...about, type: kind, setId: value.setId, outputCount: value.outputCount }];
      case "itemFailed":
        return [{ ...about, type: kind, reason: value.reason, text: value.text }];
      case "summary":
        return [{ ...about, type: kind, summary: value }];
      case "event":
        return this.assembler(generationId)
          .feed(value)
          .map((event) => ({ ...about, type: "step", event }));
      case undefined: // of a kind that is newer than we are
        return [];
    }
  }

  private assembler(generationId: string): Assembler {
    if (generationId === "") {
      throw damaged("a step of a set names no generation");
    }
    const known = this.generations.get(generationId) ?? new Assembler();
    this.generations.set(generationId, known);
    return known;
  }
}
