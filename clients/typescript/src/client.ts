/**
 * The client: one method for each thing one does with Pictor, whole pictures, one kind of error, and no lost generation.
 *
 * Every generating call gets a `requestId` unless it has one, so that it can be repeated without paying twice. Once a
 * generation is accepted, a lost connection is no failure: it is followed with WatchGeneration.
 */

import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import { createClient, type Client as Stub } from "@connectrpc/connect";
import { money, type Usd } from "./amounts.js";
import { Calls, type Open, type Wish } from "./calls.js";
import { type Channel, gatewayUrl, openChannel, type TlsOptions } from "./channel.js";
import { TRANSFER_MS } from "./deadlines.js";
import { PictorError } from "./errors.js";
import { Assembler, type Event } from "./events.js";
import { CatalogService } from "./gen/pictor/v1/catalog_service_pb.js";
import type { GenerationEvent } from "./gen/pictor/v1/generation_pb.js";
import { type CompareGenerationsResponse, HistoryService } from "./gen/pictor/v1/history_service_pb.js";
import { type Image, OnDisconnect, OnDisconnectSchema } from "./gen/pictor/v1/image_pb.js";
import {
  type GenerateRequest,
  type GenerateSetResponse,
  ImageService,
  type PlanResponse,
} from "./gen/pictor/v1/image_service_pb.js";
import { UsageService } from "./gen/pictor/v1/usage_service_pb.js";
import { Generation, Picture } from "./generation.js";
import type { Surroundings } from "./journey.js";
import {
  type ChangeRequest,
  checkSize,
  type DrawRequest,
  editRequest,
  generateRequest,
  type ItemRequest,
  isChange,
  type PictureRequest,
  setItem,
} from "./request.js";
import type { SetEvent } from "./sets.js";
import { uploadParts } from "./transfer.js";
import { writeWhole } from "./whole_file.js";
import { number, type Word } from "./words.js";

/** How to reach the gateway. */
export interface ClientOptions extends Partial<Surroundings> {
  /** `host:port`, or `https://host:port` for TLS; unset means PICTOR_ADDRESS, then `127.0.0.1:50051`. */
  address?: string | undefined;
  /** Sent as bearer token; unset means PICTOR_API_KEY, then none. */
  apiKey?: string | undefined;
  /** True for TLS with the system's roots, or roots and a client certificate of your own. */
  tls?: boolean | TlsOptions;
  /** Sent with every call, e.g. `x-sandbox-*` for the simulated engines. */
  headers?: Readonly<Record<string, string>>;
  /** Makes a `requestId` for calls that have none. */
  newId?: () => string;
}

/** How long a call may take, and what ends it. */
export interface CallWish extends Wish {
  /** Whether to download pictures that did not come with the stream; unset means yes. */
  fetch?: boolean;
}

/** How a re-roll differs. */
export interface RerollOptions {
  /** Unset means the first configured model of the other engine. */
  model?: string;
  maxCost?: Usd;
  previewCount?: number;
  requestId?: string;
  onDisconnect?: Word<typeof OnDisconnect>;
}

type EventStream = Open<{ event?: GenerationEvent }>;

/**
 * A connection to one gateway.
 *
 * After a lost connection a generation is followed by its id or `requestId`; its call is sent again only if it reached
 * nobody, or the gateway says that it ended for nothing. A gateway that does not know it may have been restarted: then the
 * lost connection is thrown (UNAVAILABLE, `paid`), with a message that says what is unknown.
 */
export class Client {
  /** Where the gateway is: `http://host:port`, or `https://…`. */
  readonly url: string;
  /** The contract's own calls, for everything that has no method here; their errors go through `PictorError.from`. */
  readonly images: Stub<typeof ImageService>;
  readonly history: Stub<typeof HistoryService>;
  readonly usage: Stub<typeof UsageService>;
  readonly catalog: Stub<typeof CatalogService>;
  private readonly channel: Channel;
  private readonly calls: Calls;
  private readonly newId: () => string;

  /** @throws TypeError if the address, a header or the key cannot be used. */
  constructor(options: ClientOptions = {}) {
    const { tls = false, headers = {}, newId = randomUUID } = options;
    const { sleep = pause, jitter = Math.random, onLost = () => undefined } = options;
    this.url = gatewayUrl(options.address, tls !== false, process.env);
    const key = options.apiKey || process.env["PICTOR_API_KEY"];
    const identity = key && { authorization: `Bearer ${key}` };
    this.channel = openChannel(this.url, typeof tls === "object" ? tls : {}, { ...identity, ...headers });
    this.newId = newId;
    this.calls = new Calls(this.channel, { sleep, jitter, onLost });
    this.images = createClient(ImageService, this.channel.transport);
    this.history = createClient(HistoryService, this.channel.transport);
    this.usage = createClient(UsageService, this.channel.transport);
    this.catalog = createClient(CatalogService, this.channel.transport);
  }

