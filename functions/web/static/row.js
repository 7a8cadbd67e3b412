/** One line of the list: a file that is uploaded, converted or finished, with what can be done to it. */

import { ask, call, isOpen } from "./api.js";
import { $, announce, copy, say } from "./page.js";
import { texts } from "./texts.js";

const UNDO_SECONDS = 7;
/** A link holds for 15 minutes. */
const LINK_MS = 14 * 60 * 1000;
const MARKS = { queued: "wait", converting: "wave", succeeded: "play", failed: "bad", cancelled: "stop", expired: "wait" };

/** The name of the MP3 that comes of a file. */
export const mp3Name = (name) => `${name.replace(/(?<=.)\.[a-z\d]{1,5}$/i, "")}.mp3`;

export class Row {
  element = copy("row");
  /** The job's id, which an upload gets when the server has heard of it. */
  id = null;
  name = "";
  job = null;
  /** What uploads the file, until it is there. */
  upload = null;
  /** Whether this tab saw it being made, so that its end is worth telling. */
  seen = false;
  /** Set while it can still be kept. */
  leaving = null;
  #list;
  #player = null;
  #linked = 0;
  #gone = false;

  /**
   * @param {object} list is told: changed(), gone(row), ended(), trouble(words)
   */
  constructor(list) {
    this.#list = list;
    this.element.row = this;
    const does = {
      play: () => this.#play(),
      cancel: () => (this.upload ? this.upload.cancel() : this.#act("cancel")),
      again: () => (this.upload ? this.upload.retry() : this.#act("retry")),
      delete: () => (this.upload ? this.upload.cancel() : this.#leave()),
      // Once it was asked for it is too late.
      undo: () => this.#gone || this.#stay(),
    };
    for (const [part, what] of Object.entries(does)) this.#part(part).addEventListener("click", what);
    this.#part("get").addEventListener("click", (event) => {
      if (this.#fresh()) return;
      event.preventDefault();
      this.link().then(() => this.#part("get").click()).catch((error) => say(this.#part("meta"), error.message));
    });
  }

  /** Show a job as the server tells it; what is older than what is shown already is not news. */
  showJob(job) {
    const was = this.job;
    if (was && (job.run < was.run || (job.run === was.run && isOpen(job) && !isOpen(was)))) return;
    this.job = job;
    this.id = job.id;
    this.upload = null;
    this.#linked = performance.now();
    this.seen ||= isOpen(job);
    if (!this.leaving) this.#show();
    if (this.seen && !isOpen(job) && (!was || isOpen(was))) {
      if (job.state === "succeeded") {
        this.#list.ended();
        this.#tell(texts.saidReady(this.name), texts.notifyReady);
        this.#open();
      } else if (job.state === "failed") this.#tell(texts.saidFailed(this.name, this.words()), texts.notifyFailed);
    }
  }

  /** Show an upload. */
  showUpload(upload) {
    // The stream may tell of the job before the upload hears that it is done.
    if (this.job) return;
    this.upload = upload;
    this.id = upload.id;
    this.seen = true;
    this.#show();
  }

  /** What is said of its state. */
  words() {
    const { job, upload } = this;
    if (upload) return upload.words();
    switch (job.state) {
      case "queued":
        return texts.queued;
      case "converting":
        return texts.converting(job.phase, job.percent);
      case "succeeded":
        return [texts.ready(job), ...job.omitted.map((each) => texts.omitted[each])].filter(Boolean).join(" · ");
      case "failed":
        return [job.message || texts.failed, texts.advice[job.reason]].filter(Boolean).join(" ");
      default:
        return job.state === "cancelled" ? texts.cancelled : texts.expiredJob;
    }
  }

  /** How far it is on the whole, from 0 to 100; null where nothing is going on. */
  progress() {
    if (this.leaving) return null;
    if (this.upload) return this.upload.going ? this.upload.percent / 2 : null;
    return isOpen(this.job) ? 50 + this.job.percent / 2 : null;
  }

  /** Resolve with a link to the MP3 that still holds. */
  async link() {
    if (!this.#fresh()) await this.refresh();
    return this.job.links.download;
  }

  /** Ask what has become of the job. */
  async refresh() {
    this.showJob(await ask("GET", `/jobs/${this.id}`));
  }

  /** Delete it now; at the end of the page the request outlives it. */
  async delete(keepalive = false) {
    clearTimeout(this.leaving);
    this.#gone = true;
    try {
      await call("DELETE", `/jobs/${this.id}`, { keepalive });
    } catch (error) {
      if (error.status !== 404) {
        this.#stay();
        return this.#list.trouble(error.message);
      }
    }
    this.#list.gone(this);
  }

  /** Start the download. */
  get() {
    this.#part("get").click();
  }

  async #act(what) {
    try {
      this.showJob(await ask("POST", `/jobs/${this.id}/${what}`));
      this.#list.trouble("");
    } catch (error) {
      // Where it has become something else meanwhile, that is what should be seen.
      if (error.status === 409) await this.refresh().catch(() => {});
      else if (error.status === 404) this.#list.gone(this);
      else this.#list.trouble(error.message);
    }
    this.#list.changed();
  }

  #leave() {
    this.leaving = setTimeout(() => this.delete(), UNDO_SECONDS * 1000);
    this.#player?.pause();
    this.#show();
    this.#part("undo").focus();
    announce(texts.saidDeleted(this.name));
    this.#list.changed();
  }

  #stay() {
    clearTimeout(this.leaving);
    this.leaving = null;
    this.#gone = false;
    this.#show();
    this.#part("delete").focus();
    this.#list.changed();
  }

  #tell(words, title) {
    announce(words);
    if (!document.hidden || globalThis.Notification?.permission !== "granted") return;
    // By its tag it is shown once, however many tabs there are.
    new Notification(title, { body: this.name, tag: this.id, icon: "icon.svg" }).onclick = () => focus();
  }

