// The live feed of a page: server-sent events read by hand, because a browser's own reader hides the signs of life
// by which a cut network is told from a quiet yard.

const SILENT_MS = 4500, OFFLINE_MS = 30000, FIRST_RETRY_MS = 1000, LONGEST_RETRY_MS = 10000, CAUGHT_UP_MS = 3000;

export class Feed extends EventTarget {
  /** Tells "events" (a list), and "state": live, waiting or offline. `after` is the number of the last event known. */
  constructor(url, after) {
    super();
    this.url = url;
    this.after = after;
    this.heard = this.seen = Date.now();
    this.state = "live";
    this.ended = false;
    this.caughtUp = 0;
    this.away = document.hidden;
    this.retry = FIRST_RETRY_MS;
    this.watch = setInterval(() => this.look(), 500);
    document.addEventListener("visibilitychange", () => this.rest());
    this.run();
  }

  async run() {
    while (!this.ended) {
      if (document.hidden) await new Promise((resolve) => { this.wake = resolve; });
      this.abort = new AbortController();
      try {
        const address = `${this.url}?after=${this.after}`;
        const answer = await fetch(address, { signal: this.abort.signal, headers: { Accept: "text/event-stream" } });
        if (answer.status === 401 || answer.status === 403 || answer.status === 404) {
          if (answer.status === 401) location.reload();
          this.ended = true;
          break;
        }
        if (!answer.ok) throw new Error(answer.statusText);
        await this.read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
      } catch { /* said by the state of the connection */ }
      if (this.ended) break;
      if (document.hidden) continue;
      this.look();
      await new Promise((resolve) => setTimeout(resolve, this.retry));
      this.retry = Math.min(2 * this.retry, LONGEST_RETRY_MS);
    }
    clearInterval(this.watch);
    this.become("live");
  }

  async read(reader) {
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      this.hear();
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop();
      const told = parts.map(parsed);
      this.after = told.findLast((one) => one.id)?.id ?? this.after; // the first tells only where the feed begins
      const events = told.filter((one) => one.type);
      if (!events.length) continue;
      if (this.lagging) this.caughtUp += events.length;
      if (events.some((event) => event.type === "end")) this.ended = true;
      this.dispatchEvent(new CustomEvent("events", { detail: events }));
    }
  }

  /** Browsers keep six connections to a server, for all tabs together: one that nobody sees holds none of them. */
  rest() {
    if (document.hidden) {
      this.away = true;
      this.abort?.abort();
    } else {
      this.seen = Date.now();
      this.tried = 0;
      this.wake?.();
    }
  }

  hear() {
    this.heard = Date.now();
    this.retry = FIRST_RETRY_MS;
    if (this.state === "live" && !this.away) return;
    this.away = false;
    this.lagging = true;
    this.become("live");
    setTimeout(() => {
      const missed = this.caughtUp;
      this.lagging = false;
      this.caughtUp = 0;
      this.dispatchEvent(new CustomEvent("back", { detail: missed }));
    }, 600);
  }

  /** Has it been silent for too long? Then the connection is given up and made anew. */
  look() {
    const silent = Date.now() - Math.max(this.heard, this.seen);
    if (this.ended || document.hidden || silent < SILENT_MS) return;
    this.become(silent >= OFFLINE_MS ? "offline" : "waiting");
    if (silent - (this.tried || 0) >= SILENT_MS) {
      this.tried = silent;
      this.abort?.abort();
    }
  }

  become(state) {
    if (state === this.state) return;
    this.state = state;
    if (state === "live") this.tried = 0;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}

function parsed(part) {
  const fields = {};
  for (const line of part.split("\n")) {
    const at = line.indexOf(":");
    if (at > 0) fields[line.slice(0, at)] = line.slice(at + 1).trimStart();
  }
  return { ...(fields.data ? JSON.parse(fields.data) : {}), id: Number(fields.id) || 0, type: fields.event };
}

export { CAUGHT_UP_MS };
