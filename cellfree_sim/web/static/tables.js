// Stations, links, services, traffic by kind and events, as tables.

import { $, Keyed, el, setText } from "./dom.js";
import * as format from "./format.js";
import { STATES } from "./map.js";

const MOST_ROWS = 200;

const STATIONS = [
  ["station", (each) => each.name, "button"],
  ["state", (each) => (STATES[each.status] ?? String(each.status ?? format.NONE)).split(":")[0]],
  ["step", (each) => format.count(each.step), "number"],
  ["sum rate (bit/s/Hz)", (each) => format.number(each.sum_rate), "number"],
  ["load", (each) => format.percent(each.load), "number"],
  ["device", (each) => each.device ?? format.NONE],
  ["node", (each) => each.node ?? format.NONE],
];
const LINKS = [
  ["link", (each) => `${each.a} – ${each.b}`],
  ["state", (each) => (each.up === false ? "cut" : "up")],
  ["traffic", (each) => format.byteRate(each.bytes_per_s), "number"],
  ["so far", (each) => format.bytes(each.bytes), "number"],
  ["utilisation", (each) => format.percent(each.utilisation, 1), "number"],
  ["longest wait", (each) => format.seconds(each.queue_s), "number"],
  ["capacity", (each) => format.bitRate(each.capacity_bps), "number"],
];
const SERVICES = [
  ["service", (each) => each.name],
  ["detector", (each) => each.detector ?? format.NONE],
  ["cooperation", (each) => (each.cooperation ?? format.NONE).replaceAll("_", " ")],
  ["SER so far", (each) => format.number(each.ser), "number"],
  ["latency (ms)", (each) => format.number(each.latency_ms), "number"],
  ["p99 (ms)", (each) => format.number(each.latency_p99_ms), "number"],
  ["requests", (each) => format.count(each.requests), "number"],
  ["refused", (each) => format.count(each.refused), "number"],
];
const KINDS = [
  ["message", ([kind]) => kind.replaceAll("_", " ")],
  ["bytes", ([, size]) => format.bytes(size), "number"],
  ["share", ([, , share]) => format.percent(share, 1), "number"],
];

class Table {
  constructor(card, columns, onChoose) {
    this.card = $(card);
    this.columns = columns;
    this.body = el("tbody", {});
    this.more = el("p", { class: "note", hidden: true });
    const heads = columns.map(([title, , kind]) => el("th", { scope: "col", class: kind }, title));
    this.card.append(el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": this.card.querySelector("h2").textContent },
      el("table", {}, el("thead", {}, el("tr", {}, heads)), this.body)), this.more);
    this.rows = new Keyed(this.body, (item, key) => this.#row(key, onChoose), (row, item) => this.#update(row, item));
  }

  show(keyed) {
    this.card.hidden = keyed.length === 0;
    this.rows.show(keyed.slice(0, MOST_ROWS));
    this.#hideEmpty(keyed.map(([, item]) => item));
    this.more.hidden = keyed.length <= MOST_ROWS;
    setText(this.more, `and ${keyed.length - MOST_ROWS} more`);
  }

  /** Columns of which nothing is known in any row only take room: an uplink has no steps, one process no nodes. */
  #hideEmpty(items) {
    this.columns.forEach(([, text], index) => {
      const empty = items.every((item) => text(item) === format.NONE);
      for (const row of this.card.querySelectorAll("tr")) row.children[index].hidden = empty;
    });
  }

  #row(key, onChoose) {
    return el("tr", {}, this.columns.map(([, , kind]) =>
      kind === "button" ? el("th", { scope: "row" }, el("button", { type: "button", class: "link-button", onclick: () => onChoose(key) })) : el("td", { class: kind })));
  }

  #update(row, item) {
    this.columns.forEach(([, text, kind], index) => {
      const cell = row.children[index];
      setText(kind === "button" ? cell.firstChild : cell, text(item));
    });
  }
}

export class Tables {
  constructor(onStation) {
    this.stations = new Table("stations-card", STATIONS, onStation);
    this.links = new Table("links-card", LINKS);
    this.services = new Table("services-card", SERVICES);
    this.kinds = new Table("kinds-card", KINDS);
    this.events = new Keyed($("events"), () => newEvent(), (node, event) => showEvent(node, event));
  }

  show(state, changed) {
    if (changed.has("stations")) this.stations.show((state.stations ?? []).map((each) => [each.name, each]));
    if (changed.has("links")) this.links.show((state.links ?? []).map((each) => [`${each.a}–${each.b}`, each]));
    if (changed.has("services")) this.services.show((state.services ?? []).map((each) => [each.name, each]));
    if (changed.has("by_kind")) this.#kinds(state.by_kind ?? {});
    if (changed.has("events")) this.#events(state.events ?? []);
  }

  #kinds(sizes) {
    const total = Object.values(sizes).reduce((sum, size) => sum + size, 0);
    const rows = Object.entries(sizes).filter(([, size]) => size > 0).sort((a, b) => b[1] - a[1]);
    this.kinds.show(rows.map(([kind, size]) => [kind, [kind, size, size / total]]));
  }

  #events(events) {
    $("no-events").hidden = events.length > 0;
    this.events.show(events.map((event) => [JSON.stringify(event), event]).reverse());
  }
}

function newEvent() {
  return el("li", {}, el("span", { class: "when" }), el("span", { class: "what" }), el("span", { class: "outcome" }));
}

function showEvent(node, event) {
  const when = Number.isFinite(event.at_burst) ? `burst ${event.at_burst}` : `step ${event.at_step}`;
  const [what, where, outcome] = event.words;
  setText(node.children[0], when);
  setText(node.children[1], `${where}: ${what}`);
  setText(node.children[2], outcome);
}
