// What was said, with tool calls where they happened. Appended to; a tool's answer is filled in where its call stands.

import { byId, make, setAttribute, setText, show } from "./dom.js";
import { at, laidOut, named, shortly } from "./words.js";

const MOST_ITEMS = 1000;
const NEAR_THE_END_PIXELS = 40;

export class Transcript {
  constructor(seek) {
    this.list = byId("transcript");
    this.list.addEventListener("click", (event) => {
      const time = event.target.closest("[data-at]");
      if (time) seek(Number(time.dataset.at));
    });
    this.reset();
  }

  reset() {
    this.list.replaceChildren();
    this.tools = new Map();
    this.dropped = 0;
  }

  // `fresh`: the model's new events.
  update(model, fresh) {
    const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < NEAR_THE_END_PIXELS;
    for (const event of fresh) this.#add(event, model);
    while (this.list.childElementCount > MOST_ITEMS) {
      const first = this.list.firstElementChild;
      this.tools.delete(Number(first.dataset.n));
      first.remove();
      this.dropped += 1;
    }
    for (const tool of model.tools) if (this.tools.has(tool.n)) updateTool(this.tools.get(tool.n), tool);
    if (fresh.length && atEnd && !model.over) this.list.scrollTop = this.list.scrollHeight;
    show(byId("transcript-none"), this.list.childElementCount === 0);
    show(this.list, this.list.childElementCount > 0);
    const dropped = byId("transcript-dropped");
    setText(dropped, "The beginning of this long call is not kept here.");
    show(dropped, this.dropped + model.dropped > 0);
  }

  #add(event, model) {
    const { n, t, who, data } = event;
    if (event.event === "tool-call") {
      const tool = model.tools.find((one) => one.n === n);
      if (!tool) return;
      const item = createTool(tool);
      item.dataset.n = n;
      this.tools.set(n, item);
      this.list.append(item);
    } else if (event.event === "transcript") {
      const item = entry(t, `said ${who === "caller" ? "caller" : "agent"}`, named(who));
      item.append(make("p", "text", "shortened" in data && !("text" in data) ? "(too long to be kept)" : String(data.text ?? "")));
      this.list.append(item);
    } else {
      const line = aside(event);
      if (line) this.list.append(entry(t, "aside", line));
    }
  }
}

function entry(t, kind, head) {
  const item = make("li", kind);
  const line = make("div", "head");
  const time = make("button", "at", at(t));
  time.type = "button";
  time.tabIndex = -1; // the keyboard has Page Up and Page Down on the timeline
  time.title = "Go there on the timeline";
  time.dataset.at = t;
  line.append(time, make("span", "who", head));
  item.append(line);
  return item;
}

// What is worth a line beside what was said.
function aside({ who, event, data }) {
  switch (event) {
    case "connected": return `Connected${data.peer ? ` from ${data.peer}` : ""}${data.protocol ? `, ${data.protocol}` : ""}`;
    case "call-created": return `Call ${data.id} created at Vapi`;
    case "interrupted": return `The caller barged in: ${(data.dropped_seconds ?? 0).toFixed(1)} s of the agent dropped`;
    case "lost": return `Vapi's socket broke: ${[data.code, data.reason].filter(Boolean).join(" ")}`;
    case "tool-webhook-lost": return `Vapi cannot call tools any more: ${data.why ?? ""}`;
    case "call-over": return `The call is over: ${data.reason}, by ${data.by === "vapi" ? "Vapi" : `the ${data.by}`}`;
    case "status": case "socket-opened": case "turn-started": case "turn-stopped": case "tail": case "tool-answer": case "unknown-message": return "";
    default: return `${named(who)}: ${event}`;
  }
}

function createTool(tool) {
  const item = entry(tool.from, "tool", tool.name);
  const outcome = make("span", "outcome");
  item.firstElementChild.append(outcome);
  const body = make("dl");
  const given = Object.entries(tool.arguments && typeof tool.arguments === "object" ? tool.arguments : {});
  for (const [name, value] of given) body.append(pair(name, value));
  if (tool.shortened) body.append(pair("arguments", "(too long to be kept)"));
  item.append(body, make("p", "answer"));
  return item;
}

function pair(name, value) {
  const group = make("div");
  group.append(make("dt", "", name), make("dd", "", shortly(value, 2000)));
  return group;
}

function updateTool(item, tool) {
  const failed = tool.error !== undefined;
  const state = tool.to === null ? "running" : failed ? "error" : tool.seconds === undefined ? "unanswered" : "answered";
  const took = tool.seconds === undefined ? "" : ` after ${Math.round(tool.seconds * 1000)} ms`;
  setAttribute(item, "data-state", state);
  const words = { running: "runs …", unanswered: "was not answered", error: `error${took}`, answered: `answered${took}` };
  setText(item.querySelector(".outcome"), `${words[state]}${tool.duplicate ? " · a duplicate: the stored answer" : ""}`);
  const answer = failed ? tool.error : tool.result;
  setText(item.querySelector(".answer"), answer === undefined || answer === null ? "" : laidOut(answer));
}
