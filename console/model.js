// What is known of the chosen call: its events, and what they add up to on a timeline. Bounded, whatever comes.

import { at, many, named, shortly } from "./words.js";

export const MOST_EVENTS = 3000;
export const MOST_LEVELS = 8000; // of one voice: more than an hour
const AUDIO_BYTES_PER_SECOND = 48000;
const WORTH_A_WORD_SECONDS = 0.1;

export class CallModel {
  constructor(id) {
    this.id = id;
    this.row = null;
    this.started = null;
    this.tree = null;
    this.counts = {};
    this.summary = null;
    this.waveform = null;
    this.events = [];
    this.nextEvent = 0;
    this.dropped = 0;
    this.levels = { caller: [], agent: [] };
    this.nextLevel = { caller: 0, agent: 0 };
    this.turns = [];
    this.tools = [];
    this.tails = [];
    this.marks = []; // interruptions, losses, the end: {t, kind, text}
  }

  // Takes a `call` message; returns the events in it that are new.
  take(message) {
    this.row = message.row;
    this.started ??= message.row.started;
    this.tree = message.tree;
    this.counts = message.counts || {};
    this.summary = message.summary || null;
    for (const voice of ["caller", "agent"]) this.#takeLevels(voice, message.levels || {});
    const fresh = (message.events || []).filter((event) => event.n >= this.nextEvent);
    for (const event of fresh) {
      this.dropped += event.n - this.nextEvent;
      this.nextEvent = event.n + 1;
      this.events.push(event);
      this.#place(event);
    }
    if (this.events.length > MOST_EVENTS) this.#forget(this.events.splice(0, MOST_EVENTS / 4));
    return fresh;
  }

