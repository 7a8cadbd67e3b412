/** The queue of files on their way to the server; loaded when the first one is chosen. */

import { Problem } from "./api.js";
import { announce } from "./page.js";
import { session } from "./session.js";
import { texts } from "./texts.js";
import { Tus, giveUp, most } from "./tus.js";
import { Unfinished } from "./unfinished.js";

const AT_ONCE = 2;

/** One file from being chosen to being a job; `row` shows it. */
class Upload {
  id = null;
  /** checking, waiting, uploading, paused, failed; once it is there, the row is its job's. */
  state = "checking";
  sent = 0;
  speed = 0;
  /** What the row says instead of what goes with the state. */
  note = "";
  /** Whether trying again is of no use. */
  final = false;
  row = null;
  stop = new AbortController();
  /** Resolved when nothing more is done about it here. */
  over = new Promise((resolve) => this.stop.signal.addEventListener("abort", resolve));
  #samples = [];
  #nudge = new AbortController();
  #drawn = 0;

  constructor(file, fields) {
    [this.file, this.fields, this.name, this.total] = [file, fields, file.name, file.size];
  }

  /** Whether it is on its way, or will be. */
  get going() {
    return this.state !== "failed";
  }

  get percent() {
    return this.total ? (this.sent / this.total) * 100 : 0;
  }

  /** What the row's button offers. */
  get again() {
    return (this.state === "failed" && !this.final) || (this.state === "paused" && session.valid()) ? texts.retry : "";
  }

  words() {
    if (this.note) return this.note;
    if (this.state !== "uploading") return texts[this.state] ?? "";
    if (this.sent >= this.total) return texts.uploaded;
    const left = this.speed ? (this.total - this.sent) / this.speed : 0;
    return texts.uploading(this.sent, this.total, this.speed, left);
  }

  set(state, note = "") {
    [this.state, this.note] = [state, note];
    this.row?.showUpload(this);
  }

  /** So many bytes are there: draw it, but not for each of many small steps. */
  progress(bytes) {
    const now = performance.now();
    this.sent = bytes;
    this.#samples = [...this.#samples.filter(([when]) => now - when < 5000), [now, bytes]];
    const [[began, first]] = this.#samples;
    if (now - began > 500) this.speed = Math.max(0, (bytes - first) / ((now - began) / 1000));
    if (now - this.#drawn < 100 && bytes < this.total) return false;
    this.#drawn = now;
    this.row?.showUpload(this);
    return true;
  }

  /** Wait, with the reason; the signal that comes back ends the waiting. */
  wait(error, seconds) {
    this.#samples = [];
    this.speed = 0;
    this.#nudge = new AbortController();
    if (error.status === 401) this.set("paused", texts.signInFirst);
    else if (error.status && seconds > 5) this.set("paused", texts.heldBack(error.message, Date.now() + seconds * 1000));
    // What passes within moments is nothing to be told.
    else if (!error.status || seconds > 2) this.set("paused", error.status ? error.message : texts.interrupted(Math.round(seconds)));
    return this.#nudge.signal;
  }

  goOn() {
    this.#nudge.abort();
  }
}

/** All uploads of this tab. */
export class Uploads {
  #list;
  #options;
  #all = new Set();
  #most = Promise.resolve(0);
  #unfinished = new Unfinished(() => this.#list.bounded() && this.#list.refresh());

