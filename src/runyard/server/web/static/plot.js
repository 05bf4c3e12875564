// One chart: lines of runs on common axes, with a cursor, a zoom and a table of its values.

import { written } from "./curves.js";

export const DASHES = [[], [6, 3], [2, 2.5], [8, 3, 2, 3], [1, 3], [12, 4], [4, 2, 1, 2], [3, 4]];
const EXACT = new Set(["learning_rate"]); // what is set is not smoothed
const WHOLE = [1, 2, 5].flatMap((digit) => Array.from({ length: 9 }, (_, zeros) => digit * 10 ** zeros)).sort((one, other) => one - other);
const FONT = '11px "Liberation Sans", Arial, sans-serif', KEEP = 0.02;
const shade = (name, part) => probe(name).replace(/rgba?\(([^)]*)\)/, (_, inner) => `rgba(${inner.split(",").slice(0, 3).join(",")}, ${part})`);

/** By what a line is told from others: the evaluation of a single run is its second line. */
export const toneOf = (line, many) => `--s${line.kind === "eval" && !many ? 2 : (line.number % 6) + 1}`;

const tones = new Map();
/** To be called when the style sheet's colours have changed. */
export function forgetTones() { tones.clear(); }

/** What a variable of the style sheet comes to as a colour that a canvas knows. */
function probe(name) {
  if (!tones.has(name)) tones.set(name, asked(name));
  return tones.get(name);
}

function asked(name) {
  const place = document.createElement("i");
  place.style.color = `var(${name})`;
  document.body.append(place);
  const found = getComputedStyle(place).color;
  place.remove();
  return found;
}

export class Plot {
  /** `lines` are {label, run, kind: "train" | "eval", curve, name}; `page` holds what all charts share. */
  constructor(host, page, name) {
    this.host = host;
    this.page = page;
    this.name = name;
    this.lines = [];
    this.log = page.logs.has(name);
    this.isSeen = false;
    this.isStale = true;
    host.tabIndex = 0;
    host.setAttribute("role", "img");
    host.setAttribute("aria-label", name);
    new ResizeObserver(() => this.fit()).observe(host);
    new IntersectionObserver(([entry]) => { this.isSeen = entry.isIntersecting; if (this.isSeen && this.isStale) this.draw(); }).observe(host);
    host.addEventListener("keydown", (event) => this.key(event));
    host.addEventListener("dblclick", () => page.zoomTo(null));
    this.note = host.appendChild(document.createElement("span"));
    this.note.className = "note";
    this.tip = host.appendChild(document.createElement("div"));
    this.tip.className = "tip";
    this.tip.hidden = true;
  }

  get smooth() { return EXACT.has(this.name) ? 0 : this.page.smooth; }
  set(lines) { this.lines = lines; this.say(); this.later(); }
  later() { this.isStale = true; if (this.isSeen) this.draw(); }

  /** Columns on one x: where a line has no point there is nothing, and where its value was not finite a gap. */
  columns() {
    const tables = this.lines.map(({ curve, run }) => {
      const xs = [], raw = [], smooth = [], low = [], high = [];
      curve.step.forEach((step, at) => {
        const x = run.place(step, this.page.axis);
        if (x === null || (xs.length && x <= xs.at(-1))) return;
        xs.push(x);
        const ok = (value) => value === null || (this.log && value <= 0) ? null : value;
        raw.push(ok(curve.last[at])); low.push(ok(curve.min[at])); high.push(ok(curve.max[at]));
        smooth.push(curve.smooth?.length ? ok(curve.smooth[at]) : ok(curve.last[at]));
      });
      return [xs, raw, smooth, low, high];
    });
    return uPlot.join(tables, tables.map((table) => table.map(() => 1)));
  }

  draw() {
    this.isStale = false;
    if (!this.lines.length || this.host.clientWidth < 20) return;
    const data = this.columns();
    if (this.plot && this.shape === this.outline()) {
      this.data = data;
      this.plot.setData(data, false);
      this.rescale();
      this.plot.redraw(true, true);
    } else {
      this.plot?.destroy();
      this.data = data;
      this.shape = this.outline();
      this.plot = new uPlot(this.options(), data, this.host);
    }
  }

