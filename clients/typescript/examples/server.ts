/** A page that shows a picture while it is drawn: `node build/examples/server.js`, then open the address that it prints. */

import type { AddressInfo } from "node:net";
import { Client } from "@pictor/client";
import { picture, relay } from "@pictor/client/express";
import express from "express";

const PAGE = new URL("../../examples/page/", import.meta.url).pathname;

const client = new Client();
const app = express();

// Put your own sign-in before these routes: they spend money and show pictures to whoever may call them.
app.get(
  "/draw",
  relay(client, ({ query }) => ({
    prompt: String(query["prompt"] ?? ""),
    tier: "pro",
    requestId: String(query["requestId"] ?? ""), // the page makes one for each picture and keeps it when it asks again
    onDisconnect: "finish", // whoever reloads the page finds the picture drawn
  })),
);
app.get("/pictures/:id", picture(client));
app.use(express.static(PAGE));

const server = app.listen(Number(process.env["PORT"] ?? 3000), "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
});
