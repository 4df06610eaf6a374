"use strict";
// Draws the charts from the JSON in the page, and sorts its tables. All text goes in as text.
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const HEIGHT = 230;
  const charts = JSON.parse(document.getElementById("charts").textContent);

  function el(parent, name, attributes, text) {
    const node = parent.appendChild(document.createElementNS(NS, name));
    for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function html(parent, name, className, text) {
    const node = parent.appendChild(document.createElement(name));
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  const show = (v) => (v === 0 ? "0" : Math.abs(v) >= 1e4 || Math.abs(v) < 1e-3
    ? v.toPrecision(3) : String(Number(v.toPrecision(4))));
  // Of a label's place: below 0 is a bound, and null is one of many in a chart that shows all.
  // Of a map: the step of five of a ramp, from low to high.
  const RAMP = ["#a50026", "#f46d43", "#fdae61", "#74add1", "#313695"], STAR = "star";
  const colour = (i) => (i === STAR ? "var(--ink)" : typeof i === "string" ? i : i === null ? "var(--soft)" : i < 0 ? "var(--ink)" : `var(--c${i % 10})`);
  const dash = (i) => (typeof i === "string" ? "" : i < 0 ? ["", "2 3", "6 3"][-i % 3] : ["", "6 3", "2 3", "8 3 2 3"][Math.floor(i / 5) % 4]);

  // Beyond ten agents colours repeat, and then with other markers.
  const SHAPES = [
    "M-1 0A1 1 0 1 0 1 0A1 1 0 1 0 -1 0Z", "M-.9-.9H.9V.9H-.9Z", "M0-1.2L1.1.9H-1.1Z", "M0-1.3L1.1 0L0 1.3L-1.1 0Z",
    "M0 1.2L1.1-.9H-1.1Z", "M-.4-1.2H.4V-.4H1.2V.4H.4V1.2H-.4V.4H-1.2V-.4H-.4Z",
    "M0-1.3L.4-.4L1.3-.4L.6.2L.9 1.2L0 .6L-.9 1.2L-.6.2L-1.3-.4L-.4-.4Z",
    "M-1.1-.6L-.6-1.1L0-.5L.6-1.1L1.1-.6L.5 0L1.1 .6L.6 1.1L0 .5L-.6 1.1L-1.1 .6L-.5 0Z",
    "M-1.2 0L.9-1.1V1.1Z", "M1.2 0L-.9-1.1V1.1Z",
  ];
  const TOLD = 4; // curves that a legend tells apart well enough

  function marker(parent, i, x, y, size) {
    if (typeof i === "string" && i !== STAR) return el(parent, "circle", { cx: x, cy: y, r: size, style: `fill:${i}` });
    if (i < 0) return null;
    const shape = i === STAR ? SHAPES[6] : SHAPES[(i + 3 * Math.floor(i / 10)) % 10];
    return el(parent, "path", { d: shape, transform: `translate(${x} ${y}) scale(${size})`, style: `fill:${colour(i)}` });
  }

  function swatch(parent, i) {
    const svg = el(parent, "svg", { class: "key", viewBox: "0 0 26 12", "aria-hidden": "true" });
    if (typeof i !== "string") el(svg, "line", { x1: 0, x2: 26, y1: 6, y2: 6, style: `stroke:${colour(i)};stroke-width:1.6;stroke-dasharray:${dash(i) || "none"}` });
    marker(svg, i, 13, 6, 3.6);
  }

  // Places as near as may be to those wanted, each `least` from the next.
  function apart(wanted, least) {
    const order = wanted.map((_, k) => k).sort((a, b) => wanted[a] - wanted[b]);
    const mean = (block) => block.reduce((a, b) => a + b, 0) / block.length;
    const blocks = [];
    order.forEach((k, n) => {
      blocks.push([wanted[k] - least * n]);
      while (blocks.length > 1 && mean(blocks.at(-2)) >= mean(blocks.at(-1))) blocks.splice(-2, 2, blocks.slice(-2).flat());
    });
    const starts = blocks.flatMap((block) => block.map(() => mean(block)));
    const found = [];
    order.forEach((k, n) => { found[k] = starts[n] + least * n; });
    return found;
  }

  function scale(low, high, from, to, log) {
    const f = log ? Math.log10 : (v) => v;
    const [a, b] = [f(low), f(high)];
    const at = (v) => from + ((f(v) - a) / (b - a || 1)) * (to - from);
    at.ticks = log ? logTicks(low, high) : linearTicks(low, high, Math.abs(to - from) / (to > from ? 75 : 36));
    return at;
  }

  function linearTicks(low, high, most) {
    const rough = (high - low) / Math.max(2, most) || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough);
    const ticks = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) ticks.push(i * step);
    return ticks;
  }

  function logTicks(low, high) {
    const ticks = [];
    const fine = high / low < 60 ? [1, 2, 5] : [1];
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++)
      for (const k of fine) if (k * 10 ** e >= low * 0.999 && k * 10 ** e <= high * 1.001) ticks.push(k * 10 ** e);
    return ticks;
  }

  function extent(values, log, pad) {
    let [low, high] = [Math.min(...values), Math.max(...values)];
    if (log) return [low / (1 + pad), high * (1 + pad)];
    if (low === high) [low, high] = [low - Math.abs(low) * 0.05 - 1e-9, high + Math.abs(high) * 0.05 + 1e-9];
    const margin = (high - low) * pad;
    return [low - margin, high + margin];
  }

  function axes(svg, box, x, y, panel) {
    for (const t of y.ticks) {
      el(svg, "line", { class: "grid", x1: box.left, x2: box.right, y1: y(t), y2: y(t) });
      el(svg, "text", { x: box.left - 5, y: y(t) + 4, "text-anchor": "end" }, show(t));
    }
    for (const t of x.ticks) {
      el(svg, "line", { class: "grid", x1: x(t), x2: x(t), y1: box.top, y2: box.bottom });
      el(svg, "text", { x: x(t), y: box.bottom + 15, "text-anchor": "middle" }, show(t));
    }
    el(svg, "line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom });
    el(svg, "text", { x: (box.left + box.right) / 2, y: box.bottom + 30, "text-anchor": "middle" }, panel.x_label);
    el(svg, "text", { x: box.left, y: box.top - 5 }, panel.y_label);
  }

  function drawLines(svg, box, panel, shown, order) {
    const series = panel.series.filter((s) => shown.has(s.label));
    const every = series.flatMap((s) => [...s.y, ...(s.low || []), ...(s.high || [])]);
    if (!every.length) return null;
    const x = scale(...extent(series.flatMap((s) => s.x), panel.log, 0), box.left, box.right, panel.log);
    const limits = panel.y_limits || extent(every, panel.log, 0.05);
    const y = scale(...limits, box.bottom, box.top, panel.log);
    axes(svg, box, x, y, panel);
    const clip = `clip-${Math.random().toString(36).slice(2)}`;
    el(el(svg, "clipPath", { id: clip }), "rect",
      { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top });
    const area = el(svg, "g", { "clip-path": `url(#${clip})` });
    const path = (s, ys) => s.x.map((v, i) => `${i ? "L" : "M"}${x(v).toFixed(1)} ${y(ys[i]).toFixed(1)}`).join("");
    for (const s of series) {
      if (!s.low) continue;
      const back = [...s.x.keys()].reverse().map((i) => `L${x(s.x[i]).toFixed(1)} ${y(s.low[i]).toFixed(1)}`).join("");
      el(area, "path", { d: `${path(s, s.high)}${back}Z`, style: `fill:${colour(order.get(s.label))};opacity:${order.get(s.label) && series.length > TOLD ? .06 : .14}` });
    }
    for (const s of series) {
      const i = order.get(s.label);
      const style = `fill:none;stroke:${colour(i)};stroke-width:${i === 0 ? 2.4 : 1.5};stroke-dasharray:${dash(i) || "none"}`;
      el(area, "path", { d: path(s, s.y), style });
      const step = s.x.length <= 12 ? 1 : Math.floor(s.x.length / 6);
      for (let n = step > 1 ? Math.floor(((series.indexOf(s) + 0.5) * step) / series.length) : 0; n < s.x.length; n += step)
        marker(area, i, x(s.x[n]), y(s.y[n]), 2.9);
      (s.notes || []).forEach((text, n) => el(svg, "text", { x: x(s.x[n]) + 5, y: y(s.y[n]) - 4, style: `fill:${colour(i)}` }, text));
    }
    if (box.side) labelEnds(svg, box, series, x, y, order);
    return { x, series };
  }

  function labelEnds(svg, box, series, x, y, order) {
    const ended = series.filter((s) => s.x.length && order.get(s.label) >= 0);
    const ends = ended.map((s) => Math.min(box.bottom, Math.max(box.top, y(s.y.at(-1)))));
    apart(ends, 12).forEach((place, k) => {
      const [s, style] = [ended[k], colour(order.get(ended[k].label))];
      el(svg, "line", { x1: x(s.x.at(-1)), y1: ends[k], x2: box.right + 10, y2: place, style: `stroke:${style};stroke-width:.6` });
      const text = s.label.length > 15 ? `${s.label.slice(0, 14)}…` : s.label;
      el(svg, "text", { x: box.right + 12, y: place + 3.5, style: `fill:${style};font-size:10px` }, text);
    });
  }

  function whisker(svg, style, x1, y1, x2, y2) {
    el(svg, "line", { x1, y1, x2, y2, style });
  }

  function drawPoints(svg, box, panel, shown, order) {
    const series = panel.series.filter((s) => shown.has(s.label));
    if (!series.length) return null;
    const of = (...keys) => series.flatMap((s) => keys.flatMap((k) => s[k] || []));
    const x = scale(...extent(of("x", "x_low", "x_high"), false, 0.08), box.left, box.right);
    const y = scale(...extent(of("y", "low", "high"), false, 0.08), box.bottom, box.top);
    axes(svg, box, x, y, panel);
    for (const s of series) {
      const i = order.get(s.label);
      const style = `stroke:${colour(i)};stroke-width:1.2`;
      if (s.low) whisker(svg, style, x(s.x[0]), y(s.low[0]), x(s.x[0]), y(s.high[0]));
      if (s.x_low) whisker(svg, style, x(s.x_low[0]), y(s.y[0]), x(s.x_high[0]), y(s.y[0]));
      const dot = marker(svg, i, x(s.x[0]), y(s.y[0]), i === 0 ? 6 : 4.8);
      el(dot, "title", {}, `${s.label}: ${show(s.x[0])}, ${show(s.y[0])}`);
    }
    return null;
  }

  function drawCells(svg, box, panel, shown, order) {
    const x = scale(...panel.x_limits, box.left, box.right);
    const y = scale(...panel.y_limits, box.top, box.bottom);
    x.ticks = x.ticks.filter(Number.isInteger);
    y.ticks = y.ticks.filter(Number.isInteger);
    axes(svg, box, x, y, panel);
    for (const s of panel.series.filter((s) => shown.has(s.label))) {
      const style = `fill:${colour(order.get(s.label))}`;
      s.x.forEach((v, n) => {
        const cell = el(svg, "rect", { class: "cell", x: x(v - 0.5), y: y(s.y[n] - 0.4), width: x(v + 0.5) - x(v - 0.5), height: y(s.y[n] + 0.4) - y(s.y[n] - 0.4), style });
        el(cell, "title", {}, `${panel.y_label} ${s.y[n]}, ${panel.x_label} ${v}: ${s.label}`);
      });
    }
    return null;
  }

  function drawMap(svg, box, panel, shown, order, built) {
    const [[west, east], [south, north]] = [panel.x_limits, panel.y_limits];
    const metre = Math.min((box.right - box.left) / (east - west), (box.bottom - box.top) / (north - south));
    const [middle, centre] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
    const half = [(metre * (east - west)) / 2, (metre * (north - south)) / 2];
    const inner = { ...box, left: middle - half[0], right: middle + half[0], top: centre - half[1], bottom: centre + half[1] };
    const x = scale(west, east, inner.left, inner.right);
    const y = scale(south, north, inner.bottom, inner.top);
    axes(svg, inner, x, y, panel);
    const bar = ([left, low, w, h]) => `M${x(left).toFixed(1)} ${y(low).toFixed(1)}h${(metre * w).toFixed(1)}v${(-metre * h).toFixed(1)}h${(-metre * w).toFixed(1)}z`;
    el(svg, "path", { class: "built", d: built.map(bar).join("") });
    for (const s of panel.series.filter((s) => shown.has(s.label))) {
      const i = order.get(s.label);
      s.x.forEach((v, n) => {
        const dot = marker(svg, i, x(v), y(s.y[n]), i === STAR ? 6 : 2.6);
        el(dot, "title", {}, s.label);
      });
    }
    return null;
  }

  function drawBars(svg, box, panel, shown, order) {
    const series = panel.series.filter((s) => shown.has(s.label));
    if (!series.length) return null;
    const left = box.left + Math.min(120, (box.right - box.left) * 0.38);
    const values = series.flatMap((s) => [...s.y, ...(s.low || []), ...(s.high || [])]);
    const x = scale(...extent(values, false, 0.05), left, box.right);
    const step = (box.bottom - box.top) / series.length;
    for (const t of x.ticks) {
      el(svg, "line", { class: "grid", x1: x(t), x2: x(t), y1: box.top, y2: box.bottom });
      el(svg, "text", { x: x(t), y: box.bottom + 15, "text-anchor": "middle" }, show(t));
    }
    el(svg, "text", { x: (left + box.right) / 2, y: box.bottom + 30, "text-anchor": "middle" }, panel.x_label);
    series.forEach((s, n) => {
      const i = order.get(s.label);
      const at = box.top + (n + 0.5) * step;
      const text = s.label.length > 18 ? `${s.label.slice(0, 17)}…` : s.label;
      el(svg, "text", { x: left - 8, y: at + 4, "text-anchor": "end", style: "fill:var(--ink)" }, text);
      if (s.low) whisker(svg, `stroke:${colour(i)};stroke-width:2.5`, x(s.low[0]), at, x(s.high[0]), at);
      const dot = marker(svg, i, x(s.y[0]), at, i === null ? 3.5 : 5);
      el(dot, "title", {}, `${s.label}: ${show(s.y[0])}`);
    });
    return null;
  }

  const DRAW = { lines: drawLines, points: drawPoints, cells: drawCells, map: drawMap, bars: drawBars };

  function drawPanel(holder, panel, shown, order, built) {
    const old = holder.querySelector("svg");
    if (old) old.remove();
    const width = Math.max(240, holder.clientWidth);
    const height = panel.kind === "bars" ? 60 + 24 * panel.series.length : panel.kind === "map" ? Math.min(460, 54 + width) : HEIGHT;
    const svg = el(holder, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    svg.setAttribute("aria-label", `${panel.title}: ${panel.y_label || panel.x_label}`);
    const told = panel.series.filter((s) => shown.has(s.label)).length;
    const side = panel.kind === "lines" && width >= 380 && told > TOLD && told <= 12 ? 100 : 0;
    const box = { left: panel.kind === "bars" ? 4 : 46, right: width - 10 - side, top: 18, bottom: height - 36, side };
    const drawn = DRAW[panel.kind](svg, box, panel, shown, order, built);
    if (drawn) hover(holder, svg, box, drawn, order);
  }

  function hover(holder, svg, box, drawn, order) {
    const tip = holder.querySelector(".tip") || html(holder, "div", "tip");
    tip.hidden = true;
    const line = el(svg, "line", { class: "axis", y1: box.top, y2: box.bottom, visibility: "hidden" });
    const { x, series } = drawn;
    const places = [...new Set(series.flatMap((s) => s.x))].sort((a, b) => a - b);
    svg.addEventListener("pointermove", (event) => {
      const rect = svg.getBoundingClientRect();
      const at = ((event.clientX - rect.left) / rect.width) * svg.viewBox.baseVal.width;
      const near = places.reduce((a, b) => (Math.abs(x(b) - at) < Math.abs(x(a) - at) ? b : a));
      line.setAttribute("x1", x(near));
      line.setAttribute("x2", x(near));
      line.setAttribute("visibility", "visible");
      tip.replaceChildren();
      html(tip, "b", "", show(near));
      const rows = series.map((s) => [s.label, s.y[s.x.indexOf(near)]]).filter((r) => r[1] !== undefined);
      for (const [label, value] of rows.sort((a, b) => b[1] - a[1])) {
        const row = html(tip, "div");
        swatch(row, order.get(label));
        row.append(`${label.slice(0, 24)} ${show(value)}`);
      }
      tip.hidden = false;
      const side = at > svg.viewBox.baseVal.width / 2;
      tip.style.left = side ? "" : `${x(near) + 12}px`;
      tip.style.right = side ? `${holder.clientWidth - x(near) + 12}px` : "";
      tip.style.top = "2rem";
    });
    svg.addEventListener("pointerleave", () => {
      tip.hidden = true;
      line.setAttribute("visibility", "hidden");
    });
  }

  function setUp(figure) {
    const chart = charts[Number(figure.dataset.chart)];
    const order = new Map(chart.labels.filter((l) => !chart.bounds.includes(l)).map((label, i) => [label, i]));
    if (chart.ramp) order.forEach((i, label) => order.set(label, RAMP[Math.round((i * (RAMP.length - 1)) / Math.max(1, order.size - 1))]));
    chart.bounds.forEach((label, i) => order.set(label, chart.ramp ? STAR : -1 - i));
    const pale = new Set(chart.pale);
    const shown = new Set(chart.labels.filter((label) => !pale.has(label)));
    const panels = html(figure, "div", "panels");
    const holders = chart.panels.map((panel) => {
      const holder = html(panels, "div", "panel");
      html(holder, "h4", "", panel.title);
      holder.hidden = panel.pale;
      return [holder, panel];
    });
    const redraw = () => holders.forEach(([holder, panel]) => holder.hidden || drawPanel(holder, panel, shown, order, chart.built));
    const bars = chart.panels[0].kind === "bars";
    const legend = html(figure, "div", "legend");
    const present = new Set(chart.panels.flatMap((p) => p.series.map((s) => s.label)));
    const buttons = bars ? [] : chart.labels.filter((l) => present.has(l)).map((label) => {
      const button = html(legend, "button");
      button.type = "button";
      swatch(button, order.get(label));
      button.append(label);
      button.hidden = pale.has(label);
      button.setAttribute("aria-pressed", String(shown.has(label)));
      button.addEventListener("click", () => {
        if (shown.has(label)) shown.delete(label); else shown.add(label);
        button.setAttribute("aria-pressed", String(shown.has(label)));
        redraw();
      });
      return [button, label];
    });
    if (bars) pale.forEach((label) => { shown.add(label); order.set(label, null); }); // names stand beside
    const more = bars ? 0 : pale.size || chart.panels.filter((p) => p.pale).length;
    if (more) {
      const all = html(legend, "button", "more", `show all (${more} more)`);
      all.type = "button";
      all.setAttribute("aria-expanded", "false");
      all.addEventListener("click", () => {
        const open = all.getAttribute("aria-expanded") === "false";
        all.setAttribute("aria-expanded", String(open));
        all.textContent = open ? "show fewer" : `show all (${more} more)`;
        for (const [button, label] of buttons.filter(([, l]) => pale.has(l))) {
          button.hidden = !open;
          button.setAttribute("aria-pressed", String(open));
          if (open) shown.add(label); else shown.delete(label);
        }
        holders.forEach(([holder, panel]) => { holder.hidden = panel.pale && !open; });
        redraw();
      });
    }
    let last = panels.clientWidth; // 0 within closed <details>: drawn when they open
    if (last) redraw();
    new ResizeObserver(() => {
      if (panels.clientWidth && panels.clientWidth !== last) {
        last = panels.clientWidth;
        requestAnimationFrame(redraw);
      }
    }).observe(panels);
  }

  function sortable(table) {
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      header.querySelector("button").addEventListener("click", () => {
        const descending = header.getAttribute("aria-sort") === "ascending";
        headers.forEach((h) => h.removeAttribute("aria-sort"));
        header.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const value = (row) => row.cells[column].dataset.value;
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          if (x === "" || y === "") return (x === "") - (y === "");
          const order = column === 0 ? x.localeCompare(y) : Number(x) - Number(y);
          return descending ? -order : order;
        });
        table.tBodies[0].append(...rows);
      });
    });
  }

  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("figure[data-chart]").forEach(setUp);
})();
