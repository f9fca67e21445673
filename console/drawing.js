// The timeline as a picture: what can be seen of it now, on a canvas.

import { loudness } from "./calls.js";
import { at } from "./words.js";

export const HEIGHT = 178;
const RULER = 20;
const LANES = { caller: [24, 56], tools: [84, 30], agent: [118, 56] }; // top, height
const NAMES = { caller: "Caller", tools: "Tools", agent: "Agent" };
const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
const TICK_PIXELS = 64;
const LEVEL_SECONDS = 0.5; // between two looks at a voice
const TOOL_PIXELS = 5; // at least, or a quick tool could not be seen

export function colours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["text", "muted", "line", "surface", "lane", "caller", "agent", "tool", "bad", "caller-soft", "agent-soft", "tail", "accent"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

// `view`: {width, left (seconds), scale (pixels a second), cursor, hover, colours}
export function draw(canvas, model, view) {
  const sharp = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(view.width * sharp), Math.round(HEIGHT * sharp)];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  const pen = canvas.getContext("2d");
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  pen.clearRect(0, 0, view.width, HEIGHT);
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  const x = (t) => (t - view.left) * view.scale;
  drawLanes(pen, model, view, x);
  drawTurns(pen, model, view, x);
  drawTails(pen, model, view, x);
  for (const voice of ["caller", "agent"]) drawVoice(pen, model, view, x, voice);
  drawTools(pen, model, view, x);
  drawMarks(pen, model, view, x);
  drawNames(pen, view);
  if (view.hover !== null) line(pen, x(view.hover), view.colours.muted, 1);
  drawCursor(pen, x(view.cursor), view.colours.accent);
}

function drawLanes(pen, model, view, x) {
  const end = Math.min(view.width, x(model.seconds));
  for (const [top, height] of Object.values(LANES)) {
    pen.fillStyle = view.colours.lane;
    pen.fillRect(0, top, Math.max(0, end), height);
  }
  const step = TICKS.find((tick) => tick * view.scale >= TICK_PIXELS) ?? TICKS[TICKS.length - 1];
  const first = Math.floor(view.left / step);
  for (let number = first; x(number * step) < Math.min(view.width, end + 1); number += 1) {
    const place = Math.round(x(number * step)) + 0.5;
    pen.fillStyle = view.colours.line;
    pen.fillRect(place - 0.5, RULER - 4, 1, HEIGHT - RULER + 4);
    pen.fillStyle = view.colours.muted;
    pen.fillText(step < 1 ? at(number * step) : at(number * step).slice(0, -2), place + 3, RULER / 2);
  }
}

function drawTurns(pen, model, view, x) {
  for (const turn of model.turns) {
    const [top, height] = LANES[turn.who === "caller" ? "caller" : "agent"];
    const [from, to] = [x(turn.from), x(turn.to ?? model.seconds)];
    if (to < 0 || from > view.width) continue;
    pen.fillStyle = view.colours[turn.who === "caller" ? "caller-soft" : "agent-soft"];
    pen.fillRect(from, top, Math.max(2, to - from), height);
  }
}

function drawTails(pen, model, view, x) {
  const [top, height] = LANES.agent;
  for (const tail of model.tails) {
    const [from, to] = [Math.max(-9, x(tail.from)), Math.min(view.width + 9, x(Math.min(tail.to, model.seconds)))];
    if (to < 0 || from > view.width) continue;
    pen.save();
    pen.beginPath();
    pen.rect(from, top, to - from, height);
    pen.clip();
    pen.strokeStyle = view.colours.tail;
    pen.lineWidth = 1.5;
    pen.beginPath();
    for (let slope = from - height; slope < to; slope += 8) {
      pen.moveTo(slope, top + height);
      pen.lineTo(slope + height, top);
    }
    pen.stroke();
    pen.restore();
  }
}