  /** Closes the connection; calls under way fail. A program may also end without it. */
  close(): void {
    this.channel.close();
  }

  // --- making pictures

  /**
   * Draws new pictures and answers when all of them are done.
   *
   * @throws PictorError if the gateway refused or failed.
   * @throws TypeError if an option cannot be put into the request.
   */
  async generate(request: Omit<DrawRequest, "previewCount">, wish: CallWish = {}): Promise<Generation> {
    return collected(this.stream({ ...request, previewCount: 0 }, wish));
  }

  /** Changes a given picture, as a whole or where the mask is transparent; otherwise as `generate`. */
  async edit(request: Omit<ChangeRequest, "previewCount">, wish: CallWish = {}): Promise<Generation> {
    return collected(this.stream({ ...request, previewCount: 0 }, wish));
  }

  /**
   * Draws, or changes a given picture, and tells what happens on the way; `completed` comes last.
   *
   * Previews and pictures come whole. A lost connection is taken up again. Leaving the loop hangs up: what was sent to an
   * engine finishes and is stored, what was not follows `onDisconnect`.
   *
   * @throws PictorError, from the loop, if the gateway refused or failed.
   * @throws TypeError, at once, if an option cannot be put into the request.
   */
  stream(request: PictureRequest, wish: CallWish = {}): AsyncGenerator<Event, void, undefined> {
    if (isChange(request)) {
      const edit = editRequest(request);
      const message = this.withId(edit.request as GenerateRequest);
      return this.follow((options) => this.images.editStream({ request: edit }, options), message, wish);
    }
    const message = this.withId(generateRequest(request));
    return this.follow((options) => this.images.generateStream({ request: message }, options), message, wish);
  }

  /** Draws an earlier request again, on the other engine unless `model` is given; the events are those of `stream`. */
  reroll(
    generationId: string,
    options: RerollOptions = {},
    wish: CallWish = {},
  ): AsyncGenerator<Event, void, undefined> {
    const { model = "", maxCost, previewCount, onDisconnect, requestId = this.newId() } = options;
    const message = {
      generationId,
      model,
      requestId,
      ...(maxCost !== undefined && { maxCost: money(maxCost) }),
      ...(previewCount !== undefined && { previewCount }),
      onDisconnect: onDisconnect === undefined ? OnDisconnect.UNSPECIFIED : number(OnDisconnectSchema, onDisconnect),
    };
    return this.follow((each) => this.images.reroll(message, each), message, wish);
  }

  /**
   * Makes many pictures from one brief; `summary` comes last.
   *
   * After a lost connection the same set is sent again with the same `requestId`, which joins or replays its generations:
   * no event is told twice, no picture is paid twice. What was still waiting then, unpaid, is drawn as a new generation.
   *
   * @param brief what all items share; `maxCost` and `requestId` bound the set.
   * @param items prompts, or what else is their own, by key.
   * @param models draw every item on each of these; none lets the router decide.
   * @throws PictorError if the set was refused, or the gateway stayed away: `metadata.set_id` and `requestId` tell what to
   *   look for, and `client.history.listGenerations({ setId })` finds what goes on.
   */
  set(
    brief: DrawRequest,
    items: Readonly<Record<string, string | ItemRequest>>,
    { models = [], ...wish }: CallWish & { models?: readonly string[] } = {},
  ): AsyncGenerator<SetEvent, void, undefined> {
    const message = {
      brief: this.withId(generateRequest(brief)),
      items: Object.entries(items).map(([key, item]) => setItem(key, item)),
      models: [...models],
    };
    const { fetch = true, ...rest } = wish;
    const open = (maxInlineBytes = message.brief.maxInlineBytes): Open<GenerateSetResponse> => {
      const brief = { ...message.brief, ...(maxInlineBytes !== undefined && { maxInlineBytes }) };
      return (options) => this.images.generateSet({ ...message, brief }, options);
    };
    return this.calls.followSet(open, {
      ...rest,
      fetch,
      requestId: message.brief.requestId,
      isWithdrawnWhenLost: message.brief.onDisconnect !== OnDisconnect.FINISH,
    });
  }

  /** Answers what `generate` or `edit` would do, why, and for how much, and sends nothing to an engine. */
  async plan(request: PictureRequest, wish: Wish = {}): Promise<PlanResponse> {
    const call = isChange(request)
      ? ({ case: "edit", value: editRequest(request) } as const)
      : ({ case: "generate", value: generateRequest(request) } as const);
    return this.calls.ask((options) => this.images.plan({ call }, options), wish);
  }

