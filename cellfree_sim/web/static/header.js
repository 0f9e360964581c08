// The head of the page: which run, how far it is, and the buttons for all of it.

import { $, setText } from "./dom.js";
import * as format from "./format.js";
import { confirmOnce } from "./panel.js";

const CHIPS = {
  starting: ["starting", "calm"],
  running: ["running", "good"],
  paused: ["paused", "calm"],
  done: ["done", "good"],
  interrupted: ["interrupted", "calm"],
  stopped: ["stopped", "calm"],
  failed: ["failed", "bad"],
  vanished: ["vanished", "bad"],
  silent: ["does not answer", "bad"],
};
const WAITING = { pause: "Pausing …", resume: "Continuing …" };
const QUIET_S = 8;

/** Why a run takes no orders from this page; null where it does. */
export function whyNoOrders({ status, engine, link }) {
  if (link !== "live") return "not connected";
  if (engine === "inline") return "a run on the inline engine takes no orders from outside; run it with --engine ray";
  if (status === "running" || status === "paused") return null;
  if (status === undefined || status === "starting") return "the run has not begun yet";
  return status === "silent" ? "the run does not answer" : `the run has ended: it is ${status}`;
}

export class Header {
  constructor(panel) {
    this.panel = panel;
    $("pause").addEventListener("click", () => this.#pause());
    $("stop").addEventListener("click", () => this.#stop());
    $("theme").addEventListener("click", () => this.#theme());
    this.#nameTheme();
  }

  show(state) {
    this.state = state;
    const { run, status, phase, detail, engine, step, steps, burst, bursts } = state;
    setText($("run-name"), run ?? "connecting …");
    document.title = run ? `${run} · cellfree` : "cellfree";
    const [word, kind] = CHIPS[status] ?? [status ?? "", "calm"];
    setText($("chip"), word);
    $("chip").className = `chip ${kind}`;
    $("chip").hidden = !word;
    const lives = status === "starting" || status === "running";
    const quiet_s = state.now - state.told_at;
    const quiet = quiet_s > QUIET_S ? ` · last word ${Math.round(quiet_s)} s ago` : "";
    setText($("phase"), lives && phase ? phase + quiet : "");
    $("phase").title = detail ?? "";
    setText($("engine"), engine ? `engine ${engine}` : "");
    const made = lives ? Object.values(state.channels ?? {}) : [];
    progress("channels", sum(made, 0), sum(made, 1), "channel");
    progress("steps", step, steps, "step");
    progress("bursts", burst, bursts, "burst");
    setText($("rate"), format.number(state.sum_rate));
    $("rate-tile").hidden = state.sum_rate === null || state.sum_rate === undefined;
    setText($("moved"), format.megabytes(state.bytes));
    setText($("simulated"), format.seconds(state.simulated_s));
    const stations = (state.stations ?? []).filter(({ kind: each, status: own }) => each === "sbs" && own === "active");
    setText($("station-count"), state.stations?.length ? String(stations.length) : "–");
    setText($("user-count"), format.count(state.users?.count));
    const waiting = (state.orders ?? []).find(({ order }) => order in WAITING);
    setText($("pause"), waiting ? WAITING[waiting.order] : status === "paused" ? "Continue" : "Pause");
    for (const id of ["pause", "stop", "add"]) {
      $(id).disabled = state.whyNoOrders !== null || (id === "pause" && waiting !== undefined);
      $(id).title = state.whyNoOrders ?? "";
    }
    this.#banner();
  }

  #banner() {
    const [text, kind] = banner(this.state);
    setText($("banner"), text);
    $("banner").hidden = !text;
    $("banner").className = `banner ${kind}`;
    document.body.classList.toggle("stale", kind === "bad");
  }

  #pause() {
    this.panel.order(this.state.status === "paused" ? "resume" : "pause", {}, () => null);
  }

  async #stop() {
    const question = `Stop ${this.state.run}? It ends at the next round boundary, as with Ctrl-C, and can be resumed.`;
    if (await confirmOnce(question, "Stop the run")) await this.panel.order("stop", {}, () => "The run ends at its next round boundary.");
  }

  #theme() {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    try {
      localStorage.setItem("cellfree-theme", document.documentElement.dataset.theme);
    } catch {
      // storage is switched off: the choice lasts as long as the page
    }
    this.#nameTheme();
  }

  #nameTheme() {
    $("theme").setAttribute("aria-label", "Switch between light and dark");
  }
}

const sum = (rows, index) => (rows.length ? rows.reduce((total, row) => total + row[index], 0) : undefined);

function progress(id, done, all, noun) {
  const known = Number.isFinite(all) && all > 0;
  $(`${id}-line`).hidden = !known && !Number.isFinite(done);
  if ($(`${id}-line`).hidden) return;
  setText($(`${id}-text`), known ? `${noun} ${format.count(done ?? 0)} of ${format.count(all)}` : `${noun} ${format.count(done)}`);
  $(`${id}-bar`).hidden = !known;
  $(`${id}-bar`).max = known ? all : 1;
  $(`${id}-bar`).value = done ?? 0;
}

/** What a person must know first: text and kind. */
function banner({ link, linkText, problem, status, engine, folder }) {
  if (link === "stranger") return [`This page cannot be shown: ${linkText}.`, "bad"];
  if (link === "ended") return ["The server of this page has ended; the run goes on without it. This page connects again when 'cellfree watch --web' is back at the same address.", "bad"];
  if (link === "gone") return ["The server of this page does not answer; trying again. What you see is its last word.", "bad"];
  if (problem) return [`The run cannot be read: ${problem}`, "bad"];
  if (link === "connecting" || !status) return ["Connecting …", "calm"];
  if (status === "vanished") return [`The run has vanished: its process is gone without a word. Go on with: cellfree run --resume ${folder}`, "bad"];
  if (status === "silent") return ["The run does not answer.", "bad"];
  if (status === "failed") return [`The run has failed; what you see is its last state. Look into run.log in ${folder}.`, "bad"];
  if (status === "interrupted") return [`The run was interrupted; what you see is its last state. Go on with: cellfree run --resume ${folder}`, "calm"];
  if (status === "starting") return ["The run has not begun yet: stations and their channels are being prepared.", "calm"];
  if (status === "paused") return ["The run is paused; it holds at a round boundary.", "calm"];
  if (status !== "running") return ["The run has ended; what you see is its last state.", "calm"];
  if (engine === "inline") return ["On the inline engine a run can be watched, but not changed from here.", "calm"];
  return ["", "calm"];
}
