/**
 * One generation's stream: the contract's messages in, typed events with whole pictures out.
 *
 * The gateway sends a log (`accepted` to `completed`, numbered from 1 without gaps) and, after an entry with a picture, its
 * bytes in chunks. The assembler holds such an entry back until its last chunk is there. After a broken connection
 * `resumeAfter` says where to go on: before the entry that is held back. Entries that come again are dropped, so a reader
 * sees each event once whatever the network did.
 *
 * The log ends some minutes after the generation; who comes later gets `completed` alone. Its pictures then come as events
 * made from the generation, without bytes: the client fetches them one by one.
 */

import { createHash } from "node:crypto";
import { milliseconds } from "./amounts.js";
import { damaged } from "./errors.js";
import type {
  GenerationEvent,
  ImageChunk,
  Plan,
  PreviewChunk,
  Preview as PreviewMessage,
} from "./gen/pictor/v1/generation_pb.js";
import type { Image } from "./gen/pictor/v1/image_pb.js";
import { Generation, Picture } from "./generation.js";

/** What every event has. */
interface Step<Type extends string> {
  type: Type;
  /** Place in the log; `client.watch(id, sequence)` goes on from there. */
  sequence: number;
}

/** The generation exists; nothing is sent yet. */
export interface Accepted extends Step<"accepted"> {
  generationId: string;
  /** How it is routed, and why. */
  plan: Plan | undefined;
}

/** An output waits for the engine's rate limit or a slot. */
export interface Queued extends Step<"queued"> {
  outputIndex: number;
  /** Calls before it. */
  position: number;
  predictedWaitMs: number;
}

/** An engine is being called; previews of earlier attempts for this output are void. */
export interface AttemptStarted extends Step<"attemptStarted"> {
  outputIndex: number;
  /** The catalog's id. */
  model: string;
  /** Half of such calls are done after this time. */
  expectedP50Ms: number;
  /** Nine in ten are. */
  expectedP90Ms: number;
  /** Previews to expect at most. */
  previewCount: number;
}

/** An engine brought no picture. */
export interface AttemptFailed extends Step<"attemptFailed"> {
  outputIndex: number;
  /** The catalog's id. */
  model: string;
  /** How it ended, e.g. `rate_limited`. */
  outcome: string;
  /** The same for people. */
  text: string;
  /** Whether another attempt follows. */
  goesOn: boolean;
}

/** An unfinished picture, only for showing. */
export interface Preview extends Step<"preview"> {
  outputIndex: number;
  /** From 0. */
  index: number;
  mimeType: string;
  /** The encoded picture; undefined if the gateway left it out because this reader is slow. */
  data: Uint8Array | undefined;
}

/** A finished picture. */
export interface ImageReady extends Step<"image"> {
  picture: Picture;
}

/** The end: the whole generation. Its pictures came before, so here they are without bytes. */
export interface Completed extends Step<"completed"> {
  generation: Generation;
}

/** One step of a generation; `type` tells which. */
export type Event = Accepted | Queued | AttemptStarted | AttemptFailed | Preview | ImageReady | Completed;

/** The entry whose bytes are still coming. */
interface Held {
  sequence: number;
  parts: Uint8Array[];
  size: number;
  whole: (data: Uint8Array) => Event;
}

/** Turns the messages of one generation's stream into events; see the module for the rules. */
export class Assembler {
  isCompleted = false;
  private last: number;
  private held: Held | undefined;
  private readonly delivered = new Set<string>();

  constructor(
    public generationId: string | undefined = undefined,
    afterSequence = 0,
  ) {
    this.last = afterSequence;
  }

  /** The sequence after which the log must be sent again. */
  get resumeAfter(): number {
    return this.held ? this.held.sequence - 1 : this.last;
  }

  /** The connection broke: forget half a picture, and take its entry again. */
  interrupt(): void {
    this.last = this.resumeAfter;
    this.held = undefined;
  }

