/** What went wrong, as one error read from the gateway's `google.rpc.Status`. */

import { Code, ConnectError } from "@connectrpc/connect";
import { milliseconds } from "./amounts.js";
import { NO_HTTP2 } from "./channel.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

/** A gRPC code by its name. */
export type GrpcCode = keyof typeof CODES;

const CODES = {
  CANCELLED: Code.Canceled,
  UNKNOWN: Code.Unknown,
  INVALID_ARGUMENT: Code.InvalidArgument,
  DEADLINE_EXCEEDED: Code.DeadlineExceeded,
  NOT_FOUND: Code.NotFound,
  ALREADY_EXISTS: Code.AlreadyExists,
  PERMISSION_DENIED: Code.PermissionDenied,
  RESOURCE_EXHAUSTED: Code.ResourceExhausted,
  FAILED_PRECONDITION: Code.FailedPrecondition,
  ABORTED: Code.Aborted,
  OUT_OF_RANGE: Code.OutOfRange,
  UNIMPLEMENTED: Code.Unimplemented,
  INTERNAL: Code.Internal,
  UNAVAILABLE: Code.Unavailable,
  DATA_LOSS: Code.DataLoss,
  UNAUTHENTICATED: Code.Unauthenticated,
} as const;

const DOMAIN = "pictor";
const UNREACHABLE = "UNREACHABLE";
const SHUTTING_DOWN = "SHUTTING_DOWN";
const LOST = "the connection was lost";

/** One field that is wrong, by its path in the request message, with what would work. */
export interface Violation {
  field: string;
  text: string;
}

/** What an error knows beside code and message. */
export interface Facts {
  reason?: string;
  metadata?: Record<string, string>;
  violations?: readonly Violation[];
  retryAfterMs?: number;
  generationId?: string;
  cause?: unknown;
}

/**
 * The gateway refused, failed, or did not answer.
 *
 * `reason` is a name of the contract's ErrorReason without prefix. If the gateway itself said nothing, it is `UNREACHABLE`
 * (nobody answered, or the connection broke) or else the name of gRPC's code, e.g. `DEADLINE_EXCEEDED` for one that passed
 * here; the library's own error is the `cause`. `paid` says that money may be spent: repeat such a call only with the same
 * `requestId`.
 */
export class PictorError extends Error {
  override readonly name = "PictorError";
  readonly reason: string;
  readonly violations: readonly Violation[];
  /** When to come back, if the gateway said so. */
  readonly retryAfterMs: number | undefined;
  /** What varies in the text, by name; `paid`, `generation_id` and `set_id` among it. */
  metadata: Readonly<Record<string, string>>;
  /** Names the generation that this is about, if there is one. */
  generationId: string | undefined;
  /** Of the call that failed, if it was one that makes pictures. */
  requestId: string | undefined;
  paid: boolean;
  /** Whether the call reached nobody, so that nothing can have come of it. */
  isUnsent = false;
  /** How long to wait before the same call is sent again: as the gateway says, or undefined; negative means never. */
  pushbackMs: number | undefined;

  constructor(
    readonly code: GrpcCode,
    message: string,
    facts: Facts = {},
  ) {
    super(message, { cause: facts.cause });
    this.reason = facts.reason ?? (code === "UNAVAILABLE" ? UNREACHABLE : code);
    this.metadata = facts.metadata ?? {};
    this.violations = facts.violations ?? [];
    this.retryAfterMs = facts.retryAfterMs;
    this.generationId = facts.generationId ?? this.metadata["generation_id"];
    this.paid = this.metadata["paid"] === "true";
  }

  /** Whether only the connection ended, or this server goes away: accepted work goes on and can be followed. */
  get isLost(): boolean {
    return this.reason === UNREACHABLE || (this.reason === SHUTTING_DOWN && !this.isEnd);
  }

  /** Whether the gateway tells how a generation ended, and does not only refuse this call. */
  get isEnd(): boolean {
    return "generation_id" in this.metadata;
  }

  /** Whether sending the call once more costs nothing: nobody took it, or the gateway refused it for now and unpaid. */
  get isFreeToRepeat(): boolean {
    const isRefusedForNow = this.code === "UNAVAILABLE" && this.reason !== UNREACHABLE && !this.generationId;
    return this.isUnsent || (isRefusedForNow && !this.paid && (this.pushbackMs ?? 0) >= 0);
  }

