// What the signs on the map mean; only those that are there.

import { el, replace, svg } from "./dom.js";
import * as format from "./format.js";
import { linkWidth, stationSymbol } from "./map.js";

const SAMPLES = [1e4, 1e6, 1e8]; // bytes per second
const SBS = { active: "SBS", joining: "SBS, joining", isolated: "SBS, isolated", removed: "SBS, removed" };

export class Legend {
  constructor(parent) {
    this.parent = parent;
    this.shown = "";
  }

  show(state, changed) {
    if (!["stations", "users", "links"].some((key) => changed.has(key))) return;
    const stations = state.stations ?? [];
    const states = Object.keys(SBS).filter((status) => stations.some((each) => each.kind === "sbs" && each.status === status));
    const { count, positions_m } = state.users ?? {};
    const users = count > (positions_m?.length ?? 0) ? `user (${format.count(positions_m.length)} of ${format.count(count)})` : "user";
    const cut = (state.links ?? []).some(({ up }) => up === false);
    const key = JSON.stringify([states, users, cut, Boolean(count), stations.length > 0]);
    if (key === this.shown) return;
    this.shown = key;
    if (!stations.length) {
      this.parent.replaceChildren();
      return;
    }
    replace(
      this.parent,
      item("MBS", station("mbs", "active")),
      ...states.map((status) => item(SBS[status], station("sbs", status))),
      item("ring: load", svg("g", { class: "station sbs active" }, svg("circle", { class: "track", r: 8 }), svg("circle", { class: "load", r: 8, pathLength: 100, "stroke-dasharray": "65 100", transform: "rotate(-90)" }))),
      count ? item(users, svg("g", { class: "users" }, svg("circle", { r: 2.6 }))) : null,
      ...SAMPLES.map((rate) => item(format.byteRate(rate).replace(/\.0+ /, " "), wire(linkWidth(rate)))),
      cut ? item("link, cut", wire(1.5, "cut")) : null,
    );
  }
}

function station(kind, status) {
  return svg("g", { class: `station ${kind} ${status}`, transform: "scale(0.8)" }, stationSymbol(kind, status));
}

function wire(width, more = "") {
  return svg("g", { class: `link ${more}` }, svg("line", { class: "wire", x1: -11, x2: 11, y1: 0, y2: 0, "stroke-width": width }));
}

function item(text, sign) {
  return el("span", { class: "legend-item" }, svg("svg", { width: 26, height: 22, viewBox: "-13 -11 26 22", "aria-hidden": "true" }, sign), text);
}
