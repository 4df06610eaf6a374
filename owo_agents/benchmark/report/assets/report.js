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
  const colour = (i) => `var(--c${i % 10})`;
  const dash = (i) => ["", "6 3", "2 3", "8 3 2 3"][Math.floor(i / 5) % 4];

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
      el(area, "path", { d: `${path(s, s.high)}${back}Z`, style: `fill:${colour(order.get(s.label))};opacity:.14` });
    }
    for (const s of series) {
      const i = order.get(s.label);
      const style = `fill:none;stroke:${colour(i)};stroke-width:${i === 0 ? 2.4 : 1.5};stroke-dasharray:${dash(i) || "none"}`;
      el(area, "path", { d: path(s, s.y), style });
      if (s.x.length <= 12)
        s.x.forEach((v, n) => el(area, "circle", { cx: x(v), cy: y(s.y[n]), r: 2.5, style: `fill:${colour(i)}` }));
    }
    return { x, series };
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
      const dot = el(svg, "circle", { cx: x(s.x[0]), cy: y(s.y[0]), r: i === 0 ? 6 : 4.5, style: `fill:${colour(i)}` });
      el(dot, "title", {}, `${s.label}: ${show(s.x[0])}, ${show(s.y[0])}`);
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
      const dot = el(svg, "circle", { cx: x(s.y[0]), cy: at, r: 5, style: `fill:${colour(i)}` });
      el(dot, "title", {}, `${s.label}: ${show(s.y[0])}`);
    });
    return null;
  }

  const DRAW = { lines: drawLines, points: drawPoints, bars: drawBars };

  function drawPanel(holder, panel, shown, order) {
    const old = holder.querySelector("svg");
    if (old) old.remove();
    const width = Math.max(240, holder.clientWidth);
    const height = panel.kind === "bars" ? 60 + 24 * panel.series.length : HEIGHT;
    const svg = el(holder, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    svg.setAttribute("aria-label", `${panel.title}: ${panel.y_label || panel.x_label}`);
    const box = { left: panel.kind === "bars" ? 4 : 46, right: width - 10, top: 18, bottom: height - 36 };
    const drawn = DRAW[panel.kind](svg, box, panel, shown, order);
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
        html(row, "span", "swatch").style.background = colour(order.get(label));
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
    const order = new Map(chart.labels.map((label, i) => [label, i]));
    const shown = new Set(chart.labels);
    const panels = html(figure, "div", "panels");
    const holders = chart.panels.map((panel) => {
      const holder = html(panels, "div", "panel");
      html(holder, "h4", "", panel.title);
      return [holder, panel];
    });
    const redraw = () => holders.forEach(([holder, panel]) => drawPanel(holder, panel, shown, order));
    if (chart.panels[0].kind !== "bars") {
      const legend = html(figure, "div", "legend");
      const present = new Set(chart.panels.flatMap((p) => p.series.map((s) => s.label)));
      for (const label of chart.labels.filter((l) => present.has(l))) {
        const button = html(legend, "button");
        button.type = "button";
        html(button, "span", "swatch").style.background = colour(order.get(label));
        button.append(label);
        button.setAttribute("aria-pressed", "true");
        button.addEventListener("click", () => {
          if (shown.has(label)) shown.delete(label); else shown.add(label);
          button.setAttribute("aria-pressed", String(shown.has(label)));
          redraw();
        });
      }
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