  /**
   * Reads everything that a failed call tells.
   *
   * @param error what the call ended with.
   * @param at the gateway's address, for the text.
   * @param timeoutMs how long it could take, for the text.
   */
  static from(error: unknown, at = "the gateway", timeoutMs?: number): PictorError {
    if (error instanceof PictorError) {
      return error;
    }
    const failure = ConnectError.from(error);
    return failure.metadata.has("grpc-status") ? told(failure) : untold(failure, at, timeoutMs);
  }
}

/** The client's own error: bytes did not arrive as they were sent. */
export function damaged(text: string): PictorError {
  return new PictorError("DATA_LOSS", text);
}

/** The client's own error: the call came to no end. */
export function lost(why: string): PictorError {
  return new PictorError("UNAVAILABLE", `${LOST}: ${why}`);
}

/** What is said if a gateway answers again that does not know `what`; that nobody answered meanwhile is no news. */
export function forgotten(what: string, outcome: string): string {
  return `${LOST}, and the gateway that answers now does not know ${what} (another data folder?), so it is unknown ${outcome}`;
}

function told(failure: ConnectError): PictorError {
  const [info] = failure.findDetails(ErrorInfoSchema).filter((each) => each.domain === DOMAIN);
  const violations = failure.findDetails(BadRequestSchema).flatMap((each) => each.fieldViolations);
  const [retry] = failure.findDetails(RetryInfoSchema);
  const setId = failure.metadata.get("pictor-set-id");
  const generationId = failure.metadata.get("pictor-generation-id");
  const error = new PictorError(codeName(failure.code), failure.rawMessage, {
    metadata: { ...(setId && { set_id: setId }), ...info?.metadata },
    violations: violations.map((each) => ({ field: each.field, text: each.description })),
    cause: failure,
    ...(info && { reason: info.reason }),
    ...(retry && { retryAfterMs: milliseconds(retry.retryDelay) }),
    ...(generationId && { generationId }),
  });
  const pushback = failure.metadata.get("grpc-retry-pushback-ms");
  error.pushbackMs = pushback === null ? undefined : Number(pushback);
  return error;
}

/** Where a connection fails before anything can be sent, and what that means in plain words. */
const UNSENT: readonly [RegExp, (at: string) => string][] = [
  [new RegExp(NO_HTTP2), (at) => `something answers at ${at}, but no gateway; correct the port`],
  [
    /ECONNREFUSED|EHOSTUNREACH|ENETUNREACH/,
    (at) => `nothing answers at ${at}; start the gateway, or correct the address`,
  ],
  [/ENOTFOUND|EAI_AGAIN/, (at) => `nobody knows the name in ${at}; correct the address`],
  [/ETIMEDOUT|establishment timed out/, (at) => `nothing answers at ${at} in time; correct the address`],
  [
    /WRONG_VERSION_NUMBER|EPROTO|PACKET_LENGTH/,
    (at) => `something answers at ${at}, but without TLS; leave out https://`,
  ],
  [
    /CERT|SELF_SIGNED|ALTNAME|SSL|TLS|UNABLE_TO/,
    (at) => `something answers at ${at}, but its certificate is not trusted here`,
  ],
];

function untold(failure: ConnectError, at: string, timeoutMs: number | undefined): PictorError {
  if (failure.code === Code.DeadlineExceeded) {
    const span = timeoutMs === undefined ? "in time" : `within ${timeoutMs / 1000} s`;
    return new PictorError("DEADLINE_EXCEEDED", `no answer ${span}`, { cause: failure });
  }
  if (failure.code === Code.Unimplemented) {
    return new PictorError("UNIMPLEMENTED", `${at} is no Pictor gateway (${failure.rawMessage})`, { cause: failure });
  }
  const traces = trace(failure);
  const unsent = UNSENT.find(([pattern]) => pattern.test(traces));
  if (unsent === undefined) {
    return new PictorError("UNAVAILABLE", `${LOST} (${failure.rawMessage})`, { cause: failure });
  }
  const error = new PictorError("UNAVAILABLE", unsent[1](at), { cause: failure });
  error.isUnsent = true;
  return error;
}

/** Codes and texts of an error and of what caused it, on one line. */
function trace(error: unknown): string {
  const parts: string[] = [];
  for (let each = error; each instanceof Error && parts.length < 8; each = each.cause) {
    parts.push(`${"code" in each ? each.code : ""} ${each.message}`);
  }
  return parts.join(" ");
}

function codeName(code: Code): GrpcCode {
  return (Object.keys(CODES) as GrpcCode[]).find((name) => CODES[name] === code) ?? "UNKNOWN";
}