  #part(name) {
    return this.element.querySelector(`.${name}`);
  }

  #fresh() {
    return performance.now() - this.#linked < LINK_MS;
  }

  #show() {
    const { job, upload, leaving } = this;
    const state = leaving ? "deleted" : upload ? upload.state : job.state;
    const done = state === "succeeded";
    this.name = upload ? upload.name : job.state === "succeeded" ? mp3Name(job.filename) : job.filename;
    const running = this.progress() !== null;
    this.element.className = `row ${running ? "running" : state}`;
    const name = $("bdi", this.element);
    if (name.textContent !== this.name) name.textContent = name.title = this.name;
    const meta = this.#part("meta");
    say(meta, leaving ? texts.deleted : this.words());
    meta.title = done ? texts.readyUntil(job) : "";
    const mark = upload ? (upload.state === "failed" ? "bad" : "up") : MARKS[job.state];
    this.#icon(".mark", leaving ? "bin" : mark);
    this.#part("mark").toggleAttribute("hidden", done && !leaving);

    const progress = $("progress", this.element);
    progress.hidden = !running || ["queued", "checking", "waiting"].includes(state);
    // Without a value it only says that something is going on.
    if (upload ? upload.total : job.percent) progress.value = upload ? upload.percent : job.percent;
    else progress.removeAttribute("value");
    progress.ariaLabel = texts.progressOf(this.name);

    this.#offer("play", done && !leaving, this.#player?.playing ? texts.pauseOf(this.name) : texts.playOf(this.name));
    this.#icon(".play", this.#player?.playing ? "pause" : "play");
    this.#offer("get", done && !leaving, texts.downloadOf(this.name));
    if (done) {
      this.#part("get").href = job.links.download;
      this.#part("get").download = this.name;
    }
    const again = upload ? upload.again : job.links.retry && texts.retry;
    this.#offer("again", !leaving && again, again === texts.retry ? texts.retryOf(this.name) : `${again}: ${this.name}`);
    if (again) this.#part("again").textContent = again;
    this.#offer("cancel", !leaving && running, texts.cancelOf(this.name));
    this.#offer("delete", !leaving && !running, upload ? texts.removeOf(this.name) : texts.deleteOf(this.name));
    this.#offer("undo", leaving, texts.undoOf(this.name));
    if (this.#player) this.#player.hidden = Boolean(leaving) || !done;
  }

  #offer(part, offered, label) {
    const button = this.#part(part);
    // Who has it in the hand when it goes is not thrown back to the beginning of the page.
    if (!offered && button === document.activeElement) this.#refocus(button);
    button.hidden = !offered;
    button.ariaLabel = label;
    if (button.matches(".bare, .play")) button.title = label;
  }

  #refocus(gone) {
    queueMicrotask(() => {
      if (document.activeElement !== document.body && document.activeElement !== gone) return;
      $(".actions :not([hidden]):is(button, a)", this.element)?.focus();
    });
  }

  #icon(part, name) {
    const use = $(`${part} use`, this.element);
    if (use.getAttribute("href") !== `#i-${name}`) use.setAttribute("href", `#i-${name}`);
  }

  async #open() {
    if (this.#player) return;
    const { Player } = await import("./player.js");
    if (this.#player || this.job?.state !== "succeeded") return;
    this.#player = new Player(this);
    this.#player.addEventListener("change", () => this.#show());
    this.#player.hidden = Boolean(this.leaving);
    this.element.append(this.#player);
  }

  async #play() {
    await this.#open();
    this.#player?.toggle();
  }
}
