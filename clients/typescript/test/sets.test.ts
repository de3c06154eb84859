/** A set whose connection is cut: every item is told once, and paid once. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { Client, type ClientOptions, PictorError, type SetEvent } from "@pictor/client";
import { HistoryService } from "@pictor/client/v1/history_service_pb.js";
import { ImageService } from "@pictor/client/v1/image_service_pb.js";
import { type Gateway, startFake, startGateway, Wire } from "./gateway.js";

const ITEMS = { a: "a red fox", b: "a grey fox", c: { ratio: "16:9" } } as const;

let gateway: Gateway;

before(async () => {
  // one call at a time, so that a set that is cut has items that were not sent yet
  gateway = await startGateway("[providers.gemini]\nmax_concurrency = 1\n");
});

after(async () => {
  await gateway.stop();
});

/** Runs with a client that wastes no time between tries, behind a wire that can be cut. */
async function wired(use: (client: Client, wire: Wire) => Promise<void>, options: ClientOptions = {}): Promise<void> {
  const wire = await Wire.before(gateway.address);
  const client = new Client({ address: wire.address, sleep: () => setTimeout(1), ...options });
  try {
    await use(client, wire);
  } finally {
    client.close();
    await wire.stop();
  }
}

async function all<T>(events: AsyncIterable<T>): Promise<T[]> {
  const seen: T[] = [];
  for await (const event of events) {
    seen.push(event);
  }
  return seen;
}

/** Every item has one whole picture and one end, every event came once, and the set has one beginning and one end. */
function assertToldOnce(steps: SetEvent[]): void {
  assert.deepEqual([steps[0]?.type, steps.at(-1)?.type], ["setAccepted", "summary"]);
  for (const type of ["image", "completed"]) {
    const items = steps.flatMap((step) => (step.type === "step" && step.event.type === type ? [step.itemKey] : []));
    assert.deepEqual(items.sort(), Object.keys(ITEMS), `an ${type} for each item`);
  }
  const told = steps.map((step) =>
    step.type === "step" ? `${step.generationId} ${step.event.sequence} ${step.event.type}` : step.type,
  );
  assert.deepEqual(told, [...new Set(told)]);
  for (const step of steps) {
    if (step.type === "step" && step.event.type === "image") {
      const { data, message } = step.event.picture;
      assert.equal(data?.length, Number(message.sizeBytes));
    }
  }
  const summary = steps.at(-1);
  assert.ok(summary?.type === "summary" && summary.summary.succeededCount === 3 && summary.summary.failedCount === 0);
}

for (const [where, bytes] of [
  ["in the first picture", 40_000],
  ["in a later picture", 400_000],
] as const) {
  test(`a set that is cut ${where} tells and pays each item once`, async () => {
    const before = (await gateway.charges()).length;
    await wired(async (client, wire) => {
      wire.cutAfter = bytes;
      assertToldOnce(await all(client.set({ prompt: `a set, cut ${where}` }, ITEMS)));
      assert.equal(wire.connections, 2);
    });
    assert.equal((await gateway.charges()).length, before + 3);
  });
}

test("a set of which nothing came back is the caller's to send again, with the same requestId", async () => {
  const before = (await gateway.charges()).length;
  await wired(async (client, wire) => {
    await client.plan({ prompt: "opens the connection" });
    const brief = { prompt: "a set, unheard of", requestId: "unheard", onDisconnect: "finish" } as const;
    wire.isDeaf = true;
    const first = refused(all(client.set(brief, ITEMS)));
    while ((await gateway.charges()).length < before + 3) {
      await setTimeout(5);
    }
    wire.isDeaf = false;
    wire.cut();
    const error = await first;
    assert.deepEqual([error.reason, error.paid, error.requestId], ["UNREACHABLE", true, "unheard"]);
    assert.match(error.message, /; it is unknown whether the set was accepted: send it again with request_id unheard$/);
    assertToldOnce(await all(client.set(brief, ITEMS)));
  });
  assert.equal((await gateway.charges()).length, before + 3);
});

