/** A resumable upload by tus 1.0 (https://tus.io/protocols/resumable-upload), in pieces that are never read whole. */

import { Problem, problem, send } from "./api.js";
import { pause } from "./page.js";
import { session } from "./session.js";

const PATH = "/uploads";
/** With the creation: as much as a look at the file needs. */
const FIRST_BYTES = 64 * 1024;
const PIECE_BYTES = 32 * 1024 * 1024;
/** A connection that carries nothing for so long is taken for dead; a function that has to be woken may take a while. */
const STILL_MS = 120_000;
const VERSION = { "Tus-Resumable": "1.0.0" };
/** Refusals of this file, or by somebody who has to do something first; anything else may pass. */
const FINAL = [403, 413, 415, 422, 507];

/** What the server takes at most, in bytes; 0 where it does not say. Asking also wakes it. */
export async function most() {
  const answer = await send("OPTIONS", PATH, { headers: VERSION });
  return Number(answer.headers.get("Tus-Max-Size")) || 0;
}

/** Give an upload up. */
export async function giveUp(id) {
  const token = await session.ready();
  await send("DELETE", `${PATH}/${id}`, { headers: { ...VERSION, Authorization: `Bearer ${token}` }, keepalive: true });
}

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

/** Upload-Metadata of some texts; a key without a value stands for the empty one. */
export const metadata = (fields) =>
  Object.entries(fields).map(([key, value]) => `${key} ${base64(String(value))}`.trim()).join(",");

/** One file on its way. */
export class Tus {
  /** The upload's id, which is the job's; null until it is made. */
  id = null;
  /** Bytes that the server is known to have. */
  offset = 0;
  #file;
  #fields;
  #does;
  #signal;

  /**
   * @param {Blob} file
   * @param {object} fields filename and options
   * @param {object} does what is told: made(id), sent(bytes), waits(problem, seconds) before a pause, goes() after it
   * @param {AbortSignal} signal stops it
   * @param {string | null} id of an upload that was begun already
   */
  constructor(file, fields, does, signal, id = null) {
    Object.assign(this, { id });
    [this.#file, this.#fields, this.#does, this.#signal] = [file, fields, does, signal];
  }

  /**
   * Upload the file to its end, through interruptions of any length; resolve with the job's id.
   * @throws {Problem} it is refused for good
   */
  async run() {
    // What an upload of an earlier visit has is the server's to say.
    let known = !this.id;
    for (let failures = 0; ; ) {
      const before = this.offset;
      try {
        if (!known) await this.#ask();
        known = true;
        if (!this.id) await this.#create();
        while (this.offset < this.#file.size) await this.#piece();
        return this.id;
      } catch (error) {
        this.#signal.throwIfAborted();
        // A file that can no longer be read breaks its requests as a line does; this tells them apart.
        if (!error.status) await this.#file.slice(this.offset, this.offset + 1).arrayBuffer();
        if (!(error instanceof Problem) || FINAL.includes(error.status)) throw error;
        // A body that broke off on its way is one as well; the same words three times are meant.
        if (error.status === 400 && failures > 2) throw error;
        known = !this.id;
        if (this.#begins(error)) continue;
        failures = this.offset > before ? 0 : failures + 1;
        await this.#wait(error, failures);
      }
    }
  }

  /** Whether it can go on at once. */
  #begins(error) {
    if ([404, 410].includes(error.status) && this.id) {
      // It is no longer kept, or was another account's: begin anew.
      this.id = null;
      this.offset = 0;
      return true;
    }
    return false;
  }

  async #wait(error, failures) {
    // The next request asks for a token.
    if (error.status === 401) session.end(error.token);
    else {
      // A disagreement about the offset is cleared up by asking.
      const least = error.status === 409 && failures < 2 ? 0 : Math.min(30, 2 ** (failures - 1));
      const seconds = Math.max(error.retryAfter, least);
      const retry = this.#does.waits(error, seconds);
      await pause(seconds, { signal: AbortSignal.any([this.#signal, retry]), event: "online" });
      this.#signal.throwIfAborted();
      this.#does.goes();
    }
  }

  async #token() {
    if (!session.valid()) {
      this.#does.waits(new Problem(401), 0);
      await session.ready(this.#signal);
      this.#does.goes();
    }
    return session.token;
  }

  async #ask() {
    const token = await this.#token();
    try {
      const headers = { ...VERSION, Authorization: `Bearer ${token}` };
      const answer = await send("HEAD", `${PATH}/${this.id}`, { headers, signal: this.#signal, cache: "no-store" });
      this.offset = Number(answer.headers.get("Upload-Offset"));
    } catch (error) {
      throw Object.assign(error, { token });
    }
    this.#does.sent(this.offset);
  }

  async #create() {
    const request = await this.#send("POST", PATH, this.#file.slice(0, FIRST_BYTES), {
      "Upload-Length": this.#file.size,
      "Upload-Metadata": metadata(this.#fields),
    });
    this.id = request.getResponseHeader("Location").split("/").pop();
    this.#does.made(this.id);
    this.#took(request);
  }

  async #piece() {
    const piece = this.#file.slice(this.offset, this.offset + PIECE_BYTES);
    this.#took(await this.#send("PATCH", `${PATH}/${this.id}`, piece, { "Upload-Offset": this.offset }));
  }

  #took(request) {
    this.offset = Number(request.getResponseHeader("Upload-Offset"));
    this.#does.sent(this.offset);
  }

  // fetch does not tell how far a body is.
  async #send(method, path, body, headers) {
    const token = await this.#token();
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    let still = setTimeout(stop, STILL_MS);
    try {
      await new Promise((resolve, reject) => {
        request.open(method, path);
        const all = { ...VERSION, ...headers, Authorization: `Bearer ${token}`, "Content-Type": "application/offset+octet-stream" };
        for (const [name, value] of Object.entries(all)) request.setRequestHeader(name, value);
        request.upload.onprogress = ({ loaded }) => {
          clearTimeout(still);
          still = setTimeout(stop, STILL_MS);
          this.#does.sent(this.offset + loaded);
        };
        request.onloadend = () => {
          const { status } = request;
          if (status >= 200 && status < 300) resolve();
          else reject(Object.assign(problem(status, request.responseText, request.getResponseHeader("Retry-After")), { token }));
        };
        this.#signal.addEventListener("abort", stop);
        request.send(body);
        if (this.#signal.aborted) stop();
      });
    } finally {
      clearTimeout(still);
      this.#signal.removeEventListener("abort", stop);
    }
    return request;
  }
}
