// The chosen call: why it ended, its figures, its channels, its actors.

import { byId, definitions, keyed, make, say, setAttribute, setText } from "./dom.js";
import { updateTree } from "./tree.js";
import { CHANNELS, age, clock, ending, many, ms, phase } from "./words.js";

const FIGURES = new Map();
const FILLS = new Map();
const COUNTS = new Map();
const PROBLEMS = new Map();

export function updateCall(model) {
  const { row } = model;
  setText(byId("call-title"), `Call ${row.id}`);
  setText(byId("call-state"), phase(row));
  setAttribute(byId("call-state"), "data-state", phase(row));
  const facts = [`began ${clock(model.started)}`, row.peer ? `from ${row.peer}` : "", row.protocol, row.vapi_call_id ? `at Vapi ${row.vapi_call_id}` : ""];
  setText(byId("call-facts"), facts.filter(Boolean).join(" · "));
  updateVerdict(model);
  definitions(byId("figures"), FIGURES, figures(row, model.summary));
  definitions(byId("channels"), FILLS, channels(row));
  const counts = [...Object.entries(model.counts), ...Object.entries(model.summary || {}).map(([name, value]) => [`summary: ${name}`, value])];
  definitions(byId("counts"), COUNTS, counts.sort(([one], [other]) => one.localeCompare(other)));
  setText(byId("tree-when"), model.over ? "As it was at the end." : "As it is now.");
  updateTree(byId("tree"), model.tree, "call");
}

function updateVerdict(model) {
  const { row } = model;
  const problems = model.problems();
  const failed = model.over && row.ending && !row.ending.ok;
  const worst = failed || problems.some((problem) => problem.worst);
  setAttribute(byId("verdict"), "data-verdict", worst ? "bad" : problems.length ? "note" : "good");
  const end = model.over && row.ending ? ending(row.ending) : null;
  setText(byId("verdict-sentence"), end ? end.sentence : running(row));
  say(byId("verdict-detail"), end?.detail || "");
  say(byId("verdict-hint"), end?.hint ? `What to do: ${end.hint}` : "");
  say(byId("verdict-told"), end?.told || "");
  const nothing = { worst: false, text: model.over && !failed ? "Nothing went wrong." : "" };
  const lines = problems.length ? problems : [nothing].filter((line) => line.text);
  keyed(byId("problems"), PROBLEMS, lines, (line) => line.text, (line) => make("li", "", line.text), (node, line) => setAttribute(node, "data-worst", line.worst));
}

function running(row) {
  if (row.phase === "setting_up") return "The call is being set up: Vapi is asked for an agent.";
  if (row.phase === "over") return "The call is over; nobody told why yet.";
  if (row.tool_running) return `The tool ${row.tool_running} runs.`;
  const who = row.speaking || [];
  if (who.length === 2) return "Both speak.";
  if (who.length === 1) return `The ${who[0]} speaks.`;
  return "The call runs; nobody speaks at the moment.";
}

function figures(row, summary) {
  const latency = row.turn_latency_ms;
  const none = row.phase === "over" ? "none" : "none yet";
  const took = summary?.setup_seconds;
  return [
    [row.phase === "over" ? "Lasted" : "Age", age(row.age_seconds)],
    ["Turns", row.turns],
    ["Turn latency", latency ? ms(latency.last) : none],
    ["Median, most", latency ? `${ms(latency.median)}, ${ms(latency.most)}` : none],
    ["Tool calls", row.tools],
    ...(took === undefined || took === null ? [] : [["Set up in", ms(took * 1000)]]),
  ];
}

function channels(row) {
  return Object.entries(row.channels || {}).map(([name, channel]) => {
    const unit = channel.unit === "seconds" ? " s" : "";
    const figure = (value) => (unit ? value.toFixed(2) : String(value));
    const waits = channel.waits ? `, full ${many(channel.waits, "time")}` : "";
    const text = `${figure(channel.queued)} of ${channel.bound}${unit}, peak ${figure(channel.peak)}${unit}${waits}`;
    return [CHANNELS[name] || name, text, channel.waits ? "warn" : "", channel.queued / channel.bound];
  });
}
