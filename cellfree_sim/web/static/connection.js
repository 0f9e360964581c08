// The server: a stream of the run's state, which is taken up again whenever it breaks, and orders.

const KEY = "cellfree-token";
const SILENCE_MS = 6000;
const RETRY_MS = [500, 1000, 2000, 4000];

/** The token of the address that opened this page; the tab keeps it, the address bar does not. */
function takeToken() {
  const given = location.hash.slice(1);
  let kept = given;
  try {
    if (given) sessionStorage.setItem(KEY, given);
    kept = sessionStorage.getItem(KEY) ?? "";
  } catch {
    return given; // storage is switched off: the address bar keeps it
  }
  if (given) history.replaceState(null, "", location.pathname);
  return kept;
}

// A new address pasted into this tab differs after '#' only, for which browsers load nothing.
addEventListener("hashchange", () => location.reload());

export class Refused extends Error {}

/** A page whose token the server does not know can only be opened anew. */
class Stranger extends Refused {}

export class Connection {
  /**
   * @param onState is given the parts of the state that are new and the server's time, s.
   * @param onLink is told how the connection does: "live", "connecting", "gone", "ended" or "stranger".
   */
  constructor(onState, onLink) {
    this.token = takeToken();
    this.onState = onState;
    this.onLink = onLink;
  }

  /** Listen for ever. */
  async listen() {
    let link = "gone";
    for (let failures = 0; ; failures += 1) {
      try {
        await this.#stream(() => {
          failures = 0;
          link = "gone"; // unless it takes its leave
        });
      } catch (error) {
        if (error instanceof Stranger) {
          this.onLink("stranger", error.message);
          return;
        }
        if (error === "ended") link = "ended";
      }
      this.onLink(link);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]));
    }
  }

  /** Ask for a change; what came of it. Throws `Refused` with the reason where it is refused. */
  async order(name, facts = {}) {
    let response;
    try {
      response = await fetch(`/api/orders/${name}`, {
        method: "POST",
        headers: { ...this.#headers(), "Content-Type": "application/json" },
        body: JSON.stringify(facts),
      });
    } catch {
      throw new Refused("the server of this page does not answer; whether the run was told is not known");
    }
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Refused(answer.error ?? `the server answered ${response.status}`);
    return answer.done;
  }

  #headers() {
    return { Authorization: `Bearer ${this.token}` };
  }

  async #stream(onFirst) {
    const stop = new AbortController();
    let watchdog = setTimeout(() => stop.abort(), SILENCE_MS);
    try {
      const response = await fetch("/api/events", { headers: this.#headers(), signal: stop.signal });
      if (response.status === 401 || response.status === 403) throw new Stranger((await response.json()).error);
      if (!response.ok) throw new Error(String(response.status));
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let buffer = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(watchdog);
        watchdog = setTimeout(() => stop.abort(), SILENCE_MS);
        buffer += value;
        for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n")) {
          this.#event(buffer.slice(0, end));
          buffer = buffer.slice(end + 2);
          onFirst();
        }
      }
    } finally {
      clearTimeout(watchdog);
      stop.abort();
    }
  }

  #event(text) {
    const fields = Object.fromEntries(text.split("\n").map((line) => line.split(/: (.*)/s)));
    if (fields.event === "goodbye") throw "ended";
    const { now, parts } = JSON.parse(fields.data);
    this.onLink("live");
    this.onState(parts, now);
  }
}
