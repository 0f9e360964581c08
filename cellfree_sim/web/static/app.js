// The live view of a run: connects, and lets every part of the page show what is new.

import { $ } from "./dom.js";
import { Connection } from "./connection.js";
import { Curves } from "./curves.js";
import { Header, whyNoOrders } from "./header.js";
import { Legend } from "./legend.js";
import { NetworkMap } from "./map.js";
import { Panel } from "./panel.js";
import { Tables } from "./tables.js";

const state = { link: "connecting", linkText: "", whyNoOrders: "not connected" };
const changed = new Set();
let waiting = false;

const connection = new Connection(
  (parts, now) => {
    for (const [key, value] of Object.entries(parts)) {
      state[key] = key === "stations" ? withRemoved(value) : value;
      changed.add(key);
    }
    state.now = now;
    draw();
  },
  (link, text) => {
    if (state.link === link) return;
    state.link = link;
    state.linkText = text ?? "";
    draw();
  },
);
const map = new NetworkMap($("map"), {
  place: (position) => panel.place(position),
  select: (name) => panel.select(name),
  mayPlace: () => state.whyNoOrders === null,
});
const panel = new Panel(map, connection);
const header = new Header(panel);
const legend = new Legend($("legend"));
const curves = new Curves();
const tables = new Tables((name) => {
  $("map").scrollIntoView({ block: "nearest" });
  panel.select(name);
});

/** Stations, and those that this page has seen leave: where they stood stays marked. */
function withRemoved(stations) {
  const names = new Set(stations.map(({ name }) => name));
  const gone = (state.stations ?? []).filter(({ name }) => !names.has(name));
  return [...stations, ...gone.map((each) => ({ ...each, status: "removed", sum_rate: null, load: null, pid: null }))];
}

/** Draw at the next frame; a page that nobody sees draws nothing. */
function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    state.whyNoOrders = whyNoOrders(state);
    header.show(state);
    map.show(state, changed);
    legend.show(state, changed);
    curves.show(state, changed);
    tables.show(state, changed);
    panel.show(state);
    changed.clear();
  });
}

$("add").addEventListener("click", () => {
  const [w, h] = state.area_m ?? [];
  if (w) panel.place([w / 2, h / 2]);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") panel.close();
});
draw();
connection.listen();
