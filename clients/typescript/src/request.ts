/** Requests from plain values: short words for enums, dollars as text, pictures in any shape. */

import { create, toBinary } from "@bufbuild/protobuf";
import { money, type Usd } from "./amounts.js";
import { PictorError } from "./errors.js";
import {
  type Background,
  BackgroundSchema,
  type Canvas,
  CanvasSchema,
  type Fidelity,
  FidelitySchema,
  type ImageInput,
  ImageInputSchema,
  type OnDisconnect,
  OnDisconnectSchema,
  type OutputFormat,
  OutputFormatSchema,
  type Quality,
  QualitySchema,
  type Resolution,
  ResolutionSchema,
  type Tier,
  TierSchema,
  type Workflow,
  WorkflowSchema,
} from "./gen/pictor/v1/image_pb.js";
import {
  type EditRequest,
  EditRequestSchema,
  type GenerateRequest,
  GenerateRequestSchema,
  type SetItem,
  SetItemSchema,
} from "./gen/pictor/v1/image_service_pb.js";
import { Picture } from "./generation.js";
import { number, type Word } from "./words.js";

/** A picture as input: its bytes, the id of one made or uploaded here, or one that came back. */
export type PictureSource = Uint8Array | string | Picture;

/** The asked shape: a format has a ratio of its own, so give one of them. */
export interface Shape {
  /** Width to height, e.g. `16:9`. */
  ratio?: string;
  /** A named format, e.g. `instagram/story`. */
  format?: string;
  resolution?: Word<typeof Resolution, "RESOLUTION_">;
}

/** What to draw; `{ prompt }` alone is valid. Every field is one of the contract's `GenerateRequest`. */
export interface DrawRequest extends Shape {
  prompt: string;
  tier?: Word<typeof Tier>;
  highQuality?: boolean;
  workflow?: Word<typeof Workflow>;
  references?: readonly PictureSource[];
  /** How many pictures; each is a paid call of its own. */
  count?: number;
  model?: string;
  excludedModels?: readonly string[];
  allowFallback?: boolean;
  quality?: Word<typeof Quality>;
  fidelity?: Word<typeof Fidelity>;
  /** Bounds everything charged or held for this generation. */
  maxCost?: Usd;
  /** Previews per picture, 0 to 3, priced. */
  previewCount?: number;
  /** The same id with the same payload never pays twice; unset means a fresh one. */
  requestId?: string;
  outputFormat?: Word<typeof OutputFormat>;
  outputCompression?: number;
  background?: Word<typeof Background>;
  seed?: number | bigint;
  endUser?: string;
  labels?: Readonly<Record<string, string>>;
  /** Bytes of pictures to put into the stream; what is over it is downloaded. */
  maxInlineBytes?: number;
  onDisconnect?: Word<typeof OnDisconnect>;
}

/** A picture to change, as a whole or where the mask is transparent. */
export interface ChangeRequest extends DrawRequest {
  image: PictureSource;
  mask?: PictureSource;
}

/** A request for a picture, new or changed. */
export type PictureRequest = DrawRequest | ChangeRequest;

/** Whether it is about a picture to change; then a missing one is the gateway's to refuse. */
export function isChange(request: PictureRequest): request is ChangeRequest {
  return "image" in request || "mask" in request;
}

/** An item of a set; what is unset comes from the set's brief. */
export interface ItemRequest extends Shape {
  prompt?: string;
  workflow?: Word<typeof Workflow>;
}

type Fields = Omit<GenerateRequest, "$typeName" | "$unknown">;
type Fill<Key extends keyof DrawRequest> = (value: NonNullable<DrawRequest[Key]>) => Partial<Fields>;

/** How each option gets into the message; the shape's three make the canvas. */
const FILL: { [Key in Exclude<keyof DrawRequest, keyof Shape>]-?: Fill<Key> } = {
  prompt: (prompt) => ({ prompt }),
  tier: (word) => ({ tier: number(TierSchema, word) }),
  highQuality: (highQuality) => ({ highQuality }),
  workflow: (word) => ({ workflow: number(WorkflowSchema, word) }),
  references: (sources) => ({ references: sources.map(imageInput) }),
  count: (count) => ({ count }),
  model: (model) => ({ model }),
  excludedModels: (models) => ({ excludedModels: [...models] }),
  allowFallback: (allowFallback) => ({ allowFallback }),
  quality: (word) => ({ quality: number(QualitySchema, word) }),
  fidelity: (word) => ({ fidelity: number(FidelitySchema, word) }),
  maxCost: (amount) => ({ maxCost: money(amount) }),
  previewCount: (previewCount) => ({ previewCount }),
  requestId: (requestId) => ({ requestId }),
  outputFormat: (word) => ({ outputFormat: number(OutputFormatSchema, word) }),
  outputCompression: (outputCompression) => ({ outputCompression }),
  background: (word) => ({ background: number(BackgroundSchema, word) }),
  seed: (seed) => ({ seed: BigInt(seed) }),
  endUser: (endUser) => ({ endUser }),
  labels: (labels) => ({ labels: { ...labels } }),
  maxInlineBytes: (bytes) => ({ maxInlineBytes: BigInt(bytes) }),
  onDisconnect: (word) => ({ onDisconnect: number(OnDisconnectSchema, word) }),
};

