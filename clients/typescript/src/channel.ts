/** The way to the gateway: address, transport security, limits and identity. */

import type { ClientHttp2Stream } from "node:http2";
import type { SecureContextOptions } from "node:tls";
import { Code, ConnectError, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

const DEFAULT_ADDRESS = "127.0.0.1:50051";
/** Longest message we take. */
const RECEIVE_BYTES = 64 * 2 ** 20;
/** A connection on which nothing arrives for this long is asked whether it is alive; streams send a sign every 10 s. */
const PING_INTERVAL_MS = 60_000;

/** What the error of a call says if the other end does not speak HTTP/2. */
export const NO_HTTP2 = "no HTTP/2";

/** What of TLS can be chosen: own roots, a client certificate, the name that the certificate must bear. */
export interface TlsOptions extends Pick<SecureContextOptions, "ca" | "cert" | "key" | "passphrase"> {
  servername?: string;
}

/** An open way: calls go through the transport, `close` ends them all. */
export interface Channel {
  /** Where it leads: `http://host:port`, or `https://…`. */
  url: string;
  transport: Transport;
  close: () => void;
}

/**
 * Reads `host:port`, or `https://host[:port]` for TLS; undefined or empty means PICTOR_ADDRESS, then the default.
 *
 * @throws TypeError if the port is missing, or it is no address.
 */
export function gatewayUrl(address: string | undefined, tls: boolean, env: NodeJS.ProcessEnv): string {
  const text = address || env["PICTOR_ADDRESS"] || DEFAULT_ADDRESS;
  const [, scheme, rest = ""] = /^(?:(https?):\/\/)?(.*?)\/*$/.exec(text) ?? [];
  const isTls = tls || scheme === "https";
  if (!isTls && !/:\d+$/.test(rest)) {
    throw new TypeError(`an address is host:port; \`${text}\` has no port`);
  }
  const url = `${isTls ? "https" : "http"}://${rest}`;
  if (!URL.canParse(url) || new URL(url).pathname !== "/") {
    throw new TypeError(`an address is host:port; \`${text}\` is none`);
  }
  return new URL(url).origin;
}

/**
 * Opens a channel; the connection is made with the first call.
 *
 * @param url from `gatewayUrl`.
 * @param tls options of one's own, for https alone.
 * @param headers sent with every call.
 */
export function openChannel(url: string, tls: TlsOptions, headers: Readonly<Record<string, string>>): Channel {
  const sessions = new Sessions(url, { pingIntervalMs: PING_INTERVAL_MS }, tls);
  const transport = createGrpcTransport({
    baseUrl: url,
    sessionManager: sessions,
    readMaxBytes: RECEIVE_BYTES,
    interceptors: [sessions.tellingStrangers, withHeaders(headers)],
  });
  return { url, transport, close: () => sessions.abort() };
}

/**
 * Hears every error of a session. Connect's own manager stops listening after the first one; where somebody answers who does
 * not speak HTTP/2 there is a second, which would end the process.
 */
class Sessions extends Http2SessionManager {
  private hasSpoken = false;

  /** Marks the error of a call that met somebody who has never spoken HTTP/2: no gateway can have taken it. */
  readonly tellingStrangers: Interceptor = (next) => async (request) => {
    try {
      return await next(request);
    } catch (error) {
      const { rawMessage, cause } = ConnectError.from(error);
      const isNonsense = cause instanceof Error && "code" in cause && cause.code === "ERR_HTTP2_ERROR";
      throw isNonsense && !this.hasSpoken
        ? new ConnectError(`${NO_HTTP2} (${rawMessage})`, Code.Unavailable, undefined, undefined, error)
        : error;
    }
  };

  override async request(...how: Parameters<Http2SessionManager["request"]>): Promise<ClientHttp2Stream> {
    const stream = await super.request(...how);
    if (!stream.session?.listeners("error").includes(ignore)) {
      stream.session?.on("error", ignore).once("remoteSettings", () => {
        this.hasSpoken = true;
      });
    }
    return stream;
  }
}

function ignore(): void {
  // The streams of the session end with the error; there is nothing else to do.
}

/**
 * What goes with every call.
 *
 * @throws TypeError if HTTP would not send a name or a value; the text holds no value, which may be a secret.
 */
function withHeaders(headers: Readonly<Record<string, string>>): Interceptor {
  for (const [name, value] of Object.entries(headers)) {
    if (!/^[0-9a-z_.-]+$/.test(name)) {
      throw new TypeError(`header \`${name}\`: a name has lower-case letters, digits, \`_\`, \`-\` and \`.\` alone`);
    }
    if (!/^[ -~]*$/.test(value)) {
      const whence = name === "authorization" ? "; look at PICTOR_API_KEY" : "";
      throw new TypeError(`header \`${name}\`: its value must be printable ASCII on one line${whence}`);
    }
  }
  return (next) => (request) => {
    for (const [name, value] of Object.entries(headers)) {
      request.header.set(name, value);
    }
    return next(request);
  };
}