  #takeLevels(voice, levels) {
    const from = levels.from?.[voice] ?? 0;
    const kept = this.levels[voice];
    (levels[voice] || []).forEach((level, index) => {
      if (from + index < this.nextLevel[voice]) return;
      this.nextLevel[voice] = from + index + 1;
      kept.push(level);
    });
    if (kept.length > MOST_LEVELS) kept.splice(0, MOST_LEVELS / 4);
  }

  #forget(events) {
    this.dropped += events.length;
    const since = events[events.length - 1].t;
    this.turns = this.turns.filter((turn) => turn.to === null || turn.to > since);
    this.tools = this.tools.filter((tool) => tool.to === null || tool.to > since);
    this.tails = this.tails.filter((tail) => tail.to > since);
    this.marks = this.marks.filter((mark) => mark.t > since);
  }

  #place({ t, n, who, event, data }) {
    const open = this.turns.findLast((turn) => turn.who === who && turn.to === null);
    if (event === "turn-started") {
      if (open) open.to = t;
      this.turns.push({ who, from: t, to: null, n, text: "" });
    } else if (event === "turn-stopped") {
      if (open) open.to = t;
    } else if (event === "transcript") {
      const turn = this.turns.findLast((one) => one.who === who && one.from <= t);
      if (turn) turn.text = turn.text ? `${turn.text} ${data.text}` : String(data.text);
    } else if (event === "tool-call") {
      this.tools.push({ n, id: data.id, name: data.name, arguments: data.arguments, from: t, to: null, shortened: data.shortened });
    } else if (event === "tool-answer") {
      const tool = this.tools.findLast((one) => one.id === data.id && one.to === null);
      if (tool) Object.assign(tool, { to: t, seconds: data.seconds, duplicate: data.duplicate, error: data.error, result: data.result });
    } else if (event === "tail") {
      this.tails.push({ from: t, to: t + data.seconds, cut: data.cut, overdue: data.overdue });
    } else if (event === "interrupted") {
      this.marks.push({ t, kind: "barge", text: `the caller barged in; ${(data.dropped_seconds ?? 0).toFixed(1)} s of the agent was dropped` });
    } else if (event === "lost") {
      this.marks.push({ t, kind: "failed", text: `Vapi's socket broke: ${[data.code, data.reason].filter(Boolean).join(" ")}` });
    } else if (event === "tool-webhook-lost") {
      this.marks.push({ t, kind: "failed", text: `Vapi cannot call tools any more: ${data.why}` });
    } else if (event === "call-over") {
      for (const one of [...this.turns, ...this.tools]) one.to ??= t;
      this.marks.push({ t, kind: "end", text: "the call is over" });
    }
  }

  get over() {
    return this.row?.phase === "over";
  }

  get seconds() {
    const last = this.events.length ? this.events[this.events.length - 1].t : 0;
    const known = this.over ? this.summary?.seconds ?? last : this.row?.age_seconds ?? 0;
    return Math.max(known, last, this.waveform?.seconds ?? 0, 0.1);
  }

  // The places that one steps through with Page Up and Page Down.
  get stops() {
    const times = [...this.turns, ...this.tools, ...this.tails].map((one) => one.from);
    return [...times, ...this.marks.map((mark) => mark.t)].sort((one, other) => one - other);
  }

  // What there is at `t`, in words. `near`: how far a mark may be, in seconds.
  describe(t, near = 0.25) {
    const within = (one) => one.from <= t + near / 4 && (one.to ?? this.seconds) >= t - near / 4;
    const parts = this.turns.filter(within).map((turn) => `${named(turn.who)} speaks${turn.text ? `: “${shortly(turn.text)}”` : ""}`);
    for (const tool of this.tools.filter((one) => one.from - near <= t && (one.to ?? this.seconds) + near >= t)) {
      parts.push(`tool ${tool.name} ${toolOutcome(tool)}`);
    }
    for (const tail of this.tails.filter(within)) {
      parts.push(`${(tail.to - tail.from).toFixed(1)} s of silence behind the agent's turn${tail.cut ? ", cut" : ""}${tail.overdue ? ", overdue" : ""}`);
    }
    parts.push(...this.marks.filter((mark) => Math.abs(mark.t - t) <= near).map((mark) => mark.text));
    return [at(t), parts.length ? parts.join("; ") : "silence"].join(" · ");
  }

  // What went wrong, worst first: {worst: true, text}.
  problems() {
    const found = [];
    const bad = (text) => found.push({ worst: true, text });
    const note = (text) => found.push({ worst: false, text });
    for (const mark of this.marks.filter((one) => one.kind === "failed")) bad(`At ${at(mark.t)} ${mark.text}.`);
    for (const tool of this.tools.filter((one) => one.error !== undefined).slice(-5)) {
      bad(`At ${at(tool.from)} the tool ${tool.name} answered with an error: ${shortly(tool.error, 300)}`);
    }
    const counts = this.counts;
    if (counts.playouts_cut) bad("The agent's last words were not all written to the caller in time, and were cut.");
    for (const child of children(this.tree)) {
      if (child.state === "failed") bad(`The actor ${child.name} failed.`);
      if (child.restarts) note(`The actor ${child.name} was restarted ${many(child.restarts, "time")}.`);
    }
    if (counts.tails_overdue) note(`${many(counts.tails_overdue, "tail")} of silence came late: Vapi did not say that the agent's turn had ended.`);
    const lost = [["uplink_bytes_discarded", "of the caller did not reach Vapi"], ["downlink_bytes_discarded", "of the agent did not reach the caller"]];
    for (const [name, where] of lost) {
      const seconds = (counts[name] || 0) / AUDIO_BYTES_PER_SECOND;
      if (seconds >= WORTH_A_WORD_SECONDS) note(`${seconds.toFixed(1)} s ${where}.`);
    }
    for (const [name, channel] of Object.entries(this.row?.channels || {})) {
      if (channel.waits) note(`The channel ${name} was full ${many(channel.waits, "time")}: what it leads to was slow.`);
    }
    if (counts.tool_duplicates) note(`${many(counts.tool_duplicates, "tool call")} came twice and got the stored answer.`);
    if (counts.vapi_unknown_messages) note(`${many(counts.vapi_unknown_messages, "message")} of Vapi of an unknown type; ignored.`);
    return found.sort((one, other) => other.worst - one.worst);
  }
}

export function toolOutcome(tool) {
  if (tool.to === null) return "is running";
  const took = tool.seconds === undefined ? "was not answered" : `answered after ${Math.round(tool.seconds * 1000)} ms`;
  const how = tool.error !== undefined ? " with an error" : "";
  return `${took}${how}${tool.duplicate ? ", a duplicate" : ""}`;
}

function children(tree) {
  return (tree?.children || []).flatMap((child) => [child, ...children(child)]);
}
