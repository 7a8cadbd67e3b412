/** Uploads that were begun, remembered so that they go on after the page was left. */

import { $, memory } from "./page.js";
import { session } from "./session.js";
import { texts } from "./texts.js";
import { giveUp } from "./tus.js";

/** As long as the server keeps what is not finished, or longer: it is asked anyway. */
const REMEMBERED_MS = 24 * 60 * 60 * 1000;
const MOST_REMEMBERED = 50;
const LOCK = "video2mp3 upload ";

export class Unfinished {
  #mine = new Set();

  /** @param {Function} discarded is called when there may be more room */
  constructor(discarded) {
    $(".unfinished button").addEventListener("click", async () => {
      const { id } = await this.#left();
      this.forget(id);
      $("#choose").focus();
      // What stays is swept away by the server one day.
      await giveUp(id).catch(() => {});
      discarded();
    });
  }

  /** Show what was not finished the last time, and nobody goes on with. */
  async remind() {
    const last = await this.#left();
    $(".unfinished").hidden = !last;
    if (last) $(".unfinished span").textContent = texts.unfinished(last.name);
  }

  /** The id of an upload of this very file that nobody goes on with, or null. */
  async find(file) {
    const same = (each) => each.name === file.name && each.size === file.size && each.modified === file.lastModified;
    return (await this.#left(same))?.id ?? null;
  }

  /** Go on with an upload, here alone, until a promise is resolved. */
  take(id, over) {
    if (this.#mine.has(id)) return;
    this.#mine.add(id);
    navigator.locks?.request(LOCK + id, () => over);
    over.then(() => this.#mine.delete(id));
    this.remind();
  }

  remember(id, file) {
    const now = { id, name: file.name, size: file.size, modified: file.lastModified, at: Date.now() };
    memory.set(this.#name, [now, ...this.#all()].slice(0, MOST_REMEMBERED));
  }

  forget(id) {
    memory.set(this.#name, this.#all().filter((each) => each.id !== id));
    this.remind();
  }

  get #name() {
    return `uploads ${session.email}`;
  }

  #all() {
    return (memory.get(this.#name) ?? []).filter((each) => Date.now() - each.at < REMEMBERED_MS);
  }

  async #left(wanted = () => true) {
    // Another tab may be at it.
    const held = (await navigator.locks?.query())?.held.map((each) => each.name) ?? [];
    return this.#all().find((each) => wanted(each) && !this.#mine.has(each.id) && !held.includes(LOCK + each.id));
  }
}
