/** The page's beginning: shows who may see what. */

import { send } from "./api.js";
import { $, announce, fill } from "./page.js";
import { session } from "./session.js";
import { texts } from "./texts.js";

// First of all, so that the secret is in no history, whatever comes next.
const secret = location.hash.startsWith("#sign-in=") && decodeURIComponent(location.hash.slice(9));
if (secret) history.replaceState(null, "", location.pathname);

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
  const form = await import("./signin.js");
  if (session.state === state) form.show($("#sign-in"), state === "ended" ? texts.expired : why);
}

session.addEventListener("change", () => show());
$("#sign-out").addEventListener("click", async () => {
  await (await bench()).leave();
  session.leave();
  announce(texts.signedOut);
});
if (secret) {
  try {
    const answer = await (await send("POST", "/sign-in", { json: { secret } })).json();
    session.begin(answer.email, answer);
  } catch {
    await show(session.valid() ? "" : texts.linkUsed);
  }
} else await show();
