/** What a lost connection, a stranger or a liar at the other end does to a client: nothing is lost, nothing paid twice. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import * as http from "node:http";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import * as tls from "node:tls";
import { promisify } from "node:util";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { Client, type ClientOptions, type Event, PictorError } from "@pictor/client";
import { HistoryService } from "@pictor/client/v1/history_service_pb.js";
import { ImageService } from "@pictor/client/v1/image_service_pb.js";
import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { type Gateway, startFake, startGateway, Wire } from "./gateway.js";

let gateway: Gateway;
let wire: Wire;
let lost: string[];

before(async () => {
  gateway = await startGateway();
});

after(async () => {
  await gateway.stop();
});

/** A client that wastes no time between tries. */
function connected(address: string, options: ClientOptions = {}): Client {
  return new Client({ address, sleep: () => setTimeout(1), onLost: (error) => lost.push(error.message), ...options });
}

/** Runs with a client whose connection can be cut. */
async function wired(use: (client: Client) => Promise<void>, options: ClientOptions = {}): Promise<void> {
  lost = [];
  wire = await Wire.before(gateway.address);
  const client = connected(wire.address, options);
  try {
    await use(client);
  } finally {
    client.close();
    await wire.stop();
  }
}

/** Runs with a client of a gateway that is made up. */
async function faked(routes: (router: ConnectRouter) => void, use: (client: Client) => Promise<void>): Promise<void> {
  lost = [];
  const fake = await startFake(routes);
  const client = connected(fake.address);
  try {
    await use(client);
  } finally {
    client.close();
    fake.stop();
  }
}

async function all<T>(events: AsyncIterable<T>): Promise<T[]> {
  const seen: T[] = [];
  for await (const event of events) {
    seen.push(event);
  }
  return seen;
}

async function refused(call: Promise<unknown>): Promise<PictorError> {
  const error = await call.then(
    () => undefined,
    (each: unknown) => each,
  );
  assert.ok(error instanceof PictorError, `no PictorError but ${error}`);
  return error;
}

function types(events: Event[]): string[] {
  return events.map(({ type }) => type);
}

const WHOLE = ["accepted", "attemptStarted", "preview", "preview", "image", "completed"];

// the first preview has about 200 kB, the picture more than 1 MB
for (const [where, bytes] of [
  ["in a preview", 100_000],
  ["between the previews", 210_000],
  ["in the picture", 900_000],
] as const) {
  test(`a connection that is cut ${where} loses and doubles nothing`, async () => {
    await wired(async (client) => {
      const before = (await gateway.charges()).length;
      wire.cutAfter = bytes;
      const events = await all(client.stream({ prompt: `cut ${where}`, tier: "pro" }));
      assert.deepEqual(types(events), WHOLE);
      assert.deepEqual(
        events.map(({ sequence }) => sequence),
        [1, 2, 3, 4, 5, 6],
      );
      assert.equal(wire.connections, 2);
      assert.equal(lost.length, 1);
      assert.equal((await gateway.charges()).length, before + 1);
      for (const event of events) {
        if (event.type === "image") {
          assert.equal(event.picture.data?.length, Number(event.picture.message.sizeBytes));
        }
      }
    });
  });
}

test("a call whose id never came back is found by its requestId, and not sent again", async () => {
  await wired(async (client) => {
    const direct = connected(gateway.address);
    const before = (await gateway.charges()).length;
    await client.plan({ prompt: "opens the connection" });
    const requestId = randomUUID();
    wire.isDeaf = true;
    const drawn = client.generate({ prompt: "deaf", requestId, onDisconnect: "finish" });
    while ((await direct.get({ requestId }).catch(() => undefined)) === undefined) {
      await setTimeout(1);
    }
    wire.isDeaf = false;
    wire.cut();
    assert.equal((await drawn).state, "succeeded");
    direct.close();
    assert.equal((await gateway.charges()).length, before + 1);
  });
});

