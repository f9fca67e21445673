// How things are said: times, figures, and why a call ended.

export function age(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  const rest = String(Math.floor(seconds % 60)).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest} h` : `${minutes}:${rest} min`;
}

// A place on the timeline: 0:07.3
export function at(seconds) {
  const tenths = Math.max(0, Math.round(seconds * 10));
  return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
}

export function ms(milliseconds) {
  return `${Math.round(milliseconds)} ms`;
}

export function clock(unixSeconds) {
  return new Date(unixSeconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

export function many(count, one, several = `${one}s`) {
  return `${count} ${count === 1 ? one : several}`;
}

export function named(who) {
  return { caller: "Caller", agent: "Agent", vapi: "Vapi", runtime: "Runtime", tool: "Tool", engine: "Engine" }[who] || String(who);
}

export const CHANNELS = { caller_audio: "Caller audio", agent_audio: "Agent audio", tool_posts: "Tool posts" };

export function phase(row) {
  if (row.phase === "setting_up") return "setting up";
  if (row.phase === "live") return "live";
  return row.ending && !row.ending.ok ? "failed" : "over";
}

// Per reason: what happened, and what to do about it where somebody can.
const ENDINGS = {
  vapi_lost: ["The connection to Vapi was lost.", "Look at Vapi's status page and at the way out of this host. A single case needs nothing."],
  caller_stalled: ["The caller stopped reading, or vanished without a word.", "Look at the caller's network, and whether his program reads what it is sent."],
  tool_webhook_lost: ["Vapi can no longer reach this process to call tools.", "Look at the tunnel, or at what leads to PUBLIC_BASE_URL."],
  text_in_binary_mode: ["The caller sent text where bare audio was agreed.", "He should connect with ?protocol=json, or send PCM16 alone."],
  binary_in_json_mode: ["The caller sent bare audio where JSON was agreed.", 'He should send {"type":"audio","audio":"<base64>"}.'],
  half_a_sample: ["The caller sent half a sample.", "A frame is a whole number of 16-bit samples."],
  frame_too_long: ["The caller sent too much audio in one message.", "Frames of 20 ms are 960 bytes."],
  malformed_message: ["The caller sent a message that is not of the voice_ws protocol.", "The line above names what is wrong with it."],
  too_many_calls: ["The call was refused: there were too many already.", "MAX_CALLS and SETUPS_PER_SECOND say how many there may be."],
  shutting_down: ["The process was stopped while the call ran.", "Nothing is wrong with the call."],
  internal_error: ["A part of this runtime failed.", "The log has the error under this call's id."],
};

const NO_ANSWER = {
  vapi_rejected: ["Vapi refused to create the call.", "Look at VAPI_API_KEY and at the account."],
  vapi_down: ["Vapi did not answer in time.", "Look at Vapi's status page and at the way out of this host."],
  vapi_no_slot: ["No slot at Vapi became free in time.", "VAPI_SLOTS and the account say how many calls there may be at once."],
  tunnel_busy: ["Another agent holds the tunnel's account or address.", "End that one, or give this process an address of its own."],
  tunnel_auth: ["The tunnel's service refused this process.", "Look at the tunnel's token or key."],
  tunnel_quota: ["The tunnel's account is used up, or its plan lacks something.", "Look at the account of the tunnel's service."],
  tunnel_timeout: ["The tunnel was not ready, or not reachable, in time.", "voice tunnel check tries it by itself."],
  tunnel_lost: ["The tunnel ended, or leads elsewhere.", "voice tunnel check tries it by itself."],
};

// {sentence, detail, hint, told} of a call that is over.
export function ending(end) {
  const reason = String(end.reason || "");
  let [sentence, hint] = ENDINGS[reason] || [`The call ended: ${reason}.`, ""];
  if (reason === "call_ended") [sentence, hint] = [`${end.by === "vapi" ? "Vapi" : `The ${end.by}`} ended the call.`, ""];
  if (reason.startsWith("callee_no_answer")) {
    const cause = reason.split(": ")[1] || "";
    const known = NO_ANSWER[cause] || ["Vapi could not be reached.", ""];
    [sentence, hint] = [`The call was never answered. ${known[0]}`, known[1]];
  }
  return { sentence, detail: String(end.detail || ""), hint, told: `Told to the caller: ${end.code} ${reason}. Ended by: ${end.by}.` };
}

// A tool's answer, to be read: one line per value, what is inside of another further in.
export function laidOut(value, indent = "") {
  if (value === null || typeof value !== "object") return `${indent}${value}`;
  const lines = Object.entries(value).map(([name, inner]) => {
    const label = Array.isArray(value) ? "–" : `${name}:`;
    const nested = inner !== null && typeof inner === "object" && Object.keys(inner).length > 0;
    if (!nested) return `${indent}${label} ${typeof inner === "object" && inner !== null ? JSON.stringify(inner) : inner}`;
    return `${indent}${label}\n${laidOut(inner, `${indent}  `)}`;
  });
  return lines.join("\n");
}

export function shortly(value, most = 120) {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
