// What htmx leaves to do. No page needs more than this file; nothing here decides anything.
"use strict";

// A session that has begun anew has another token for the forms of a page that is still open.
document.addEventListener("renewed", event => {
  document.body.setAttribute("hx-headers", JSON.stringify({"X-Form-Token": event.detail.value}));
});

// A notice has done its duty once something works again, and be it that a form is told what is wrong with it (422, which
// is no error for htmx: base.html says so). A look that a page takes by itself clears only what a look has said.
const isLook = event => event.detail.pathInfo?.requestPath.startsWith("/engines/live");
document.addEventListener("htmx:afterRequest", event => {
  const notice = document.getElementById("notice");
  if (!event.detail.successful || event.detail.target === notice) return;
  if (event.detail.pathInfo.requestPath.startsWith("/create/plan")) return;
  if (isLook(event) && !("look" in notice.dataset)) return;
  notice.replaceChildren();
  delete notice.dataset.look;
});

// What fails at every look is said once.
document.addEventListener("htmx:beforeSwap", event => {
  const notice = document.getElementById("notice");
  if (!isLook(event) || event.detail.target !== notice) return;
  event.detail.shouldSwap = !notice.textContent.trim();
  if (event.detail.shouldSwap) notice.dataset.look = "";
});

// A gateway that is away says nothing itself.
document.addEventListener("htmx:sendError", event => {
  const notice = document.getElementById("notice");
  if (isLook(event) && notice.textContent.trim()) return;
  const text = document.createElement("p");
  text.className = "notice";
  text.textContent = "The gateway does not answer. What is shown is from before; what you typed stays.";
  notice.replaceChildren(text);
  if (isLook(event)) notice.dataset.look = "";
});

// Money is spent by pressing the button, not by Enter in a field on the way there.
document.addEventListener("keydown", event => {
  if (event.key === "Enter" && event.target.matches("#create input:not([type=file])")) event.preventDefault();
});

// A picture that the form holds is let go of.
document.addEventListener("click", event => {
  const button = event.target.closest("[data-remove]");
  if (!button) return;
  const list = button.closest("ul");
  button.closest("li").remove();
  list.parentElement.querySelector("input[type=file]").focus();
  htmx.trigger(document.body, "pictures");
});

// A file that was taken may be chosen again.
document.addEventListener("htmx:afterRequest", event => {
  if (event.target.matches?.("input[type=file]")) event.target.value = "";
});

// Ctrl+Enter in the prompt presses.
document.addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("textarea"))
    event.target.form.requestSubmit();
});

// How many pictures are picked, each generation once, as they will stand side by side.
function countPicked() {
  const told = document.getElementById("picked-count");
  if (!told) return;
  const picked = new Set([...document.querySelectorAll(".pick input:checked")].map(each => each.value)).size;
  const text = picked ? `${picked} picked` : "";
  if (told.textContent !== text) told.textContent = text;
}
for (const change of ["change", "htmx:afterSettle", "htmx:historyRestore"]) document.addEventListener(change, countPicked);
document.addEventListener("reset", () => setTimeout(countPicked)); // the boxes are empty only after the event

// What is wrong is also said to those who do not see it, and a press leads to the first of it.
document.addEventListener("htmx:afterSettle", event => {
  for (const control of document.querySelectorAll("#create [aria-describedby]")) {
    const told = control.getAttribute("aria-describedby").split(" ").map(id => document.getElementById(id));
    const isWrong = told.some(each => each?.matches(".problem") && each.textContent.trim());
    if (isWrong) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
  }
  if (event.detail.target?.id !== "press-problem") return;
  const first = document.querySelector(".field [aria-invalid=true]");
  first?.closest("details")?.setAttribute("open", "");
  first?.focus();
});

// On a small screen the easel lies below the form: a press leads there.
document.addEventListener("htmx:afterSwap", event => {
  if (event.detail.target?.id !== "run" || !event.detail.requestConfig) return;
  const easel = document.querySelector(".easel"), box = easel.getBoundingClientRect();
  if (box.top > innerHeight * 0.6) easel.scrollIntoView({block: "start"});
});

// The time that a drawing has taken, against what is usual. Beyond what nine in ten take, the bar promises nothing.
function tick(clock) {
  const {elapsed, p90} = clock.dataset, began = performance.now() - 1000 * elapsed;
  const bar = clock.querySelector("progress"), text = clock.querySelector("span");
  const show = () => {
    if (!clock.isConnected) return clearInterval(timer);
    const seconds = (performance.now() - began) / 1000;
    if (seconds < p90) bar.value = seconds / p90;
    else bar.removeAttribute("value");
    text.textContent = `${Math.floor(seconds)} s`;
  };
  const timer = setInterval(show, 250);
  show();
}
document.addEventListener("htmx:load", event => {
  const added = event.detail.elt;
  if (added.matches?.(".clock")) tick(added);
  added.querySelectorAll?.(".clock").forEach(tick);
});

// A part of the page that was asked for is where one goes on. (The browser's own autofocus is for whole pages: for a part
// it comes late, and complains if the focus is somewhere.)
document.addEventListener("htmx:load", event => event.detail.elt.querySelector?.("[data-focus]")?.focus());
