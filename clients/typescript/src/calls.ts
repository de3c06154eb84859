/**
 * How a call survives the network: plain questions, followed streams, resumed downloads.
 *
 * Once a generation is accepted, a lost connection is no failure: its stream goes on with WatchGeneration (see `journey`), a
 * set is sent again (see `set_journey`), a download asks for the rest.
 */

import { type CallOptions, Code, ConnectError, createClient, type Client as Stub } from "@connectrpc/connect";
import type { Channel } from "./channel.js";
import { GENERATION_MS, READ_MS, SET_MS, TRANSFER_MS } from "./deadlines.js";
import { lost, PictorError } from "./errors.js";
import { type Assembler, type Event, joined } from "./events.js";
import type { GenerationEvent } from "./gen/pictor/v1/generation_pb.js";
import { HistoryService } from "./gen/pictor/v1/history_service_pb.js";
import type { Image } from "./gen/pictor/v1/image_pb.js";
import type { GenerateSetResponse } from "./gen/pictor/v1/image_service_pb.js";
import { Picture } from "./generation.js";
import { isDueAgain, Journey, Patience, type Surroundings } from "./journey.js";
import { SetJourney } from "./set_journey.js";
import { SetAssembler, type SetEvent } from "./sets.js";
import { Download } from "./transfer.js";

/** What somebody wants of one call, whatever becomes of the connection. */
export interface Wish {
  /** Ends the call; what was sent to an engine finishes and is stored. Its reason is thrown. */
  signal?: AbortSignal | undefined;
  /** Longest time for all of it. */
  timeoutMs?: number | undefined;
}

/** What somebody wants of one generation. */
export interface GenerationWish extends Wish {
  /** Names the call that asks for it; undefined for who only watches. */
  requestId?: string;
  /** Bound of pictures' bytes on each stream; undefined means no bound. */
  maxInlineBytes?: bigint | undefined;
  /** Whether to download pictures whose bytes do not come with a stream. */
  fetch: boolean;
  /** Whether the gateway gives it up, as far as it is not sent, when the connection is lost. */
  isWithdrawnWhenLost?: boolean;
}

/** What somebody wants of one set. */
export interface SetWish extends Wish {
  requestId: string;
  fetch: boolean;
  isWithdrawnWhenLost: boolean;
}

/** Opens one stream. */
export type Open<T> = (options: CallOptions) => AsyncIterable<T>;
type EventStream = Open<{ event?: GenerationEvent }>;

/** Sends messages over one channel. */
export class Calls {
  private readonly history: Stub<typeof HistoryService>;

  constructor(
    private readonly channel: Channel,
    private readonly around: Surroundings,
  ) {
    this.history = createClient(HistoryService, channel.transport);
  }

