// The recording: fetched when it is first played, and let go with its call.

import { byId, setText } from "./dom.js";
import { at } from "./words.js";

const NOTES = {
  running: "Recorded: to be played when the call is over.",
  waiting: "The recording is being written.",
  ready: "",
  failed: "The recording could not be written; the log says why.",
};

export class Player {
  // `moved(seconds)`: told while it plays.
  constructor(moved) {
    this.moved = moved;
    this.audio = new Audio();
    this.url = null;
    this.id = null;
    this.ready = false;
    this.fetching = false;
    this.button = byId("play");
    this.button.addEventListener("click", () => this.toggle());
    for (const name of ["play", "pause", "ended"]) this.audio.addEventListener(name, () => this.#changed());
  }

  choose(id) {
    this.audio.pause();
    this.audio.removeAttribute("src");
    if (this.url) URL.revokeObjectURL(this.url);
    Object.assign(this, { url: null, id, ready: false, fetching: false, start: 0, failure: "" });
    this.#changed();
  }

  update(row) {
    this.ready = row.recording === "ready";
    this.button.disabled = !this.ready;
    const none = "Not recorded. RECORD_CALLS=on records calls; people must have agreed to it.";
    setText(byId("recording-note"), this.failure || (row.recording ? NOTES[row.recording] ?? "" : none));
  }

  get playing() {
    return !this.audio.paused;
  }

  async toggle() {
    if (!this.ready || this.fetching) return;
    if (this.playing) return void this.audio.pause();
    const id = this.id;
    if (!this.url && !(await this.#fetch(id))) return;
    if (id === this.id) await this.audio.play().catch(() => this.#fail("The browser would not play the recording."));
  }

  async #fetch(id) {
    this.fetching = true;
    try {
      const answer = await fetch(`/calls/${encodeURIComponent(id)}/recording.wav`);
      if (!answer.ok) throw new Error(String(answer.status));
      const sound = await answer.blob();
      if (id !== this.id) return false;
      this.url = URL.createObjectURL(sound);
      this.audio.src = this.url;
      this.audio.currentTime = this.start;
      return true;
    } catch (problem) {
      if (id === this.id) this.#fail(`The recording could not be fetched (${problem.message}).`);
      return false;
    } finally {
      this.fetching = false;
    }
  }

  #fail(text) {
    this.failure = text;
    setText(byId("recording-note"), text);
  }

  seek(seconds) {
    this.start = seconds;
    if (this.url) this.audio.currentTime = seconds;
    this.#tell();
  }

  #changed() {
    setText(this.button, this.playing ? "Pause" : "Play");
    this.#tell();
    if (this.playing) requestAnimationFrame(() => this.#follow());
  }

  #follow() {
    if (!this.playing) return;
    this.start = this.audio.currentTime;
    this.moved(this.start);
    this.#tell();
    requestAnimationFrame(() => this.#follow());
  }

  #tell() {
    const lasts = Number.isFinite(this.audio.duration) ? ` of ${at(this.audio.duration)}` : "";
    setText(byId("play-time"), `${at(this.start || 0)}${lasts}`);
  }
}