test("a generation that the lost connection withdrew unpaid is drawn once, after all", async () => {
  let calls = 0;
  await faked(
    (router) => {
      router.service(ImageService, {
        async *generateStream() {
          calls += 1;
          if (calls === 1) {
            yield accepted("gen_one", 1n);
            throw new ConnectError("cut", Code.Unavailable);
          }
          yield accepted("gen_two", 1n);
          yield completed("gen_two", 2n);
        },
      });
      router.service(HistoryService, {
        async *watchGeneration() {
          throw told("CANCELLED", Code.Canceled, { generation_id: "gen_one" });
        },
      });
    },
    async (client) => {
      assert.equal((await client.generate({ prompt: "withdrawn" })).id, "gen_two");
      assert.equal(calls, 2);
    },
  );
});

test("a gateway that has forgotten the generation gets no second paid call", async () => {
  let calls = 0;
  await faked(
    (router) => {
      router.service(ImageService, {
        async *generateStream() {
          calls += 1;
          yield accepted("gen_gone", 1n);
          throw new ConnectError("cut", Code.Unavailable);
        },
      });
      router.service(HistoryService, {
        async *watchGeneration() {
          throw told("NOT_FOUND", Code.NotFound);
        },
      });
    },
    async (client) => {
      const error = await refused(client.generate({ prompt: "forgotten" }));
      assert.deepEqual([error.code, error.paid, error.generationId, calls], ["UNAVAILABLE", true, "gen_gone", 1]);
      assert.equal(
        error.message,
        "the connection was lost, and the gateway that answers now does not know generation gen_gone " +
          "(another data folder?), so it is unknown whether it was made",
      );
    },
  );
});

test("a call that broke before anything came back is not repeated if nobody knows it", async () => {
  let calls = 0;
  await faked(
    (router) => {
      router.service(ImageService, {
        async *generateStream() {
          calls += 1;
          throw new ConnectError("cut", Code.Unavailable);
        },
      });
      router.service(HistoryService, { getGeneration: () => Promise.reject(told("NOT_FOUND", Code.NotFound)) });
    },
    async (client) => {
      const error = await refused(client.generate({ prompt: "unknown", requestId: "mine" }));
      assert.equal(calls, 1);
      assert.deepEqual([error.paid, error.requestId], [true, "mine"]);
      assert.match(error.message, /it is unknown whether the call was accepted: look for its request_id mine$/);
    },
  );
});

for (const [pushback, tries] of [
  ["", 3],
  ["-1", 1],
] as const) {
  test(`a refusal for now is repeated ${tries - 1} times with the pushback "${pushback}"`, async () => {
    let calls = 0;
    await faked(
      (router) => {
        router.service(ImageService, {
          async *generateStream() {
            calls += 1;
            const error = told("STORE_UNAVAILABLE", Code.Unavailable);
            if (pushback) {
              error.metadata.set("grpc-retry-pushback-ms", pushback);
            }
            throw error;
          },
        });
      },
      async (client) => {
        assert.equal((await refused(client.generate({ prompt: "later" }))).reason, "STORE_UNAVAILABLE");
        assert.equal(calls, tries);
      },
    );
  });
}

test("a download goes on from the byte that it reached", async () => {
  const offsets: bigint[] = [];
  const data = new Uint8Array(700_000).map((_, at) => at % 251);
  await faked(
    (router) => {
      router.service(HistoryService, {
        async *downloadImage({ offsetBytes }) {
          offsets.push(offsetBytes);
          yield described(data);
          yield chunk(data, Number(offsetBytes), 262_144);
          if (offsets.length < 3) {
            throw new ConnectError("cut", Code.Unavailable);
          }
        },
      });
    },
    async (client) => {
      const { data: whole } = await client.download("img_one");
      assert.deepEqual(whole, data);
      assert.deepEqual(offsets, [0n, 262_144n, 524_288n]);
    },
  );
});

