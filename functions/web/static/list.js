/** The list of files: what the history tells, what is uploaded meanwhile, and what people do to it. */

import { ask } from "./api.js";
import { $, announce, pause, say } from "./page.js";
import { texts } from "./texts.js";

const PAGE = 30;

export class List extends EventTarget {
  /** What bounds the next upload, as GET /jobs tells it. */
  limits = {};
  /** When the history was last asked for, so that nobody asks twice. */
  asked = -Infinity;
  #rows = new Set();
  #Row = null;
  #next = null;
  #search = "";
  #asking = 0;
  #whole = false;
  #ready = 0;
  #loaded = false;
  #element = $("#list");

  constructor() {
    super();
    let typing;
    $("#search").addEventListener("input", ({ target }) => {
      clearTimeout(typing);
      typing = setTimeout(() => this.#find(target.value.trim()), 250);
    });
    $("#more").addEventListener("click", () => this.#more());
    $("#get-all").addEventListener("click", () => this.#getAll());
    $("#notify").addEventListener("click", async () => {
      await Notification.requestPermission();
      this.changed();
    });
    addEventListener("pagehide", () => this.settle(true));
    addEventListener("visibilitychange", () => {
      this.#ready = 0;
      this.changed();
    });
  }

  /** Load the history of who has signed in. */
  begin() {
    return this.refresh();
  }

  /** Forget everything, since somebody else signs in. */
  clear() {
    this.#asking++;
    this.#whole = false;
    this.#rows.clear();
    this.#element.replaceChildren();
    [this.#next, this.#search, this.#loaded, this.limits] = [null, "", false, {}];
    $("#search").value = "";
    this.changed();
  }

  /** Whether anything is on its way. */
  busy() {
    return [...this.#rows].some((row) => row.progress() !== null);
  }

  /**
   * Bring the newest page of the history up to date.
   * @param {boolean} anew whether nothing else stays, as where another search begins
   */
  async refresh({ anew = false } = {}) {
    const before = new Set(this.#rows);
    // Whoever asks later answers for the one before.
    this.#whole ||= anew;
    const asking = ++this.#asking;
    this.asked = performance.now();
    let page;
    try {
      page = await ask("GET", this.#address());
    } catch (error) {
      if (asking === this.#asking) say($("#trouble"), error.message);
      return;
    }
    if (page.jobs.length) await this.ready();
    if (asking !== this.#asking) return;
    say($("#trouble"), "");
    const told = new Set(page.jobs.map((job) => job.id));
    const oldest = page.next && page.jobs.at(-1).id;
    // Where nothing of what was shown is on it there is a gap, which more pages would not fill.
    const whole = this.#whole || ![...before].some((row) => told.has(row.id));
    this.#whole = false;
    for (const row of before) {
      if (row.upload || told.has(row.id)) continue;
      if (whole || !oldest || row.id > oldest) this.#drop(row);
    }
    // Pages that were opened stay open.
    if (whole || !page.next) this.#next = page.next;
    this.#loaded = true;
    for (const job of page.jobs) this.#put(job);
    this.limits = page.limits;
    this.changed();
    if (anew && this.#search) announce(texts.saidFound(page.jobs.length, page.next));
  }

  /** Resolve when rows can be made: the first visit needs none. */
  async ready() {
    this.#Row ??= (await import("./row.js")).Row;
  }

  /** A job changed. */
  async onJob(job) {
    await this.ready();
    const row = this.#row(job.id);
    const plain = (text) => text.normalize().toLowerCase();
    const found = plain(job.filename).includes(plain(this.#search));
    const reached = !this.#next || job.id > this.#next.split("before=")[1].slice(0, 36);
    if (row || (found && reached)) this.#put(job);
    this.changed();
  }

  /** A job was deleted, here or elsewhere. */
  onDeleted(id) {
    const row = this.#row(id);
    if (row) this.remove(row);
  }

  /** Add a row on top for a file that is uploaded, when `ready` was. */
  add(upload) {
    const row = this.#made();
    row.showUpload(upload);
    this.#element.prepend(row.element);
    return row;
  }

  /** An upload has got its id: a row that the stream has made of it meanwhile is the same. */
  identify(row, id) {
    const twin = this.#row(id);
    row.id = id;
    if (!twin || twin === row) return;
    this.#drop(twin);
    row.showJob(twin.job);
  }

  /** Take a row away. */
  remove(row) {
    this.#drop(row);
    this.changed();
    // There is more room now.
    if (row.job && this.bounded()) this.refresh();
  }

  /** Whether what an account may have is bounded, so that it counts what it has. */
  bounded() {
    return Object.values(this.limits).some((each) => each.limit && "used" in each);
  }

  /** Delete now what waits for it; at the end of the page the requests outlive it. */
  async settle(keepalive = false) {
    await Promise.all([...this.#rows].filter((row) => row.leaving).map((row) => row.delete(keepalive)));
  }

  /** Show what is true of the list as a whole. */
  changed() {
    const rows = [...this.#rows];
    const going = rows.map((row) => row.progress()).filter((each) => each !== null);
    const ready = rows.filter((row) => row.job?.state === "succeeded" && !row.leaving);
    const percent = going.reduce((sum, each) => sum + each, 0) / going.length;
    document.title = going.length ? texts.titleRunning(Math.floor(percent)) : this.#ready ? texts.titleReady(this.#ready) : texts.title;
    this.#element.hidden = !rows.length;
    say($("#none"), rows.length || !this.#loaded ? "" : this.#search ? texts.noneFound : texts.none);
    say($("#get-all"), ready.length > 1 ? texts.getAll(ready.length) : "");
    $(".more").hidden = !this.#next;
    $(".search").hidden = !this.#search && rows.length < 2;
    $("#notify").hidden = !going.length || globalThis.Notification?.permission !== "default";
    this.#showLimits();
    this.dispatchEvent(new Event("change"));
  }

  #showLimits() {
    const { upload_bytes: each, stored_bytes: room, jobs_per_hour: hourly } = this.limits;
    const line = $(".limits");
    const words = [each?.limit ? texts.limitEach(each.limit) : texts.noLimit];
    const left = (what) => Math.max(0, what.limit - what.used);
    if (room?.limit) words.push(texts.room(left(room), room.limit));
    // It matters when it comes near.
    if (hourly?.limit && left(hourly) <= Math.max(3, hourly.limit / 5)) words.push(texts.hourly(left(hourly), hourly.limit));
    line.classList.toggle("near", Boolean((room?.limit && left(room) < room.limit / 20) || (hourly?.limit && !left(hourly))));
    say(line, words.join(" "));
  }

  #address() {
    return `/jobs?limit=${PAGE}${this.#search ? `&search=${encodeURIComponent(this.#search)}` : ""}`;
  }

  #row(id) {
    return [...this.#rows].find((row) => row.id === id);
  }

  #made() {
    const row = new this.#Row({
      changed: () => this.changed(),
      gone: (row) => this.remove(row),
      trouble: (words) => say($("#trouble"), words),
      ended: () => (this.#ready += document.hidden),
    });
    this.#rows.add(row);
    return row;
  }

  #put(job) {
    const known = this.#row(job.id);
    const row = known ?? this.#made();
    row.showJob(job);
    if (known) return;
    const later = [...this.#element.children].find((each) => each.row.id && each.row.id < job.id);
    this.#element.insertBefore(row.element, later ?? null);
  }

  #drop(row) {
    clearTimeout(row.leaving);
    row.leaving = null;
    if (row.element.contains(document.activeElement)) {
      const beside = row.element.nextElementSibling ?? row.element.previousElementSibling;
      ($(".actions :not([hidden]):is(button, a)", beside ?? document.createElement("p")) ?? $("#files-title")).focus();
    }
    row.element.remove();
    this.#rows.delete(row);
  }

  async #find(search) {
    if (search === this.#search) return;
    this.#search = search;
    await this.refresh({ anew: true });
  }

  async #more() {
    const search = this.#search;
    try {
      const page = await ask("GET", this.#next);
      if (search !== this.#search) return;
      this.#next = page.next;
      const known = this.#rows.size;
      for (const job of page.jobs) this.#put(job);
      // The button may be gone, and what is new is what was asked for.
      $(".actions :not([hidden]):is(button, a)", this.#element.children[known] ?? this.#element)?.focus();
      say($("#trouble"), "");
    } catch (error) {
      say($("#trouble"), error.message);
    }
    this.changed();
  }

  async #getAll() {
    for (const { row } of [...this.#element.children]) {
      if (row.job?.state !== "succeeded" || row.leaving) continue;
      try {
        await row.link();
        row.get();
      } catch (error) {
        say($("#trouble"), error.message);
      }
      // Browsers take several downloads for one where they come at once.
      await pause(0.4);
    }
  }
}
