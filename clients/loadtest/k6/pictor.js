// Open loop: arrivals at a constant rate, pictures and streams with previews; every call has a request_id of its own.
//
//   k6 run -e PICTOR_ADDRESS=127.0.0.1:50051 -e RATE=4 -e DURATION=5s clients/loadtest/k6/pictor.js
import grpc from "k6/net/grpc";
import { check } from "k6";
import { Counter, Rate, Trend } from "k6/metrics";

const ADDRESS = __ENV.PICTOR_ADDRESS || "127.0.0.1:50051";
const RATE = Number(__ENV.RATE || 4);
const DURATION = __ENV.DURATION || "4s";
// Above the slowest model (600 s): a call that is cut off here is paid for all the same.
const TIMEOUT = "660s";
const PROMPTS = ["a red fox asleep in fresh snow", "a blue jay on a wooden fence", "three lemons on a marble table"];

const metadata = __ENV.PICTOR_API_KEY ? { authorization: `Bearer ${__ENV.PICTOR_API_KEY}` } : {};
const overhead = new Trend("pictor_overhead", true); // Generation.timings.overhead
const firstPreview = new Trend("pictor_first_preview", true);
const pictures = new Counter("pictor_pictures");
const good = new Rate("pictor_good");

const arrivals = (exec, rate) => ({
  executor: "constant-arrival-rate", exec, rate, timeUnit: "1s", duration: DURATION,
  preAllocatedVUs: 20, maxVUs: 200, gracefulStop: TIMEOUT,
});
export const options = {
  scenarios: { picture: arrivals("picture", RATE), stream: arrivals("stream", Math.max(1, Math.round(RATE / 4))) },
  thresholds: { pictor_good: ["rate==1"], dropped_iterations: ["count==0"] },
};

const client = new grpc.Client();
client.loadProtoset("../../../protos/pictor.binpb");
let connected = false;
function connect() {
  if (connected) return;
  client.connect(ADDRESS, { plaintext: !__ENV.PICTOR_TLS, maxReceiveSize: 64 * 1024 * 1024 });
  connected = true;
}

// What is the same in all calls: a fresh id, and no bytes of pictures in the answer.
const asked = (more) => ({
  prompt: PROMPTS[Math.floor(Math.random() * PROMPTS.length)],
  request_id: crypto.randomUUID(),
  max_inline_bytes: 0,
  ...more,
});
const milliseconds = (span) => parseFloat(span) * 1000; // protobuf JSON: "0.012s"

function count(generation) {
  const drawn = generation.outputs.filter((output) => output.image).length;
  pictures.add(drawn);
  overhead.add(milliseconds(generation.timings.overhead || "0s"));
  good.add(drawn > 0);
}

export function picture() {
  connect();
  const answer = client.invoke("pictor.v1.ImageService/Generate", asked(), { timeout: TIMEOUT, metadata });
  if (check(answer, { "status is OK": (each) => each && each.status === grpc.StatusOK })) count(answer.message.generation);
  else good.add(false);
}

export function stream() {
  connect();
  const began = Date.now(), call = new grpc.Stream(client, "pictor.v1.ImageService/GenerateStream", { timeout: TIMEOUT, metadata });
  let seen = false;
  call.on("data", ({ event }) => {
    if (event.previewChunk && event.previewChunk.last && !seen) {
      seen = true;
      firstPreview.add(Date.now() - began);
    }
    if (event.completed) count(event.completed.generation);
  });
  call.on("error", () => good.add(false));
  call.write({ request: asked({ model: "gpt-image-2", quality: "QUALITY_LOW", preview_count: 1 }) });
  call.end();
}
