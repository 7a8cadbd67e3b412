/** Plays an MP3, with its waveform to find places by; loaded when something can be played. */

import { send } from "./api.js";
import { say } from "./page.js";
import { clock, texts } from "./texts.js";

const STEP_SECONDS = 5;
const LEAP_SECONDS = 30;
const HEAD_BYTES = 24;
let playing = null;

/**
 * The peaks in a waveform file of audiowaveform (version 2, 8 bit): the loudest of each stretch, from 0 to 127.
 * @returns {Uint8Array | null} null for anything else
 */
export function peaks(buffer) {
  if (buffer.byteLength < HEAD_BYTES) return null;
  const view = new DataView(buffer);
  const [version, flags, length, channels] = [0, 4, 16, 20].map((at) => view.getInt32(at, true));
  if (version !== 2 || flags !== 1 || channels !== 1 || length < 1 || buffer.byteLength < HEAD_BYTES + 2 * length) return null;
  const pairs = new Int8Array(buffer, HEAD_BYTES, 2 * length);
  return Uint8Array.from({ length }, (_, at) => Math.min(127, Math.max(-pairs[2 * at], pairs[2 * at + 1])));
}

/** Element of one row: a slider that shows where in the MP3 it is. It tells `change` when it begins or ends to play. */
export class Player extends HTMLElement {
  #row;
  #audio = new Audio();
  #slider = document.createElement("div");
  #canvas = document.createElement("canvas");
  #clock = document.createElement("span");
  #peaks = null;
  #retried = false;
  #watch = new ResizeObserver(() => this.#draw());
  #theme = matchMedia("(prefers-color-scheme: dark)");
  #drawn = () => this.#draw();

