// Which curves there are: learning, and errors of the services.

import { $ } from "./dom.js";
import { Chart } from "./chart.js";
import * as format from "./format.js";

const COLOURS = ["c0", "c1", "c2", "c3", "c4", "c5", "c6"];
const DASHES = [null, "6 3", "2 2", "7 2 2 2", "4 2", "9 3", "1 2"];
const MOST_SERVICES = 7;

export class Curves {
  constructor() {
    const parent = $("curves");
    this.loss = new Chart(parent, { title: "Joint loss", unit: "", xLabel: "training step" });
    this.rate = new Chart(parent, { title: "Sum rate, validation", unit: "bit/s/Hz", xLabel: "training step" });
    this.share = new Chart(parent, { title: "Users that get r_min, validation", unit: "", xLabel: "training step", low: 0, high: 1, text: (each) => format.percent(each, 1), tick: (each) => format.percent(each) });
    this.errors = new Chart(parent, { title: "Symbol error rate of the services", unit: "", xLabel: "burst", log: true });
  }

  show(state, changed) {
    if (!changed.has("curves") && !changed.has("events")) return;
    const { training, validation, uplink } = state.curves ?? {};
    const events = state.events ?? [];
    const bySteps = events.filter(({ at_burst }) => at_burst === undefined).map((event) => mark(event, event.at_step));
    const byBursts = events.filter(({ at_burst }) => Number.isFinite(at_burst)).map((event) => mark(event, event.at_burst));
    const step = Math.max(last(training?.step), last(validation?.step));
    line(this.loss, training?.step, training?.joint_loss, "c0", bySteps, step);
    line(this.rate, validation?.step, validation?.sum_rate, "c1", bySteps, step);
    line(this.share, validation?.step, validation?.min_rate_satisfied, "c2", bySteps, step);
    const services = Object.entries(uplink ?? {}).filter(([, curve]) => curve.burst?.length).slice(0, MOST_SERVICES);
    this.errors.figure.hidden = services.length === 0;
    this.errors.show(services.map(([name, { burst, ser }], index) => ({ name, x: burst, y: ser, colour: COLOURS[index], dash: DASHES[index] })), byBursts, Math.max(0, ...services.map(([, { burst }]) => last(burst))));
    $("no-curves").hidden = Boolean(training?.step?.length || validation?.step?.length || services.length);
  }
}

const last = (list) => list?.[list.length - 1] ?? 0;

function line(chart, x, y, colour, marks, end) {
  chart.figure.hidden = !x?.length;
  if (x?.length) chart.show([{ name: chart.options.title, x, y, colour }], marks, end);
}

const SHORT = { inject_sbs: "+", remove_sbs: "−", drop: "−", cut_link: "✂ ", slow_link: "slow ", restore_link: "↻ ", restart: "↻ " };

function mark(event, x) {
  const [what, where] = event.words;
  return { x, text: `${where}: ${what}`, short: `${SHORT[event.event] ?? ""}${where}`.slice(0, 18) };
}
