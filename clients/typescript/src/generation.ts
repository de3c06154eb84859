/** What comes back: a generation and its pictures, thin around the contract's messages. */

import { usd } from "./amounts.js";
import {
  Adaptation_KindSchema,
  Generation_StateSchema,
  type Generation as GenerationMessage,
} from "./gen/pictor/v1/generation_pb.js";
import type { Image } from "./gen/pictor/v1/image_pb.js";
import { writeWhole } from "./whole_file.js";
import { word } from "./words.js";

const EXTENSIONS: Readonly<Record<string, string>> = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp" };

/** One finished picture. */
export class Picture {
  constructor(
    /** All that is known of it, without its bytes. */
    readonly message: Image,
    /** The encoded picture as the engine sent it; undefined if it was not fetched. */
    readonly data?: Uint8Array,
  ) {}

  /** Names the picture for `download` and as input of later calls. */
  get id(): string {
    return this.message.id;
  }

  /** What a file of it ends with, without a dot. */
  get extension(): string {
    return EXTENSIONS[this.message.mimeType] ?? "bin";
  }

  /**
   * Writes the bytes to a file, whole or not at all.
   *
   * @throws Error if the bytes were not fetched, or the file cannot be written.
   */
  async save(path: string): Promise<void> {
    const { data } = this;
    if (data === undefined) {
      throw new Error(`picture ${this.id} was not fetched; use client.downloadTo`);
    }
    await writeWhole(path, (write) => write(data));
  }
}

/** One request and its result. */
export class Generation {
  constructor(
    /** The generation as the gateway tells it, pictures without their bytes. */
    readonly message: GenerationMessage,
    /** The pictures there are, in order of their outputs. */
    readonly pictures: readonly Picture[] = message.outputs.flatMap(({ image }) => (image ? [new Picture(image)] : [])),
  ) {}

  get id(): string {
    return this.message.id;
  }

  /** `pending`, `running`, `succeeded`, `failed` or `cancelled`. */
  get state(): string {
    return word(Generation_StateSchema, this.message.state);
  }

  /**
   * The first picture.
   *
   * @throws Error if there is none (yet).
   */
  get picture(): Picture {
    const [first] = this.pictures;
    if (first === undefined) {
      throw new Error(`generation ${this.id} is ${this.state} and has no picture`);
    }
    return first;
  }

  /** The row of the decision table that chose. */
  get row(): string {
    return this.message.decision?.row ?? "";
  }

  /** Everything it cost in US dollars, failed attempts included; `message.cost.basis` says how sure that is. */
  get costUsd(): string {
    return usd(this.message.cost?.amount);
  }

  /** What was delivered differently from what was asked, e.g. `quality_reduced`. */
  get adaptations(): string[] {
    return this.message.adaptations.map(({ kind }) => word(Adaptation_KindSchema, kind));
  }

  /** Whether every picture that was asked for is there. */
  get isComplete(): boolean {
    return this.pictures.length === Math.max(1, this.message.outputs.length);
  }

  /** Whether a simulator drew it: no real engine, no real money. */
  get isSandbox(): boolean {
    return this.message.sandbox;
  }
}
