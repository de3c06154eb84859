/** Draws a picture and prints its previews: `node build/examples/draw.js "a red fox in fresh snow"`; files in `out/`. */

import { mkdir, writeFile } from "node:fs/promises";
import { Client, PictorError } from "@pictor/client";

const prompt = process.argv[2] ?? "a red fox in fresh snow";
const client = new Client(); // PICTOR_ADDRESS, else 127.0.0.1:50051; PICTOR_API_KEY, else no key
await mkdir("out", { recursive: true });
try {
  for await (const event of client.stream({ prompt, tier: "pro" })) {
    switch (event.type) {
      case "attemptStarted": {
        const seconds = Math.round(event.expectedP50Ms / 1000);
        console.log(`${event.model}: usually ${seconds} s, up to ${event.previewCount} previews`);
        break;
      }
      case "preview":
        if (event.data) {
          await writeFile(`out/preview-${event.index}.png`, event.data);
          console.log(`preview ${event.index}: out/preview-${event.index}.png, ${event.data.length} bytes`);
        }
        break;
      case "attemptFailed":
        console.log(`${event.model} failed: ${event.text}`);
        break;
      case "image": {
        const path = `out/picture.${event.picture.extension}`;
        await event.picture.save(path);
        console.log(`picture: ${path}, ${event.picture.data?.length} bytes`);
        break;
      }
      case "completed":
        console.log(`${event.generation.id} cost $${event.generation.costUsd}`);
        break;
    }
  }
} catch (error) {
  if (!(error instanceof PictorError)) {
    throw error;
  }
  console.error(error.message);
  process.exitCode = 1;
}
