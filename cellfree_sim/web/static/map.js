// The map of the network: area, users, links as wide as their traffic, stations, and the place that was clicked.

import { $, Keyed, el, setAttributes, setText, svg } from "./dom.js";
import * as format from "./format.js";
import { ticks } from "./chart.js";

const MARGIN = { top: 14, right: 16, bottom: 40, left: 48 };
const TALLEST = 600;
const LABELS_BELOW = 13; // links; more would hide the map under their labels

/** Width of a link in pixels: two for each tenfold of traffic, from 10 kB/s on. */
export function linkWidth(bytesPerSecond) {
  if (!(bytesPerSecond > 0)) return 1.5;
  return Math.min(Math.max(2 * Math.log10(bytesPerSecond / 1e4) + 2.5, 1.5), 13);
}

/** What a station is to the network, in words. */
export const STATES = {
  active: "active",
  joining: "joining",
  isolated: "isolated: no link leads to the MBS",
  removed: "removed",
};

/** A station's symbol around (0, 0): a square for the MBS, a triangle for an SBS, a cross for one that is gone. */
export function stationSymbol(kind, status) {
  if (status === "removed") return svg("path", { class: "symbol", d: "M-6,-6L6,6M-6,6L6,-6" });
  const shape = kind === "mbs" ? "M-9,-9H9V9H-9Z" : "M0,-10.5L10,7.5H-10Z";
  const group = svg("g", {}, svg("path", { class: "symbol", d: shape }));
  if (status === "isolated") group.append(svg("text", { class: "symbol-text", y: 5, "text-anchor": "middle" }, "!"));
  return group;
}