  outline() { return JSON.stringify([this.lines.map((line) => [line.label, line.kind, line.hidden]), this.log, this.page.axis, this.smooth > 0, probe("--page")]); }

  rescale() {
    this.plot.batch(() => {
      const [from, to] = this.span();
      this.plot.setScale("x", { min: from, max: to });
    });
  }

  span() {
    if (this.page.zoom) return this.page.zoom;
    const xs = this.data[0];
    const from = this.page.axis === "step" ? Math.min(0, xs[0] ?? 0) : 0;
    return [from, Math.max(this.page.end ?? 0, xs.at(-1) ?? 1, from + 1)];
  }

  /** The lowest and highest that are drawn; with clipping, a few wild ones do not make all the rest flat. */
  heights(from, to) {
    const xs = this.data[0], values = [];
    this.cut = null;
    this.lines.forEach((line, number) => {
      if (line.hidden) return;
      for (const column of line.kind === "eval" ? [1] : [3, 4]) {
        const found = this.data[4 * number + column];
        if (!found) continue;
        for (let at = 0; at < xs.length; at++) if (xs[at] >= from && xs[at] <= to && found[at] !== null && found[at] !== undefined) values.push([found[at], xs[at]]);
      }
    });
    if (!values.length) return [this.log ? 0.1 : 0, 1]; // a logarithmic axis has no place for zero
    const sorted = values.map(([value]) => value).sort((one, other) => one - other);
    let low = sorted[0], high = sorted.at(-1);
    if (this.page.clip && sorted.length > 20) {
      const first = sorted[Math.floor(0.01 * sorted.length)], last = sorted[Math.ceil(0.99 * sorted.length) - 1];
      if (last - first < (high - low) / 2 && last > first) {
        const above = values.filter(([value]) => value > last), below = values.filter(([value]) => value < first);
        this.cut = { above: high > last ? [Math.max(...above.map(([, x]) => x)), high] : null, below: low < first ? [Math.max(...below.map(([, x]) => x)), low] : null };
        [low, high] = [first, last];
      }
    }
    const room = (high - low || Math.abs(high) || 1) * 0.08;
    return this.log ? [low / 1.15, high * 1.15] : [low - room, high + room];
  }

  options() {
    const ink3 = probe("--ink3"), rule = probe("--rule"), many = this.page.runs.length > 1;
    const series = [{}];
    this.lines.forEach((line) => {
      const tone = toneOf(line, many), dash = many ? DASHES[line.number % DASHES.length] : [];
      const show = !line.hidden, thick = line.name === this.page.raised ? 3 : 2;
      const isDots = line.kind === "eval" && !many;
      const smooth = this.smooth > 0 && line.kind !== "eval"; // an evaluation is what it is
      series.push({ show: show && !(many && smooth), stroke: smooth ? shade(tone, 0.34) : probe(tone), width: smooth ? 1 : isDots ? 0 : thick, dash: smooth ? [] : dash, paths: isDots ? () => null : undefined,
        points: isDots ? { show: true, size: 7, fill: probe(tone), stroke: probe("--page"), width: 1 } : { show: false } });
      series.push({ show: show && smooth, stroke: probe(tone), width: thick, dash, points: { show: false } });
      series.push({ show: false, stroke: "transparent", points: { show: false } });
      series.push({ show: false, stroke: "transparent", points: { show: false } });
    });
    const axis = { stroke: ink3, font: FONT, grid: { stroke: rule, width: 1 }, ticks: { show: false } };
    return {
      width: this.host.clientWidth, height: this.host.clientHeight, series, padding: [10, 20, 0, 0],
      legend: { show: false },
      cursor: { lock: true, drag: { x: true, y: false, setScale: false }, sync: { key: "page", setSeries: false, scales: ["x", null] }, points: { size: 6 }, y: false, focus: { prox: 16 } },
      scales: { x: { time: false, range: () => this.span() }, y: { distr: this.log ? 3 : 1, range: (plot) => this.heights(...this.span()) } },
      axes: [{ ...axis, grid: { show: false }, ...(this.page.axis === "step" ? { incrs: WHOLE } : {}), values: (plot, ticks) => ticks.map((tick) => this.page.axis === "seconds" ? lasted(tick) : short(tick)), space: 90, size: 26 },
        { ...axis, values: (plot, ticks) => ticks.map(short), space: this.host.clientHeight < 200 ? 22 : 36, size: 46 }],
      hooks: { draw: [(plot) => this.over(plot)], drawAxes: [(plot) => this.under(plot)], setCursor: [(plot) => this.point(plot)], setSelect: [(plot) => this.select(plot)] },
    };
  }