test("a real download survives a cut, into memory and into a file", async () => {
  const folder = await mkdtemp(join(tmpdir(), "pictor-ts-"));
  await wired(async (client) => {
    const { picture } = await client.generate({ prompt: "to be cut", tier: "pro" }, { fetch: false });
    wire.cut();
    wire.cutAfter = 600_000;
    const whole = await client.download(picture.id);
    assert.equal(whole.data?.length, Number(picture.message.sizeBytes));
    wire.cut();
    wire.cutAfter = 600_000;
    const path = join(folder, "cut.png");
    await client.downloadTo(path, picture.id);
    assert.deepEqual(new Uint8Array(await readFile(path)), whole.data);
    assert.equal(wire.connections, 5);
  });
  await rm(folder, { recursive: true });
});

test("bytes that are not the described ones are DATA_LOSS, and no file", async () => {
  const folder = await mkdtemp(join(tmpdir(), "pictor-ts-"));
  const data = new Uint8Array(1000);
  await faked(
    (router) => {
      router.service(HistoryService, {
        async *downloadImage() {
          yield described(data.map(() => 1));
          yield chunk(data, 0, 1000);
        },
      });
    },
    async (client) => {
      const path = join(folder, "bad.png");
      for (const call of [() => client.download("img_one"), () => client.downloadTo(path, "img_one")]) {
        const error = await refused(call());
        assert.deepEqual([error.code, error.reason], ["DATA_LOSS", "DATA_LOSS"]);
        assert.match(error.message, /arrived damaged: 1000 of 1000 bytes, wrong SHA-256/);
      }
      assert.deepEqual(await readdir(folder), []);
    },
  );
  await rm(folder, { recursive: true });
});

test("a stream whose picture is damaged, or has a hole, is DATA_LOSS", async () => {
  const data = new Uint8Array(1000);
  for (const [offset, sha] of [
    [0, "wrong"],
    [5, undefined],
  ] as const) {
    await faked(
      (router) => {
        router.service(ImageService, {
          async *generateStream() {
            yield accepted("gen_one", 1n);
            const { value } = described(data).part;
            const image = { ...value, ...(sha && { sha256: sha }) };
            yield { event: { sequence: 2n, event: { case: "image", value: { image, chunksFollow: true } } } } as const;
            const last = { ...chunk(data, 0, 1000).part.value, offsetBytes: BigInt(offset), last: true };
            yield { event: { sequence: 2n, event: { case: "imageChunk", value: last } } } as const;
          },
        });
      },
      async (client) => {
        assert.equal((await refused(client.generate({ prompt: "damaged" }))).code, "DATA_LOSS");
      },
    );
  }
});

test("nobody there is one sentence, unpaid, after three tries", async () => {
  let tries = 0;
  const sleep = async (): Promise<void> => {
    tries += 1;
  };
  const client = connected("127.0.0.1:1", { sleep });
  const error = await refused(client.generate({ prompt: "x" }));
  assert.deepEqual([error.reason, error.code, error.paid, tries], ["UNREACHABLE", "UNAVAILABLE", false, 2]);
  assert.equal(error.message, "nothing answers at http://127.0.0.1:1; start the gateway, or correct the address");
});

test("a name that nobody knows is one sentence", async () => {
  const error = await refused(connected("gateway.invalid:50051").plan({ prompt: "x" }));
  assert.match(error.message, /^nobody knows the name in http:\/\/gateway\.invalid:50051/);
});

test("a gateway that goes away for good ends the call as lost, and perhaps paid", async () => {
  await wired(async (client) => {
    const drawn = client.stream({ prompt: "gone", tier: "pro" });
    const read = async (): Promise<void> => {
      for await (const { type } of drawn) {
        if (type === "attemptStarted") {
          wire.refuse();
          wire.cut();
        }
      }
    };
    const error = await refused(read());
    assert.deepEqual([error.reason, error.paid], ["UNREACHABLE", true]);
    assert.match(error.generationId ?? "", /^gen_/);
  });
});

