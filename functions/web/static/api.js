/** Requests to the functions, and what their refusals say (RFC 9457). */

import { session } from "./session.js";
import { texts } from "./texts.js";

/** A request that was refused (status), or that reached nobody (status 0). */
export class Problem extends Error {
  /**
   * @param {number} status of the answer, 0 for none
   * @param {object} document the problem document, as far as there is one
   * @param {number} retryAfter seconds that the server asks to wait, 0 where it says none
   */
  constructor(status, document = {}, retryAfter = 0) {
    super(document.detail || (status ? texts.unexpected : texts.offline));
    this.status = status;
    this.document = document;
    this.retryAfter = retryAfter;
  }
}

/** The problem in an answer's text. */
export function problem(status, text, retryAfter) {
  let document;
  try {
    document = JSON.parse(text);
  } catch {
    // What stands between us and the functions may answer in words of its own, which are nobody's business.
  }
  return new Problem(status, document ?? {}, Number(retryAfter) || 0);
}

/**
 * Send a request without a token; its answer, which is a success.
 * @throws {Problem}
 */
export async function send(method, path, { json, headers, ...more } = {}) {
  let answer;
  const body = json && JSON.stringify(json);
  const kind = json && { "Content-Type": "application/json" };
  try {
    // Omitted, since a refusal must not bring up the browser's own question for a password.
    answer = await fetch(path, { method, body, headers: { ...kind, ...headers }, credentials: "omit", ...more });
  } catch (error) {
    if (more.signal?.aborted) throw error;
    throw new Problem(0);
  }
  if (!answer.ok) throw problem(answer.status, await answer.text().catch(() => ""), answer.headers.get("Retry-After"));
  return answer;
}

/**
 * Send a request with the token. Where that is refused, wait until somebody has signed in again, and send it again.
 * @throws {Problem}
 */
export async function call(method, path, { headers, ...more } = {}) {
  for (;;) {
    const token = await session.ready(more.signal);
    try {
      return await send(method, path, { headers: { ...headers, Authorization: `Bearer ${token}` }, ...more });
    } catch (error) {
      if (error.status !== 401) throw error;
      session.end(token);
    }
  }
}

/** The JSON that a request with the token is answered. */
export const ask = async (method, path, more) => (await call(method, path, more)).json();

/** Whether a job has not ended. */
export const isOpen = (job) => ["queued", "converting"].includes(job?.state);
