// A line chart in SVG: axes, units, legend, event marks, and a readout that follows the pointer or the arrow keys.

import { el, svg } from "./dom.js";
import { number, plain, raised } from "./format.js";

const HEIGHT = 164;
const MARGIN = { top: 22, right: 14, bottom: 34, left: 52 };

/** Round steps that cut [low, high] into about `wanted` pieces. */
export function ticks(low, high, wanted) {
  const span = high - low || 1;
  const raw = span / wanted;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((each) => each * size >= raw) * size;
  const found = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) found.push(index * step);
  return found;
}

function decades(low, high) {
  const found = [];
  const every = Math.max(1, Math.ceil((high - low) / 5));
  for (let exponent = Math.ceil(low); exponent <= high + 1e-9; exponent += every) found.push(exponent);
  return found;
}

export class Chart {
  /**
   * @param options title, unit (of y), xLabel, log, low and high (of y, where they are fixed), text (of a value).
   */
  constructor(parent, options) {
    this.options = { text: number, ...options };
    this.series = [];
    this.marks = [];
    this.end = 1;
    this.at = null; // the x under the pointer
    this.width = 0;
    this.legend = el("div", { class: "chart-legend" });
    this.plot = svg("svg", { class: "plot", height: HEIGHT, tabindex: 0, role: "img" });
    this.figure = el("figure", { class: "chart" },
      el("figcaption", {}, el("span", {}, el("span", { class: "chart-title" }, options.title), options.unit ? ` (${options.unit})` : ""), this.legend), this.plot);
    parent.append(this.figure);
    new ResizeObserver(([entry]) => {
      const width = Math.floor(entry.contentRect.width);
      if (width === this.width || width === 0) return;
      this.width = width;
      this.draw();
    }).observe(this.plot.parentElement);
    this.plot.addEventListener("pointermove", (event) => this.#point(event));
    this.plot.addEventListener("pointerleave", () => this.#read(null));
    this.plot.addEventListener("blur", () => this.#read(null));
    this.plot.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show series `{name, x, y, colour, dash}` from 0 to `end` on the x axis, with event marks `{x, text, short}`. */
  show(series, marks, end) {
    this.series = series;
    this.marks = marks;
    this.end = end;
    this.draw();
  }

  draw() {
    if (!this.width) return;
    const { log, unit, xLabel, title } = this.options;
    const inner = { width: this.width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
    const [x0, x1] = [0, Math.max(this.end, 1)];
    const [y0, y1] = this.#yRange();
    this.xOf = (x) => MARGIN.left + ((x - x0) / (x1 - x0)) * inner.width;
    this.xAt = (pixels) => x0 + ((pixels - MARGIN.left) / inner.width) * (x1 - x0);
    const scaled = (y) => (log ? Math.log10(y) : y);
    this.yOf = (y) => MARGIN.top + (1 - (scaled(y) - y0) / (y1 - y0)) * inner.height;

    const grid = svg("g", { class: "grid" });
    const labels = svg("g", { class: "ticks" });
    const bottom = HEIGHT - MARGIN.bottom;
    for (const tick of log ? decades(y0, y1) : ticks(y0, y1, 5)) {
      const y = MARGIN.top + (1 - (tick - y0) / (y1 - y0)) * inner.height;
      grid.append(svg("line", { x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y, y2: y }));
      labels.append(svg("text", { x: MARGIN.left - 7, y: y + 3.5, "text-anchor": "end" }, log ? `10${raised(tick)}` : this.#tick(tick, y1 - y0)));
    }
    for (const tick of ticks(x0, x1, Math.max(2, Math.min(8, Math.floor(inner.width / 70))))) {
      if (!Number.isInteger(tick)) continue;
      const x = this.xOf(tick);
      grid.append(svg("line", { x1: x, x2: x, y1: bottom, y2: bottom + 4, class: "tick" }));
      labels.append(svg("text", { x, y: bottom + 15, "text-anchor": "middle" }, plain(tick)));
    }
    grid.append(svg("line", { x1: MARGIN.left, x2: this.width - MARGIN.right, y1: bottom, y2: bottom, class: "axis" }));
    labels.append(svg("text", { x: this.width - MARGIN.right, y: HEIGHT - 3, "text-anchor": "end", class: "axis-label" }, xLabel));
    this.cursor = svg("g", { class: "cursor" });
    this.plot.replaceChildren(grid, this.#drawMarks(bottom), ...this.series.map((each) => this.#line(each)), labels, this.cursor);
    this.plot.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    this.plot.setAttribute("aria-label", `${title}${unit ? ` in ${unit}` : ""} over ${xLabel}. ${this.#latest()}`);
    this.#read(this.at);
  }

  #tick(value, span) {
    if (this.options.tick) return this.options.tick(value);
    const decimals = Math.max(0, Math.ceil(-Math.log10(span / 4)));
    return value.toFixed(Math.min(decimals, 6)).replace("-", "−");
  }

  #yRange() {
    const { log, low, high } = this.options;
    const all = this.series.flatMap(({ y }) => y).filter((each) => Number.isFinite(each) && (!log || each > 0));
    if (log) {
      if (!all.length) return [-3, 0];
      const bottom = Math.floor(Math.log10(Math.min(...all)) + 1e-9);
      return [bottom, Math.max(Math.ceil(Math.log10(Math.max(...all)) - 1e-9), bottom + 1)];
    }
    let bottom = low ?? (all.length ? Math.min(...all) : 0);
    let top = high ?? (all.length ? Math.max(...all) : 1);
    const room = (top - bottom || Math.abs(top) || 1) * 0.08;
    if (low === undefined) bottom -= room;
    if (high === undefined) top += room;
    return [bottom, top];
  }

  #line({ x, y, colour, dash }) {
    let path = "";
    let pen = false;
    let last = null;
    for (let index = 0; index < x.length; index += 1) {
      if (!this.#drawn(y[index])) {
        pen = false;
        continue;
      }
      last = [this.xOf(x[index]), this.yOf(y[index])];
      path += `${pen ? "L" : "M"}${last[0].toFixed(1)},${last[1].toFixed(1)}`;
      pen = true;
    }
    const group = svg("g", { class: `line ${colour}` }, svg("path", { d: path, "stroke-dasharray": dash }));
    if (last) group.append(svg("circle", { cx: last[0], cy: last[1], r: 3 }));
    return group;
  }

  #drawn(y) {
    return Number.isFinite(y) && (!this.options.log || y > 0);
  }

  #drawMarks(bottom) {
    const group = svg("g", { class: "marks" });
    let free = -Infinity;
    for (const { x, short } of [...this.marks].sort((a, b) => a.x - b.x)) {
      if (x > this.end) continue;
      const at = this.xOf(x);
      group.append(svg("line", { x1: at, x2: at, y1: MARGIN.top - 4, y2: bottom }));
      const width = 6 * short.length;
      const left = Math.min(Math.max(at - width / 2, MARGIN.left), this.width - width - 4);
      if (left < free) continue;
      group.append(svg("text", { x: left, y: MARGIN.top - 8 }, short));
      free = left + width + 8;
    }
    return group;
  }

  #point(event) {
    const box = this.plot.getBoundingClientRect();
    this.#read(this.xAt(event.clientX - box.left));
  }

  #key(event) {
    const every = [...new Set(this.series.flatMap(({ x }) => x))].sort((a, b) => a - b);
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") this.#read(null);
    if (step === undefined || !every.length) return;
    event.preventDefault();
    const now = this.at === null ? every.length - 1 : nearest(every, this.at);
    this.#read(every[Math.min(Math.max(now + step, 0), every.length - 1)]);
  }

  /** Show the values at `x`, or the latest ones. */
  #read(x) {
    this.at = x;
    this.cursor?.replaceChildren();
    const shown = this.series.map((each) => {
      const index = x === null ? each.x.length - 1 : nearest(each.x, x);
      return { ...each, at: each.x[index], value: each.y[index] };
    });
    if (x !== null && shown.some((each) => each.at !== undefined)) {
      const at = this.xOf(shown.find((each) => each.at !== undefined).at);
      this.cursor.append(svg("line", { x1: at, x2: at, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }));
      for (const each of shown) {
        if (!this.#drawn(each.value)) continue;
        this.cursor.append(svg("circle", { cx: this.xOf(each.at), cy: this.yOf(each.value), r: 4, class: each.colour }));
      }
    }
    this.#legend(shown, x);
  }

  #legend(shown, x) {
    const items = shown.map(({ name, colour, dash, value, at }) => {
      const sample = svg("svg", { width: 18, height: 8, "aria-hidden": "true" },
        svg("g", { class: `line ${colour}` }, svg("path", { d: "M0,4L18,4", "stroke-dasharray": dash })));
      const when = x === null || at === undefined ? "" : ` at ${at}`;
      return el("span", { class: "legend-item" }, sample, shown.length > 1 ? `${name} ` : "", el("b", {}, this.#value(value)), when);
    });
    const mark = x === null ? null : this.marks.find((each) => Math.abs(this.xOf(each.x) - this.xOf(x)) < 6);
    if (mark) items.push(el("span", { class: "legend-item event" }, mark.text));
    this.legend.replaceChildren(...items);
  }

  #value(value) {
    return this.options.log && value === 0 ? "0 (no error)" : this.options.text(value);
  }

  #latest() {
    const texts = this.series.filter(({ y }) => y.length).map(({ name, y }) => `${name}: ${this.#value(y[y.length - 1])}`);
    return texts.length ? `Now ${texts.join(", ")}.` : "Nothing yet.";
  }
}

/** The index of the entry of an ascending list that is nearest to `x`. */
function nearest(list, x) {
  let best = 0;
  for (let index = 1; index < list.length; index += 1) {
    if (Math.abs(list[index] - x) < Math.abs(list[best] - x)) best = index;
  }
  return best;
}