  /**
   * Takes one message; answers the events that are whole with it.
   *
   * @throws PictorError DATA_LOSS if the bytes do not fit together.
   */
  feed({ sequence: place, event: { case: kind, value } }: GenerationEvent): Event[] {
    const sequence = Number(place);
    switch (kind) {
      case "previewChunk":
      case "imageChunk":
        return this.chunk(sequence, value);
      case "heartbeat":
      case undefined: // of a kind that is newer than we are
        return [];
      case "completed":
        this.isCompleted = true;
        return this.end(sequence, new Generation(value.generation ?? lacks("completed")));
    }
    if (sequence <= this.last) {
      return []; // seen before
    }
    this.last = sequence;
    const { outputIndex } = { outputIndex: 0, ...value };
    switch (kind) {
      case "accepted":
        this.generationId = value.generationId;
        return [{ type: kind, sequence, generationId: value.generationId, plan: value.decision }];
      case "queued":
        return [
          {
            type: kind,
            sequence,
            outputIndex,
            position: value.position,
            predictedWaitMs: milliseconds(value.predictedWait),
          },
        ];
      case "attemptStarted": {
        const { model, previewCount, expectedP50, expectedP90 } = value;
        const [expectedP50Ms, expectedP90Ms] = [milliseconds(expectedP50), milliseconds(expectedP90)];
        return [{ type: kind, sequence, outputIndex, model, expectedP50Ms, expectedP90Ms, previewCount }];
      }
      case "attemptFailed": {
        const { model, outcome, text, goesOn } = value;
        return [{ type: kind, sequence, outputIndex, model, outcome, text, goesOn }];
      }
      case "preview":
        return value.omitted
          ? [preview(sequence, value, undefined)]
          : this.hold(sequence, (data) => preview(sequence, value, data));
      case "image": {
        const image = value.image ?? lacks("image");
        return value.chunksFollow
          ? this.hold(sequence, (data) => this.image(sequence, new Picture(image, checked(image, data))))
          : [this.image(sequence, new Picture(image))];
      }
    }
  }

  private hold(sequence: number, whole: Held["whole"]): Event[] {
    this.held = { sequence, parts: [], size: 0, whole };
    return [];
  }

  private chunk(sequence: number, { offsetBytes, data, last }: PreviewChunk | ImageChunk): Event[] {
    const { held } = this;
    if (held?.sequence !== sequence) {
      return []; // of an entry that was seen before
    }
    if (Number(offsetBytes) !== held.size) {
      throw damaged(`bytes ${held.size} to ${offsetBytes} of a picture are missing from the stream`);
    }
    held.parts.push(data);
    held.size += data.length;
    if (!last) {
      return [];
    }
    this.held = undefined;
    return [held.whole(joined(held.parts))];
  }

  private image(sequence: number, picture: Picture): ImageReady {
    this.delivered.add(picture.id);
    return { type: "image", sequence, picture };
  }

  /** The end, after picture events that the log no longer had. */
  private end(sequence: number, generation: Generation): Event[] {
    const isGapless = this.last > 0 && sequence === this.last + 1;
    const late = isGapless ? [] : generation.pictures.filter(({ id }) => !this.delivered.has(id));
    return [...late.map((picture) => this.image(sequence, picture)), { type: "completed", sequence, generation }];
  }
}

/**
 * Answers the bytes of a picture if they are the ones that its description names.
 *
 * @throws PictorError DATA_LOSS if they are not.
 */
function checked(image: Image, data: Uint8Array): Uint8Array {
  if (createHash("sha256").update(data).digest("hex") !== image.sha256) {
    throw damaged(`picture ${image.id} arrived damaged: ${data.length} of ${image.sizeBytes} bytes, wrong SHA-256`);
  }
  return data;
}

/** The parts as one. */
export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  return parts.length === 1 && first ? first : new Uint8Array(Buffer.concat(parts));
}

function preview(
  sequence: number,
  { outputIndex, index, mimeType }: PreviewMessage,
  data: Uint8Array | undefined,
): Preview {
  return { type: "preview", sequence, outputIndex, index, mimeType, data };
}

function lacks(kind: string): never {
  throw damaged(`\`${kind}\` came without what it is about`);
}