  // --- what was made

  /** Looks up one generation by its id or by your own `requestId`; pictures without bytes. */
  async get(which: string | { requestId: string }, wish: Wish = {}): Promise<Generation> {
    const key =
      typeof which === "string"
        ? ({ case: "generationId", value: which } as const)
        : ({ case: "requestId", value: which.requestId } as const);
    const answer = await this.calls.ask((options) => this.history.getGeneration({ key }, options), wish);
    return made(answer);
  }

  /** Follows a generation from the beginning, or from after an event that was seen; survives lost connections. */
  watch(generationId: string, afterSequence = 0, wish: CallWish = {}): AsyncGenerator<Event, void, undefined> {
    const assembler = new Assembler(generationId, afterSequence);
    const { fetch = true, ...rest } = wish;
    const maxInlineBytes = fetch ? undefined : 0n;
    return this.calls.follow(this.calls.watch(assembler, maxInlineBytes), assembler, {
      ...rest,
      fetch,
      maxInlineBytes,
    });
  }

  /** Stops what was not sent yet; what was sent is paid for, finishes and is stored. */
  async cancel(generationId: string, wish: Wish = {}): Promise<Generation> {
    return made(await this.calls.ask((options) => this.history.cancelGeneration({ generationId }, options), wish));
  }

  /** Puts generations side by side: 2 to 8 by id, the family of one with all its re-rolls, or a set. */
  async compare(
    which: readonly string[] | { lineageOf: string } | { setId: string },
    wish: Wish = {},
  ): Promise<CompareGenerationsResponse> {
    const message = "length" in which ? { generationIds: [...which] } : which;
    return this.calls.ask((options) => this.history.compareGenerations(message, options), wish);
  }

  /**
   * Fetches a picture, going on where a lost connection left it, and checks its SHA-256.
   *
   * @throws PictorError if there is none, the gateway stayed away, or the bytes arrived damaged (DATA_LOSS).
   */
  async download(imageId: string, wish: Wish = {}): Promise<Picture> {
    return this.calls.fetch(imageId, wish);
  }

  /**
   * Fetches a picture into a file, as `download`; the file is there once it is whole and checked, or not at all.
   *
   * @returns the picture, without its bytes.
   * @throws Error if the file cannot be written; the gateway still has the picture.
   */
  async downloadTo(path: string, imageId: string, wish: Wish = {}): Promise<Picture> {
    return new Picture(await writeWhole(path, (write) => this.calls.download(imageId, write, wish)));
  }

  /**
   * Brings a picture and answers its description; its `id` is a `PictureSource`.
   *
   * @throws PictorError if it is not a usable picture; one over 20 MiB is not sent at all.
   */
  async upload(data: Uint8Array, { signal, timeoutMs = TRANSFER_MS }: Wish = {}): Promise<Image> {
    checkSize(data);
    const send = this.calls.ask((options) => this.history.uploadImage(uploadParts(data), options), {
      signal,
      timeoutMs,
    });
    return (await send).image ?? nothing("picture");
  }

  private follow(
    start: EventStream,
    message: Pick<GenerateRequest, "requestId" | "onDisconnect"> & { maxInlineBytes?: bigint },
    { fetch = true, ...wish }: CallWish,
  ): AsyncGenerator<Event, void, undefined> {
    const { requestId, maxInlineBytes, onDisconnect } = message;
    const isWithdrawnWhenLost = onDisconnect !== OnDisconnect.FINISH;
    return this.calls.follow(start, new Assembler(), {
      ...wish,
      fetch,
      requestId,
      maxInlineBytes,
      isWithdrawnWhenLost,
    });
  }

  private withId(message: GenerateRequest): GenerateRequest {
    message.requestId ||= this.newId();
    return message;
  }
}

/** What a unary call would have answered, out of the events of a stream. */
async function collected(events: AsyncIterable<Event>): Promise<Generation> {
  const pictures = new Map<string, Picture>();
  let end: Generation | undefined;
  for await (const event of events) {
    if (event.type === "image") {
      pictures.set(event.picture.id, event.picture);
    } else if (event.type === "completed") {
      end = event.generation;
    }
  }
  const generation = end ?? nothing("generation");
  return new Generation(
    generation.message,
    generation.pictures.map((each) => pictures.get(each.id) ?? each),
  );
}

function made({ generation }: { generation?: Generation["message"] }): Generation {
  return new Generation(generation ?? nothing("generation"));
}

function nothing(what: string): never {
  throw new PictorError("DATA_LOSS", `the gateway answered without a ${what}`);
}

async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, signal && { signal }).catch((error) => {
    signal?.throwIfAborted();
    throw error;
  });
}
