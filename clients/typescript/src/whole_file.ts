/** Files that are there whole or not at all: half a picture looks like one. */

import { randomUUID } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";

/** Takes the next bytes of a file. */
export type Write = (bytes: Uint8Array) => Promise<void>;

/**
 * Writes a file beside its place and moves it there once it is whole; what stood there before stays until then.
 *
 * @param path where it will be.
 * @param fill writes all of it.
 * @returns what `fill` answered.
 * @throws Error if the file cannot be written; the text names it, the code is the system's, e.g. `ENOSPC`.
 */
export async function writeWhole<T>(path: string, fill: (write: Write) => Promise<T>): Promise<T> {
  const part = `${path}.${randomUUID()}.part`;
  const file = await open(part, "wx").catch(unwritten(path));
  try {
    const filled = await fill((bytes) => file.writeFile(bytes).catch(unwritten(path)));
    await file.close().catch(unwritten(path));
    await rename(part, path).catch(unwritten(path));
    return filled;
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(part, { force: true });
    throw error;
  }
}

function unwritten(path: string): (error: NodeJS.ErrnoException) => never {
  return (error) => {
    const text = error.message.replace(/^\w+: /, "").replace(/, .*$/, "");
    throw Object.assign(new Error(`${path} was not written: ${text}`, { cause: error }), { code: error.code });
  };
}