function drawVoice(pen, model, view, x, voice) {
  const [top, height] = LANES[voice];
  const middle = top + height / 2;
  pen.fillStyle = view.colours[voice];
  const bar = (from, width, share) => {
    const half = Math.max(0.5, (share * (height - 6)) / 2);
    pen.fillRect(from, middle - half, Math.max(1, width), half * 2);
  };
  if (model.waveform) drawWaveform(model.waveform, voice, view, bar);
  else drawLevels(model.levels[voice], view, x, bar);
}

function drawWaveform({ step_seconds: step, ...voices }, voice, view, bar) {
  const peaks = voices[voice] || [];
  const columns = Math.max(1, step * view.scale);
  for (let column = 0; column < view.width; column += columns) {
    const first = Math.floor((view.left + column / view.scale) / step);
    const last = Math.max(first + 1, Math.floor((view.left + (column + columns) / view.scale) / step));
    let peak = -1;
    for (let index = first; index < last && index < peaks.length; index += 1) peak = Math.max(peak, peaks[index]);
    if (peak >= 0) bar(first * step * view.scale - view.left * view.scale, columns > 2 && peak > 0 ? columns - 1 : columns, peak / 100);
  }
}

function drawLevels(levels, view, x, bar) {
  levels.forEach(([t, db], index) => {
    const until = Math.min(levels[index + 1]?.[0] ?? t + LEVEL_SECONDS, t + 2 * LEVEL_SECONDS);
    const [from, to] = [x(t), x(until)];
    if (to >= 0 && from <= view.width) bar(from, to - from - (to - from > 3 ? 1 : 0), loudness(db));
  });
}

function drawTools(pen, model, view, x) {
  const [top, height] = LANES.tools;
  for (const tool of model.tools) {
    const [from, to] = [x(tool.from), x(tool.to ?? model.seconds)];
    if (to < -160 || from > view.width) continue;
    const failed = tool.error !== undefined;
    const width = Math.max(TOOL_PIXELS, to - from);
    pen.fillStyle = view.colours[failed ? "bad" : "tool"];
    pen.fillRect(from, top + 4, width, height - 8);
    pen.fillStyle = view.colours.text;
    const next = model.tools.find((other) => other.from > tool.from);
    const room = (next ? x(next.from) : view.width) - from - width - 8;
    const label = fitting(pen, `${tool.name}${failed ? ": error" : ""}`, room);
    if (label) pen.fillText(label, from + width + 4, top + height / 2);
  }
}

function fitting(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  for (let length = text.length - 1; length > 3; length -= 1) {
    const shorter = `${text.slice(0, length)}…`;
    if (pen.measureText(shorter).width <= room) return shorter;
  }
  return "";
}

function drawMarks(pen, model, view, x) {
  for (const mark of model.marks) {
    const place = x(mark.t);
    if (place < -8 || place > view.width + 8) continue;
    const colour = view.colours[mark.kind === "end" ? "muted" : "bad"];
    pen.setLineDash(mark.kind === "barge" ? [4, 3] : []);
    line(pen, place, colour, mark.kind === "end" ? 1 : 1.5);
    pen.setLineDash([]);
    if (mark.kind === "end") continue;
    pen.fillStyle = colour;
    pen.beginPath();
    pen.moveTo(place - 5, RULER);
    pen.lineTo(place + 5, RULER);
    pen.lineTo(place, RULER + 8);
    pen.fill();
  }
}

function drawNames(pen, view) {
  for (const [lane, [top]] of Object.entries(LANES)) {
    const width = pen.measureText(NAMES[lane]).width;
    pen.globalAlpha = 0.85;
    pen.fillStyle = view.colours.surface;
    pen.fillRect(0, top, width + 8, 15);
    pen.globalAlpha = 1;
    pen.fillStyle = view.colours.muted;
    pen.fillText(NAMES[lane], 4, top + 8);
  }
}

function line(pen, place, colour, width) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  pen.moveTo(place, RULER);
  pen.lineTo(place, HEIGHT);
  pen.stroke();
}

function drawCursor(pen, place, colour) {
  line(pen, place, colour, 2);
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(place, RULER, 4, 0, 2 * Math.PI);
  pen.fill();
}
