/** The form by which people sign in or make an account. */

import { send } from "./api.js";
import { $, announce, copy, say } from "./page.js";
import { session } from "./session.js";
import { texts } from "./texts.js";

/** Sign in with an address and a password. */
async function signIn(email, password) {
  // Basic takes bytes: those of UTF-8 (RFC 7617).
  const bytes = new TextEncoder().encode(`${email}:${password}`);
  const basic = btoa(String.fromCharCode(...bytes));
  const answer = await send("POST", "/login", { headers: { Authorization: `Basic ${basic}`, Accept: "application/json" } });
  session.begin(email.trim().toLowerCase(), await answer.json());
}

/**
 * Show the form.
 * @param {Element} place where
 * @param {string} why a sentence above it
 */
export function show(place, why) {
  const form = copy("sign-in-form");
  const [title, go, other, password] = ["h2", ".go", ".other", "[name=password]"].map((part) => $(part, form));
  let making = false;

  function set(on) {
    making = on;
    title.textContent = on ? texts.register : texts.signIn;
    go.textContent = on ? texts.goRegister : texts.signIn;
    $("span", other).textContent = on ? texts.known : texts.newHere;
    $("button", other).textContent = on ? texts.signIn : texts.register;
    $(".rule", form).hidden = !on;
    password.autocomplete = on ? "new-password" : "current-password";
    password.minLength = on ? 8 : 0;
    say($("[role=alert]", form), "");
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { email } = form.elements;
    go.disabled = true;
    say($("[role=alert]", form), "");
    try {
      if (making) await send("POST", "/register", { json: { email: email.value, password: password.value } });
      await signIn(email.value, password.value);
      announce(texts.signedIn);
    } catch (error) {
      say($("[role=alert]", form), error.status === 401 ? texts.wrongLogin : error.message);
      // An account that was made just now is not made again.
      if (error.status === 401 && making) set(false);
      password.focus();
    } finally {
      go.disabled = false;
    }
  });
  $("button", other).addEventListener("click", () => {
    set(!making);
    form.elements.email.focus();
  });
  set(false);
  say($(".why", form), why);
  form.elements.email.value = session.email;
  place.replaceChildren(form);
  // Whoever was in the middle of something is brought to what it needs; nobody else is moved.
  if (session.state === "ended") password.focus();
}
