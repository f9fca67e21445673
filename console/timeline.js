// The timeline: a box that scrolls over the whole call, in which the canvas stays and shows what is in view.
// One place in time, the cursor, is shared by keys, clicks and the recording.

import { byId, setAttribute, setText, show } from "./dom.js";
import { HEIGHT, colours, draw } from "./drawing.js";

const LIVE_SCALE = 24; // pixels a second, while a call runs
const MOST_SCALE = 800;
const ZOOM = 1.5;
const STEP_SECONDS = 0.5;
const LONG_STEP_SECONDS = 5;
const NEAR_PIXELS = 6;

export class Timeline {
  // `seek(seconds)`: told when the user moves the cursor.
  constructor(seek) {
    this.seek = seek;
    this.box = byId("timeline");
    this.canvas = byId("canvas");
    this.canvas.style.height = `${HEIGHT}px`;
    this.colours = colours();
    this.waiting = false;
    this.choose(null);
    this.box.addEventListener("scroll", () => this.#scrolled());
    this.box.addEventListener("keydown", (event) => this.#onKey(event));
    this.box.addEventListener("pointermove", (event) => this.#hover(this.#timeOf(event)));
    this.box.addEventListener("pointerleave", () => this.#hover(null));
    this.box.addEventListener("click", (event) => this.move(this.#timeOf(event)));
    this.box.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    byId("zoom-in").addEventListener("click", () => this.zoom(ZOOM));
    byId("zoom-out").addEventListener("click", () => this.zoom(1 / ZOOM));
    byId("zoom-fit").addEventListener("click", () => this.fit());
    byId("follow").addEventListener("click", () => this.#follow(!this.following));
    new ResizeObserver(() => this.redraw()).observe(this.box);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", () => {
      this.colours = colours();
      this.redraw();
    });
  }

  choose(model) {
    Object.assign(this, { model, scale: null, cursor: 0, moved: false, hovered: null, following: true });
    this.box.scrollLeft = 0;
    this.redraw();
  }

  // Something has come: draw it, and stay at the end where that is wanted.
  update() {
    // Until somebody moves it, the cursor is where a running call is, and at the beginning of one that is over.
    if (this.model && !this.moved) this.cursor = this.model.over ? 0 : this.model.seconds;
    show(byId("follow"), Boolean(this.model) && !this.model.over);
    setAttribute(byId("follow"), "aria-pressed", this.following);
    this.redraw();
  }

  // The user's wish, or the recording's progress (`told`).
  move(seconds, told = false) {
    if (!this.model) return;
    this.moved = true;
    this.cursor = Math.max(0, Math.min(this.model.seconds, seconds));
    if (!told) this.seek(this.cursor);
    this.#intoView(this.cursor);
    this.redraw();
  }

  zoom(factor) {
    if (!this.model) return;
    const scale = Math.max(this.#fitting(), Math.min(MOST_SCALE, this.#scale() * factor));
    const middle = this.#left() + this.#width() / this.#scale() / 2;
    const inView = Math.abs(this.cursor - middle) <= this.#width() / this.#scale() / 2;
    const fixed = inView ? this.cursor : middle;
    const offset = (fixed - this.#left()) * this.#scale();
    this.scale = scale;
    this.#extend();
    if (this.#atEnd) this.box.scrollLeft = this.box.scrollWidth;
    else this.box.scrollLeft = fixed * scale - offset;
    this.redraw();
  }

  fit() {
    this.scale = this.model && !this.model.over ? this.#fitting() : null;
    this.redraw();
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.#draw();
    });
  }

  #width() {
    return this.box.clientWidth;
  }

  #fitting() {
    return Math.max(0.05, (this.#width() - 1) / this.model.seconds);
  }

  // The user's own; else all of a call that is over, and of a running one the last that there is room for.
  #scale() {
    const fitting = this.#fitting();
    if (this.scale !== null) return this.scale;
    return this.model.over ? fitting : LIVE_SCALE;
  }

  // Whether what is shown is held at the end of a running call.
  get #atEnd() {
    return this.following && this.model !== null && !this.model.over;
  }

  #left() {
    return this.box.scrollLeft / this.#scale();
  }

  #extend() {
    const width = Math.max(this.#width(), Math.ceil(this.model.seconds * this.#scale()));
    const value = `${width}px`;
    if (byId("extent").style.width !== value) byId("extent").style.width = value;
  }

  #draw() {
    const width = this.#width();
    if (!this.model || width === 0) return;
    this.#extend();
    if (this.#atEnd) this.box.scrollLeft = this.box.scrollWidth;
    this.canvas.style.width = `${width}px`;
    draw(this.canvas, this.model, {
      width, left: this.#left(), scale: this.#scale(), cursor: this.cursor, hover: this.hovered, colours: this.colours,
    });
    this.#tell();
  }

  #tell() {
    const near = Math.max(0.05, NEAR_PIXELS / this.#scale());
    const here = this.model.describe(this.cursor, near);
    setText(byId("readout"), this.hovered === null ? here : this.model.describe(this.hovered, near));
    setAttribute(this.box, "aria-valuemax", this.model.seconds.toFixed(1));
    setAttribute(this.box, "aria-valuenow", this.cursor.toFixed(1));
    if (document.activeElement !== this.box || this.told !== this.cursor) setAttribute(this.box, "aria-valuetext", here);
    this.told = this.cursor;
  }

  #timeOf(event) {
    return (event.clientX - this.box.getBoundingClientRect().left + this.box.scrollLeft) / (this.model ? this.#scale() : 1);
  }

  #hover(seconds) {
    this.hovered = seconds === null || !this.model || seconds > this.model.seconds ? null : Math.max(0, seconds);
    this.redraw();
  }

  #scrolled() {
    // Scrolled back by hand: no longer pulled to the end.
    if (this.#atEnd && this.box.scrollLeft + this.#width() < this.box.scrollWidth - 2) this.#follow(false);
    this.redraw();
  }

  #follow(wanted) {
    this.following = wanted;
    this.update();
  }

  #intoView(seconds) {
    const [place, width] = [seconds * this.#scale(), this.#width()];
    if (place < this.box.scrollLeft || place > this.box.scrollLeft + width) {
      this.following = false;
      this.box.scrollLeft = place - width / 4;
    }
  }

  #onWheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.zoom(event.deltaY < 0 ? ZOOM : 1 / ZOOM);
  }

  #onKey(event) {
    if (!this.model || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? LONG_STEP_SECONDS : STEP_SECONDS;
    const stops = this.model.stops;
    const doing = {
      ArrowLeft: () => this.move(this.cursor - step),
      ArrowDown: () => this.move(this.cursor - step),
      ArrowRight: () => this.move(this.cursor + step),
      ArrowUp: () => this.move(this.cursor + step),
      Home: () => this.move(0),
      End: () => this.move(this.model.seconds),
      PageDown: () => this.move(stops.find((stop) => stop > this.cursor + 0.01) ?? this.model.seconds),
      PageUp: () => this.move(stops.findLast((stop) => stop < this.cursor - 0.01) ?? 0),
      "+": () => this.zoom(ZOOM),
      "=": () => this.zoom(ZOOM),
      "-": () => this.zoom(1 / ZOOM),
      "0": () => this.fit(),
    }[event.key];
    if (!doing) return;
    event.preventDefault();
    doing();
  }
}
