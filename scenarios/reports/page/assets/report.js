"use strict";
// Zoom and hover for the timeline. The drawing is complete without this script.
(() => {
  const box = document.getElementById("timeline");
  const data = JSON.parse(document.getElementById("data").textContent);
  const svg = box.querySelector("svg");
  const tip = document.getElementById("tip");
  const axis = svg.querySelector("#axis");
  const labels = svg.querySelector("#labels");
  const cursor = svg.querySelector(".cursor");
  const zoomed = svg.querySelectorAll(".zoom");
  const { left, width, from, to, floor } = data;
  let low = from, high = to, marked = null;

  const x = (t) => left + (t - low) / (high - low) * width;
  const t = (px) => low + (px - left) / width * (high - low);
  const pixel = (event) => {
    const area = svg.getBoundingClientRect();
    return (event.clientX - area.left) / area.width * svg.viewBox.baseVal.width;
  };

  const step = (span) => {
    const rough = span / 9, power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  };

  const draw = () => {
    const k = (to - from) / (high - low);
    const shift = left - k * left - (low - from) / (to - from) * width * k;
    for (const group of zoomed) group.setAttribute("transform", `translate(${shift} 0) scale(${k} 1)`);
    axis.replaceChildren();
    const by = step(high - low), digits = Math.max(0, -Math.floor(Math.log10(by)));
    for (let at = Math.ceil(low / by) * by; at <= high + by / 1e6; at += by) {
      const line = document.createElementNS(svg.namespaceURI, "line");
      for (const [name, value] of [["x1", x(at)], ["x2", x(at)], ["y1", 0], ["y2", floor], ["class", "grid"]])
        line.setAttribute(name, value);
      const label = document.createElementNS(svg.namespaceURI, "text");
      label.setAttribute("x", x(at));
      label.setAttribute("y", floor + 14);
      label.setAttribute("text-anchor", "middle");
      label.textContent = `${at.toFixed(digits)} s`;
      axis.append(line, label);
    }
    if (marked !== null && marked >= low && marked <= high) {
      const line = document.createElementNS(svg.namespaceURI, "line");
      for (const [name, value] of [["x1", x(marked)], ["x2", x(marked)], ["y1", 0], ["y2", floor], ["class", "mark"]])
        line.setAttribute(name, value);
      axis.append(line);
    }
    labels.replaceChildren();
    for (const [start, end, y, name] of data.labels) {
      const begin = Math.max(x(start), left);
      if (Math.min(x(end), left + width) - begin <= data.letter * name.length + 8) continue;
      const label = document.createElementNS(svg.namespaceURI, "text");
      label.setAttribute("class", "in");
      label.setAttribute("x", begin + 4);
      label.setAttribute("y", y);
      label.textContent = name;
      labels.append(label);
    }
  };

  const show = (a, b) => {
    const least = Math.min(0.05, to - from);
    if (b - a < least) { const middle = (a + b) / 2; a = middle - least / 2; b = middle + least / 2; }
    low = Math.max(from, a);
    high = Math.min(to, b);
    draw();
  };
  const zoom = (factor, at = (low + high) / 2) => show(at - (at - low) * factor, at + (high - at) * factor);
  const move = (share) => {
    const by = Math.max(from - low, Math.min(to - high, (high - low) * share));
    show(low + by, high + by);
  };

  // The same words as `duration` in scenarios/reports/words.py; a test compares them.
  const threeDigits = (value) => {
    const rounded = Number(value.toPrecision(3));
    return rounded === 0 ? "0" : rounded.toFixed(Math.max(0, 2 - Math.floor(Math.log10(rounded))));
  };
  const units = [["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]];
  const long = (seconds) => {
    const [unit, size, smaller, part] = units.find(([, least]) => seconds >= least);
    const total = Math.round(seconds / part) * part, rest = total % size;
    return `${Math.floor(total / size)} ${unit}${rest ? ` ${rest / part} ${smaller}` : ""}`;
  };
  const duration = (seconds) => {
    if (seconds === null || seconds === undefined) return "-";
    if (seconds >= 100) return long(Math.round(seconds));
    if (seconds >= 1 || seconds === 0) return `${threeDigits(seconds)} s`;
    return seconds >= 1e-3 ? `${threeDigits(seconds * 1e3)} ms` : `${threeDigits(seconds * 1e6)} µs`;
  };
  const told = (at) => {
    const lines = [`${at.toFixed(2)} s`];
    const point = data.points.find((p) => at >= p[0] && at < p[0] + p[1]);
    if (point) {
      const [, seconds, ok, bad, p50, p99] = point;
      lines.push(`${((ok + bad) / seconds).toFixed(0)} answers/s, ${bad} failed`);
      lines.push(`p50 ${duration(p50)}, p99 ${duration(p99)}`);
    }
    for (const [start, end, name] of data.spans) if (at >= start && at <= end) lines.push(name);
    return lines.join("\n");
  };

  const hide = () => { tip.style.display = "none"; cursor.style.display = "none"; };
  let pressed = null;
  svg.addEventListener("pointerdown", (event) => { pressed = t(pixel(event)); });
  svg.addEventListener("pointermove", (event) => {
    const px = pixel(event), at = t(px);
    if (px < left || px > left + width) { hide(); return; }
    cursor.style.display = "inline";
    cursor.setAttribute("x1", px);
    cursor.setAttribute("x2", px);
    tip.textContent = told(at) + (pressed === null ? "" : `\nzoom to ${Math.abs(at - pressed).toFixed(2)} s`);
    tip.style.display = "block";
    const area = box.getBoundingClientRect();
    const right = event.clientX - area.left + 16;
    tip.style.left = `${right + tip.offsetWidth > area.width ? right - tip.offsetWidth - 32 : right}px`;
    tip.style.top = `${Math.max(0, event.clientY - area.top - 20)}px`;
  });
  svg.addEventListener("pointerup", (event) => {
    const at = t(pixel(event));
    if (pressed !== null && Math.abs(at - pressed) > (high - low) / 100) show(Math.min(at, pressed), Math.max(at, pressed));
    pressed = null;
  });
  svg.addEventListener("pointerleave", () => { hide(); pressed = null; });
  svg.addEventListener("dblclick", () => show(from, to));

  const act = { in: () => zoom(0.5), out: () => zoom(2), left: () => move(-0.25), right: () => move(0.25), all: () => show(from, to) };
  for (const button of document.querySelectorAll("[data-act]")) button.addEventListener("click", act[button.dataset.act]);
  const keys = { "+": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all" };
  box.addEventListener("keydown", (event) => {
    const name = keys[event.key];
    if (name) { act[name](); event.preventDefault(); }
  });
  window.addEventListener("beforeprint", () => {
    show(from, to);
    for (const part of document.querySelectorAll("details")) part.open = true;
  });
  const copied = async (text) => {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* not allowed here */ }
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  };
  const copying = (button, text) => button.addEventListener("click", async () => {
    button.textContent = (await copied(text())) ? "copied" : "not allowed";
    setTimeout(() => { button.textContent = button.dataset.name ?? "copy"; }, 1500);
  });
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    copying(button, () => button.dataset.copy);
  }
  // For the other script: shows a stretch of time, with a mark at an instant.
  window.hitless = { data, told, duration, copying, look: (at, before, after) => { marked = at; show(at - before, at + after); } };
  draw();
})();