  /** What lies below the lines: the part that is still to come, and the band between lowest and highest. */
  under(plot) {
    const { ctx, bbox } = plot, xs = this.data[0], end = this.page.end;
    ctx.save();
    if (end && this.page.axis === "step" && xs.length && xs.at(-1) < end) {
      const from = Math.min(bbox.left + bbox.width, Math.max(bbox.left, plot.valToPos(xs.at(-1), "x", true)));
      ctx.fillStyle = probe("--sunken");
      ctx.fillRect(from, bbox.top, bbox.left + bbox.width - from, bbox.height);
      const room = bbox.left + bbox.width - from, words = `${(end - xs.at(-1)).toLocaleString("en")} steps to go`;
      ctx.fillStyle = probe("--ink3");
      ctx.font = `${11 * devicePixelRatio}px "Liberation Sans", Arial, sans-serif`;
      ctx.textAlign = "center";
      if (this.page.isMain(this) && room > ctx.measureText(words).width + 20) ctx.fillText(words, from + room / 2, bbox.top + bbox.height / 2);
    }
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    this.lines.forEach((line, number) => {
      if (line.hidden || line.kind === "eval") return;
      const low = this.data[4 * number + 3], high = this.data[4 * number + 4];
      ctx.fillStyle = shade(`--s${(line.number % 6) + 1}`, 0.13);
      ctx.beginPath();
      let isOpen = false;
      const back = [];
      for (let at = 0; at < xs.length; at++) {
        if (high[at] === null || high[at] === undefined) continue;
        const x = plot.valToPos(xs[at], "x", true);
        ctx[isOpen ? "lineTo" : "moveTo"](x, plot.valToPos(high[at], "y", true));
        back.push([x, plot.valToPos(low[at], "y", true)]);
        isOpen = true;
      }
      for (const [x, y] of back.reverse()) ctx.lineTo(x, y);
      ctx.fill();
    });
    ctx.restore();
  }

  /** What lies above: where a value was not finite, checkpoints, the newest point, and what is cut off. */
  over(plot) {
    const { ctx, bbox } = plot, xs = this.data[0], unit = devicePixelRatio;
    ctx.save();
    ctx.font = `${11 * unit}px "Liberation Sans", Arial, sans-serif`;
    ctx.textAlign = "center";
    let gaps = 0;
    this.lines.forEach((line, number) => {
      if (line.hidden) return;
      const raw = this.data[4 * number + 1], smooth = this.smooth > 0 && line.kind !== "eval" ? this.data[4 * number + 2] : raw;
      ctx.fillStyle = probe("--fail");
      for (let at = 0; at < xs.length; at++) if (raw[at] === null) { gaps++; ctx.fillText("✕", plot.valToPos(xs[at], "x", true), bbox.top + bbox.height - 2 * unit); }
      let newest = xs.length - 1;
      while (newest >= 0 && (smooth[newest] === null || smooth[newest] === undefined)) newest--;
      if (newest >= 0 && line.kind !== "eval") {
        const x = plot.valToPos(xs[newest], "x", true), y = plot.valToPos(smooth[newest], "y", true);
        if (x <= bbox.left + bbox.width && y >= bbox.top) {
          ctx.fillStyle = probe(`--s${(line.number % 6) + 1}`);
          ctx.beginPath(); ctx.arc(x, y, 3.5 * unit, 0, 7); ctx.fill();
        }
      }
      if (line.kind === "eval" && this.name.includes("loss")) this.best(plot, line, raw, xs, unit);
    });
    ctx.fillStyle = probe("--ink3");
    if (this.page.isMain(this) && this.page.axis === "step")
      for (const step of this.page.checkpoints) {
        const x = plot.valToPos(step, "x", true);
        if (x >= bbox.left && x <= bbox.left + bbox.width) ctx.fillText("▲", x, bbox.top + bbox.height - 3 * unit);
      }
    ctx.restore();
    const unitName = this.page.axis === "step" ? "step " : "";
    const words = [];
    if (this.cut?.above) words.push(`↑ higher until ${unitName}${this.page.axis === "seconds" ? lasted(this.cut.above[0]) : short(this.cut.above[0])}, up to ${written(this.cut.above[1])}`);
    if (this.cut?.below) words.push(`↓ lower until ${unitName}${this.page.axis === "seconds" ? lasted(this.cut.below[0]) : short(this.cut.below[0])}, down to ${written(this.cut.below[1])}`);
    if (gaps) words.push(`✕ not finite at ${gaps} ${gaps === 1 ? "step" : "steps"}`);
    this.note.textContent = words.join(" · ");
    this.note.style.top = "0";
  }