  /**
   * @param {List} list shows them
   * @param {Options} options of those that are added
   */
  constructor(list, options) {
    [this.#list, this.#options] = [list, options];
    addEventListener("beforeunload", (event) => {
      if ([...this.#all].some((each) => each.going)) event.preventDefault();
    });
  }

  /** Take files in; each is looked at, and then waits for its turn. */
  async add(files) {
    const fields = this.#options.fields();
    if (!fields) return;
    announce(texts.saidAdded(files.length));
    const limits = this.#list.bounded() && this.#list.refresh();
    // Also wakes the function meanwhile, where it sleeps.
    this.#most = most().catch(() => 0);
    for (const file of files) {
      const upload = new Upload(file, { filename: file.name, ...fields });
      this.#all.add(upload);
      upload.cancel = () => this.#cancel(upload);
      upload.retry = () => this.#retry(upload);
      upload.row = this.#list.add(upload);
    }
    this.#list.changed();
    await limits;
    for (const upload of [...this.#all].filter((each) => each.state === "checking")) await this.#check(upload);
  }

  /** Give all up, since somebody else signs in; what has begun may be resumed one day. */
  clear() {
    for (const upload of this.#all) this.#end(upload);
    this.remind();
  }

  /** Tell what was not finished the last time. */
  remind() {
    this.#unfinished.remind();
  }

  async #check(upload) {
    let refusal;
    try {
      upload.final = false;
      refusal = (await this.#noRoom(upload)) || (await this.#refusal(upload));
    } catch {
      refusal = texts.unreadableFile;
    }
    if (refusal) this.#fail(upload, refusal);
    else upload.set("waiting");
    this.#next();
  }

  /** Why it cannot be sent now, if so. */
  async #noRoom({ file, id }) {
    const { stored_bytes: room, upload_bytes: each } = this.#list.limits;
    if (!room?.limit || room.used + file.size <= room.limit || file.size > each?.limit) return "";
    // What was begun counts already.
    if (id || (await this.#unfinished.find(file))) return "";
    return texts.noRoom(file.size, room.limit - room.used);
  }

  /** Why it need not be sent at all, if so. */
  async #refusal(upload) {
    const { file } = upload;
    const { isSilent, look, notMedia } = await import("./check.js");
    const limit = this.#list.limits.upload_bytes?.limit || (await this.#most);
    const kind = notMedia(await look(file));
    const silent = await isSilent(file);
    upload.final = true;
    if (!file.size) return texts.empty;
    if (limit && file.size > limit) return texts.tooLarge(file.size, limit);
    if (kind) return texts.notMedia(texts.kinds[kind]);
    upload.final = silent;
    return silent ? texts.silent : "";
  }

  #next() {
    const busy = [...this.#all].filter((each) => each.state === "uploading" || each.state === "paused").length;
    const waiting = [...this.#all].filter((each) => each.state === "waiting");
    for (const upload of waiting.slice(0, Math.max(0, AT_ONCE - busy))) this.#run(upload);
    this.#list.changed();
  }

  async #run(upload) {
    const { file, fields } = upload;
    upload.set("uploading");
    const known = upload.id ?? (await this.#unfinished.find(file));
    if (known) this.#identify(upload, known);
    const does = {
      made: (id) => {
        this.#identify(upload, id);
        this.#unfinished.remember(id, file);
      },
      sent: (bytes) => upload.progress(bytes) && this.#list.changed(),
      waits: (error, seconds) => upload.wait(error, seconds),
      goes: () => upload.set("uploading"),
    };
    try {
      const id = await new Tus(file, fields, does, upload.stop.signal, known).run();
      this.#end(upload);
      this.#unfinished.forget(id);
      announce(texts.saidUploaded(upload.name));
      this.#list.identify(upload.row, id);
      await upload.row.refresh();
    } catch (error) {
      // What is no refusal is the file's own: it was moved or changed meanwhile.
      if (this.#all.has(upload)) this.#fail(upload, error instanceof Problem ? error.message : texts.unreadableFile);
    }
    this.#next();
  }

  #end(upload) {
    this.#all.delete(upload);
    upload.stop.abort();
  }

  #identify(upload, id) {
    upload.id = id;
    this.#unfinished.take(id, upload.over);
    this.#list.identify(upload.row, id);
  }

  #fail(upload, why) {
    upload.set("failed", why);
    announce(texts.saidFailed(upload.name, why));
  }

  #retry(upload) {
    if (upload.state === "paused") return upload.goOn();
    upload.set("checking");
    this.#check(upload);
  }

  #cancel(upload) {
    this.#end(upload);
    this.#list.remove(upload.row);
    if (upload.id) {
      this.#unfinished.forget(upload.id);
      // What stays is swept away by the server one day.
      giveUp(upload.id).catch(() => {});
    }
    this.#next();
  }
}
