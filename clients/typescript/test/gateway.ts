/** A sandbox gateway as a process of its own, a wire that can be cut, and a gateway that is only made up. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import * as http2 from "node:http2";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";
import type { ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";

/** The repository. */
export const ROOT = resolve(import.meta.dirname, "../../../..");
const OURS = /^(PICTOR_|OPENAI_|GEMINI_|GOOGLE_|OTEL_|IMAGE_EDIT_|GRPC_|NODE_TEST)/;

export interface Gateway {
  address: string;
  /** What the simulated engines were asked to draw and bill. */
  charges: () => Promise<unknown[]>;
  stop: () => Promise<void>;
}

/** Starts `pictord serve --sandbox` on free ports; `config` is its configuration file. */
export async function startGateway(config = ""): Promise<Gateway> {
  const folder = await mkdtemp(join(tmpdir(), "pictor-ts-"));
  await writeFile(join(folder, "pictord.toml"), config);
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !OURS.test(name)));
  const child = spawn(join(ROOT, ".venv/bin/pictord"), ["serve", "--sandbox", "--time-scale", "0.02"], {
    env: {
      ...clean,
      PICTOR_CONFIG: join(folder, "pictord.toml"),
      PICTOR_LISTEN: "127.0.0.1:0",
      PICTOR_ADMIN_LISTEN: "127.0.0.1:0",
      PICTOR_HTTP_LISTEN: "off",
      PICTOR_DATA_DIR: join(folder, "data"),
      PYTHONUNBUFFERED: "1",
    },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const exited = once(child, "exit");
  process.once("exit", () => child.kill("SIGKILL")); // a test that breaks off leaves nothing behind
  const stop = async (): Promise<void> => {
    child.kill("SIGTERM");
    const late = setTimeout(10_000, undefined, { ref: false }).then(() => child.kill("SIGKILL"));
    await Promise.race([exited, late]);
    await exited;
    await rm(folder, { recursive: true, force: true });
  };
  const lines: string[] = [];
  let sandbox = "";
  for await (const line of createInterface({ input: child.stderr })) {
    lines.push(line);
    sandbox = /GEMINI_BASE_URL=(\S+)/.exec(line)?.[1] ?? sandbox;
    const address = /gRPC on ([^\s,]+)/.exec(line)?.[1];
    if (address !== undefined) {
      child.stderr.resume();
      return { address, stop, charges: async () => charges(sandbox) };
    }
  }
  throw new Error(`pictord ended: ${lines.join("\n")}`);
}

async function charges(sandbox: string): ReturnType<Gateway["charges"]> {
  const answer = await fetch(`${sandbox}/sandbox/charges`);
  return ((await answer.json()) as { charges: unknown[] }).charges;
}

/** What stands between a client and a gateway. */
export class Wire {
  /** Connections that were made so far. */
  connections = 0;
  /** Cut the next connection after so many bytes to the client; once. */
  cutAfter = Number.POSITIVE_INFINITY;
  /** Whether bytes to the client are thrown away. */
  isDeaf = false;
  private readonly server = net.createServer((socket) => this.join(socket));
  private readonly sockets = new Set<net.Socket>();

  private constructor(private readonly target: string) {}

  static async before(target: string): Promise<Wire> {
    const wire = new Wire(target);
    wire.server.listen(0, "127.0.0.1");
    await once(wire.server, "listening");
    return wire;
  }

  get address(): string {
    return `127.0.0.1:${(this.server.address() as net.AddressInfo).port}`;
  }

  /** Breaks every connection, without a word. */
  cut(): void {
    for (const socket of this.sockets) {
      socket.destroy();
    }
  }

  /** Takes no more connections; those that are stay. */
  refuse(): void {
    this.server.close();
  }

  async stop(): Promise<void> {
    this.cut();
    this.server.close();
  }

  private join(client: net.Socket): void {
    this.connections += 1;
    const limit = this.cutAfter;
    this.cutAfter = Number.POSITIVE_INFINITY;
    const [host, port] = this.target.split(":");
    const gateway = net.connect(Number(port), host);
    let passed = 0;
    for (const [socket, other] of [
      [client, gateway],
      [gateway, client],
    ] as const) {
      this.sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        this.sockets.delete(socket);
        other.destroy();
      });
    }
    client.pipe(gateway);
    gateway.on("data", (bytes: Buffer) => {
      const left = limit - passed;
      passed += bytes.length;
      if (bytes.length > left) {
        client.write(bytes.subarray(0, Math.max(0, left)), () => client.destroy());
      } else if (!this.isDeaf) {
        client.write(bytes);
      }
    });
  }
}

/** A gateway that answers what a test says. */
export async function startFake(
  routes: (router: ConnectRouter) => void,
): Promise<{ address: string; stop: () => void }> {
  const sessions = new Set<http2.ServerHttp2Session>();
  const server = http2.createServer(connectNodeAdapter({ routes }));
  server.on("session", (session) => sessions.add(session));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  const stop = (): void => {
    for (const session of sessions) {
      session.destroy();
    }
    server.close();
  };
  return { address: `127.0.0.1:${port}`, stop };
}
