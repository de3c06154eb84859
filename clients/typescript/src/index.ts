/** Pictor's client: `const fox = await new Client().generate({ prompt: "a red fox" })`. */

export { money, type Usd, usd } from "./amounts.js";
export type { Wish } from "./calls.js";
export type { TlsOptions } from "./channel.js";
export { type CallWish, Client, type ClientOptions, type RerollOptions } from "./client.js";
export { type GrpcCode, PictorError, type Violation } from "./errors.js";
export type {
  Accepted,
  AttemptFailed,
  AttemptStarted,
  Completed,
  Event,
  ImageReady,
  Preview,
  Queued,
} from "./events.js";
export { Generation, Picture } from "./generation.js";
export type { ChangeRequest, DrawRequest, ItemRequest, PictureRequest, PictureSource } from "./request.js";
export type { SetEvent } from "./sets.js";
