/** The README's examples, run as they stand, by whoever has installed the packed client. */

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { type Gateway, ROOT, startGateway } from "./gateway.js";

const run = promisify(execFile);
const HOME = join(ROOT, "clients/typescript");

let gateway: Gateway;
let folder: string;
let examples: string[];

before(async () => {
  gateway = await startGateway();
  folder = await mkdtemp(join(tmpdir(), "pictor-ts-"));
  const text = await readFile(join(HOME, "README.md"), "utf8");
  examples = [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code ?? "");
  // an installation: what npm would pack, beside what it depends on
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", folder], { cwd: HOME });
  const [packed] = [JSON.parse(stdout)].flat().flatMap((each) => ("filename" in each ? [each] : Object.values(each)));
  await mkdir(join(folder, "node_modules/@pictor"), { recursive: true });
  await run("tar", ["-xf", join(folder, packed.filename), "-C", folder]);
  await run("mv", [join(folder, "package"), join(folder, "node_modules/@pictor/client")]);
  for (const name of await readdir(join(HOME, "node_modules"))) {
    await symlink(join(HOME, "node_modules", name), join(folder, "node_modules", name));
  }
});

after(async () => {
  await gateway.stop();
  await rm(folder, { recursive: true });
});

function example(part: string): string {
  const found = examples.filter((code) => code.includes(part));
  assert.equal(found.length, 1, `one example with ${part}`);
  return found[0] ?? "";
}

/** Runs an example in a folder of its own; answers what it printed and the files that it made. */
async function ran(name: string, part: string): Promise<[string, string[]]> {
  const place = join(folder, name);
  await mkdir(place);
  await writeFile(join(place, `${name}.mjs`), example(part));
  const env = { ...process.env, PICTOR_ADDRESS: gateway.address };
  const { stdout } = await run(process.execPath, [`${name}.mjs`], { cwd: place, env, timeout: 30_000 });
  return [stdout, (await readdir(place)).filter((file) => !file.endsWith(".mjs")).sort()];
}

test("every example is run here", () => {
  assert.equal(examples.length, 7);
});

test("the first example saves a picture and ends by itself", async () => {
  const [printed, files] = await ran("draw", "fox.picture.save");
  assert.match(printed, /^standard gemini-3\.1-flash-image 0\.06\d+ \[\]/);
  assert.equal(files.length, 1);
});

test("the stream's example saves previews and the picture", async () => {
  const [printed, files] = await ran("stream", "client.stream(");
  assert.match(printed, /^gpt-image-2: usually [\d.]+ ms, up to 2 previews\ngen_\w+ 0\.\d+\n$/);
  assert.deepEqual(files, ["preview-0.png", "preview-1.png", "pro.png"]);
});

test("the files' example saves two pictures", async () => {
  const [, files] = await ran("files", "downloadTo");
  assert.equal(files.length, 2);
});

test("the set's example saves a picture for each item", async () => {
  const [printed, files] = await ran("set", "client.set(");
  assert.match(printed, /^3 0\.\d+\n$/);
  assert.deepEqual(
    files.map((file) => file.split(".")[0]),
    ["night", "story", "wide"],
  );
});

test("the errors' example prints the reason", async () => {
  const [printed] = await ran("errors", 'maxCost: "0.01"');
  assert.match(printed, /^PRICE_CEILING too expensive for the given limit: gpt-image-2 may cost \$0\.2108 .* false\n$/);
});

test("the keys' example opens no connection", async () => {
  const [printed] = await ran("keys", "apiKey");
  assert.equal(printed, "https://pictor.example\n");
});

test("the browser's example relays a generation", async () => {
  const stop = "\nserver.on('listening', () => console.log(server.address().port));\n";
  await writeFile(join(folder, "relay.mjs"), example("relay(client").replace("3000", "0") + stop);
  const lines = await started(join(folder, "relay.mjs"), async (port) => {
    const answer = await fetch(`http://127.0.0.1:${port}/draw?prompt=fox&requestId=one`);
    return answer.text();
  });
  assert.match(lines, /event: accepted\n.*event: image\n.*event: completed\n/s);
});

test("the example program prints its previews and saves the picture", async () => {
  const env = { ...process.env, PICTOR_ADDRESS: gateway.address };
  const program = join(HOME, "build/examples/draw.js");
  const { stdout } = await run(process.execPath, [program, "a red fox"], { cwd: folder, env, timeout: 30_000 });
  assert.match(
    stdout,
    /preview 0: .*\npreview 1: .*\npicture: out\/picture\.png, \d+ bytes\ngen_\w+ cost \$0\.\d+\n$/s,
  );
  assert.deepEqual((await readdir(join(folder, "out"))).sort(), ["picture.png", "preview-0.png", "preview-1.png"]);
  const away = { ...env, PICTOR_ADDRESS: "127.0.0.1:1" };
  await assert.rejects(run(process.execPath, [program], { cwd: folder, env: away }), (error: { stderr: string }) => {
    assert.match(error.stderr, /^nothing answers at http:\/\/127\.0\.0\.1:1; [^\n]*\n$/);
    return true;
  });
});

test("the example server shows its page and draws", async () => {
  const text = await started(join(HOME, "build/examples/server.js"), async (address) => {
    const page = await (await fetch(address)).text();
    assert.match(page, /<script src="page\.js" type="module">/);
    assert.equal((await fetch(`${address}page.js`)).status, 200);
    return (await fetch(`${address}draw?prompt=fox&requestId=two`)).text();
  });
  assert.match(text, /event: preview\n.*event: completed\n/s);
});

/** Starts a server, uses it with the first line that it prints, and ends it. */
async function started(program: string, use: (line: string) => Promise<string>): Promise<string> {
  const env = { ...process.env, PICTOR_ADDRESS: gateway.address, PORT: "0" };
  const child = spawn(process.execPath, [program], { env, stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  try {
    for await (const line of createInterface({ input: child.stdout })) {
      return await use(line);
    }
    throw new Error(`${program} ended without a word`);
  } finally {
    child.kill();
    await exited;
  }
}