export class NetworkMap {
  /** @param on `place(x_m, y_m)`, `select(name)`, `mayPlace()`. */
  constructor(parent, on) {
    this.on = on;
    this.parent = parent;
    this.state = {};
    this.ghost = null;
    this.selected = null;
    this.pointer = null; // where the keyboard stands, metres
    this.width = 0;
    this.tip = null;
    this.area = svg("g", { class: "area" });
    this.users = svg("g", { class: "users" });
    this.links = svg("g", { class: "links" });
    this.linkLabels = svg("g", { class: "link-labels" });
    this.stations = svg("g", { class: "stations" });
    this.ghosts = svg("g", { class: "ghosts" });
    this.svg = svg("svg", { class: "map", tabindex: 0, role: "application", "aria-label": "Map of the network. Arrow keys move a cross, Enter adds a station there; Tab goes to the stations." },
      this.area, this.users, this.links, this.linkLabels, this.ghosts, this.stations);
    this.tooltip = el("div", { class: "tooltip", hidden: true, "aria-hidden": "true" });
    this.parent.append(this.svg, this.tooltip);
    this.keyedLinks = new Keyed(this.links, (link, key) => this.#newLink(key), (node, link) => this.#placeLink(node, link));
    this.keyedStations = new Keyed(this.stations, (station, key) => this.#newStation(key), (node, station) => this.#placeStation(node, station));
    this.svg.addEventListener("click", (event) => this.#click(event));
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    this.svg.addEventListener("pointerleave", () => this.#tip(null));
    this.svg.addEventListener("blur", () => { this.pointer = null; this.#drawGhosts(); });
    new ResizeObserver(() => this.#resize()).observe(parent);
  }

  /** Show a state; `changed` are the keys of it that differ from the last one. */
  show(state, changed) {
    const all = !this.drawn || changed.has("area_m");
    this.state = state;
    if (!this.width || !state.area_m?.length) return;
    $("no-map").hidden = true;
    if (all) this.#drawArea();
    if (all || changed.has("users")) this.#drawUsers();
    if (all || changed.has("links") || changed.has("stations") || changed.has("orders")) this.#drawNetwork();
    this.#drawGhosts();
    this.#showTip();
    this.drawn = true;
  }

  /** Stand a ghost at a place, or take it away with null. */
  setGhost(position) {
    this.ghost = position;
    this.#drawGhosts();
  }

  select(name) {
    this.selected = name;
    this.#tip(null);
    if (this.drawn) this.#drawNetwork();
  }

  /** Pixels of a place, within the map's element. */
  pixels([x, y]) {
    return [this.xOf(x), this.yOf(y)];
  }

  #resize() {
    const width = Math.floor(this.parent.clientWidth);
    if (!width || width === this.width) return;
    this.width = width;
    this.drawn = false;
    this.show(this.state, new Set());
  }

  #drawArea() {
    const [w, h] = this.state.area_m;
    const room = this.width - MARGIN.left - MARGIN.right;
    this.scale = Math.min(room / w, (TALLEST - MARGIN.top - MARGIN.bottom) / h);
    const left = MARGIN.left + (room - w * this.scale) / 2;
    const bottom = MARGIN.top + h * this.scale;
    this.xOf = (x) => left + x * this.scale;
    this.yOf = (y) => bottom - y * this.scale;
    this.place = (px, py) => [(px - left) / this.scale, (bottom - py) / this.scale];
    const height = bottom + MARGIN.bottom;
    setAttributes(this.svg, { viewBox: `0 0 ${this.width} ${height}`, height });
    const parts = [svg("rect", { class: "ground", x: left, y: MARGIN.top, width: w * this.scale, height: h * this.scale })];
    const wanted = (metres) => Math.max(2, Math.min(8, Math.floor((metres * this.scale) / 60)));
    for (const tick of ticks(0, w, wanted(w))) {
      const x = this.xOf(tick);
      parts.push(svg("line", { x1: x, x2: x, y1: MARGIN.top, y2: bottom }), svg("text", { x, y: bottom + 16, "text-anchor": "middle" }, format.plain(tick)));
    }
    for (const tick of ticks(0, h, wanted(h))) {
      const y = this.yOf(tick);
      parts.push(svg("line", { x1: left, x2: left + w * this.scale, y1: y, y2: y }), svg("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, format.plain(tick)));
    }
    const middle = (MARGIN.top + bottom) / 2;
    parts.push(
      svg("text", { class: "axis-label", x: left + (w * this.scale) / 2, y: bottom + 33, "text-anchor": "middle" }, "x (m)"),
      svg("text", { class: "axis-label", transform: `translate(${left - 36},${middle}) rotate(-90)`, "text-anchor": "middle" }, "y (m)"),
    );
    this.area.replaceChildren(...parts);
  }

  #drawUsers() {
    const places = this.state.users?.positions_m ?? [];
    const radius = places.length > 150 ? 1.8 : 3;
    this.users.replaceChildren(...places.map((place) => svg("circle", { cx: this.xOf(place[0]), cy: this.yOf(place[1]), r: radius })));
  }

  #drawNetwork() {
    const stations = (this.state.stations ?? []).filter(({ x_m, y_m }) => Number.isFinite(x_m) && Number.isFinite(y_m));
    this.places = new Map(stations.map((station) => [station.name, [this.xOf(station.x_m), this.yOf(station.y_m)]]));
    const links = (this.state.links ?? []).filter(({ a, b }) => this.places.has(a) && this.places.has(b));
    this.keyedLinks.show(links.map((link) => [`${link.a}–${link.b}`, link]));
    this.keyedStations.show(stations.map((station) => [station.name, station]));
    this.#drawLinkLabels(links);
  }

  #newLink(key) {
    const node = svg("g", { class: "link" }, svg("line", { class: "wire" }), svg("line", { class: "target" }));
    node.addEventListener("pointermove", (event) => this.#tip(event, () => this.#linkFacts(key)));
    node.addEventListener("pointerleave", () => this.#tip(null));
    return node;
  }

  #placeLink(node, link) {
    const [[x1, y1], [x2, y2]] = [this.places.get(link.a), this.places.get(link.b)];
    for (const line of node.children) setAttributes(line, { x1, y1, x2, y2 });
    setAttributes(node.firstChild, { "stroke-width": (link.up === false ? 1.5 : linkWidth(link.bytes_per_s)).toFixed(1) });
    setAttributes(node, { class: `link${link.up === false ? " cut" : ""}${link.utilisation > 0.8 ? " full" : ""}`, "data-link": `${link.a}–${link.b}` });
  }

  #linkFacts(key) {
    const link = this.state.links.find(({ a, b }) => `${a}–${b}` === key);
    if (!link) return null;
    return [key, [
      ...(link.up === false ? [["state", "cut: it carries nothing"]] : []),
      ["traffic", format.byteRate(link.bytes_per_s)],
      ["so far", format.bytes(link.bytes)],
      ["capacity", format.bitRate(link.capacity_bps)],
      ["utilisation", format.percent(link.utilisation, link.utilisation < 0.1 ? 2 : 0)],
      ["longest wait", format.seconds(link.queue_s)],
    ]];
  }

  #drawLinkLabels(links) {
    const shown = links.length < LABELS_BELOW && this.width > 460 ? links.filter((link) => link.up === false || link.bytes_per_s > 0) : [];
    const labels = [];
    for (const link of shown) {
      const [[x1, y1], [x2, y2]] = [this.places.get(link.a), this.places.get(link.b)];
      if (Math.hypot(x2 - x1, y2 - y1) < 110) continue;
      const text = link.up === false ? "cut" : format.byteRate(link.bytes_per_s);
      const [x, y, width] = [(x1 + x2) / 2, (y1 + y2) / 2, 6.2 * text.length + 8];
      labels.push(
        svg("rect", { x: x - width / 2, y: y - 9, width, height: 17, rx: 4 }),
        svg("text", { x, y: y + 4, "text-anchor": "middle" }, text),
      );
    }
    this.linkLabels.replaceChildren(...labels);
  }

  #newStation(name) {
    const node = svg("g", { class: "station", tabindex: 0, role: "button", "data-station": name },
      svg("circle", { class: "halo", r: 19 }), svg("circle", { class: "track", r: 16 }),
      svg("circle", { class: "load", r: 16, pathLength: 100, transform: "rotate(-90)" }),
      svg("g", {}), svg("text", { class: "name", y: 32, "text-anchor": "middle" }, name));
    const choose = (event) => {
      event.stopPropagation();
      event.preventDefault();
      this.on.select(name);
    };
    node.addEventListener("click", choose);
    node.addEventListener("keydown", (event) => (event.key === "Enter" || event.key === " ") && choose(event));
    node.addEventListener("pointermove", (event) => this.#tip(event, () => this.#stationFacts(name)));
    node.addEventListener("pointerleave", () => this.#tip(null));
    return node;
  }

  #placeStation(node, station) {
    const [x, y] = this.places.get(station.name);
    const { kind, status } = station;
    const leaving = (this.state.orders ?? []).some((each) => each.order === "remove" && each.station === station.name);
    setAttributes(node, {
      transform: `translate(${x.toFixed(1)},${y.toFixed(1)})`,
      class: `station ${kind} ${status}${leaving ? " leaving" : ""}${this.selected === station.name ? " selected" : ""}`,
      "aria-label": `${station.name}, ${kind?.toUpperCase()}, ${STATES[status] ?? status}`,
    });
    const symbol = `${kind} ${status}`;
    if (node.dataset.symbol !== symbol) {
      node.children[3].replaceChildren(stationSymbol(kind, status));
      node.dataset.symbol = symbol;
    }
    setAttributes(node.children[2], { "stroke-dasharray": `${(100 * (station.load ?? 0)).toFixed(0)} 100` });
  }

  #stationFacts(name) {
    const station = this.state.stations.find((each) => each.name === name);
    return station && name !== this.selected ? [name, stationRows(station).slice(0, 5)] : null;
  }

  #drawGhosts() {
    if (!this.xOf) return;
    const ghosts = [];
    for (const order of this.state.orders ?? []) {
      if (order.order === "inject") ghosts.push(this.#ghost(order.position_m, `${order.name ?? "a station"} is joining …`, "joining"));
    }
    const pending = this.ghost ?? (document.activeElement === this.svg ? this.pointer : null);
    if (pending) ghosts.push(this.#ghost(pending, format.position(pending), "pending"));
    this.ghosts.replaceChildren(...ghosts);
  }

  #ghost(position, text, kind) {
    const [x, y] = this.pixels(position);
    const [w, h] = this.state.area_m;
    const cross = kind === "pending" ? [
      svg("line", { class: "hair", x1: this.xOf(0) - x, x2: this.xOf(w) - x, y1: 0, y2: 0 }),
      svg("line", { class: "hair", x1: 0, x2: 0, y1: this.yOf(0) - y, y2: this.yOf(h) - y }),
    ] : [];
    const anchor = x > this.width - 90 ? "end" : x < 90 ? "start" : "middle";
    return svg("g", { class: `ghost ${kind}`, transform: `translate(${x.toFixed(1)},${y.toFixed(1)})` }, ...cross,
      svg("path", { class: "symbol", d: "M0,-10.5L10,7.5H-10Z" }), svg("text", { y: y < 60 ? 28 : -18, "text-anchor": anchor }, text));
  }

  #click(event) {
    if (!this.drawn || !this.on.mayPlace()) return;
    const box = this.svg.getBoundingClientRect();
    const place = this.place(event.clientX - box.left, event.clientY - box.top);
    if (this.#inside(place)) this.on.place(this.#rounded(place));
  }

  #key(event) {
    if (event.target !== this.svg || !this.drawn) return;
    const [w, h] = this.state.area_m;
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (move) {
      event.preventDefault();
      const step = Math.max(w, h) / (event.shiftKey ? 10 : 50);
      const [x, y] = this.pointer ?? [w / 2, h / 2];
      const limit = (value, top) => Math.min(Math.max(value, 0), top);
      this.pointer = this.#rounded([limit(x + move[0] * step, w), limit(y + move[1] * step, h)]);
      this.#drawGhosts();
    } else if (event.key === "Enter" && this.pointer && this.on.mayPlace()) {
      event.preventDefault();
      this.on.place(this.pointer);
    } else if (event.key === "Escape") {
      this.pointer = null;
      this.#drawGhosts();
    }
  }

  #inside([x, y]) {
    const [w, h] = this.state.area_m;
    return x >= 0 && x <= w && y >= 0 && y <= h;
  }

