// Reads a chart under the mouse: a line, and what every series has there. The charts are complete without it.
for (const chart of document.querySelectorAll(".chart")) {
  const svg = chart.querySelector("svg"), cursor = chart.querySelector(".cursor");
  const data = JSON.parse(chart.querySelector("script").textContent);
  let tip;
  const nearest = (places, at) =>
    places.reduce((best, place, index) => (Math.abs(place - at) < Math.abs(places[best] - at) ? index : best), 0);
  chart.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
    const at = nearest(data.x, (event.clientX - box.left) * scale), place = data.x[at];
    cursor.setAttribute("x1", place); cursor.setAttribute("x2", place); cursor.removeAttribute("hidden");
    tip ??= chart.appendChild(Object.assign(document.createElement("div"), { className: "tip" }));
    tip.replaceChildren(document.createTextNode(data.label[at]));
    for (const series of data.series) {
      const text = series.text[nearest(series.x, place)];
      if (!text) continue;
      const line = document.createElement("div"), key = document.createElement("i"), value = document.createElement("b");
      key.className = series.colour; value.textContent = text;
      line.append(key, series.name, value); tip.append(line);
    }
    const left = place / scale, flips = left > box.width * 0.6;
    tip.style.left = flips ? "" : `${left + 12}px`; tip.style.right = flips ? `${box.width - left + 12}px` : "";
  });
  chart.addEventListener("pointerleave", () => { cursor.setAttribute("hidden", ""); tip?.remove(); tip = undefined; });
}
