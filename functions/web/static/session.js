/** Who is signed in: a token for as long as a tab of this browser is open, shared by all of them. */

const STORED = "video2mp3 session";

/**
 * The session of this tab. Its event `change` tells that `state` is another one:
 * "none" nobody is signed in, "open" somebody is, "ended" somebody was and has to sign in again.
 */
class Session extends EventTarget {
  email = "";
  token = "";
  state = "none";
  /** Whether it came by an address that works once, so that there may be no password. */
  linked = false;
  #ends = 0;
  #tabs = new BroadcastChannel(STORED);

  constructor() {
    super();
    try {
      this.#take(JSON.parse(sessionStorage.getItem(STORED)));
    } catch {
      // No storage, or not what was stored: sign in.
    }
    this.#tabs.onmessage = ({ data }) => this.#told(data);
    if (!this.valid()) this.#tabs.postMessage({ asked: true });
  }

  /** Whether the token still holds, as far as this clock knows. */
  valid() {
    return this.state === "open" && Date.now() < this.#ends;
  }

  /** Begin a session with what the server answered to a sign-in. */
  begin(email, answer, linked = false) {
    // A little early, so that no upload sets out with a token that ends on its way.
    const seconds = Math.max(answer.expires_in - 5, answer.expires_in / 2);
    this.#take({ email, linked, token: answer.access_token, ends: Date.now() + seconds * 1000 });
    this.#share();
  }

  /** The server refused a token, or its time is over. */
  end(token) {
    if (this.state === "open" && token === this.token) this.#change("ended");
  }

  /** Sign out, in every tab. */
  leave() {
    this.#tabs.postMessage({ left: this.email });
    this.#forget();
  }

  /** Resolve with a token that holds, once there is one; reject where the signal says so. */
  async ready(signal) {
    if (this.state === "open" && !this.valid()) this.end(this.token);
    while (!this.valid()) {
      signal?.throwIfAborted();
      await new Promise((resolve) => {
        this.addEventListener("change", resolve, { once: true });
        signal?.addEventListener("abort", resolve, { once: true });
      });
    }
    signal?.throwIfAborted();
    return this.token;
  }

  #told({ asked, left, session }) {
    if (asked && this.valid()) this.#share();
    else if (left && left === this.email) this.#forget();
    else if (session && !this.valid() && [session.email, ""].includes(this.email)) this.#take(session);
  }

  #share() {
    this.#tabs.postMessage({ session: { email: this.email, linked: this.linked, token: this.token, ends: this.#ends } });
  }

  #take(session) {
    if (!session?.token || session.ends < Date.now()) return;
    ({ email: this.email, linked: this.linked, token: this.token, ends: this.#ends } = session);
    this.#store(session);
    this.#change("open");
  }

  #forget() {
    this.email = this.token = "";
    this.#store(null);
    this.#change("none");
  }

  #store(session) {
    try {
      if (session) sessionStorage.setItem(STORED, JSON.stringify(session));
      else sessionStorage.removeItem(STORED);
    } catch {
      // Without a storage the session ends with the page.
    }
  }

  #change(state) {
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }
}

export const session = new Session();
