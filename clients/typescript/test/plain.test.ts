/** What needs no gateway: words, amounts, requests, deadlines. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { money, usd } from "@pictor/client";
import { GENERATION_MS, MAX_ATTEMPTS, READ_MS, SET_MS, TRANSFER_MS } from "../src/deadlines.js";
import { OnDisconnect, Resolution, Tier } from "../src/gen/pictor/v1/image_pb.js";
import { type DrawRequest, editRequest, generateRequest } from "../src/request.js";
import { ROOT } from "./gateway.js";

test("amounts are exact, both ways", () => {
  for (const amount of ["0.1", "0.000000001", "-2.5", "12345678901234.123456789", "3", "0"]) {
    assert.equal(usd(money(amount)), amount);
  }
  assert.deepEqual([money(0.1).nanos, money("-0.25").nanos, money("-1.5").units], [100_000_000, -250_000_000, -1n]);
  for (const none of ["ten", "1e3", "0.0000000001", "", "NaN", "1,5"]) {
    assert.throws(() => money(none), TypeError);
  }
});

test("short words become the contract's values", () => {
  const request = generateRequest({
    prompt: "x",
    tier: "pro",
    resolution: "4k",
    ratio: "16:9",
    onDisconnect: "finish",
    seed: 7,
    maxCost: "0.1",
  });
  assert.deepEqual([request.tier, request.canvas?.resolution], [Tier.PRO, Resolution.RESOLUTION_4K]);
  assert.deepEqual(request.canvas?.shape, { case: "ratio", value: "16:9" });
  assert.deepEqual([request.onDisconnect, request.seed], [OnDisconnect.FINISH, 7n]);
});

test("what cannot be put into a request is named before anything is sent", () => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ tier: "gold" }, /^tier: `gold` is none of free, standard, pro$/],
    [{ resolution: "8k" }, /^resolution: `8k` is none of 512, 1k, 2k, 4k$/],
    [{ max_cost: "0.1" }, /^max_cost: no such option of a request$/],
    [{ maxCost: "free" }, /^maxCost: `free` is not an amount/],
    [{ ratio: "1:1", format: "instagram/story" }, /^format: a format has a ratio of its own/],
    [{ references: [7] }, /^references: a picture is its bytes, its id/],
    [{ count: "many" }, /^request: /],
  ];
  for (const [options, message] of cases) {
    assert.throws(() => generateRequest({ prompt: "x", ...options } as DrawRequest), { name: "TypeError", message });
  }
});

test("a picture is its bytes or its id", () => {
  const { image, mask } = editRequest({ prompt: "x", image: "img_one", mask: new Uint8Array([1]) });
  assert.deepEqual([image?.source.case, mask?.source.case], ["imageId", "data"]);
});

test("deadlines are those of the contract's service config", async () => {
  const config = JSON.parse(await readFile(join(ROOT, "protos/service_config.json"), "utf8"));
  const timeoutMs = (service: string, method?: string): number => {
    const entry = config.methodConfig.find(({ name }: { name: { service: string; method?: string }[] }) =>
      name.some((each) => each.service === `pictor.v1.${service}` && each.method === method),
    );
    assert.equal(entry.retryPolicy.maxAttempts, MAX_ATTEMPTS);
    return Number.parseInt(entry.timeout, 10) * 1000;
  };
  assert.equal(timeoutMs("HistoryService"), READ_MS);
  assert.equal(timeoutMs("HistoryService", "DownloadImage"), TRANSFER_MS);
  assert.equal(timeoutMs("ImageService"), GENERATION_MS);
  assert.equal(timeoutMs("ImageService", "GenerateSet"), SET_MS);
});
