// The list of calls: those that run, then those that are over. One tab stop; arrows move in it, Enter chooses.

import { byId, keyed, make, setAttribute, setText, setWidth, show } from "./dom.js";
import { CHANNELS, age, clock, ending, many, ms, phase } from "./words.js";

const QUIETEST_DB = -60;

export const loudness = (db) => Math.max(0, 1 - Math.max(QUIETEST_DB, db) / QUIETEST_DB);

export class CallList {
  constructor(choose) {
    this.choose = choose;
    this.now = new Map();
    this.past = new Map();
    this.chosen = null;
    this.list = byId("list");
    this.list.addEventListener("keydown", (event) => this.#onKey(event));
    this.list.addEventListener("click", (event) => this.#choose(event.target.closest(".row")));
    this.list.addEventListener("focusin", (event) => this.#stopAt(event.target.closest(".row")));
  }

  update(state) {
    const focused = this.list.contains(document.activeElement) ? document.activeElement.dataset.call : null;
    const running = state.calls.filter((row) => row.phase !== "over");
    const over = state.calls.filter((row) => row.phase === "over");
    keyed(byId("now"), this.now, running, (row) => row.id, createRunning, (node, row) => this.#update(node, row, updateRunning));
    keyed(byId("past"), this.past, over, (row) => row.id, createOver, (node, row) => this.#update(node, row, updateOver));
    show(byId("now-none"), running.length === 0);
    show(byId("past-group"), over.length > 0);
    setText(byId("calls-count"), running.length ? `${running.length} now` : "");
    const more = byId("more-calls");
    setText(more, state.more_calls ? `${many(state.more_calls, "more call")} not shown` : "");
    show(more, state.more_calls > 0);
    this.#keepFocus(focused);
  }

  mark(id) {
    this.chosen = id;
    for (const row of this.#rows()) setAttribute(row, "aria-selected", row.dataset.call === id);
    this.#stopAt(this.#row(id) || this.#rows()[0]);
  }

  focus() {
    (this.list.querySelector('.row[tabindex="0"]') || this.#rows()[0])?.focus();
  }

  #update(node, row, update) {
    setAttribute(node, "aria-selected", row.id === this.chosen);
    update(node.parts, row);
  }

  #rows() {
    return [...this.list.querySelectorAll(".row")];
  }

  #row(id) {
    return this.now.get(id) || this.past.get(id);
  }

  // A call that ends moves from one part of the list to the other: whoever was on it goes along.
  #keepFocus(focused) {
    if (focused && document.activeElement?.dataset?.call !== focused) (this.#row(focused) || this.#rows()[0])?.focus();
    if (!this.list.querySelector('.row[tabindex="0"]')) this.#stopAt(this.#row(this.chosen) || this.#rows()[0]);
  }

  #stopAt(row) {
    if (!row) return;
    for (const other of this.list.querySelectorAll('.row[tabindex="0"]')) if (other !== row) other.tabIndex = -1;
    row.tabIndex = 0;
  }

  #choose(row) {
    if (row) this.choose(row.dataset.call);
  }

  #onKey(event) {
    const rows = this.#rows();
    const here = rows.indexOf(document.activeElement);
    const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (to !== undefined) {
      rows[Math.max(0, Math.min(rows.length - 1, to))]?.focus();
      event.preventDefault();
    } else if (event.key === "Enter" || (event.key === " " && rows[here]?.dataset.call !== this.chosen)) {
      this.#choose(rows[here]);
      event.preventDefault();
      event.stopPropagation();
    }
  }
}

function createRow(row, kind) {
  const node = make("div", `row ${kind}`);
  node.id = `row-${row.id}`;
  node.dataset.call = row.id;
  node.setAttribute("role", "option");
  node.tabIndex = -1;
  const head = make("div", "line");
  const parts = { node, state: make("span", "state"), name: make("span", "id", row.id), age: make("span", "age") };
  parts.doing = make("span", "doing");
  head.append(parts.state, parts.name, parts.doing, parts.age);
  node.append(head);
  node.parts = parts;
  return node;
}

function createRunning(row) {
  const node = createRow(row, "running");
  const { parts } = node;
  parts.voices = { caller: voice("caller"), agent: voice("agent") };
  const voices = make("div", "line voices");
  voices.append(parts.voices.caller.node, parts.voices.agent.node);
  parts.channels = {};
  const channels = make("div", "line fills");
  for (const [name, shown] of Object.entries(CHANNELS)) {
    const part = { node: make("span", "channel"), fill: make("span", "fill"), bar: make("i") };
    part.fill.append(part.bar);
    part.node.append(make("span", "label", shown), part.fill);
    channels.append(part.node);
    parts.channels[name] = part;
  }
  parts.figures = make("div", "line note");
  node.append(voices, channels, parts.figures);
  return node;
}

function voice(name) {
  const node = make("span", `voice ${name}`);
  const fill = make("span", "level");
  const bar = fill.appendChild(make("i"));
  node.append(make("span", "label", name), fill);
  return { node, bar };
}

function updateRunning(parts, row) {
  setAttribute(parts.state, "data-state", phase(row));
  setText(parts.state, phase(row));
  setText(parts.age, age(row.age_seconds));
  for (const [name, { node, bar }] of Object.entries(parts.voices)) {
    setWidth(bar, loudness(row.level_db?.[name] ?? -96));
    setAttribute(node, "data-speaks", row.speaking?.includes(name) ? "yes" : "no");
  }
  for (const [name, { fill, bar }] of Object.entries(parts.channels)) {
    const channel = row.channels?.[name];
    const share = channel ? channel.queued / channel.bound : 0;
    setWidth(bar, share);
    setAttribute(fill, "data-full", share >= 0.8 ? "yes" : "no");
  }
  const speaks = (row.speaking || []).map((who) => `${who} speaks`).join(", ");
  setText(parts.doing, row.tool_running ? `${row.tool_running} runs` : speaks);
  setText(parts.figures, figures(row).join(" · "));
}

function createOver(row) {
  const node = createRow(row, "over");
  const why = make("div", "line");
  node.parts.why = why.appendChild(make("span", "why"));
  node.parts.figures = node.appendChild(make("div", "line note"));
  node.insertBefore(why, node.parts.figures);
  return node;
}

function updateOver(parts, row) {
  setAttribute(parts.state, "data-state", phase(row));
  setText(parts.state, phase(row));
  parts.started ??= row.started;
  setText(parts.age, clock(parts.started));
  setText(parts.why, row.ending ? ending(row.ending).sentence : "Nobody told why it ended.");
  const recorded = row.recording === "ready" ? ["recorded"] : [];
  setText(parts.figures, [age(row.age_seconds), ...figures(row), ...recorded].join(" · "));
}

function figures(row) {
  const latency = row.turn_latency_ms ? [`answers in ${ms(row.turn_latency_ms.last)}`] : [];
  return [many(row.turns, "turn"), ...latency, many(row.tools, "tool call")];
}
