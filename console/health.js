// How the process is: one fact per thing that can be full, slow or gone.

import { byId, definitions, say } from "./dom.js";
import { updateTree } from "./tree.js";
import { many } from "./words.js";

const FACTS = new Map();
const LATE_MS = 50;

export function updateHealth(health) {
  const facts = [readiness(health), voice(health.voice), tunnel(health.tunnel), database(health.database), ...vapi(health.vapi),
    engine(health.engine), loop(health.loop)];
  definitions(byId("health"), FACTS, facts.filter(Boolean));
  const why = (health.why_not || []).join("; ");
  say(byId("not-ready"), health.ready ? "" : `Not ready for calls: ${why || "nobody told why"}.`);
  updateTree(byId("process-tree"), health.tree, "process");
}

function readiness(health) {
  return ["Ready", health.ready ? "yes" : "no", health.ready ? "good" : "bad"];
}

function voice(door) {
  if (!door) return null;
  const more = [door.refused ? `${door.refused} refused` : "", door.draining ? "draining: no new calls" : ""];
  return ["Voice door", list(`${door.calls} of ${many(door.most, "call")}`, ...more), door.draining ? "warn" : "", door.calls / door.most];
}

function tunnel(way) {
  if (!way) return null;
  const fixed = way.kind === "fixed";
  const state = way.state === "ready" ? "" : way.state === "off" || way.state === "idle" ? "" : "warn";
  const used = fixed ? "" : `for ${many(way.users ?? 0, "call")}`;
  const restarts = way.restarts ? `restarted ${many(way.restarts, "time")}` : "";
  return ["Tunnel", list(fixed ? "none needed" : `${way.kind}: ${way.state}`, used, restarts, way.url), state];
}

function database(db) {
  if (!db) return null;
  const trouble = db.state === "up" ? "" : db.state === "down" ? "bad" : "warn";
  return ["Database", list(db.state, `${db.used} of ${db.most} connections used, ${db.idle} idle`, db.detail), trouble, db.used / db.most];
}

function engine(queue) {
  if (!queue) return null;
  if (!queue.on) return ["Engine", "off"];
  const told = list(`${queue.queued} of ${queue.most} queued`, `${queue.reported} reported`, queue.dropped ? `${queue.dropped} dropped` : "");
  return ["Engine", told, queue.dropped ? "warn" : "", queue.queued / queue.most];
}

function vapi(slots) {
  if (!slots) return [];
  const waiting = slots.waiting ? `${slots.waiting} waiting` : "";
  const billed = slots.possibly_billed;
  return [
    ["Slots at Vapi", list(`${slots.used} of ${slots.most} used`, waiting), slots.waiting ? "warn" : "", slots.used / slots.most],
    ["Possibly billed", billed ? `${many(billed, "call")} that may still run at Vapi` : "none", billed ? "bad" : ""],
  ];
}

function loop(lag) {
  if (!lag) return null;
  return ["Event loop", `${lag.lag_ms.toFixed(1)} ms late, ${lag.worst_ms.toFixed(1)} ms at worst in the last minute`, lag.worst_ms > LATE_MS ? "warn" : ""];
}

function list(...parts) {
  return parts.filter(Boolean).join(" · ");
}