  /**
   * Sends one message and waits for the answer; again, if nobody took it.
   *
   * @throws PictorError if the call failed.
   */
  async ask<T>(call: (options: CallOptions) => Promise<T>, { signal, timeoutMs = READ_MS }: Wish): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await call({ timeoutMs, signal });
      } catch (error) {
        const failure = this.failure(error, signal, timeoutMs);
        if (!(await isDueAgain(failure, attempt, this.around, signal))) {
          throw failure;
        }
      }
    }
  }

  /**
   * Reads one stream, opened again if nobody took it; how it ends is told to `onEnd`, not thrown.
   *
   * @param open opens it.
   * @param wish how long it may take, and what ends it.
   * @param onEnd told the error, or that it ended without one, which is an early end unless the reader had all.
   * @param onHeader told the answer's first metadata.
   */
  async *read<T>(
    open: Open<T>,
    { signal, timeoutMs = GENERATION_MS }: Wish,
    onEnd: (error: PictorError) => void,
    onHeader: (header: Headers) => void = () => undefined,
  ): AsyncGenerator<T, void, undefined> {
    for (let attempt = 1; ; attempt += 1) {
      const hangUp = new AbortController();
      // not Connect's own deadline: its timer outlives a stream that is left early, and keeps the process alive with it
      const timer = setTimeout(() => hangUp.abort(new ConnectError("too late", Code.DeadlineExceeded)), timeoutMs);
      const either = AbortSignal.any([hangUp.signal, ...(signal ? [signal] : [])]);
      let end = lost("the stream ended early");
      let hasBegun = false;
      try {
        for await (const message of open({ signal: either, headers: { "grpc-timeout": `${timeoutMs}m` }, onHeader })) {
          hasBegun = true;
          yield message;
        }
      } catch (error) {
        end = this.failure(error, signal, timeoutMs);
      } finally {
        clearTimeout(timer);
        hangUp.abort();
      }
      if (hasBegun || !(await isDueAgain(end, attempt, this.around, signal))) {
        onEnd(end);
        return;
      }
    }
  }

  /**
   * Reads a generation's stream to its end, over as many connections as it takes.
   *
   * @param start opens the first stream, or sends the call again.
   * @param assembler knows the generation's id if it exists already, and what was seen of it.
   * @param wish what is wanted of it.
   * @throws PictorError if the generation failed, or the gateway stayed away.
   */
  async *follow(
    start: EventStream,
    assembler: Assembler,
    wish: GenerationWish,
  ): AsyncGenerator<Event, void, undefined> {
    const { signal, timeoutMs = GENERATION_MS, requestId, isWithdrawnWhenLost = false } = wish;
    const endsAt = performance.now() + timeoutMs;
    const find = (id: string): Promise<string> => this.find(id, signal);
    const journey = new Journey(this.around, find, requestId, isWithdrawnWhenLost, signal);
    const onHeader = (header: Headers): void => {
      assembler.generationId ??= header.get("pictor-generation-id") ?? undefined;
    };
    for (let open = start; ; ) {
      let end = lost("the stream ended early");
      const left = { signal, timeoutMs: Math.max(1, Math.round(endsAt - performance.now())) };
      for await (const { event } of this.read(
        open,
        left,
        (error) => {
          end = error;
        },
        onHeader,
      )) {
        journey.progress();
        for (const each of event ? assembler.feed(event) : []) {
          yield wish.fetch ? await this.withBytes(each, wish) : each;
        }
        if (assembler.isCompleted) {
          return;
        }
      }
      assembler.generationId = await journey.next(end, assembler.generationId);
      assembler.interrupt();
      open = assembler.generationId === undefined ? start : this.watch(assembler, wish.maxInlineBytes);
    }
  }

  /**
   * Reads a set to its end, over as many connections as it takes: the same set is sent again (see `set_journey`).
   *
   * @throws PictorError if the set was refused, or the gateway stayed away.
   */
  async *followSet(
    open: (maxInlineBytes?: bigint) => Open<GenerateSetResponse>,
    { signal, timeoutMs = SET_MS, fetch, requestId, isWithdrawnWhenLost }: SetWish,
  ): AsyncGenerator<SetEvent, void, undefined> {
    const endsAt = performance.now() + timeoutMs;
    const assembler = new SetAssembler(isWithdrawnWhenLost);
    const journey = new SetJourney(this.around, (id) => this.listed(id, signal), requestId, assembler, signal);
    const onHeader = (header: Headers): void => {
      assembler.setId ??= header.get("pictor-set-id") ?? undefined;
    };
    let start = open();
    try {
      for (;;) {
        let end = lost("the stream ended early");
        const left = { signal, timeoutMs: Math.max(1, Math.round(endsAt - performance.now())) };
        for await (const message of this.read(
          start,
          left,
          (error) => {
            end = error;
          },
          onHeader,
        )) {
          for (const step of assembler.feed(message)) {
            journey.progress();
            const isWhole = step.type !== "step" || !fetch;
            yield isWhole ? step : { ...step, event: await this.withBytes(step.event, { signal }) };
          }
          if (assembler.isCompleted) {
            return;
          }
        }
        await journey.next(end);
        assembler.interrupt();
        start = open(fetch ? 0n : undefined); // or all bytes would come again; a download goes on where it broke
      }
    } catch (error) {
      throw error instanceof PictorError ? journey.about(error) : error;
    }
  }

  /** Opens a stream from where the assembler needs it. */
  watch(assembler: Assembler, maxInlineBytes: bigint | undefined): EventStream {
    const message = {
      generationId: assembler.generationId ?? "",
      afterSequence: BigInt(assembler.resumeAfter),
      ...(maxInlineBytes !== undefined && { maxInlineBytes }),
    };
    return (options) => this.history.watchGeneration(message, options);
  }

  /**
   * Fetches a picture piece by piece, asking for the rest whenever the connection is lost.
   *
   * @param imageId which one.
   * @param write takes the bytes, in order; the next piece waits for it.
   * @param wish what ends it; `timeoutMs` bounds each connection.
   * @returns the picture's description, which the bytes fulfil.
   * @throws PictorError if the gateway refused or stayed away, or the picture arrived damaged.
   */
  async download(imageId: string, write: (bytes: Uint8Array) => unknown, wish: Wish): Promise<Image> {
    const { signal, timeoutMs = TRANSFER_MS } = wish;
    const download = new Download(imageId);
    const patience = new Patience(this.around, signal);
    for (;;) {
      let end = lost("the download ended early");
      const open: Open<Parameters<Download["feed"]>[0]> = (options) =>
        this.history.downloadImage(download.request, options);
      for await (const message of this.read(open, { signal, timeoutMs }, (error) => {
        end = error;
      })) {
        const bytes = download.feed(message);
        patience.progress();
        await write(bytes);
      }
      if (download.isWhole) {
        return download.verified();
      }
      if (!end.isLost) {
        throw end;
      }
      await patience.wait(end);
    }
  }

  /** The picture of a download, in memory. */
  async fetch(imageId: string, wish: Wish): Promise<Picture> {
    const parts: Uint8Array[] = [];
    const image = await this.download(imageId, (bytes) => parts.push(bytes), wish);
    return new Picture(image, joined(parts));
  }

  /** The same event; a picture whose bytes did not come with the stream is fetched. */
  async withBytes(event: Event, { signal }: Wish): Promise<Event> {
    if (event.type !== "image" || event.picture.data !== undefined) {
      return event;
    }
    return { ...event, picture: await this.fetch(event.picture.id, { signal }) };
  }

  /** What a call ended with; the reason of the signal if that ended it. */
  private failure(error: unknown, signal: AbortSignal | undefined, timeoutMs: number): PictorError {
    signal?.throwIfAborted();
    return PictorError.from(error, this.channel.url, timeoutMs);
  }

  private async find(requestId: string, signal: AbortSignal | undefined): Promise<string> {
    const message = { key: { case: "requestId", value: requestId } } as const;
    const answer = await this.ask((options) => this.history.getGeneration(message, options), { signal });
    return answer.generation?.id ?? "";
  }

  private async listed(setId: string, signal: AbortSignal | undefined): Promise<Set<string>> {
    const found = new Set<string>();
    let pageToken = "";
    do {
      const message = { setId, pageSize: 200, pageToken };
      const page = await this.ask((options) => this.history.listGenerations(message, options), { signal });
      for (const { id } of page.generations) {
        found.add(id);
      }
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    return found;
  }
}
