/** What a client asks and gets, through a real channel, from a sandbox gateway. */

import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Client, type ClientOptions, type Event, PictorError } from "@pictor/client";
import { Budget_Counted, Budget_Window } from "@pictor/client/v1/usage_service_pb.js";
import { type Gateway, startGateway } from "./gateway.js";

let gateway: Gateway;
let client: Client;
let folder: string;

const KEY = "pk-typescript";
const CONFIG = `
[[callers]]
name = "typescript"
keys = ["${createHash("sha256").update(KEY).digest("hex")}"]
role = "operator"
`;

before(async () => {
  gateway = await startGateway(CONFIG);
  client = connected();
  folder = await mkdtemp(join(tmpdir(), "pictor-ts-"));
});

after(async () => {
  client.close();
  await gateway.stop();
  await rm(folder, { recursive: true });
});

function connected(options: ClientOptions = {}): Client {
  return new Client({ address: gateway.address, apiKey: KEY, ...options });
}

async function all<T>(events: AsyncIterable<T>): Promise<T[]> {
  const seen: T[] = [];
  for await (const event of events) {
    seen.push(event);
  }
  return seen;
}

function of<Type extends Event["type"]>(events: Event[], type: Type): Extract<Event, { type: Type }>[] {
  return events.filter((event): event is Extract<Event, { type: Type }> => event.type === type);
}

async function refused(call: Promise<unknown>): Promise<PictorError> {
  const error = await call.then(
    () => undefined,
    (each: unknown) => each,
  );
  assert.ok(error instanceof PictorError, `no PictorError but ${error}`);
  return error;
}

function isPng(data: Uint8Array | undefined): boolean {
  return (
    Buffer.from(data ?? [])
      .subarray(1, 4)
      .toString() === "PNG"
  );
}

test("one line draws a picture, whole and at its price", async () => {
  const fox = await client.generate({
    prompt: "a red fox",
    format: "instagram/story",
    resolution: "1k",
    maxCost: "0.10",
  });
  const { data, message, extension } = fox.picture;
  assert.equal(data?.length, Number(message.sizeBytes));
  assert.equal(
    createHash("sha256")
      .update(data ?? "")
      .digest("hex"),
    message.sha256,
  );
  assert.deepEqual([fox.state, fox.row, fox.isComplete, fox.isSandbox], ["succeeded", "standard", true, true]);
  assert.match(fox.costUsd, /^0\.0[67]\d+$/);
  assert.ok(message.heightPx > message.widthPx);
  const path = join(folder, `fox.${extension}`);
  await fox.picture.save(path);
  assert.deepEqual(new Uint8Array(await readFile(path)), data);
});

test("a stream tells every step, with previews and the picture whole", async () => {
  const events = await all(client.stream({ prompt: "a red fox in fresh snow", tier: "pro" }));
  const sequences = events.map(({ sequence }) => sequence);
  assert.deepEqual(sequences, [1, 2, 3, 4, 5, 6]);
  const [started] = of(events, "attemptStarted");
  assert.equal(started?.model, "gpt-image-2");
  assert.ok((started?.expectedP50Ms ?? 0) > 0 && (started?.previewCount ?? 0) === 2);
  const previews = of(events, "preview");
  assert.deepEqual(
    previews.map(({ index }) => index),
    [0, 1],
  );
  assert.ok(previews.every(({ data }) => isPng(data)));
  const [image] = of(events, "image");
  assert.ok(isPng(image?.picture.data));
  assert.equal(events.at(-1)?.type, "completed");
});

test("a fallback is told on the way", async () => {
  const faulty = connected({ headers: { "x-sandbox-fault": "openai:server_error" } });
  const events = await all(faulty.stream({ prompt: "fallback", tier: "pro" }));
  faulty.close();
  const [failed] = of(events, "attemptFailed");
  assert.deepEqual([failed?.outcome, failed?.goesOn], ["server_error", true]);
  assert.deepEqual(of(events, "completed")[0]?.generation.adaptations.includes("quality_reduced"), true);
});

