/** What the page is for, once somebody is signed in: files are dropped, and a list shows what becomes of them. */

import { List } from "./list.js";
import { Live } from "./live.js";
import { $, memory, say } from "./page.js";
import { texts } from "./texts.js";

export class Work {
  #list = new List();
  #live = new Live(this.#list);
  #options = null;
  #uploads = null;
  #email = "";

  constructor() {
    // Most people never open them; what was chosen the last time has to be shown.
    if (memory.get("options")) this.#form();
    $("#options").addEventListener("toggle", () => this.#form(), { once: true });
    // What will be needed is there before, also if the line is not; but nobody waits for it at the first load.
    const ahead = ["uploads", "check", "row", "player"];
    const load = () => ahead.splice(0).forEach((name) => import(`./${name}.js`).catch(() => {}));
    for (const name of ["pointermove", "pointerdown", "keydown"]) addEventListener(name, load, { once: true });
    $("#choose").addEventListener("click", () => $("#files").click());
    $("#files").addEventListener("change", ({ target }) => {
      this.#add([...target.files]);
      // So that the same file can be chosen again.
      target.value = "";
    });
    // Files may be dropped anywhere: beside the place they would replace the page.
    for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
      addEventListener(name, (event) => {
        if (!event.dataTransfer?.types.includes("Files")) return;
        event.preventDefault();
        $("#drop").classList.toggle("over", name === "dragenter" || name === "dragover");
        if (name === "drop") this.#drop(event.dataTransfer);
      });
    }
  }

  /** Begin anew for an account, or for nobody: whatever belongs to another one goes. */
  async open(email) {
    if (email === this.#email) return;
    this.#email = email;
    this.#live.stop();
    this.#list.clear();
    if (this.#uploads) (await this.#uploads).clear();
    if (!email) return;
    this.#list.begin();
    this.#live.start(email);
    if (memory.get(`uploads ${email}`)?.length) (await this.#queue()).remind();
  }

  /** Do what is still to be done in this account's name. */
  leave() {
    return this.#list.settle();
  }

  #form() {
    this.#options ??= import("./options.js").then(({ Options }) => new Options($("#options")));
    return this.#options;
  }

  #queue() {
    this.#uploads ??= Promise.all([import("./uploads.js"), this.#form(), this.#list.ready()]).then(
      ([{ Uploads }, options]) => new Uploads(this.#list, options),
    );
    return this.#uploads;
  }

  async #drop(data) {
    // It is empty once this event is over.
    const files = [...data.files];
    const entries = [...data.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    if (!entries.some((entry) => entry.isDirectory)) return this.#add(files);
    say($("#trouble"), "");
    const folders = await import("./folders.js").catch(() => null);
    if (!folders) return say($("#trouble"), texts.reload);
    try {
      const found = await folders.files(entries);
      if (found.length) this.#add(found);
      else say($("#trouble"), texts.emptyFolder);
    } catch {
      say($("#trouble"), texts.unreadFolder);
    }
  }

  async #add(files) {
    if (!files.length || !this.#email) return;
    try {
      (await this.#queue()).add(files);
    } catch {
      this.#uploads = null;
      say($("#trouble"), texts.reload);
    }
  }
}
