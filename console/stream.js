// The stream of states: opened, kept open, and opened again when it breaks or falls silent.

const SILENT_MS = 6000; // a state comes every 500 ms
const AGAIN_MS = [500, 1000, 2000, 5000];

export class Stream {
  // `on`: {state, call, lost, found}
  constructor(on) {
    this.on = on;
    this.asked = {};
    this.tries = 0;
    this.brokenSince = null;
    this.source = null;
    this.again = 0;
    this.lastHeard = Date.now();
    setInterval(() => this.#listen(), 1000);
  }

  // `asked`: {call, personal}; a stream for others is ended.
  open(asked) {
    this.asked = asked;
    this.#connect();
  }

  #connect() {
    clearTimeout(this.again);
    this.source?.close();
    this.lastHeard = Date.now();
    const query = new URLSearchParams();
    if (this.asked.call) query.set("call", this.asked.call);
    if (this.asked.personal) query.set("personal", "1");
    const source = new EventSource(`/events?${query}`);
    this.source = source;
    source.addEventListener("state", (event) => this.#heard(source, this.on.state, event.data));
    source.addEventListener("call", (event) => this.#heard(source, this.on.call, event.data));
    source.addEventListener("error", () => {
      // Closed by itself: it was answered, but with an error. Otherwise nobody answered.
      if (source === this.source) this.#broken(source.readyState === EventSource.CLOSED);
    });
  }

  #heard(source, tell, data) {
    if (source !== this.source) return;
    this.lastHeard = Date.now();
    this.tries = 0;
    if (this.brokenSince !== null) {
      this.brokenSince = null;
      this.on.found();
    }
    tell(JSON.parse(data));
  }

  #broken(refused = false) {
    this.brokenSince ??= Date.now();
    this.on.lost(this.brokenSince / 1000, refused);
    this.source.close(); // our own tries: the browser gives up for good when it is answered with an error
    clearTimeout(this.again);
    this.again = setTimeout(() => this.#connect(), AGAIN_MS[Math.min(this.tries, AGAIN_MS.length - 1)]);
    this.tries += 1;
  }

  #listen() {
    const silent = Date.now() - this.lastHeard > SILENT_MS;
    if (silent && this.source?.readyState !== EventSource.CLOSED) this.#broken();
  }
}