  #rounded(place) {
    const unit = 10 ** Math.floor(Math.log10(Math.max(...this.state.area_m) / 200));
    return place.map((each) => Number((Math.round(each / unit) * unit).toPrecision(6)));
  }

  /** Show what `facts` gives at the pointer, anew with each state, until the pointer leaves. */
  #tip(event, facts) {
    this.tip = event === null ? null : { x: event.clientX, y: event.clientY, facts };
    this.#showTip();
  }

  #showTip() {
    const found = this.tip?.facts() ?? null;
    this.tooltip.hidden = !found;
    if (!found) return;
    const [title, rows] = found;
    this.tooltip.replaceChildren(el("b", {}, title), factList(rows));
    const box = this.parent.getBoundingClientRect();
    const [x, y] = [this.tip.x - box.left, this.tip.y - box.top];
    const left = x + 16 + this.tooltip.offsetWidth > box.width ? x - 16 - this.tooltip.offsetWidth : x + 16;
    this.tooltip.style.left = `${Math.max(0, left)}px`;
    this.tooltip.style.top = `${Math.max(0, Math.min(y + 12, box.height - this.tooltip.offsetHeight))}px`;
  }
}

/** Names and values, one below another. */
export function factList(rows) {
  return el("dl", { class: "facts" }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

/** What is known of a station, as rows. */
export function stationRows(station) {
  const isMbs = station.kind === "mbs";
  return [
    ["state", STATES[station.status] ?? String(station.status ?? "–")],
    ...(isMbs ? [] : [["sum rate", Number.isFinite(station.sum_rate) ? `${format.number(station.sum_rate)} bit/s/Hz` : "–"]]),
    ["step", format.count(station.step)],
    ["load", format.percent(station.load)],
    ["device", station.device ?? "–"],
    ["position", Number.isFinite(station.x_m) ? format.position([station.x_m, station.y_m]) : "–"],
    ...(station.node ? [["node", station.node]] : []),
    ...(station.pid ? [["process", String(station.pid)]] : []),
  ];
}
