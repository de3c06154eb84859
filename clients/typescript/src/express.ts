/**
 * Express routes that bring a generation to a browser: its steps as server-sent events, its pictures as files.
 *
 * A browser's `EventSource` asks again by itself whenever it loses the connection. Nothing is paid twice by that: every
 * event's id names the generation and its place in the log, and who comes back with one reads on from there. Who comes back
 * without one has the same `requestId`, which joins the running generation.
 *
 * The routes are written for Node's own request and response, so they need no Express, only something that calls them.
 */

import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Client } from "./client.js";
import { PictorError } from "./errors.js";
import type { Event } from "./events.js";
import type { Picture } from "./generation.js";
import type { PictureRequest } from "./request.js";

/** A request as Express hands it to a route. */
export interface RouteRequest extends IncomingMessage {
  params: Record<string, string | string[]>;
  query: Record<string, unknown>;
}

/** Something that Express calls for a request. */
export type Route = (request: RouteRequest, response: ServerResponse) => Promise<void>;

/** How a relay behaves. */
export interface RelayOptions {
  /** A sign of life is sent this often; proxies cut what is silent. Unset means 15 s. */
  heartbeatMs?: number;
  /** How long a browser waits before it asks again. Unset means 1 s. */
  retryMs?: number;
}

/** The id of the last event: who asks after it is told that there is no more. */
const END = "end";

/**
 * A route that draws what a request asks for and relays every step as a server-sent event.
 *
 * Events are named like the client's (`accepted`, `preview`, `image`, `completed`, …), and `failed` if the generation
 * fails; their data is JSON. When the browser leaves, the call is hung up, and the gateway does what the request's
 * `onDisconnect` says: set it to `finish` if a reload of the page should not withdraw what still waits in a queue.
 *
 * @param client talks to the gateway.
 * @param wanted makes the picture request out of the browser's; it must set a `requestId` that the browser chose and
 *   keeps. What it throws goes to Express.
 */
export function relay(
  client: Client,
  wanted: (request: RouteRequest) => PictureRequest | Promise<PictureRequest>,
  { heartbeatMs = 15_000, retryMs = 1_000 }: RelayOptions = {},
): Route {
  return async (request, response) => {
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    const lastId = String(request.headers["last-event-id"] ?? "");
    if (lastId === END) {
      response.writeHead(204).end(); // tells an EventSource not to ask again
      return;
    }
    const events = resumed(client, lastId, gone.signal) ?? begun(client, await wanted(request), gone.signal);
    if (events === undefined) {
      response
        .writeHead(400, { "content-type": "text/plain" })
        .end("a requestId, please: it keeps a repeat from paying twice\n");
      return;
    }
    response.writeHead(200, {
      "content-type": "text/event-stream",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
    });
    response.write(`retry: ${retryMs}\n\n`);
    const heartbeat = setInterval(() => response.writableNeedDrain || response.write(": alive\n\n"), heartbeatMs);
    try {
      await relayed(events, response, gone.signal);
    } catch (error) {
      if (!gone.signal.aborted) {
        throw error;
      }
    } finally {
      clearInterval(heartbeat);
      response.end();
    }
  };
}

/** A route that sends the picture whose id is the parameter `id`; a picture never changes, so browsers may keep it. */
export function picture(client: Client): Route {
  return async (request, response) => {
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    try {
      const { message, data } = await client.download(String(request.params["id"]), { signal: gone.signal });
      response.writeHead(200, {
        "content-type": message.mimeType,
        "cache-control": "private, max-age=31536000, immutable",
        "x-content-type-options": "nosniff",
      });
      response.end(data);
    } catch (error) {
      if (gone.signal.aborted) {
        return;
      }
      if (!(error instanceof PictorError)) {
        throw error;
      }
      const status = { NOT_FOUND: 404, INVALID_ARGUMENT: 400, UNAVAILABLE: 503 }[error.code as string] ?? 502;
      response.writeHead(status, { "content-type": "text/plain" }).end(`${error.message}\n`);
    }
  };
}

/** A generation's events, and its id if that is known before they begin. */
interface Steps {
  generationId: string;
  steps: AsyncIterable<Event>;
}

function resumed(client: Client, lastId: string, signal: AbortSignal): Steps | undefined {
  const [, generationId, sequence] = /^(gen_\w+):(\d+)$/.exec(lastId) ?? [];
  return generationId
    ? { generationId, steps: client.watch(generationId, Number(sequence), { signal, fetch: false }) }
    : undefined;
}

function begun(client: Client, request: PictureRequest, signal: AbortSignal): Steps | undefined {
  return request.requestId
    ? { generationId: "", steps: client.stream({ ...request, maxInlineBytes: 0 }, { signal, fetch: false }) }
    : undefined;
}

/** Sends every event, the next one only when the browser has taken the last; a failure of the call is an event too. */
async function relayed(events: Steps, response: ServerResponse, signal: AbortSignal): Promise<void> {
  const send = async (id: string, name: string, data: object): Promise<void> => {
    if (!response.write(`id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`)) {
      await once(response, "drain", { signal });
    }
  };
  let { generationId } = events;
  try {
    for await (const event of events.steps) {
      generationId = event.type === "accepted" ? event.generationId : generationId;
      await send(event.type === "completed" ? END : `${generationId}:${event.sequence}`, event.type, told(event));
    }
  } catch (error) {
    if (!(error instanceof PictorError)) {
      throw error;
    }
    const { code, reason, message, violations, retryAfterMs, paid } = error;
    await send(END, "failed", {
      code,
      reason,
      message,
      violations,
      retryAfterMs,
      paid,
      generationId: error.generationId,
    });
  }
}

/** What a browser is told of an event: previews inside it, pictures by their id. */
function told(event: Event): object {
  switch (event.type) {
    case "accepted":
      return { generationId: event.generationId, row: event.plan?.row };
    case "preview": {
      const { type, sequence, data, ...rest } = event;
      return { ...rest, url: data && `data:${event.mimeType};base64,${Buffer.from(data).toString("base64")}` };
    }
    case "image":
      return shown(event.picture);
    case "completed": {
      const { id, state, row, costUsd, adaptations, pictures } = event.generation;
      return { generationId: id, state, row, costUsd, adaptations, pictures: pictures.map(shown) };
    }
    default: {
      const { type, sequence, ...rest } = event;
      return rest;
    }
  }
}

function shown({ message }: Picture): object {
  const { id, mimeType, widthPx, heightPx, model, outputIndex } = message;
  return { id, mimeType, widthPx, heightPx, model, outputIndex };
}
