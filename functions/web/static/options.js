/** How to convert: the form that is folded away, remembered from visit to visit. */

import { $, memory, say } from "./page.js";
import { texts } from "./texts.js";

/** Seconds in what people write as a time (90, 1:30, 1:02:03.5); null for nothing, NaN for what is none. */
export function seconds(text) {
  const written = text.trim().replace(",", ".");
  if (!written) return null;
  if (!/^(\d+:){0,2}\d+(\.\d+)?$/.test(written)) return NaN;
  return written.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}

/** The options of all uploads that begin from now on. */
export class Options {
  #details;
  #form;

  /** @param {HTMLDetailsElement} details with the form */
  constructor(details) {
    this.#details = details;
    this.#form = $("form", details);
    const { sound } = this.#form.elements;
    sound.append(...texts.sounds.map(([value, label]) => new Option(label, value, !value, !value)));
    for (const [name, value] of Object.entries(memory.get("options") ?? {})) {
      const field = this.#form.elements[name];
      if (field) field[field.type === "checkbox" ? "checked" : "value"] = value;
    }
    if (sound.selectedIndex < 0) sound.value = "";
    this.#form.addEventListener("input", () => this.#changed());
    this.#form.addEventListener("reset", () => setTimeout(() => this.#changed()));
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#changed();
  }

  /**
   * The options as the server spells them, without those that are left to it.
   * @returns {object | null} null where the form holds something wrong, which is shown
   */
  fields() {
    const { sound, start, end, mono, loudness } = this.#form.elements;
    if (!this.#check()) {
      this.#details.open = true;
      $("[aria-invalid=true]", this.#form).focus();
      return null;
    }
    const from = seconds(start.value);
    const to = seconds(end.value);
    return {
      ...Object.fromEntries(new URLSearchParams(sound.value)),
      ...(from ? { start: String(from) } : {}),
      ...(to ? { end: String(to) } : {}),
      ...(mono.checked ? { channels: "1" } : {}),
      ...(loudness.checked ? { loudness: "yes" } : {}),
    };
  }

  #check() {
    const { start, end } = this.#form.elements;
    const [from, to] = [seconds(start.value), seconds(end.value)];
    start.ariaInvalid = String(Number.isNaN(from));
    end.ariaInvalid = String(Number.isNaN(to) || (to !== null && to <= (from ?? 0)));
    const good = start.ariaInvalid === "false" && end.ariaInvalid === "false";
    const times = $("#times");
    times.textContent = good ? texts.times : texts.badTime;
    times.classList.toggle("wrong", !good);
    return good;
  }

  #changed() {
    const { sound, start, end, mono, loudness } = this.#form.elements;
    this.#check();
    const now = { sound: sound.value, start: start.value.trim(), end: end.value.trim(), mono: mono.checked, loudness: loudness.checked };
    memory.set("options", now);
    const label = sound.value ? sound.selectedOptions[0].label : "";
    // What is folded away should not surprise anybody.
    say($(".chosen", this.#details), texts.chosen({ ...now, sound: label, from: now.start, to: now.end }));
  }
}