  /** Marks the lowest: of a single run in words, of several each with a dot. */
  best(plot, line, raw, xs, unit) {
    let at = -1;
    for (let here = 0; here < xs.length; here++) if (raw[here] !== null && raw[here] !== undefined && (at < 0 || raw[here] < raw[at])) at = here;
    if (at < 0 || !this.page.isMain(this)) return;
    const { ctx } = plot, many = this.page.runs.length > 1, x = plot.valToPos(xs[at], "x", true), y = plot.valToPos(raw[at], "y", true);
    ctx.fillStyle = probe(toneOf(line, many));
    ctx.font = `600 ${11 * unit}px "Liberation Sans", Arial, sans-serif`;
    if (many) { ctx.beginPath(); ctx.arc(x, y, 4 * unit, 0, 7); ctx.fill(); }
    else ctx.fillText(`best ${written(raw[at])}`, x, y - 9 * unit);
  }

  point(plot) {
    const at = plot.cursor.idx;
    const rows = at === null || at === undefined ? [] : this.lines.filter((line) => !line.hidden).map((line) => [line, this.near(line, at)]).filter(([, value]) => value !== undefined);
    this.page.read(this, rows);
    const isHere = this.host.matches(":hover") || document.activeElement === this.host;
    if (!rows.length || !isHere || plot.cursor.left < 0) { this.tip.hidden = true; return; }
    this.tip.hidden = false;
    const x = this.data[0][at];
    const head = document.createElement("div");
    head.append(strong(this.page.axis === "step" ? `step ${Math.round(x).toLocaleString("en")}` : this.page.axis === "seconds" ? lasted(x) : `${short(x)} tokens`));
    this.tip.replaceChildren(head, ...rows.flatMap(([line, value]) => {
      const smooth = this.near(line, at, 2);
      const parts = [row(line.label, written(value))];
      if (this.smooth > 0 && line.kind !== "eval" && smooth !== undefined) parts.unshift(row(`${line.label}, smoothed`, written(smooth)));
      return parts;
    }));
    const left = plot.bbox.left / devicePixelRatio + plot.cursor.left, wide = this.tip.offsetWidth;
    this.tip.style.left = `${left + 14 + wide > this.host.clientWidth ? left - wide - 14 : left + 14}px`;
    this.tip.style.top = "16px";
  }

  /** The value of a line at a place, or the newest one before it. */
  near(line, at, column = 1) {
    const found = this.data[4 * this.lines.indexOf(line) + column];
    for (let here = at; here >= 0; here--) if (found?.[here] !== undefined) return found[here];
    return undefined;
  }