  /** @param {Row} row whose MP3 it plays */
  constructor(row) {
    super();
    this.#row = row;
    this.#audio.preload = "none";
    this.#slider.className = "seek";
    Object.assign(this.#slider, { role: "slider", tabIndex: 0, ariaLabel: texts.seekIn(row.name) });
    this.#clock.className = "clock";
    this.#slider.append(this.#canvas);
    for (const name of ["play", "pause", "ended"]) this.#audio.addEventListener(name, () => this.#changed());
    for (const name of ["timeupdate", "seeked", "durationchange"]) this.#audio.addEventListener(name, () => this.#show());
    this.#audio.addEventListener("error", () => this.#failed());
    this.#slider.addEventListener("keydown", (event) => this.#key(event));
    this.#slider.addEventListener("pointerdown", (event) => {
      this.#slider.setPointerCapture(event.pointerId);
      this.#point(event);
    });
    this.#slider.addEventListener("pointermove", (event) => this.#slider.hasPointerCapture(event.pointerId) && this.#point(event));
  }

  connectedCallback() {
    this.append(this.#slider, this.#clock);
    this.#watch.observe(this.#slider);
    this.#theme.addEventListener("change", this.#drawn);
    this.#show();
    this.#load();
  }

  disconnectedCallback() {
    this.pause();
    this.#watch.disconnect();
    this.#theme.removeEventListener("change", this.#drawn);
  }

  get playing() {
    return !this.#audio.paused && !this.#audio.ended;
  }

  get #duration() {
    return Number.isFinite(this.#audio.duration) ? this.#audio.duration : (this.#row.job.duration_seconds ?? 0);
  }

  /** Play, or stop playing. */
  async toggle() {
    if (this.playing) return this.#audio.pause();
    if (playing !== this) playing?.pause();
    playing = this;
    this.#retried = false;
    await this.#play();
  }

  pause() {
    this.#audio.pause();
  }

  async #play(at = this.#audio.currentTime) {
    try {
      // A link holds for some minutes; what plays already has its own.
      if (!this.#audio.src || this.#audio.error) {
        this.#audio.src = await this.#row.link();
        this.#audio.currentTime = at;
      }
      await this.#audio.play();
    } catch (error) {
      // The error event deals with what can't be loaded; a pause that came first is none.
      if (error.name !== "AbortError" && !this.#audio.error) say(this.#clock, texts.playFailed);
    }
  }

  async #failed() {
    const at = this.#audio.currentTime;
    this.#changed();
    if (this.#retried) return say(this.#clock, texts.playFailed);
    this.#retried = true;
    try {
      await this.#row.refresh();
      await this.#play(at);
    } catch {
      say(this.#clock, texts.playFailed);
    }
  }

  async #load() {
    if (!this.#row.job.links.waveform || this.#peaks) return;
    try {
      // Its link is as old as the other one, and signed: a refusal says nothing of the session.
      await this.#row.link();
      this.#peaks = peaks(await (await send("GET", this.#row.job.links.waveform)).arrayBuffer());
      this.#draw();
    } catch {
      // Without it there is a plain bar.
    }
  }

  #seek(seconds) {
    const to = Math.min(Math.max(0, seconds), this.#duration);
    // Where nothing is loaded yet it begins there.
    if (!this.#audio.src) this.#row.link().then((link) => Object.assign(this.#audio, { src: link, currentTime: to })).catch(() => {});
    this.#audio.currentTime = to;
    this.#show(to);
  }

  #point({ clientX }) {
    const { left, width } = this.#slider.getBoundingClientRect();
    this.#seek(((clientX - left) / width) * this.#duration);
  }

  #key(event) {
    const now = this.#audio.currentTime;
    const steps = { ArrowRight: STEP_SECONDS, ArrowUp: STEP_SECONDS, ArrowLeft: -STEP_SECONDS, ArrowDown: -STEP_SECONDS, PageUp: LEAP_SECONDS, PageDown: -LEAP_SECONDS };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in steps) this.#seek(now + steps[event.key]);
    else if (event.key === "Home") this.#seek(0);
    else if (event.key === "End") this.#seek(this.#duration);
    else if (event.key === " " || event.key === "Enter") this.toggle();
    else return;
    event.preventDefault();
  }

  #changed() {
    this.#show();
    this.dispatchEvent(new Event("change"));
  }

  #show(now = this.#audio.currentTime) {
    const end = this.#duration;
    say(this.#clock, `${clock(now)} / ${clock(end)}`);
    const slider = this.#slider;
    [slider.ariaValueMin, slider.ariaValueMax, slider.ariaValueNow] = ["0", String(Math.round(end)), String(Math.round(now))];
    slider.ariaValueText = texts.at(now, end);
    this.#draw(now);
  }

  #draw(now = this.#audio.currentTime) {
    const scale = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.#slider;
    if (!width) return;
    [this.#canvas.width, this.#canvas.height] = [width * scale, height * scale];
    const pen = this.#canvas.getContext("2d");
    const style = getComputedStyle(this);
    const [accent, rest] = ["--accent", "--edge"].map((name) => style.getPropertyValue(name));
    pen.scale(scale, scale);
    const reached = this.#duration ? (now / this.#duration) * width : 0;
    this.#slider.classList.toggle("wave", Boolean(this.#peaks));
    if (this.#peaks) this.#wave(pen, width, height, reached, accent, rest);
    else {
      for (const [color, to] of [[rest, width], [accent, reached]]) {
        pen.fillStyle = color;
        pen.fillRect(0, height / 2 - 2, to, 4);
      }
    }
    pen.fillStyle = accent;
    pen.beginPath();
    pen.arc(Math.min(Math.max(reached, 6), width - 6), height / 2, this.#peaks ? 0 : 6, 0, 2 * Math.PI);
    pen.fill();
  }

  #wave(pen, width, height, reached, accent, rest) {
    const all = this.#peaks;
    const loudest = all.reduce((most, each) => Math.max(most, each), 16);
    const bars = Math.max(1, Math.floor(width / 4));
    for (let bar = 0; bar < bars; bar++) {
      const from = Math.floor((bar / bars) * all.length);
      const part = all.subarray(from, Math.max(from + 1, Math.floor(((bar + 1) / bars) * all.length)));
      const loud = part.reduce((most, each) => Math.max(most, each), 0);
      const tall = Math.max(2, (loud / loudest) * height * 0.9);
      pen.fillStyle = (bar + 0.5) * (width / bars) <= reached ? accent : rest;
      pen.fillRect((bar * width) / bars, (height - tall) / 2, 2.5, tall);
    }
  }
}

customElements.define("mp3-player", Player);