test("a set that is cut again and again is told and paid once", async () => {
  const before = (await gateway.charges()).length;
  const lost: string[] = [];
  await wired(
    async (client, wire) => {
      const steps: SetEvent[] = [];
      for await (const step of client.set({ prompt: "a set, cut often" }, ITEMS)) {
        steps.push(step);
        if (step.type === "setAccepted" || (step.type === "step" && step.event.type === "completed")) {
          wire.cut();
        }
      }
      assertToldOnce(steps);
    },
    { onLost: (error) => lost.push(error.message) },
  );
  assert.ok(lost.length >= 2, `${lost}`);
  assert.equal((await gateway.charges()).length, before + 3);
});

test("the same set again replays, in another call too", async () => {
  const before = (await gateway.charges()).length;
  await wired(async (client) => {
    const brief = { prompt: "a set, twice", requestId: randomUUID() };
    assertToldOnce(await all(client.set(brief, ITEMS)));
    assertToldOnce(await all(client.set(brief, ITEMS)));
  });
  assert.equal((await gateway.charges()).length, before + 3);
});

test("a gateway that stays away ends the set with what to look for", async () => {
  await wired(async (client, wire) => {
    let setId = "";
    const read = async (): Promise<void> => {
      for await (const step of client.set({ prompt: "a set, gone", requestId: "mine" }, ITEMS)) {
        if (step.type === "setAccepted") {
          setId = step.setId;
          wire.refuse();
          wire.cut();
        }
      }
    };
    const error = await refused(read());
    assert.deepEqual(
      [error.reason, error.paid, error.requestId, error.metadata["set_id"]],
      ["UNREACHABLE", true, "mine", setId],
    );
    assert.match(
      error.message,
      new RegExp(`; money may be spent on set ${setId}: send it again with request_id mine$`),
    );
  });
});

test("a set that reached nobody, or was refused, is unpaid", async () => {
  const nobody = new Client({ address: "127.0.0.1:1", sleep: () => setTimeout(1) });
  const unsent = await refused(all(nobody.set({ prompt: "x" }, ITEMS)));
  assert.deepEqual([unsent.reason, unsent.paid, unsent.metadata["set_id"]], ["UNREACHABLE", false, undefined]);
  await wired(async (client) => {
    const wrong = await refused(all(client.set({ prompt: "x" }, {})));
    assert.deepEqual([wrong.reason, wrong.paid], ["COUNT_OUT_OF_RANGE", false]);
  });
});

// --- a gateway that is made up

async function faked(
  routes: (router: ConnectRouter) => void,
  use: (set: () => AsyncGenerator<SetEvent>) => Promise<void>,
): Promise<void> {
  const fake = await startFake(routes);
  const client = new Client({ address: fake.address, sleep: () => setTimeout(1) });
  try {
    await use(() => client.set({ prompt: "x", requestId: "mine" }, { a: "a" }));
  } finally {
    client.close();
    fake.stop();
  }
}

test("what the loss withdrew is drawn after all, and no failure", async () => {
  let calls = 0;
  await faked(
    (router) => {
      router.service(ImageService, {
        async *generateSet({ brief }) {
          calls += 1;
          assert.equal(brief?.requestId, "mine");
          yield SET;
          if (calls === 1) {
            yield step("gen_one", 1n, { case: "accepted", value: { generationId: "gen_one" } });
            throw new ConnectError("cut", Code.Unavailable);
          }
          if (calls === 2) {
            yield failed("CANCELLED");
          } else {
            yield step("gen_two", 1n, { case: "completed", value: { generation: { id: "gen_two", state: 3 } } });
          }
          yield SUMMARY;
        },
      });
      router.service(HistoryService, KNOWN);
    },
    async (set) => {
      const steps = await all(set());
      assert.deepEqual(
        steps.map((each) => `${each.type} ${each.generationId}`),
        ["setAccepted ", "step gen_one", "step gen_two", "summary "],
      );
      assert.equal(calls, 3);
    },
  );
});

test("a failure is told once, and somebody's wish to cancel as one", async () => {
  let calls = 0;
  await faked(
    (router) => {
      router.service(ImageService, {
        async *generateSet() {
          calls += 1;
          yield SET;
          yield failed("CANCELLED");
          if (calls === 1) {
            throw new ConnectError("cut", Code.Unavailable);
          }
          yield { step: { case: "event", value: { event: { case: "heartbeat", value: {} } } } } as const;
          yield failed("CANCELLED");
          yield SUMMARY;
        },
      });
      router.service(HistoryService, KNOWN);
    },
    async (set) => {
      assert.deepEqual(
        (await all(set())).map(({ type }) => type),
        ["setAccepted", "itemFailed", "summary"],
      );
      assert.equal(calls, 2);
    },
  );
});