  select(plot) {
    const { left, width } = plot.select;
    if (width < 6) return;
    this.page.zoomTo([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }

  key(event) {
    const { key, shiftKey } = event, plot = this.plot;
    if (!plot || event.ctrlKey || event.metaKey || event.altKey) return;
    const xs = this.data[0], now = plot.cursor.idx ?? xs.length - 1, stride = shiftKey ? Math.max(1, Math.round(xs.length / 10)) : 1;
    const go = { ArrowLeft: now - stride, ArrowRight: now + stride, Home: 0, End: xs.length - 1 }[key];
    if (go !== undefined) {
      const at = Math.max(0, Math.min(xs.length - 1, go));
      plot.setCursor({ left: plot.valToPos(xs[at], "x"), top: 10 });
    } else if (key === "+" || key === "-" || key === "−") {
      const [from, to] = this.span(), middle = xs[now] ?? (from + to) / 2, half = (to - from) * (key === "+" ? 0.25 : 1);
      this.page.zoomTo([middle - half, middle + half]);
    } else if (key === "0") this.page.zoomTo(null);
    else if (key === "Escape") { plot.setCursor({ left: -10, top: -10 }); this.tip.hidden = true; }
    else if (key.toLowerCase() === "l") this.page.toggleLog(this);
    else if (key.toLowerCase() === "s") document.querySelector("[data-smooth]")?.focus();
    else if (key.toLowerCase() === "t") this.table();
    else return;
    event.preventDefault();
  }

  toggleLog() { this.log = !this.log; this.later(); }

  table() {
    if (this.values) { this.values.remove(); this.values = null; return; }
    if (this.isStale) this.draw();
    this.values = document.createElement("div");
    this.values.className = "values";
    this.values.tabIndex = 0;
    const table = this.values.appendChild(document.createElement("table"));
    const head = table.createTHead().insertRow();
    for (const words of [this.page.axis, ...this.lines.map((line) => line.label)]) { const cell = document.createElement("th"); cell.textContent = words; head.append(cell); }
    const bodyOf = table.createTBody(), xs = this.data[0], every = Math.max(1, Math.ceil(xs.length / 200));
    for (let at = 0; at < xs.length; at += every) {
      const line = bodyOf.insertRow();
      line.insertCell().textContent = short(xs[at]);
      this.lines.forEach((_, number) => { const value = this.data[4 * number + 1][at]; line.insertCell().textContent = value === undefined ? "" : value === null ? "not finite" : written(value); });
    }
    this.host.after(this.values);
  }

  say() {
    const told = this.lines.filter((line) => !line.hidden && line.curve.step.length).map((line) => {
      const { last, step } = line.curve, newest = last.at(-1), before = last[Math.max(0, last.length - 1 - Math.ceil(last.length / 10))];
      const way = newest === null || before === null ? "" : newest < before - KEEP * Math.abs(before) ? ", falling" : newest > before + KEEP * Math.abs(before) ? ", rising" : ", steady";
      return `${line.label} ${written(newest)} at step ${step.at(-1)?.toLocaleString("en")}${way}`;
    });
    this.host.setAttribute("aria-label", `${this.name}: ${told.join("; ") || "no values"}. Arrow keys move, T gives a table.`);
  }

  fit() {
    if (!this.plot) { if (this.isSeen) this.draw(); return; }
    const { clientWidth: width, clientHeight: height } = this.host;
    if (width && (width !== this.plot.width || height !== this.plot.height)) this.plot.setSize({ width, height });
  }
}

function strong(words) { const place = document.createElement("b"); place.textContent = words; return place; }
function row(label, value) { const place = document.createElement("div"), name = document.createElement("span"); name.textContent = label; place.append(name, strong(value)); return place; }
export function short(number) {
  if (number === null || number === undefined) return "";
  const size = Math.abs(number);
  if (size >= 1e9) return `${+(number / 1e9).toPrecision(4)}B`;
  if (size >= 1e6) return `${+(number / 1e6).toPrecision(4)}M`;
  if (size >= 1e4) return `${+(number / 1e3).toPrecision(4)}k`;
  if (size >= 1) return number.toLocaleString("en", { maximumFractionDigits: 2 });
  return size === 0 ? "0" : size >= 0.001 ? String(+number.toPrecision(3)) : number.toExponential(1).replace(".0e", "e").replace("e-0", "e-");
}
function lasted(seconds) { return seconds < 60 ? `${Math.round(seconds)} s` : seconds < 3600 ? `${Math.round(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h ${String(Math.round(seconds / 60) % 60).padStart(2, "0")}`; }
