/** The way to the gateway: address, transport security, limits and identity. */

import type { SecureContextOptions } from "node:tls";
import type { Interceptor, Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

const DEFAULT_ADDRESS = "127.0.0.1:50051";
/** Longest message we take. */
const RECEIVE_BYTES = 64 * 2 ** 20;
/** A connection on which nothing arrives for this long is asked whether it is alive; streams send a sign every 10 s. */
const PING_INTERVAL_MS = 60_000;

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
  const sessions = new Http2SessionManager(url, { pingIntervalMs: PING_INTERVAL_MS }, tls);
  const transport = createGrpcTransport({
    baseUrl: url,
    sessionManager: sessions,
    readMaxBytes: RECEIVE_BYTES,
    interceptors: [withHeaders(headers)],
  });
  return { url, transport, close: () => sessions.abort() };
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