for (const [what, generations] of [
  ["the set", []],
  ["one generation that was seen", [{ id: "gen_one" }, { id: "gen_three" }]],
] as const) {
  test(`a gateway that has forgotten ${what} does not draw it again`, async () => {
    let calls = 0;
    await faked(
      (router) => {
        router.service(ImageService, {
          async *generateSet() {
            calls += 1;
            yield* TWO_BEGUN;
            throw new ConnectError("cut", Code.Unavailable);
          },
        });
        router.service(HistoryService, { listGenerations: () => ({ generations: [...generations] }) });
      },
      async (set) => {
        const error = await refused(all(set()));
        assert.equal(calls, 1);
        assert.deepEqual(
          [error.code, error.paid, error.requestId, error.metadata["set_id"]],
          ["UNAVAILABLE", true, "mine", "set_one"],
        );
        assert.equal(
          error.message,
          "the connection was lost, and the gateway that answers now does not know set set_one " +
            "(another data folder?), so it is unknown what was made (request_id mine)",
        );
      },
    );
  });
}

test("a set of which all that was seen is known, on whatever page, is sent again", async () => {
  let calls = 0;
  await faked(
    (router) => {
      router.service(ImageService, {
        async *generateSet() {
          calls += 1;
          yield* TWO_BEGUN;
          if (calls === 1) {
            throw new ConnectError("cut", Code.Unavailable);
          }
          yield SUMMARY;
        },
      });
      router.service(HistoryService, {
        listGenerations: ({ pageToken }) =>
          pageToken === "more"
            ? { generations: [{ id: "gen_two" }] }
            : { generations: [{ id: "gen_one" }], nextPageToken: "more" },
      });
    },
    async (set) => {
      assert.deepEqual(
        (await all(set())).map(({ type }) => type),
        ["setAccepted", "step", "step", "summary"],
      );
      assert.equal(calls, 2);
    },
  );
});

test("a connection that brings only what was seen is given up", async () => {
  await faked(
    (router) => {
      router.service(ImageService, {
        async *generateSet() {
          yield SET;
          throw new ConnectError("cut", Code.Unavailable);
        },
      });
      router.service(HistoryService, KNOWN);
    },
    async (set) => {
      const error = await refused(all(set()));
      assert.deepEqual([error.reason, error.paid, error.metadata["set_id"]], ["UNREACHABLE", true, "set_one"]);
    },
  );
});

test("a gateway that knows of nothing is asked again before it is given up", async () => {
  let calls = 0;
  let asked = 0;
  await faked(
    (router) => {
      router.service(ImageService, {
        async *generateSet() {
          calls += 1;
          yield SET;
          if (calls === 1) {
            throw new ConnectError("cut", Code.Unavailable);
          }
          yield SUMMARY;
        },
      });
      router.service(HistoryService, {
        listGenerations: () => {
          asked += 1;
          return { generations: asked < 3 ? [] : [{ id: "gen_one" }] };
        },
      });
    },
    async (set) => {
      assert.deepEqual(
        (await all(set())).map(({ type }) => type),
        ["setAccepted", "summary"],
      );
      assert.deepEqual([calls, asked], [2, 3]);
    },
  );
});

const KNOWN = { listGenerations: () => ({ generations: [{ id: "gen_one" }] }) };
const SET = { step: { case: "setAccepted", value: { setId: "set_one", outputCount: 1 } } } as const;
const SUMMARY = { step: { case: "summary", value: { setId: "set_one" } } } as const;

function step<E>(generationId: string, sequence: bigint, event: E) {
  return { itemKey: "a", generationId, step: { case: "event", value: { sequence, event } } } as const;
}

const TWO_BEGUN = [
  SET,
  step("gen_one", 1n, { case: "accepted", value: { generationId: "gen_one" } } as const),
  step("gen_two", 1n, { case: "accepted", value: { generationId: "gen_two" } } as const),
];

function failed(reason: string) {
  return { itemKey: "a", step: { case: "itemFailed", value: { reason, text: "no" } } } as const;
}

async function refused(call: Promise<unknown>): Promise<PictorError> {
  const error = await call.then(
    () => undefined,
    (each: unknown) => each,
  );
  assert.ok(error instanceof PictorError, `no PictorError but ${error}`);
  return error;
}
