/** What every part does with the document: finding, filling with words, saying aloud. */

import { texts } from "./texts.js";

/** The first element that a selector finds. */
export const $ = (selector, root = document) => root.querySelector(selector);

/** Put the words in that the markup names: data-text, data-label and data-hint hold their keys. */
export function fill(root) {
  for (const each of root.querySelectorAll("[data-text]")) each.textContent = texts[each.dataset.text];
  for (const each of root.querySelectorAll("[data-label]")) each.ariaLabel = texts[each.dataset.label];
  for (const each of root.querySelectorAll("[data-hint]")) each.placeholder = texts[each.dataset.hint];
}

/** A filled copy of a template's one element. */
export function copy(template) {
  const made = $(`template#${template}`).content.firstElementChild.cloneNode(true);
  fill(made);
  return made;
}

/** Set an element's words, and hide it where there are none. Only what differs is written, so nothing is read twice. */
export function say(element, words) {
  element.hidden = !words;
  if (element.textContent !== (words || "")) element.textContent = words || "";
}

/** Have a screen reader say something. */
export function announce(words) {
  const status = $("#status");
  const line = document.createElement("span");
  line.textContent = words;
  // What is said next must not take the place of what is not said yet.
  if (status.childElementCount > 4) status.firstElementChild.remove();
  status.append(line);
}

/** Remember something small beyond this visit, or read it; a browser that keeps nothing is no fault. */
export const memory = {
  get(name) {
    try {
      return JSON.parse(localStorage.getItem(`video2mp3 ${name}`));
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`video2mp3 ${name}`, JSON.stringify(value));
    } catch {
      // It is full or forbidden: the next visit begins without it.
    }
  },
};

/** Resolve after so many seconds, or as soon as the signal or the event on `window` comes. */
export function pause(seconds, { signal, event } = {}) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      if (event) removeEventListener(event, end);
      resolve();
    };
    const timer = setTimeout(end, seconds * 1000);
    if (event) addEventListener(event, end);
    signal?.addEventListener("abort", end);
    if (signal?.aborted) end();
  });
}
