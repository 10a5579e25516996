"use strict";
// Tells the story of each failed or slow request. Text goes in as text, never as markup.
(() => {
  const { data, look } = window.hitless;
  const section = document.getElementById("stories");
  if (!section) return;
  const { texts, rows } = data.stories;
  const column = Object.fromEntries(data.fields.map((name, index) => [name, index]));
  const TEXTS = new Set(["cause", "title", "endpoint", "connection", "journey", "replica", "version", "step", "schema", "got", "proxy", "end"]);
  const get = (row, name) => {
    const value = row[column[name]];
    return TEXTS.has(name) ? texts[value ?? 0] : value;
  };
  const PAGE = 25;
  const cause = document.getElementById("story-cause");
  const text = document.getElementById("story-text");
  const body = document.getElementById("story-rows");
  const count = document.getElementById("story-count");
  let found = rows, first = 0;

  const make = (tag, content, style) => {
    const element = document.createElement(tag);
    if (style) element.className = style;
    if (content !== undefined) element.append(content);
    return element;
  };
  const duration = (s) => {
    if (s === null || s === undefined) return "-";
    const [value, unit] = s >= 1 || s === 0 ? [s, "s"] : s >= 1e-3 ? [s * 1e3, "ms"] : [s * 1e6, "µs"];
    return `${Number(value.toPrecision(3))} ${unit}`;
  };
  const instant = (s) => `${s < 0 ? "" : "+"}${s.toFixed(3)} s`;
  const outcome = (row) => [get(row, "status") && `HTTP ${get(row, "status")}`, get(row, "got"), get(row, "proxy")]
    .filter(Boolean).join("; ");

  // What was under way when it was due, from the timeline's own spans.
  const around = (at) => data.spans.filter(([start, end]) => at >= start && at <= end).map(([, , name]) => name);

  const story = (row) => {
    const at = get(row, "at"), events = [];
    const add = (when, words) => { if (when !== null && when !== undefined) events.push([when, words]); };
    const led = get(row, "led");
    add(0, `${get(row, "endpoint")} is due, as part of ${get(row, "journey")}${led ? `; ${led} led to it` : ""}`);
    add(get(row, "sent"), `the client sends it on a ${get(row, "connection")} connection`);
    const arrived = get(row, "arrived");
    if (arrived !== null) {
      add(arrived, "it reaches the balancer");
      const replica = get(row, "replica") || "no replica", version = get(row, "version");
      const parts = [];
      if (get(row, "waited") !== null) parts.push(`waited ${duration(get(row, "waited"))} for a replica`);
      if (get(row, "connected") !== null) parts.push(`connected in ${duration(get(row, "connected"))}`);
      else if (get(row, "reused")) parts.push("on a connection that it had");
      if (get(row, "answered") !== null) parts.push(`first byte after ${duration(get(row, "answered"))}`);
      const attempts = get(row, "attempts");
      parts.push(`${attempts} ${attempts === 1 ? "attempt" : "attempts"}`);
      if (get(row, "end")) parts.push(`ended: ${get(row, "end")}`);
      add(arrived + (get(row, "took") ?? 0), `the balancer is done with it: asked ${replica}${version ? ` (version ${version})` : ""}; ${parts.join(", ")}`);
    }
    add(get(row, "first"), "the first byte reaches the client");
    add(get(row, "done"), `the client knows: ${outcome(row) || "no answer"}`);
    events.sort((a, b) => a[0] - b[0]);
    const list = make("ol");
    for (const [when, words] of events) {
      const item = make("li", make("span", when === 0 ? instant(at) : `+ ${duration(when)}`));
      item.append(make("span", words));
      list.append(item);
    }
    const facts = [["the rollout", get(row, "step")], ["the schema", get(row, "schema") || "before the first migration"],
      ["under way", around(at).join(", ")], ["hence", `${get(row, "cause")}: ${get(row, "title")}`]];
    for (const [name, words] of facts) {
      const item = make("li", make("span", name));
      item.append(make("span", words));
      list.append(item);
    }
    if (arrived === null) {
      const item = make("li", make("span", "the balancer"));
      item.append(make("span", "has no line of it in its log"));
      list.append(item);
    }
    const mark = make("button", "show it on the timeline");
    mark.type = "button";
    mark.addEventListener("click", () => {
      look(at, 1, 1 + Math.max(get(row, "done") ?? 0, 0));
      document.getElementById("timeline").focus();
    });
    const cell = make("td", list);
    cell.colSpan = 8;
    const tools = make("div", mark, "tools");
    cell.append(tools);
    const line = make("tr", cell, "story");
    return line;
  };

  const line = (row) => {
    const tr = make("tr"), open = make("button", get(row, "id"), "link");
    open.type = "button";
    open.setAttribute("aria-expanded", "false");
    let opened = null;
    open.addEventListener("click", () => {
      if (opened) { opened.remove(); opened = null; }
      else { opened = story(row); tr.after(opened); }
      open.setAttribute("aria-expanded", String(opened !== null));
    });
    tr.append(make("td", open));
    const cells = [instant(get(row, "at")), duration(get(row, "done")), `${get(row, "endpoint")} (${get(row, "connection")})`,
      outcome(row), get(row, "replica") || "-", get(row, "step")];
    for (const words of cells) tr.append(make("td", words));
    tr.append(make("td", make("code", get(row, "cause"))));
    return tr;
  };

  const fill = () => {
    body.replaceChildren(...found.slice(first, first + PAGE).map(line));
    const last = Math.min(first + PAGE, found.length);
    count.textContent = found.length ? `${first + 1} to ${last} of ${found.length}` : "none";
  };
  const searched = rows.map(() => null);
  const words = (index) => searched[index] ??= data.fields.map((name) => get(rows[index], name)).join(" ").toLowerCase();
  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    found = rows.filter((row, index) => (!cause.value || get(row, "cause") === cause.value) && (!wanted || words(index).includes(wanted)));
    first = 0;
    fill();
  };
  const turn = (by) => { if (first + by >= 0 && first + by < found.length) { first += by; fill(); } };
  cause.addEventListener("change", filter);
  text.addEventListener("input", filter);
  document.getElementById("story-back").addEventListener("click", () => turn(-PAGE));
  document.getElementById("story-on").addEventListener("click", () => turn(PAGE));
  for (const part of section.querySelectorAll("[hidden]")) part.hidden = false;
  fill();
})();
