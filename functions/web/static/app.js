/** The page's beginning: shows who may see what. */

import { send } from "./api.js";
import { $, announce, fill } from "./page.js";
import { session } from "./session.js";
import * as form from "./signin.js";
import { texts } from "./texts.js";

/** The secret in an address like /#sign-in=SECRET, which is taken out of it, so that it is in no history. */
function secretOf({ hash, pathname }) {
  if (!hash.startsWith("#sign-in=")) return "";
  history.replaceState(null, "", pathname);
  return hash.slice("#sign-in=".length);
}

// First of all, whatever comes next.
const secret = secretOf(location);

document.documentElement.lang = texts.lang;
document.documentElement.dir = texts.dir;
fill(document);

let shown = "";
let work = null;

/** What is for those who are signed in. */
function bench() {
  work ??= import("./work.js").then(({ Work }) => new Work());
  return work;
}

/** Show what fits the session. */
async function show(why = "") {
  const { state, email } = session;
  if (email !== shown) {
    shown = email;
    // It is shown when it can do something.
    if (email || work) (await bench()).open(session.email);
  }
  if (session.state !== state) return;
  $("#work").hidden = !email;
  $(".who").hidden = !email;
  $(".email").textContent = $(".email").title = email;
  $("#welcome").hidden = state === "open";
  $("#welcome").classList.toggle("again", state === "ended");
  if (state === "open") return $("#sign-in").replaceChildren();
  form.show($("#sign-in"), why || (state === "ended" ? (session.linked ? texts.expiredLink : texts.expired) : ""));
}

session.addEventListener("change", () => show());
$("#sign-out").addEventListener("click", async () => {
  if (session.valid()) await (await bench()).leave();
  session.leave();
  announce(texts.signedOut);
});

/** Sign in by a secret that works once. */
async function exchange(secret) {
  try {
    const answer = await (await send("POST", "/sign-in", { json: { secret } })).json();
    session.begin(answer.email, answer, true);
  } catch (error) {
    if (!session.valid()) await show(error.status === 401 ? texts.linkUsed : error.message);
  }
}

// An address that is opened in this very tab loads nothing anew.
addEventListener("hashchange", () => {
  const secret = secretOf(location);
  if (secret) exchange(secret);
});
if (secret) await exchange(secret);
if (!secret || session.valid()) await show();