/**
 * Builds a GenerateRequest.
 *
 * @throws TypeError if there is no such option, or its value cannot be put into the request; the text begins with its name.
 */
export function generateRequest(request: DrawRequest): GenerateRequest {
  const { ratio, format, resolution, ...options } = request;
  const fields: Partial<Fields> = {};
  for (const [name, value] of Object.entries(options)) {
    const fill = FILL[name as keyof typeof FILL] as ((value: unknown) => Partial<Fields>) | undefined;
    if (fill === undefined) {
      throw new TypeError(`${name}: no such option of a request`);
    }
    if (value !== undefined) {
      Object.assign(
        fields,
        named(name, () => fill(value)),
      );
    }
  }
  const canvas = shape(ratio, format, resolution);
  const message = create(GenerateRequestSchema, { ...fields, ...(canvas && { canvas }) });
  // a value of the wrong kind would be found only when it is sent, and look like a broken connection
  named("request", () => toBinary(GenerateRequestSchema, { ...message, references: [] }));
  return message;
}

/** Builds an EditRequest; a missing picture is left for the gateway to refuse, with its reason. */
export function editRequest({ image, mask, ...request }: ChangeRequest): EditRequest {
  return create(EditRequestSchema, {
    request: generateRequest(request),
    ...(image !== undefined && { image: named("image", () => imageInput(image)) }),
    ...(mask !== undefined && { mask: named("mask", () => imageInput(mask)) }),
  });
}

/** Builds one item of a set; text is its prompt. */
export function setItem(key: string, item: string | ItemRequest): SetItem {
  const { prompt = "", workflow, ratio, format, resolution } = typeof item === "string" ? { prompt: item } : item;
  const canvas = shape(ratio, format, resolution);
  return create(SetItemSchema, {
    key,
    prompt,
    ...(workflow !== undefined && { workflow: number(WorkflowSchema, workflow) }),
    ...(canvas && { canvas }),
  });
}

const MAX_BYTES = 20 * 2 ** 20;

/**
 * Refuses a picture that is too large for an upload, in the gateway's own words: one that is refused in the middle of a
 * stream may be heard only as a broken connection.
 *
 * @throws PictorError IMAGE_TOO_LARGE.
 */
export function checkSize(data: Uint8Array): void {
  if (data.length > MAX_BYTES) {
    const text = `the picture has more than ${MAX_BYTES} bytes`;
    throw new PictorError("INVALID_ARGUMENT", `data: ${text}`, {
      reason: "IMAGE_TOO_LARGE",
      metadata: { field: "data" },
      violations: [{ field: "data", text }],
    });
  }
}

function imageInput(source: PictureSource): ImageInput {
  if (source instanceof Uint8Array) {
    return create(ImageInputSchema, { source: { case: "data", value: source } });
  }
  const value = source instanceof Picture ? source.id : source;
  if (typeof value !== "string") {
    throw new TypeError("a picture is its bytes, its id, or one that came back");
  }
  return create(ImageInputSchema, { source: { case: "imageId", value } });
}

function shape(
  ratio: string | undefined,
  format: string | undefined,
  resolution: Shape["resolution"],
): Canvas | undefined {
  if (ratio !== undefined && format !== undefined) {
    throw new TypeError("format: a format has a ratio of its own; give one of them, not both");
  }
  if (ratio === undefined && format === undefined && resolution === undefined) {
    return undefined;
  }
  return create(CanvasSchema, {
    ...(ratio !== undefined && { shape: { case: "ratio", value: ratio } }),
    ...(format !== undefined && { shape: { case: "format", value: format } }),
    ...(resolution !== undefined && {
      resolution: named("resolution", () => number(ResolutionSchema, resolution)),
    }),
  });
}

function named<T>(name: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw new TypeError(`${name}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}
