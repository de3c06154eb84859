/** The relay to a browser: a generation's steps as server-sent events, over Express and a sandbox gateway. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Writable } from "node:stream";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Client } from "@pictor/client";
import { picture, relay } from "@pictor/client/express";
import express from "express";
import { type Gateway, startGateway } from "./gateway.js";

let gateway: Gateway;
let client: Client;
let slow: Client;
let server: Server;
let at: string;

before(async () => {
  gateway = await startGateway();
  client = new Client({ address: gateway.address });
  slow = new Client({ address: gateway.address, headers: { "x-sandbox-latency-ms": "1500" } });
  const app = express();
  const wanted = ({ query }: { query: Record<string, unknown> }) => ({
    prompt: String(query["prompt"] ?? ""),
    tier: query["tier"] === "pro" ? ("pro" as const) : ("standard" as const),
    requestId: String(query["requestId"] ?? ""),
    onDisconnect: "finish" as const,
  });
  app.get("/draw", relay(client, wanted));
  app.get("/slow", relay(slow, wanted, { heartbeatMs: 50 }));
  app.get("/pictures/:id", picture(client));
  server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

after(async () => {
  server.closeAllConnections();
  server.close();
  client.close();
  slow.close();
  await gateway.stop();
});

interface Sent {
  id: string;
  event: string;
  data: Record<string, unknown>;
}

function address(path: string, query: Record<string, string> = {}): string {
  return `${at}${path}?${new URLSearchParams({ prompt: "a red fox", requestId: randomUUID(), ...query })}`;
}

/** All events of an answer, read as a browser does. */
async function* events(answer: Response): AsyncGenerator<Sent> {
  let text = "";
  for await (const bytes of answer.body ?? []) {
    text += Buffer.from(bytes).toString();
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks.filter((each) => each.startsWith("id: "))) {
      const [id, event, data] = block.split("\n").map((line) => line.slice(line.indexOf(": ") + 2));
      yield { id: id ?? "", event: event ?? "", data: JSON.parse(data ?? "") };
    }
  }
}

async function all(answer: Response): Promise<Sent[]> {
  const seen: Sent[] = [];
  for await (const event of events(answer)) {
    seen.push(event);
  }
  return seen;
}

test("every step is an event with a place to go on from, and previews are pictures", async () => {
  const answer = await fetch(address("/draw", { tier: "pro" }));
  assert.equal(answer.headers.get("content-type"), "text/event-stream");
  const seen = await all(answer);
  const names = ["accepted", "attemptStarted", "preview", "preview", "image", "completed"];
  assert.deepEqual(
    seen.map(({ event }) => event),
    names,
  );
  const generation = seen[0]?.data["generationId"];
  assert.deepEqual(
    seen.map(({ id }) => id),
    [1, 2, 3, 4, 5].map((sequence) => `${generation}:${sequence}`).concat("end"),
  );
  assert.match(String(seen[2]?.data["url"]), /^data:image\/png;base64,iVBOR/);
  assert.equal(seen[5]?.data["generationId"], generation);

  const file = await fetch(`${at}/pictures/${seen[4]?.data["id"]}`);
  assert.equal(file.headers.get("content-type"), "image/png");
  assert.ok((await file.arrayBuffer()).byteLength > 100_000);
});

test("a browser that comes back reads on after the last event it saw, and nothing is drawn again", async () => {
  const before = (await gateway.charges()).length;
  const url = address("/draw", { tier: "pro" });
  let last = "";
  for await (const { id, event } of events(await fetch(url))) {
    last = id;
    if (event === "preview") {
      break;
    }
  }
  const rest = await all(await fetch(url, { headers: { "last-event-id": last } }));
  assert.deepEqual(
    rest.map(({ event }) => event),
    ["preview", "image", "completed"],
  );
  assert.equal((await gateway.charges()).length, before + 1);
});

test("a browser that comes back without having seen anything joins the same generation", async () => {
  const before = (await gateway.charges()).length;
  const url = address("/slow");
  const first = (await fetch(url)).body?.cancel();
  const seen = await all(await fetch(url));
  await first;
  assert.equal(seen.at(-1)?.event, "completed");
  assert.equal((await gateway.charges()).length, before + 1);
});

test("after the end there is no more, which stops an EventSource", async () => {
  assert.equal((await fetch(address("/draw"), { headers: { "last-event-id": "end" } })).status, 204);
});

test("a failure is an event with its reason", async () => {
  const seen = await all(await fetch(address("/draw", { prompt: "" })));
  assert.deepEqual([seen.length, seen[0]?.event, seen[0]?.id], [1, "failed", "end"]);
  assert.deepEqual([seen[0]?.data["reason"], seen[0]?.data["paid"]], ["PROMPT_EMPTY", false]);
});

test("without a requestId nothing is drawn", async () => {
  const before = (await gateway.charges()).length;
  assert.equal((await fetch(address("/draw", { requestId: "" }))).status, 400);
  assert.equal((await gateway.charges()).length, before);
});

test("silence is filled with signs of life", async () => {
  const answer = await fetch(address("/slow"));
  const text = await answer.text();
  assert.match(text, /^retry: 1000\n\n/);
  assert.ok(text.split(": alive\n\n").length > 3);
});

test("a browser that leaves hangs up the call; what was sent is drawn all the same", async () => {
  const url = address("/slow");
  const leave = new AbortController();
  const answer = await fetch(url, { signal: leave.signal });
  let generation = "";
  for await (const { event, data } of events(answer)) {
    generation ||= String(data["generationId"] ?? "");
    if (event === "attemptStarted") {
      break;
    }
  }
  leave.abort();
  while ((await client.get(generation)).state === "running") {
    await setTimeout(20);
  }
  assert.equal((await client.get(generation)).state, "succeeded");
});

/** A browser's end that takes its time, and notes what is written without waiting for it. */
class SlowResponse extends Writable {
  waits = 0;
  overruns = 0;

  constructor() {
    super({ highWaterMark: 1000 });
  }

  writeHead(): this {
    return this;
  }

  override write(bytes: unknown): boolean {
    this.overruns += this.writableNeedDrain ? 1 : 0;
    const isTaken = super.write(bytes);
    this.waits += isTaken ? 0 : 1;
    return isTaken;
  }

  override _write(_bytes: unknown, _encoding: string, taken: () => void): void {
    setImmediate(taken);
  }
}

test("a browser that takes its time is waited for", async () => {
  const response = new SlowResponse();
  const route = relay(client, () => ({ prompt: "slowly", tier: "pro", requestId: randomUUID() }));
  await route({ headers: {}, query: {}, params: {} } as never, response as never);
  assert.ok(response.waits >= 2, `${response.waits}`); // both previews are longer than its buffer
  assert.equal(response.overruns, 0);
});

test("an unknown picture is 404, in a sentence", async () => {
  const answer = await fetch(`${at}/pictures/img_none`);
  assert.equal(answer.status, 404);
  assert.match(await answer.text(), /img_none/);
});