test("an uploaded picture is edited, rerolled and compared", async () => {
  const fox = await client.generate({ prompt: "a fox to edit", resolution: "512" });
  const uploaded = await client.upload(fox.picture.data ?? new Uint8Array());
  const edited = await client.edit({ prompt: "make the sky stormy", image: uploaded.id });
  assert.equal(edited.row, "edit");
  const events = await all(client.reroll(edited.id));
  const [again] = of(events, "completed");
  const other = again?.generation;
  assert.notEqual(other?.picture.message.model, edited.picture.message.model);
  const compared = await client.compare([edited.id, other?.id ?? ""]);
  assert.ok(compared.fields.some(({ path, differs }) => path === "images.model" || differs));
  assert.equal((await client.compare({ lineageOf: edited.id })).generations.length, 2);
});

test("a set tells which item each step is about", async () => {
  const steps = await all(client.set({ prompt: "a fox", resolution: "512" }, { a: "a red fox", b: { ratio: "16:9" } }));
  assert.deepEqual([steps[0]?.type, steps.at(-1)?.type], ["setAccepted", "summary"]);
  const pictures = steps.flatMap((step) => (step.type === "step" && step.event.type === "image" ? [step] : []));
  assert.deepEqual(pictures.map(({ itemKey }) => itemKey).sort(), ["a", "b"]);
  const summary = steps.at(-1);
  assert.ok(summary?.type === "summary" && summary.summary.succeededCount === 2);
});

test("a plan names the price and sends nothing", async () => {
  const before = (await gateway.charges()).length;
  const { plan, worstCaseCost } = await client.plan({ prompt: "planned", tier: "pro" });
  assert.equal(plan?.row, "pro");
  assert.ok((worstCaseCost?.nanos ?? 0) > 0);
  assert.equal((await gateway.charges()).length, before);
});

test("the same requestId never pays twice", async () => {
  const before = (await gateway.charges()).length;
  const request = { prompt: "only once", requestId: randomUUID(), resolution: "512" } as const;
  const [first, second] = await Promise.all([client.generate(request), client.generate(request)]);
  assert.equal(first.id, second.id);
  assert.equal((await client.get({ requestId: request.requestId })).id, first.id);
  assert.equal((await gateway.charges()).length, before + 1);
});

test("a download into a file is whole, and leaves nothing beside it", async () => {
  const fox = await client.generate({ prompt: "to a file" }, { fetch: false });
  const path = join(folder, "downloaded.png");
  const picture = await client.downloadTo(path, fox.picture.id);
  const data = await readFile(path);
  assert.equal(createHash("sha256").update(data).digest("hex"), picture.message.sha256);
  assert.deepEqual(
    (await readdir(folder)).filter((name) => name.endsWith(".part")),
    [],
  );
});

test("a file that cannot be written is one sentence", async () => {
  const fox = await client.generate({ prompt: "to nowhere", resolution: "512" });
  const nowhere = join(folder, "none", "fox.png");
  await assert.rejects(fox.picture.save(nowhere), (error: NodeJS.ErrnoException) => {
    assert.equal(error.code, "ENOENT");
    assert.match(error.message, /fox\.png was not written: no such file or directory$/);
    return true;
  });
  await assert.rejects(client.downloadTo(nowhere, fox.picture.id), { code: "ENOENT" });
});

test("a full disk leaves no half of a picture", {
  skip: process.platform !== "linux" && "needs /dev/full",
}, async () => {
  const fox = await client.generate({ prompt: "to a full disk", resolution: "512" });
  const { writeWhole } = await import("../src/whole_file.js");
  const path = join(folder, "full.png");
  const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
  await assert.rejects(
    writeWhole(path, () => Promise.reject(full)),
    { code: "ENOSPC" },
  );
  assert.ok(fox.picture.data && !(await readdir(folder)).some((name) => name.startsWith("full.png")));
});

test("a refused prompt says why, and that nothing came of it", async () => {
  const headers = { "x-sandbox-fault": "gemini:finish_reason;reason=IMAGE_SAFETY" };
  const strict = connected({ headers });
  const error = await refused(strict.generate({ prompt: "refused" }));
  strict.close();
  assert.deepEqual([error.reason, error.code], ["CONTENT_POLICY", "FAILED_PRECONDITION"]);
  assert.match(error.generationId ?? "", /^gen_/);
});

test("a bad field is named, with what would work", async () => {
  const error = await refused(client.generate({ prompt: "x", count: 11 }));
  assert.deepEqual([error.reason, error.code], ["COUNT_OUT_OF_RANGE", "INVALID_ARGUMENT"]);
  assert.deepEqual(error.violations, [{ field: "request.count", text: "1 to 10, this is 11" }]);
  assert.equal(error.paid, false);
});

