/** What happens to the jobs, as it happens: one event stream for all tabs of this browser. */

import { call } from "./api.js";
import { pause } from "./page.js";
import { session } from "./session.js";

/** The server looks back two seconds when a stream begins. */
const OVERLAP_MS = 1500;
/** It says something every five seconds, once it is awake. */
const SILENT_MS = 20_000;
const WAKING_MS = 60_000;

export class Live {
  #list;
  #name = "";
  #tabs = null;
  #held = null;
  #heard = -Infinity;

  /** @param {List} list is told */
  constructor(list) {
    this.#list = list;
    document.addEventListener("visibilitychange", () => this.#look());
    list.addEventListener("change", () => this.#look());
  }

  /** Begin to tell of an account's jobs. */
  start(email) {
    this.#name = `video2mp3 jobs ${email}`;
    this.#tabs = new BroadcastChannel(this.#name);
    this.#tabs.onmessage = ({ data }) => this.#hear(data);
    this.#look();
  }

  /** Stop it. */
  stop() {
    this.#tabs?.close();
    this.#tabs = null;
    this.#look();
  }

  // A stream keeps a function from scaling to zero, so a page that nobody sees holds one only while something goes on.
  #look() {
    const wanted = this.#tabs && (!document.hidden || this.#list.busy());
    if (wanted && !this.#held) this.#hold();
    else if (!wanted && this.#held) {
      this.#held.abort();
      this.#held = null;
    }
  }

  #hold() {
    const { signal } = (this.#held = new AbortController());
    const listen = () => this.#listen(signal);
    // Pages that did not come safely (http, not localhost) have no locks: each of them listens for itself.
    const held = navigator.locks ? navigator.locks.request(this.#name, { signal }, listen) : listen();
    held.catch((error) => {
      if (!signal.aborted) throw error;
    });
  }

  async #listen(signal) {
    for (let failures = 0; !signal.aborted; ) {
      let wait = 0;
      try {
        await session.ready(signal);
        await this.#read(signal);
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        failures++;
        wait = Math.max(error.retryAfter ?? 0, Math.min(30, 2 ** failures));
      }
      // Until there is a stream again, asking now and then has to do.
      for (; wait > 0 && !signal.aborted; wait -= 4) {
        this.#tell({ refresh: true });
        await pause(Math.min(4, wait), { signal, event: "online" });
      }
    }
  }

  async #read(signal) {
    const silence = new AbortController();
    const stop = () => silence.abort();
    signal.addEventListener("abort", stop);
    let timer = setTimeout(stop, WAKING_MS);
    try {
      const answer = await call("GET", "/jobs/events", { signal: silence.signal });
      const missed = performance.now() - Math.max(this.#heard, this.#list.asked) > OVERLAP_MS;
      if (missed) this.#tell({ refresh: true });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        clearTimeout(timer);
        timer = setTimeout(stop, SILENT_MS);
        this.#heard = performance.now();
        const events = (text + value).split("\n\n");
        text = events.pop();
        events.forEach((event) => this.#event(event));
      }
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
  }

  #event(text) {
    const field = (name) => text.match(new RegExp(`^${name}: (.*)$`, "m"))?.[1];
    if (field("event") === "job") this.#tell({ job: JSON.parse(field("data")) });
    else if (field("event") === "deleted") this.#tell({ deleted: JSON.parse(field("data")).id });
  }

  #tell(news) {
    this.#tabs?.postMessage(news);
    this.#hear(news);
  }

  #hear({ job, deleted, refresh }) {
    if (job) this.#list.onJob(job);
    else if (deleted) this.#list.onDeleted(deleted);
    else if (refresh) this.#list.refresh();
  }
}
