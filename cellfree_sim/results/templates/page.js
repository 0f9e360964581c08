"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const readouts = JSON.parse(document.getElementById("readouts").textContent);
  const hidden = {}; // of each figure: names of the curves that are switched off

  function make(tag, text, attributes) {
    const element = document.createElement(tag);
    if (text) element.textContent = text;
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    return element;
  }

  function shown(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    const text = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
    return text.replace(/-/g, "\u2212");
  }

  // ---- light and dark -------------------------------------------------------------------------------------------

  function themes(place) {
    const names = ["auto", "light", "dark"];
    const root = document.documentElement;
    const button = make("button", "", { type: "button", id: "theme" });
    const tell = () => { button.textContent = "Theme: " + (root.dataset.theme || "auto"); };
    button.addEventListener("click", () => {
      const next = names[(names.indexOf(root.dataset.theme || "auto") + 1) % names.length];
      if (next === "auto") delete root.dataset.theme; else root.dataset.theme = next;
      try {
        if (next === "auto") localStorage.removeItem("cellfree-theme"); else localStorage.setItem("cellfree-theme", next);
      } catch { /* not remembered, then */ }
      tell();
    });
    tell();
    place.append(button);
  }

  function contents(nav) {
    const links = [...nav.querySelectorAll("a")];
    const heads = links.map((link) => document.getElementById(link.hash.slice(1)));
    let waiting = false;
    const mark = () => {
      waiting = false;
      const atEnd = innerHeight + scrollY >= document.body.scrollHeight - 4;
      let here = heads.findLastIndex((head) => head.getBoundingClientRect().top < 120);
      if (atEnd) here = heads.length - 1;
      links.forEach((link, place) => link.classList.toggle("here", place === here));
    };
    addEventListener("scroll", () => { if (!waiting) { waiting = true; requestAnimationFrame(mark); } }, { passive: true });
    mark();
  }

  // ---- tables ---------------------------------------------------------------------------------------------------

  function sortable(table) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
    const numeric = heads.map((head) => head.classList.contains("number"));
    heads.forEach((head, place) => {
      const button = make("button", head.textContent, { type: "button" });
      head.replaceChildren(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const order = before === "none" ? (numeric[place] ? "descending" : "ascending")
          : before === "ascending" ? "descending" : "ascending";
        heads.forEach((each) => each.setAttribute("aria-sort", each === head ? order : "none"));
        const sign = order === "ascending" ? 1 : -1;
        const compare = (a, b) => {
          if (!numeric[place]) return sign * words.compare(a.textContent, b.textContent);
          const [x, y] = [a, b].map((cell) => (cell.dataset.key === undefined ? NaN : Number(cell.dataset.key)));
          if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y); // what is empty stays below
          return sign * (x - y);
        };
        const rows = [...body.rows];
        rows.sort((a, b) => compare(a.cells[place], b.cells[place]));
        body.append(...rows);
      });
    });
  }

  // ---- figures --------------------------------------------------------------------------------------------------

  function figure(name, readout) {
    const card = document.getElementById(name + "--card");
    const svg = card.querySelector("svg");
    hidden[name] = new Set();
    switches(name, svg, readout);
    if (readout.panels.some((panel) => panel.rows.length) || readout.curves.some((curve) => curve.data.length)) {
      pointing(name, svg, readout);
    }
    const button = make("button", "Enlarge", { type: "button" });
    button.addEventListener("click", () => enlarge(svg, card));
    card.querySelector(".tools").append(button);
  }

  function switches(name, svg, readout) {
    readout.curves.forEach((curve, place) => {
      const parts = svg.querySelectorAll(`[id^="${name}--${place}--"]`);
      const entries = svg.querySelectorAll(`[id^="${name}--legend--${place}--"]`);
      if (!parts.length || !entries.length || readout.curves.length < 2) return;
      svg.setAttribute("role", "group");
      const handles = svg.querySelectorAll(`[id^="${name}--handle--${place}--"]`);
      const flip = () => {
        const off = !hidden[name].has(curve.name);
        if (off) hidden[name].add(curve.name); else hidden[name].delete(curve.name);
        parts.forEach((part) => part.classList.toggle("off", off));
        entries.forEach((entry) => entry.setAttribute("aria-pressed", String(!off)));
        handles.forEach((handle) => handle.classList.toggle("off-handle", off));
      };
      entries.forEach((entry) => {
        entry.setAttribute("data-switch", "");
        entry.setAttribute("role", "button");
        entry.setAttribute("tabindex", "0");
        entry.setAttribute("aria-pressed", "true");
        entry.setAttribute("aria-label", "show " + curve.name);
        entry.addEventListener("click", flip);
        entry.addEventListener("keydown", (event) => {
          if (event.key === "Enter" || event.key === " ") { event.preventDefault(); flip(); }
        });
      });
      handles.forEach((handle) => { handle.addEventListener("click", flip); });
    });
  }

  // Between the data of a panel and the SVG's own units, and back.
  function scale(panel, axis) {
    const log = panel.log[axis];
    const [low, high] = (axis ? panel.y : panel.x).map((end) => (log ? Math.log10(end) : end));
    const [from, to] = axis ? [panel.box[3], panel.box[1]] : [panel.box[0], panel.box[2]];
    return {
      to: (value) => from + ((log ? Math.log10(value) : value) - low) / (high - low) * (to - from),
      back: (place) => { const at = low + (place - from) / (to - from) * (high - low); return log ? 10 ** at : at; },
    };
  }

  function nearest(values, wanted, distance) {
    let best = -1;
    values.forEach((value, index) => {
      if (value !== null && (best < 0 || distance(value, wanted) < distance(values[best], wanted))) best = index;
    });
    return best;
  }

  // What stands in a panel at a place of the SVG: lines of text, and dots to be drawn.
  function under(readout, panelNumber, at, off) {
    const panel = readout.panels[panelNumber];
    const [x, y] = [scale(panel, 0), scale(panel, 1)];
    const row = panel.rows.find((each) => each.top - 3 <= at.y && at.y <= each.bottom + 3);
    if (row) {
      const values = row.values.filter(([label]) => !off.has(label));
      return { title: row.name, lines: values.map(([label, value]) => ({ label, text: shown(value), colour: colourOf(readout, label) })), dots: [] };
    }
    const here = [];
    for (const curve of readout.curves) {
      if (off.has(curve.name)) continue;
      for (const data of curve.data) if (data.panel === panelNumber) here.push({ curve, data });
    }
    for (const { curve, data } of here) {
      if (data.kind !== "marks") continue;
      const gaps = data.x.map((value, index) => Math.hypot(x.to(value) - at.x, y.to(data.y[index]) - at.y));
      const best = gaps.indexOf(Math.min(...gaps));
      if (gaps[best] < 9) return { title: curve.name, lines: [{ label: "", text: data.texts[best] }], dots: [] };
    }
    const apart = (a, b) => Math.abs(x.to(a) - x.to(b));
    let wanted = x.back(at.x), snapped = false;
    for (const { data } of here) {
      if (data.kind !== "line" || !data.x.length) continue;
      const value = data.x[nearest(data.x, x.back(at.x), apart)];
      if (!snapped || apart(value, x.back(at.x)) < apart(wanted, x.back(at.x))) [wanted, snapped] = [value, true];
    }
    const lines = [], dots = [];
    for (const { curve, data } of here) {
      const told = valueAt(data, wanted, apart);
      if (!told) continue;
      let text = shown(told.y);
      for (const bounds of here) { // a curve may have more than one: the one that holds the value is its own
        if (bounds.curve !== curve || bounds.data.kind !== "interval") continue;
        const { x: at, low, high } = bounds.data;
        const place = data.kind === "step" ? at.findLastIndex((value) => value <= wanted) : nearest(at, told.x, apart);
        if (place < 0 || (data.kind !== "step" && apart(at[place], told.x) >= 1)) continue;
        if (low[place] > told.y || told.y > high[place]) continue;
        text += ` [${shown(low[place])}, ${shown(high[place])}]`;
        break;
      }
      if (snapped && told.x !== null && apart(told.x, wanted) > 0.5) text += ` at ${shown(told.x)}`;
      lines.push({ label: curve.name + (data.what ? `, ${data.what}` : ""), text, colour: curve.colour });
      if (told.y !== null) dots.push({ x: x.to(told.x === null || data.kind === "step" ? wanted : told.x), y: y.to(told.y), colour: curve.colour });
    }
    return { title: `${panel.labels[0] || "x"}: ${shown(wanted)}`, lines, dots, cross: x.to(wanted), wanted };
  }

  function colourOf(readout, label) {
    const curve = readout.curves.find((each) => each.name === label);
    return curve && curve.colour;
  }

  function valueAt(data, wanted, apart) {
    if (data.kind === "level") return { x: null, y: data.y[0] };
    if (data.kind === "step") {
      const place = data.x.findLastIndex((value) => value <= wanted);
      return place < 0 ? null : { x: data.x[place], y: data.y[place] };
    }
    if (data.kind !== "line" || !data.x.length) return null;
    const place = nearest(data.x, wanted, apart);
    if (data.y[place] === null || apart(data.x[place], wanted) > 40) return null;
    return { x: data.x[place], y: data.y[place] };
  }

  function pointing(name, svg, readout) {
    const box = make("div", "", { class: "readout", hidden: "" });
    const marks = document.createElementNS(SVG, "g");
    marks.setAttribute("pointer-events", "none");
    svg.append(marks);
    let last = null;
    const clear = () => { box.hidden = true; marks.replaceChildren(); };
    const show = (panelNumber, at, screen) => {
      const found = under(readout, panelNumber, at, hidden[name]);
      if (!found.lines.length) { clear(); return; }
      last = { panelNumber, at, wanted: found.wanted };
      draw(marks, readout.panels[panelNumber].box, found);
      const stage = svg.closest(".stage, figure");
      stage.append(box);
      box.replaceChildren(make("b", found.title), ...found.lines.map(line));
      box.hidden = false;
      const frame = stage.getBoundingClientRect();
      const left = screen.x - frame.left, top = screen.y - frame.top;
      box.style.left = Math.max(4, left + 16 + box.offsetWidth > frame.width ? left - box.offsetWidth - 16 : left + 16) + "px";
      box.style.top = Math.max(4, top - box.offsetHeight - 10) + "px";
    };
    const follow = (event) => {
      const matrix = svg.getScreenCTM();
      if (!matrix) return;
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      const panelNumber = readout.panels.findIndex(({ box: [left, top, right, bottom] }) => left - 3 <= at.x && at.x <= right + 3 && top <= at.y && at.y <= bottom);
      if (panelNumber < 0) clear(); else show(panelNumber, at, { x: event.clientX, y: event.clientY });
    };
    svg.addEventListener("pointermove", follow);
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("pointerleave", clear);
    svg.setAttribute("tabindex", "0");
    svg.addEventListener("blur", clear);
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Escape") clear();
      if (event.target !== svg || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      event.preventDefault();
      const step = event.key === "ArrowLeft" ? -1 : 1;
      const panelNumber = last ? last.panelNumber : 0;
      const panel = readout.panels[panelNumber];
      const x = scale(panel, 0);
      const places = readout.curves.filter((curve) => !hidden[name].has(curve.name))
        .flatMap((curve) => curve.data.filter((data) => data.panel === panelNumber && data.kind !== "level").flatMap((data) => data.x));
      const sorted = [...new Set(places)].sort((a, b) => a - b);
      if (!sorted.length) return;
      const now = last ? nearest(sorted, last.wanted ?? x.back(last.at.x), (a, b) => Math.abs(a - b)) : -step;
      const value = sorted[Math.min(sorted.length - 1, Math.max(0, now + step))];
      const at = { x: x.to(value), y: (panel.box[1] + panel.box[3]) / 2 };
      const screen = new DOMPoint(at.x, at.y).matrixTransform(svg.getScreenCTM());
      show(panelNumber, at, screen);
    });
  }

  function line({ label, text, colour }) {
    const row = make("div");
    if (colour) {
      const swatch = make("i");
      swatch.style.background = themed(colour);
      row.append(swatch);
    }
    row.append(document.createTextNode(label ? `${label}: ${text}` : text));
    return row;
  }

  function themed(colour) {
    return `var(--k${colour.slice(1)}, ${colour})`;
  }

  function draw(marks, [, top, , bottom], found) {
    const parts = [];
    if (found.cross !== undefined) {
      const cross = document.createElementNS(SVG, "path");
      cross.setAttribute("d", `M${found.cross} ${top}V${bottom}`);
      cross.style.cssText = "stroke: var(--soft); stroke-width: 0.5; fill: none";
      parts.push(cross);
    }
    for (const dot of found.dots) {
      if (!Number.isFinite(dot.y) || dot.y < top - 1 || dot.y > bottom + 1) continue;
      const circle = document.createElementNS(SVG, "circle");
      for (const [key, value] of [["cx", dot.x], ["cy", dot.y], ["r", 2.2]]) circle.setAttribute(key, value);
      circle.style.cssText = `fill: ${themed(dot.colour)}; stroke: var(--card); stroke-width: 0.6`;
      parts.push(circle);
    }
    marks.replaceChildren(...parts);
  }

  // The figure as large as the window; wheel and buttons zoom, dragging moves, a double click shows all.
  function enlarge(svg, card) {
    const home = svg.parentNode;
    const whole = svg.getAttribute("viewBox");
    const dialog = make("dialog", "", { "aria-label": "Enlarged figure" });
    const stage = make("div", "", { class: "stage" });
    const bar = make("p", "", { class: "bar" });
    stage.append(svg);
    const view = () => svg.getAttribute("viewBox").split(" ").map(Number);
    const zoom = (factor, at) => {
      const [left, top, width, height] = view();
      const full = whole.split(" ").map(Number);
      const scaled = Math.min(full[2] * 1.2, Math.max(full[2] / 40, width * factor)) / width;
      const [x, y] = at ? [at.x, at.y] : [left + width / 2, top + height / 2];
      svg.setAttribute("viewBox", [x - (x - left) * scaled, y - (y - top) * scaled, width * scaled, height * scaled].join(" "));
    };
    const all = () => svg.setAttribute("viewBox", whole);
    for (const [text, label, act] of [["+", "Zoom in", () => zoom(0.7)], ["\u2212", "Zoom out", () => zoom(1 / 0.7)], ["All", "Show all of it", all], ["Close", "Close", () => dialog.close()]]) {
      const button = make("button", text, { type: "button", "aria-label": label });
      button.addEventListener("click", act);
      bar.append(button, " ");
    }
    const place = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const wheel = (event) => { event.preventDefault(); zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, place(event)); };
    let held = null;
    const down = (event) => { held = place(event); svg.setPointerCapture(event.pointerId); };
    const move = (event) => {
      if (!held || !(event.buttons & 1)) return;
      const now = place(event), [left, top, width, height] = view();
      svg.setAttribute("viewBox", [left + held.x - now.x, top + held.y - now.y, width, height].join(" "));
    };
    const up = () => { held = null; };
    const listeners = { wheel, dblclick: all, pointerdown: down, pointermove: move, pointerup: up };
    for (const [kind, act] of Object.entries(listeners)) svg.addEventListener(kind, act, { passive: false });
    dialog.append(bar, stage);
    dialog.addEventListener("close", () => {
      for (const [kind, act] of Object.entries(listeners)) svg.removeEventListener(kind, act);
      all();
      home.append(svg);
      dialog.remove();
      card.querySelector(".tools button").focus();
    });
    document.body.append(dialog);
    dialog.showModal();
  }

  const nav = document.querySelector("nav");
  themes(nav);
  contents(nav);
  document.querySelectorAll("table[data-sortable]").forEach(sortable);
  for (const [name, readout] of Object.entries(readouts)) figure(name, readout);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => { each.open = true; }));
})();
