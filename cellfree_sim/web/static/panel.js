// The small panel on the map: a station to add, or one that was selected; and what came of orders.

import { $, el } from "./dom.js";
import * as format from "./format.js";
import { factList, stationRows } from "./map.js";
import { Refused } from "./connection.js";

const TRANSFERS = [
  ["nearest", "the nearest station"],
  ["farthest", "the farthest station"],
  ["random", "a random station"],
  ["none", "nobody: it starts untrained"],
];
const AFTERWARDS = [
  ["fine-tune", "trains on with the others"],
  ["execute", "uses the model as it came"],
];
const MESSAGES = 4;
const GOOD_NEWS_MS = 20_000;

/** Ask once, in a dialog; whether the answer was yes. */
export function confirmOnce(question, yes) {
  const dialog = $("confirm");
  $("confirm-text").textContent = question;
  $("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// Whether the last thing that a person touched was the keyboard: only then must focus have a place to go back to.
let byKeyboard = false;
addEventListener("keydown", () => (byKeyboard = true), true);
addEventListener("pointerdown", () => (byKeyboard = false), true);

export class Panel {
  constructor(map, connection) {
    this.map = map;
    this.connection = connection;
    this.root = $("panel");
    this.messages = $("messages");
    this.state = {};
    this.station = null;
    this.root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.close();
    });
  }

  /** Follow the state: what is shown of a station, and who may be removed. */
  show(state) {
    this.state = state;
    if (this.station !== null) this.#stationFacts();
  }

  close() {
    if (this.root.hidden) return;
    const held = this.root.contains(document.activeElement) && byKeyboard;
    this.root.hidden = true;
    this.root.replaceChildren();
    this.station = null;
    this.map.setGhost(null);
    this.map.select(null);
    if (held) this.map.svg.focus({ preventScroll: true });
  }

  /** The panel for a new station at `position`, metres. */
  place(position) {
    this.close();
    this.messages.replaceChildren();
    this.map.setGhost(position);
    const x = numberInput("x (m)", position[0], this.state.area_m[0]);
    const y = numberInput("y (m)", position[1], this.state.area_m[1]);
    const transfer = choice("Model of", TRANSFERS);
    const after = choice("Afterwards it", AFTERWARDS);
    const azimuth = optional("Antennas look at (°)", { type: "number", min: -360, max: 360, step: "any", placeholder: "as in the scenario" });
    const name = optional("Name", { type: "text", maxlength: 64, placeholder: "the next free one" });
    const add = el("button", { type: "submit", class: "primary" }, "Add station");
    const form = el("form", { "aria-label": "Add a station" },
      el("div", { class: "pair" }, x.label, y.label), transfer.label, after.label,
      el("details", {}, el("summary", {}, "More"), azimuth.label, name.label),
      el("div", { class: "buttons" }, add, el("button", { type: "button", onclick: () => this.close() }, "Cancel")));
    const follow = () => this.map.setGhost([Number(x.input.value), Number(y.input.value)]);
    x.input.addEventListener("input", follow);
    y.input.addEventListener("input", follow);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const facts = { position_m: [Number(x.input.value), Number(y.input.value)], transfer: transfer.input.value, after: after.input.value };
      if (azimuth.input.value !== "") facts.azimuth_deg = Number(azimuth.input.value);
      if (name.input.value.trim() !== "") facts.name = name.input.value.trim();
      this.close();
      this.#inject(facts);
    });
    this.#open("Add a station", position, form);
    add.focus({ preventScroll: true });
  }

  /** The panel of one station. */
  select(name) {
    const station = this.#find(name);
    if (!station) return;
    this.close();
    this.station = name;
    this.map.select(name);
    this.facts = el("div", {});
    this.remove = el("button", { type: "button", class: "danger", onclick: () => this.#remove(name) }, "Remove");
    const isMbs = station.kind === "mbs";
    this.#open(name, [station.x_m, station.y_m], this.facts, isMbs ? null : el("div", { class: "buttons" }, this.remove));
    this.#stationFacts();
    this.root.querySelector("button").focus({ preventScroll: true });
  }

  /** Carry an order out and show what came of it. `told` makes a sentence of the answer. */
  async order(name, facts, told) {
    try {
      const answer = await this.connection.order(name, facts);
      const text = told(answer);
      if (text) this.say(text, "good");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.say(error.message, "bad");
    }
  }

  /** Show a message beside the map: what happened, or why something did not. */
  say(text, kind) {
    const message = el("div", { class: `message ${kind}`, role: kind === "bad" ? "alert" : "status" }, el("span", {}, text));
    message.append(el("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: () => message.remove() }, "×"));
    this.messages.append(message);
    if (kind === "good") setTimeout(() => message.remove(), GOOD_NEWS_MS);
    while (this.messages.children.length > MESSAGES) this.messages.firstChild.remove();
  }

  #open(title, position, ...content) {
    const close = el("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => this.close() }, "×");
    this.root.replaceChildren(...content.filter((each) => each !== null));
    this.root.prepend(el("div", { class: "panel-head" }, el("h3", {}, title), close));
    this.root.hidden = false;
    this.#stand(position);
  }

  /** Beside the place, where there is room; style sheets of narrow screens put it below the map. */
  #stand(position) {
    if (!this.map.xOf || !Number.isFinite(position[0])) return;
    const [px, py] = this.map.pixels(position);
    const { left, height } = this.map.parent.getBoundingClientRect();
    const room = document.documentElement.clientWidth - left - this.root.offsetWidth - 8;
    this.root.style.left = `${px + 34 <= room ? px + 34 : Math.max(4, px - 34 - this.root.offsetWidth)}px`;
    this.root.style.top = `${Math.max(4, Math.min(py - 60, height - this.root.offsetHeight - 4))}px`;
  }

  #find(name) {
    return (this.state.stations ?? []).find((each) => each.name === name);
  }

  #stationFacts() {
    const station = this.#find(this.station);
    if (!station) {
      this.close();
      return;
    }
    const links = (this.state.links ?? []).filter(({ a, b }) => a === station.name || b === station.name);
    const ways = links.map(({ a, b, up, bytes_per_s }) => [`link to ${a === station.name ? b : a}`, up === false ? "cut" : format.byteRate(bytes_per_s)]);
    const rows = [...stationRows(station), ...ways.slice(0, 6)];
    const text = JSON.stringify(rows);
    if (this.shown !== text || !this.facts.firstChild) this.facts.replaceChildren(factList(rows));
    this.shown = text;
    this.remove.disabled = station.status === "removed" || this.state.whyNoOrders !== null;
    this.remove.title = this.state.whyNoOrders ?? "";
  }

  #inject(facts) {
    return this.order("inject", facts, (record) => {
      const model = record.donor ? `with the model of ${record.donor} (${format.bytes(record.transfer_bytes)} moved)` : "with a model of its own";
      return `${record.station} joined after step ${record.at_step} ${model}. ${rates(record)}`;
    });
  }

  async #remove(name) {
    if (!(await confirmOnce(`Remove ${name}? From the next round on the other stations serve its users. It does not come back.`, "Remove"))) return;
    this.close();
    await this.order("remove", { station: name }, (record) => `${record.station} left after step ${record.at_step}. ${rates(record)}`);
  }
}

function rates({ sum_rate_before, sum_rate_after }) {
  return `Sum rate ${format.number(sum_rate_before)} before, ${format.number(sum_rate_after)} bit/s/Hz just after.`;
}

function labelled(text, input) {
  return { input, label: el("label", {}, el("span", {}, text), input) };
}

const numberInput = (text, value, max) => labelled(text, el("input", { type: "number", required: true, step: "any", min: 0, max, value }));
const optional = (text, attributes) => labelled(text, el("input", attributes));
const choice = (text, options) => labelled(text, el("select", {}, options.map(([value, shown]) => el("option", { value }, shown))));