test("a price above maxCost is refused before anything is sent", async () => {
  const before = (await gateway.charges()).length;
  const error = await refused(client.generate({ prompt: "x", tier: "pro", maxCost: "0.01" }));
  assert.equal(error.reason, "PRICE_CEILING");
  assert.equal((await gateway.charges()).length, before);
});

test("a spent budget is RESOURCE_EXHAUSTED, with the budget's name", async () => {
  const amount = { case: "pictures", value: 1n } as const;
  const rest = { counted: Budget_Counted.CALLER, window: Budget_Window.DAY, key: "typescript", amount };
  await client.usage.setBudget({ budget: { id: "one", ...rest } });
  const before = (await gateway.charges()).length;
  const error = await refused(client.generate({ prompt: "too many", count: 2 }));
  await client.usage.deleteBudget({ budgetId: "one" });
  assert.equal((await gateway.charges()).length, before);
  assert.deepEqual([error.reason, error.code], ["BUDGET_EXHAUSTED", "RESOURCE_EXHAUSTED"]);
  assert.match(error.message, /^budget 'one'/);
});

test("a rate limit says when to come back", async () => {
  const limited = connected({ headers: { "x-sandbox-fault": "openai:rate_limit;retry_after=30" } });
  const error = await refused(limited.generate({ prompt: "limited", model: "gpt-image-2" }, { timeoutMs: 200_000 }));
  limited.close();
  assert.ok(error.retryAfterMs !== undefined && error.retryAfterMs > 1000, `${error} ${error.retryAfterMs}`);
});

test("a wrong key is UNAUTHENTICATED", async () => {
  const stranger = connected({ apiKey: "wrong" });
  const error = await refused(stranger.generate({ prompt: "x" }));
  stranger.close();
  assert.deepEqual([error.reason, error.code], ["UNAUTHENTICATED", "UNAUTHENTICATED"]);
});

test("an unknown picture and an unknown generation are NOT_FOUND", async () => {
  assert.equal((await refused(client.download("img_none"))).reason, "NOT_FOUND");
  assert.equal((await refused(client.get("gen_none"))).reason, "NOT_FOUND");
});

test("an upload that is no picture, or too large, is refused in the gateway's words", async () => {
  assert.equal((await refused(client.upload(Buffer.from("no picture")))).reason, "IMAGE_INVALID");
  assert.equal((await refused(client.upload(new Uint8Array(20 * 2 ** 20 + 1)))).reason, "IMAGE_TOO_LARGE");
});

test("an abort ends the call with its reason, and what was sent is still there", async () => {
  const abort = new AbortController();
  const slow = connected({ headers: { "x-sandbox-latency-ms": "2000" } });
  const seen: Event[] = [];
  await assert.rejects(
    async () => {
      for await (const event of slow.stream({ prompt: "abandoned", resolution: "512" }, { signal: abort.signal })) {
        seen.push(event);
        if (event.type === "attemptStarted") {
          abort.abort(new Error("enough"));
        }
      }
    },
    { message: "enough" },
  );
  const [accepted] = of(seen, "accepted");
  const left = await all(client.watch(accepted?.generationId ?? "", 2));
  slow.close();
  assert.ok(of(left, "image").length === 1 && of(left, "completed").length === 1);
});

test("a loop that is left hangs up, and the client can be used on", async () => {
  for await (const event of client.stream({ prompt: "left", resolution: "512" })) {
    if (event.type === "accepted") {
      break;
    }
  }
  assert.equal((await client.generate({ prompt: "after it", resolution: "512" })).state, "succeeded");
});

test("a deadline that passes says how long it was", async () => {
  const slow = connected({ headers: { "x-sandbox-latency-ms": "3000" } });
  const error = await refused(slow.generate({ prompt: "late", resolution: "512" }, { timeoutMs: 1500 }));
  slow.close();
  assert.equal(error.code, "DEADLINE_EXCEEDED");
});

test("a bound on the stream's bytes changes nothing for the reader", async () => {
  const fox = await client.generate({ prompt: "bounded", maxInlineBytes: 0, count: 2 });
  assert.deepEqual(
    fox.pictures.map(({ data, message }) => data?.length === Number(message.sizeBytes)),
    [true, true],
  );
});