test("another kind of server at the address is one sentence, and ends no process", async () => {
  const server = http.createServer((_, answer) => answer.end("hello")).listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connected(`127.0.0.1:${(server.address() as net.AddressInfo).port}`);
  for (const call of [client.generate({ prompt: "x" }), client.plan({ prompt: "x" })]) {
    const error = await refused(call);
    assert.match(error.message, /^something answers at http:.*, but no gateway; correct the port/);
    assert.deepEqual([error.reason, error.paid], ["UNREACHABLE", false]);
  }
  client.close();
  server.close();
  server.closeAllConnections();
});

test("TLS works with the right roots, and each mismatch says what to do", async () => {
  const folder = await mkdtemp(join(tmpdir(), "pictor-ts-"));
  const [keyFile, certFile] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  const files = ["-keyout", keyFile, "-out", certFile];
  await promisify(execFile)("openssl", [
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-days",
    "2",
    ...names,
    ...files,
  ]);
  const [key, cert] = [await readFile(keyFile), await readFile(certFile)];
  const server = tls.createServer({ key, cert, ALPNProtocols: ["h2"] }, (socket) => {
    const [host, port] = gateway.address.split(":");
    const plain = net.connect(Number(port), host);
    socket.pipe(plain).pipe(socket);
    socket.on("error", () => plain.destroy());
    plain.on("error", () => socket.destroy());
  });
  server.on("tlsClientError", () => undefined);
  server.listen(0, "localhost");
  await once(server, "listening");
  const at = `localhost:${(server.address() as net.AddressInfo).port}`;

  const trusting = connected(`https://${at}`, { tls: { ca: cert } });
  assert.equal((await trusting.plan({ prompt: "x" })).plan?.row, "standard");
  trusting.close();
  const cases: [string, ClientOptions, RegExp, boolean][] = [
    [
      `https://${at}`,
      {},
      /^something answers at https:\/\/localhost:\d+, but its certificate is not trusted here$/,
      false,
    ],
    [`https://${gateway.address}`, {}, /^something answers at https:.*, but without TLS; leave out https:\/\/$/, false],
    [`http://${at}`, {}, /perhaps the address wants https:\/\/$/, true],
  ];
  for (const [address, options, text, paid] of cases) {
    const client = connected(address, options);
    const error = await refused(client.generate({ prompt: "x" }));
    assert.match(error.message, text);
    assert.deepEqual([error.reason, error.paid], ["UNREACHABLE", paid]);
    client.close();
  }
  server.close();
  await rm(folder, { recursive: true });
});

test("an address or a key that cannot be used is said at once", () => {
  assert.throws(() => new Client({ address: "gateway" }), /an address is host:port; `gateway` has no port/);
  assert.throws(() => new Client({ address: "gateway:1/path" }), TypeError);
  assert.throws(
    () => new Client({ apiKey: "two\nlines" }),
    (error: Error) => !error.message.includes("lines"),
  );
});

function accepted(generationId: string, sequence: bigint) {
  return { event: { sequence, event: { case: "accepted", value: { generationId } } } } as const;
}

function completed(id: string, sequence: bigint) {
  return { event: { sequence, event: { case: "completed", value: { generation: { id, state: 3 } } } } } as const;
}

function described(data: Uint8Array) {
  const sha256 = createHash("sha256").update(data).digest("hex");
  return { part: { case: "image", value: { id: "img_one", sizeBytes: BigInt(data.length), sha256 } } } as const;
}

function chunk(data: Uint8Array, offset: number, size: number) {
  const value = { imageId: "img_one", offsetBytes: BigInt(offset), data: data.subarray(offset, offset + size) };
  return { part: { case: "chunk", value } } as const;
}

/** An error as the gateway tells it. */
function told(reason: string, code: Code, metadata: Record<string, string> = {}): ConnectError {
  return new ConnectError(reason.toLowerCase(), code, undefined, [
    { desc: ErrorInfoSchema, value: { reason, domain: "pictor", metadata } },
  ]);
}
