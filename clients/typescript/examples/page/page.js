/** Shows a generation while it is drawn. EventSource asks again by itself when the connection is lost. */

const form = document.querySelector("form");
const button = document.querySelector("button");
const image = document.querySelector("#picture");
const progress = document.querySelector("#progress");
const status = document.querySelector("#status");

form.addEventListener("submit", (submit) => {
  submit.preventDefault();
  // one id for each picture that is wanted: whoever asks again with it does not pay again
  draw(new FormData(form).get("prompt"), Array.from(crypto.getRandomValues(new Uint32Array(4)), String).join("-"));
});

function draw(prompt, requestId) {
  const source = new EventSource(`draw?${new URLSearchParams({ prompt, requestId })}`);
  const on = (name, show) => source.addEventListener(name, (event) => show(JSON.parse(event.data)));
  let timer;
  const end = (text, isFailed) => {
    source.close();
    clearInterval(timer);
    button.disabled = false;
    progress.hidden = true;
    say(text, isFailed);
  };
  button.disabled = true;
  image.hidden = true;
  say("Asking …");

  on("accepted", () => say("Accepted."));
  on("queued", ({ position }) => say(`Waiting; ${position} before it.`));
  on("attemptStarted", ({ model, expectedP50Ms, expectedP90Ms }) => {
    say(`${model} draws; it usually takes ${Math.round(expectedP50Ms / 1000)} s.`);
    const began = performance.now();
    progress.hidden = false;
    clearInterval(timer);
    timer = setInterval(() => {
      progress.value = Math.min(0.98, (performance.now() - began) / expectedP90Ms);
    }, 200);
  });
  on("attemptFailed", ({ model, goesOn }) =>
    say(`${model} brought no picture${goesOn ? "; the other engine tries" : ""}.`),
  );
  on("preview", ({ url, index }) => url && show(url, `Preview ${index + 1}, unfinished`, true));
  on("image", ({ id }) => show(`pictures/${id}`, prompt, false));
  on("completed", ({ costUsd, row, pictures }) =>
    end(`Drawn by ${pictures[0]?.model} (row ${row}) for $${costUsd}.`, false),
  );
  on("failed", ({ message }) => end(message, true));
}

function show(url, alt, isPreview) {
  Object.assign(image, { src: url, alt, hidden: false });
  image.classList.toggle("preview", isPreview);
}

function say(text, isFailed = false) {
  status.textContent = text;
  status.classList.toggle("failed", isFailed);
}
