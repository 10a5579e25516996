"use strict";
// Shows the story of each failed or slow request. Texts are inserted as text, never as markup.
(() => {
  const { data, look, duration, copying } = window.hitless;
  const section = document.getElementById("stories");
  if (!section) return;
  const { texts, facts, sets, moments, sequences, rows } = data.stories;
  const column = Object.fromEntries(data.fields.map((name, index) => [name, index]));
  const TEXTS = new Set(["asked", "got", "replica", "step", "cause"]);
  const get = (row, name) => {
    const value = row[column[name]];
    return TEXTS.has(name) ? texts[value] : value;
  };
  // On a phone each row is a card, so fewer fit.
  const page = () => (matchMedia("(max-width: 640px)").matches ? 8 : 25);
  const cause = document.getElementById("story-cause");
  const text = document.getElementById("story-text");
  const body = document.getElementById("story-rows");
  const count = document.getElementById("story-count");
  const heads = [...section.querySelectorAll("th")].map((head) => head.textContent);
  let found = rows, first = 0;

  // A cause is told in words first; its id stands behind them.
  const why = (id) => {
    const cell = make("span");
    if (data.causes[id]) cell.append(`${data.causes[id]} `);
    cell.append(make("code", id));
    return cell;
  };
  const make = (tag, content, style) => {
    const element = document.createElement(tag);
    if (style) element.className = style;
    if (content !== undefined) element.append(content);
    return element;
  };
  const instant = (s) => `${s < 0 ? "" : "+"}${s.toFixed(3)} s`;
  const since = (s) => `${s < 0 ? "\u2212" : "+"} ${duration(Math.abs(s))}`;
  const told = (row) => sequences[get(row, "sequence")].map((index) => moments[index]);

  const known = (row) => [...sets[get(row, "facts")].map((index) => facts[index]),
    ...(get(row, "about") ? [[data.about, get(row, "about")]] : [])];
  // What was under way at that time, from the spans of the timeline.
  const around = (at) => data.spans.filter(([start, end]) => at >= start && at <= end).map(([, , name]) => name);

  const item = (name, words) => {
    const element = make("li", make("span", name));
    element.append(make("span", words));
    return element;
  };
  const story = (row) => {
    const at = get(row, "at"), times = get(row, "times");
    const list = make("ol");
    told(row).forEach(([source, words], index) => {
      list.append(item(times[index] === 0 ? instant(at) : since(times[index]), `${source}: ${words}`));
    });
    for (const [name, words] of known(row)) list.append(item(name, words));
    list.append(item("Under way", around(at).join(", ")));
    const mark = make("button", "show it on the timeline");
    mark.type = "button";
    mark.addEventListener("click", () => {
      look(at, 1, 1 + Math.max(get(row, "took"), 0));
      document.getElementById("timeline").focus();
    });
    const cell = make("td", list);
    cell.colSpan = 8;
    const tools = make("div", mark, "tools"), copy = make("button", "copy a link to it");
    copy.type = "button";
    copy.dataset.name = "copy a link to it";
    copying(copy, () => `${location.href.split("#")[0]}#${get(row, "id")}`);
    tools.append(copy);
    cell.append(tools);
    const line = make("tr", cell, "story");
    return line;
  };

  const line = (row) => {
    const tr = make("tr"), open = make("button", get(row, "id"), "link");
    open.type = "button";
    open.setAttribute("aria-expanded", "false");
    open.dataset.id = get(row, "id");
    let opened = null;
    open.addEventListener("click", () => {
      if (opened) { opened.remove(); opened = null; }
      else {
        opened = story(row);
        tr.after(opened);
        history.replaceState(null, "", `#${get(row, "id")}`);
      }
      open.setAttribute("aria-expanded", String(opened !== null));
    });
    const cells = [open, instant(get(row, "at")), duration(get(row, "took")), get(row, "asked"), get(row, "got"),
      get(row, "replica"), get(row, "step"), why(get(row, "cause"))];
    cells.forEach((content, index) => {
      const cell = make("td", content);
      cell.dataset.label = heads[index];
      tr.append(cell);
    });
    return tr;
  };

  const fill = () => {
    body.replaceChildren(...found.slice(first, first + page()).map(line));
    const last = Math.min(first + page(), found.length);
    count.textContent = found.length ? `${first + 1} to ${last} of ${found.length}` : "none";
  };
  const searched = rows.map(() => null);
  const words = (index) => searched[index] ??= [get(rows[index], "id"), data.causes[get(rows[index], "cause")] ?? "", ...[...TEXTS].map((name) => get(rows[index], name)),
    ...told(rows[index]).flat(), ...known(rows[index]).flat()].join(" ").toLowerCase();
  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    found = rows.filter((row, index) => (!cause.value || get(row, "cause") === cause.value) && (!wanted || words(index).includes(wanted)));
    first = 0;
    fill();
  };
  const turn = (by) => { if (first + by >= 0 && first + by < found.length) { first += by; fill(); } };
  cause.addEventListener("change", filter);
  text.addEventListener("input", filter);
  document.getElementById("story-back").addEventListener("click", () => turn(-page()));
  document.getElementById("story-on").addEventListener("click", () => turn(page()));
  // `#s1-000632-1` leads to that request: its page of the table, opened.
  const follow = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    const index = rows.findIndex((row) => get(row, "id") === id);
    if (index < 0) return;
    cause.value = text.value = "";
    found = rows;
    first = Math.floor(index / page()) * page();
    fill();
    const open = [...body.querySelectorAll(".link")].find((button) => button.dataset.id === id);
    open.click();
    open.closest("tr").scrollIntoView({ block: "start" });
  };
  window.addEventListener("hashchange", follow);
  for (const part of section.querySelectorAll("[hidden]")) part.hidden = false;
  fill();
  follow();
})();
