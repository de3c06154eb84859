/** Pictures in pieces: download with resumption, upload. */

import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { damaged } from "./errors.js";
import {
  type DownloadImageRequest,
  DownloadImageRequestSchema,
  type DownloadImageResponse,
  type UploadImageRequest,
  UploadImageRequestSchema,
} from "./gen/pictor/v1/history_service_pb.js";
import type { Image } from "./gen/pictor/v1/image_pb.js";

/** Below the contract's 1 MiB a message. */
const UPLOAD_CHUNK_BYTES = 512 * 2 ** 10;

/** One picture on its way: how far it is, and where to go on after a lost connection. The bytes are the caller's to keep. */
export class Download {
  private description: Image | undefined;
  private size = 0;
  private readonly hash = createHash("sha256");

  constructor(private readonly imageId: string) {}

  /** Asks for what is still missing. */
  get request(): DownloadImageRequest {
    return create(DownloadImageRequestSchema, { imageId: this.imageId, offsetBytes: BigInt(this.size) });
  }

  /** Whether every byte is there; never asks for the rest of a whole picture. */
  get isWhole(): boolean {
    return this.description !== undefined && this.size >= Number(this.description.sizeBytes);
  }

  /**
   * Takes the next message; answers its bytes.
   *
   * @throws PictorError DATA_LOSS if it does not follow what is there.
   */
  feed({ part: { case: kind, value } }: DownloadImageResponse): Uint8Array {
    if (kind === "image") {
      if (this.description !== undefined && this.description.sha256 !== value.sha256) {
        throw damaged(`picture ${this.imageId} changed during the download`);
      }
      this.description = value;
    }
    if (kind !== "chunk") {
      return new Uint8Array();
    }
    if (Number(value.offsetBytes) !== this.size) {
      throw damaged(`picture ${this.imageId}: expected byte ${this.size}, got another`);
    }
    this.size += value.data.length;
    this.hash.update(value.data);
    return value.data;
  }

  /**
   * The picture's description, once every byte is there; call it once.
   *
   * @throws PictorError DATA_LOSS if the bytes are not those that the gateway described.
   */
  verified(): Image {
    const { description, size } = this;
    if (description === undefined) {
      throw damaged(`picture ${this.imageId} came without its description`);
    }
    if (BigInt(size) !== description.sizeBytes || this.hash.digest("hex") !== description.sha256) {
      throw damaged(
        `picture ${this.imageId} arrived damaged: ${size} of ${description.sizeBytes} bytes, wrong SHA-256`,
      );
    }
    return description;
  }
}

/** The messages of an upload. */
export async function* uploadParts(data: Uint8Array): AsyncGenerator<UploadImageRequest> {
  for (let at = 0; at < data.length; at += UPLOAD_CHUNK_BYTES) {
    yield create(UploadImageRequestSchema, { data: data.subarray(at, at + UPLOAD_CHUNK_BYTES) });
  }
}
