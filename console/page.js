// The page: wires the stream to its parts, and keeps the chosen call in the address.

import { updateCall } from "./call.js";
import { CallList } from "./calls.js";
import { byId, say, setAttribute, setText, show } from "./dom.js";
import { updateHealth } from "./health.js";
import { CallModel } from "./model.js";
import { Player } from "./player.js";
import { Stream } from "./stream.js";
import { Timeline } from "./timeline.js";
import { Transcript } from "./transcript.js";
import { clock } from "./words.js";

const UNKNOWN_AFTER_STATES = 2; // without a word of the chosen call, nothing is known of it
const KEPT = "This process keeps the last calls, and none from before it was started.";

const page = { chosen: null, model: null, personal: false, statesWithout: 0, ending: null };
const player = new Player((seconds) => timeline.move(seconds, true));
const timeline = new Timeline((seconds) => player.seek(seconds));
const transcript = new Transcript((seconds) => timeline.move(seconds));
const calls = new CallList(choose);
const stream = new Stream({ state: onState, call: onCall, lost: onLost, found: onFound });

function addressed() {
  try {
    return decodeURIComponent(location.hash.slice(1)).match(/^call=(.+)$/)?.[1] ?? null;
  } catch {
    return null; // a broken link
  }
}

function choose(id) {
  if (id !== page.chosen) location.hash = `call=${encodeURIComponent(id)}`; // then comes hashchange
}

// Begins with `id` anew; nothing of another call, or of the same call otherwise masked, is kept.
function begin(id) {
  page.chosen = id;
  page.model = null;
  page.statesWithout = 0;
  transcript.reset();
  player.choose(id);
  timeline.choose(null);
  calls.mark(id);
  show(byId("call-body"), false);
  show(byId("call-none"), true);
  setText(byId("call-none"), id ? `Asking for call ${id} …` : "Choose a call to see its timeline, its transcript and its actors.");
  stream.open({ call: id, personal: page.personal });
}

function onState(state) {
  setText(byId("pod"), state.pod);
  setText(byId("connection"), "connected");
  setAttribute(byId("connection"), "data-state", "open");
  show(byId("demo"), state.demo);
  show(byId("empty-demo"), state.demo);
  show(byId("personal-switch"), state.personal_data !== "off");
  for (const node of document.querySelectorAll(".voice-url")) setText(node, state.health.voice?.url ?? "ws://…/voice");
  const none = state.calls.length === 0;
  show(byId("empty"), none);
  show(byId("calls"), !none);
  show(byId("call"), !none || Boolean(page.chosen));
  calls.update(state);
  updateHealth(state.health);
  document.title = `${state.calls.filter((row) => row.phase !== "over").length} calls · Voice console`;
  page.statesWithout += 1;
  const unknown = page.chosen && page.statesWithout > UNKNOWN_AFTER_STATES;
  if (unknown && !page.model) setText(byId("call-none"), `Nothing is known of call ${page.chosen}. ${KEPT}`);
  say(byId("call-gone"), unknown && page.model ? `Nothing more is known of this call. ${KEPT}` : "");
  if (!page.chosen && !none) {
    history.replaceState(null, "", `#call=${encodeURIComponent(state.calls[0].id)}`);
    begin(state.calls[0].id);
  }
}

function onCall(message) {
  if (message.id !== page.chosen || !message.row) return;
  page.statesWithout = 0;
  if (!page.model) {
    page.model = new CallModel(message.id);
    timeline.choose(page.model);
    page.ending = message.row.ending;
  }
  const fresh = page.model.take(message);
  show(byId("call-none"), false);
  show(byId("call-body"), true);
  updateCall(page.model);
  transcript.update(page.model, fresh);
  player.update(message.row);
  timeline.update();
  if (page.model.over && !page.ending && message.row.ending) {
    page.ending = message.row.ending;
    announce(`Call ${message.id} is over. ${byId("verdict-sentence").textContent}`);
  }
  if (message.row.recording === "ready" && !page.model.waveform) fetchWaveform(page.model);
}

async function fetchWaveform(model) {
  model.waveform = false; // asked for
  try {
    const answer = await fetch(`/calls/${encodeURIComponent(model.id)}/waveform`);
    if (answer.ok) model.waveform = await answer.json();
  } catch {
    model.waveform = null; // the stream says that there is no connection; asked again with the next word of the call
  }
  if (model === page.model) timeline.update();
}

function onLost(since, refused) {
  const why = refused ? " The console refuses this page: perhaps too many are open already." : "";
  say(byId("broken"), `Not connected since ${clock(since)}, trying again.${why} What is shown is from then.`);
  setText(byId("connection"), "not connected");
  setAttribute(byId("connection"), "data-state", "broken");
  byId("main").classList.add("stale");
  announce("The connection to the console is lost.");
}

function onFound() {
  say(byId("broken"), "");
  byId("main").classList.remove("stale");
  announce("The connection to the console is back.");
}

function announce(text) {
  setText(byId("said"), text);
}

async function holdDemoCall() {
  try {
    const answer = await fetch("/demo", { method: "POST" });
    const told = answer.ok ? "A demo call begins." : (await answer.json()).error;
    announce(String(told));
    setText(byId("demo"), answer.ok ? "A demo call begins …" : "A demo call is running");
  } catch {
    announce("The console did not answer.");
    setText(byId("demo"), "No answer");
  }
  setTimeout(() => setText(byId("demo"), "Hold a demo call"), 2500);
}

function takesSpace(node) {
  return Boolean(node?.closest("button, input, summary, a, dialog, .transcript"));
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || byId("keys").open) return;
  if (event.key === "?") {
    byId("keys").showModal();
    event.preventDefault();
  } else if (event.key === " " && page.model && !takesSpace(document.activeElement)) {
    player.toggle();
    event.preventDefault();
  }
}

function skip(event) {
  const { skip: to } = event.target.dataset;
  event.preventDefault(); // the address says which call is chosen, and keeps saying it
  if (to === "calls") calls.focus();
  else byId(to).focus();
  byId(to).scrollIntoView({ block: "start" });
}

for (const link of document.querySelectorAll(".skip")) link.addEventListener("click", skip);
addEventListener("hashchange", () => begin(addressed()));
document.addEventListener("keydown", onKey);
byId("help").addEventListener("click", () => byId("keys").showModal());
byId("demo").addEventListener("click", holdDemoCall);
byId("personal").addEventListener("change", (event) => {
  page.personal = event.target.checked;
  begin(page.chosen);
});
byId("personal").checked = false; // a reload masks again
begin(addressed());
