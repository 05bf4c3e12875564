// All charts of a page: what they share (axis, smoothing, zoom, cursor), and how they are kept up to date.

import { toast } from "./frame.js";
import { Curves, both, groups, isUsual, title, written } from "./curves.js";
import { DASHES, Plot, forgetTones, short, toneOf } from "./plot.js";

const STORE = "runyard-charts", OPEN = 6, A_ROW = 3, SIDE_BY_SIDE = 2, DRAW_MS = 250, FINER_MS = 300, LOG_FIRST = ["grad_norm"];
const host = document.querySelector("[data-charts], [data-compare]");
const kept = JSON.parse(localStorage.getItem(STORE) || "{}");
const link = new URLSearchParams(location.hash.slice(1));

const page = {
  axis: link.get("axis") || kept.axis || "step",
  smooth: Number(link.get("smooth") ?? kept.smooth ?? 0.6),
  clip: kept.clip ?? true,
  logs: new Set(kept.logs || LOG_FIRST),
  zoom: link.has("from") ? [Number(link.get("from")), Number(link.get("to"))] : null,
  runs: [], plots: [], checkpoints: [], end: null, raised: null, hidden: new Set(), isUnfolded: kept.isUnfolded ?? false,
  isMain: (plot) => page.plots[0] === plot || page.runs.length > 1,
  zoomTo(window) {
    if (window) { const wide = Math.max(window[1] - window[0], 1e-6); window = [Math.max(0, window[0]), Math.max(0, window[0]) + wide]; }
    page.zoom = window;
    remember();
    redraw();
    chip();
    clearTimeout(finer);
    finer = setTimeout(() => loadAll(), FINER_MS);
  },
  toggleLog(plot) {
    plot.toggleLog();
    if (plot.log) page.logs.add(plot.name); else page.logs.delete(plot.name);
    remember();
    tools();
  },
  read(plot, rows) {
    const line = rows[0];
    if (plot.readout) plot.readout.textContent = line ? written(plot.near(line[0], plot.plot.cursor.idx, plot.smooth > 0 && line[0].kind !== "eval" ? 2 : 1)) : plot.newest();
    figures(plot, new Map(rows));
  },
};
let loads = 0;
const held = [];
let finer = null, dirty = false, layout = "";

if (host) begin();

async function begin() {
  const single = host.dataset.charts ? JSON.parse(host.dataset.charts) : null;
  const asked = single ? [{ job: single.job, name: "" }] : JSON.parse(host.dataset.compare);
  if (single) { page.end = single.ended ? null : single.total; page.checkpoints = single.checkpoints || []; }
  page.runs = asked.map(({ job, name }) => Object.assign(new Curves(job), { name }));
  document.addEventListener("feed", ({ detail }) => (loads ? held.push(...detail) : take(detail)));
  await loadAll();
  const repaint = () => { forgetTones(); redraw(); };
  document.addEventListener("theme", repaint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  setInterval(() => { if (dirty && !document.hidden) { dirty = false; arrange(); } }, DRAW_MS);
}

/** What the feed tells meanwhile may not be in the answer, so it is kept and taken afterwards. */
async function loadAll() {
  const window = page.zoom && page.axis === "step" ? page.zoom : null;
  loads++;
  try {
    const loaded = await Promise.all(page.runs.map((run) => run.load(page.smooth, window)));
    if (!loaded.every(Boolean)) return;
    arrange();
    const names = opened(reported());
    await Promise.all(page.runs.map((run) => run.more(names)));
  } catch (problem) { toast(problem.message); return; }
  finally { if (--loads === 0) take(held.splice(0)); }
  arrange();
}

const reported = () => groups([...new Set(page.runs.flatMap((run) => run.names))]);

/** Names of the curves that somebody can see: what is folded away is not fetched. */
function opened(shown) {
  if (page.isUnfolded) return shown.flatMap(both);
  return page.runs.length > 1 ? sides(shown).slice(0, SIDE_BY_SIDE) : shown.slice(0, 1 + small(shown.slice(1))).flatMap(both);
}

/** Each in a chart of its own, an evaluation before its training. */
const sides = (shown) => shown.flatMap((one) => both(one).reverse());

/** How many small charts lie open: the usual ones, in whole rows. */
const small = (rest) => A_ROW * Math.ceil(Math.max(OPEN, rest.filter(({ name }) => isUsual(name)).length) / A_ROW);

function take(events) {
  const [run] = page.runs;
  for (const event of events) {
    if (event.job_id !== run.job) continue;
    if (event.type === "metric") dirty = run.take(event) || dirty;
    else if (event.type === "resumed") { run.rewind(event.data.step); dirty = true; }
    else if (event.type === "progress" && event.data.phase === "training" && event.data.total_steps) page.end = event.data.total_steps;
    else if (event.type === "checkpoint") page.checkpoints.push(event.data.step);
    else if (event.type === "state" && ["completed", "failed", "cancelled"].includes(event.data.after)) { page.end = null; dirty = true; }
  }
}

function remember() {
  localStorage.setItem(STORE, JSON.stringify({ axis: page.axis, smooth: page.smooth, clip: page.clip, logs: [...page.logs], isUnfolded: page.isUnfolded }));
  const fields = new URLSearchParams();
  if (page.axis !== "step") fields.set("axis", page.axis);
  if (page.smooth !== 0.6) fields.set("smooth", page.smooth);
  if (page.zoom) { fields.set("from", page.zoom[0].toPrecision(6)); fields.set("to", page.zoom[1].toPrecision(6)); }
  history.replaceState(null, "", `${location.pathname}${location.search}${fields.size ? `#${fields}` : ""}`);
}

/** Charts for all that was reported; built anew only when there is something new to show. */
function arrange() {
  const shown = reported();
  if (!shown.length) return;
  const now = JSON.stringify(shown);
  if (now !== layout) {
    layout = now;
    if (page.runs.length > 1) side(shown); else stack(shown);
    tools();
    if (!loads && opened(shown).some((name) => page.runs.some((run) => run.names.includes(name) && !run.series.has(name)))) loadAll();
  }
  const many = page.runs.length > 1;
  for (const plot of page.plots) {
    plot.set(page.runs.flatMap((run, number) => plot.names.flatMap((name) => {
      const curve = run.series.get(name);
      if (!curve?.step.length) return [];
      const isEval = curve.split === "eval";
      const label = many ? run.name : isEval ? "eval" : "train";
      return [{ label, run, curve, number, name: run.job, kind: isEval ? "eval" : "train", hidden: page.hidden.has(many ? run.job : `${plot.name} ${label}`) }];
    })));
    legend(plot);
  }
}

/** The large chart stays, with its table and cursor, when others come. */
function stack([first, ...rest]) {
  const [large] = page.plots;
  if (large?.name === first.name) {
    large.names = both(first);
    for (const part of host.querySelectorAll(":scope > .charts, :scope > .more")) part.remove();
    drop(1);
  } else {
    host.replaceChildren();
    drop(0);
    chart(first, "h2", "", host);
  }
  folded(rest, small(rest), "charts", (one, place) => chart(one, "h3", "small", place));
}

/** So many lie open; the rest is drawn only once somebody wants to see it. */
function folded(all, open, look, draw) {
  const grid = (place) => Object.assign(place.appendChild(document.createElement("div")), { className: look });
  const fill = (ones, place) => { for (const one of ones) draw(one, place.appendChild(document.createElement("div"))); };
  if (all.length) fill(all.slice(0, open), grid(host));
  if (all.length <= open) return;
  const more = Object.assign(host.appendChild(document.createElement("details")), { className: "more", open: page.isUnfolded });
  more.appendChild(document.createElement("summary")).textContent = `${all.length - open} more ${all.length - open === 1 ? "chart" : "charts"}`;
  more.addEventListener("toggle", () => {
    if (page.isUnfolded === more.open) return; // it was built so
    page.isUnfolded = more.open;
    remember();
    if (more.open) loadAll();
  });
  fill(all.slice(open), grid(more));
}

/** The first so many stay: one that is only forgotten would go on following the cursor. */
function drop(kept) {
  for (const plot of page.plots.splice(kept)) plot.plot?.destroy();
}

function side(shown) {
  host.replaceChildren();
  drop(0);
  const head = host.appendChild(document.createElement("div"));
  head.className = "title";
  head.innerHTML = "<h2>Curves</h2>";
  folded(sides(shown), SIDE_BY_SIDE, "two", (name, place) => chart({ name }, "h3", "", place));
}

function chart({ name, twin }, level, size, place) {
  const head = place.appendChild(document.createElement("div"));
  head.className = "title";
  const words = head.appendChild(document.createElement(level));
  words.textContent = title(name);
  if (page.logs.has(name)) words.append(" ", Object.assign(document.createElement("small"), { textContent: "log" }));
  const readout = head.appendChild(Object.assign(document.createElement("b"), { className: "live-figure" }));
  const legendPlace = place.appendChild(document.createElement("div"));
  legendPlace.className = "legend";
  const box = place.appendChild(document.createElement("div"));
  box.className = `chart ${size}`;
  const plot = new Plot(box, page, name);
  Object.assign(plot, { names: both({ name, twin }), readout, legend: legendPlace, head: words });
  plot.newest = () => { const line = plot.lines.find((one) => one.kind === "train") || plot.lines[0]; return line && page.runs.length === 1 ? written(newest(line)) : ""; };
  page.plots.push(plot);
}

const newest = (line) => line.curve.last.findLast((value) => value !== null);

/** Beside the names of the lines: their values where the cursor is, else the newest. */
function figures(plot, here = new Map()) {
  for (const line of plot.lines) {
    const place = plot.legend.querySelector(`[data-line="${CSS.escape(line.label)}"] b`);
    if (place) place.textContent = written(here.has(line) ? here.get(line) : newest(line));
  }
}

function legend(plot) {
  plot.readout.textContent = plot.newest();
  if (plot.lines.length < 2) { plot.legend.hidden = true; return; }
  plot.legend.hidden = false;
  const now = JSON.stringify(plot.lines.map((line) => [line.label, line.hidden]));
  if (plot.legendShape === now) { if (typeof plot.plot?.cursor.idx !== "number") figures(plot); return; }
  plot.legendShape = now;
  const many = page.runs.length > 1;
  plot.legend.replaceChildren(...plot.lines.map((line) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.line = line.label;
    button.setAttribute("aria-pressed", String(!line.hidden));
    const tone = `var(${toneOf(line, many)})`, dash = many ? DASHES[line.number % DASHES.length].join(" ") : "";
    button.innerHTML = line.kind === "eval" && !many ? `<svg class="swatch dot" viewBox="0 0 16 8" aria-hidden="true"><circle cx="8" cy="4" r="3.5" fill="${tone}"/></svg>` : `<svg class="swatch" viewBox="0 0 16 8" aria-hidden="true"><line x1="0" x2="16" y1="4" y2="4" stroke="${tone}" stroke-dasharray="${dash}"/></svg>`;
    button.append(line.label, " ", Object.assign(document.createElement("b"), { textContent: written(newest(line)) }));
    const key = many ? line.name : `${plot.name} ${line.label}`;
    button.onclick = (event) => {
      if (event.altKey) for (const other of plot.lines) { const one = many ? other.name : `${plot.name} ${other.label}`; if (one === key) page.hidden.delete(one); else page.hidden.add(one); }
      else if (page.hidden.has(key)) page.hidden.delete(key); else page.hidden.add(key);
      arrange();
    };
    button.onmouseenter = () => { page.raised = line.name; };
    return button;
  }));
}

/** Smoothing, axis, scale and clipping, above the first chart; they hold for all. */
function tools() {
  host.querySelector(".chart-tools")?.remove();
  const bar = document.createElement("div");
  bar.className = "chart-tools";
  const axes = [["step", "Step"], ...(page.runs[0].ruler.tokens ? [["tokens", "Tokens"]] : []), ["seconds", "Time"]];
  const first = page.plots[0];
  bar.innerHTML = `<button type="button" class="button small narrow-only" data-fold>Axes</button>
    <label class="slider fold">Smooth <input type="range" min="0" max="0.99" step="0.01" value="${page.smooth}" data-smooth aria-label="Smoothing"><output>${page.smooth.toFixed(2)}</output></label>
    <div class="choices fold" role="group" aria-label="Axis">${axes.map(([value, words]) => `<button type="button" data-axis="${value}" aria-pressed="${page.axis === value}">${words}</button>`).join("")}</div>
    <div class="choices fold" role="group" aria-label="Scale"><button type="button" data-log="no" aria-pressed="${!first?.log}">Linear</button><button type="button" data-log="yes" aria-pressed="${Boolean(first?.log)}">Log</button></div>
    <div class="choices fold"><button type="button" data-clip aria-pressed="${page.clip}">Clip outliers</button></div>
    <button type="button" class="button small fold" data-csv>CSV</button><button type="button" class="button small fold" data-png>PNG</button>`;
  host.querySelector(".title").after(bar);
  bar.addEventListener("click", ({ target }) => {
    if (target.dataset.axis) { page.axis = target.dataset.axis; page.zoom = null; remember(); tools(); redraw(); chip(); }
    else if (target.dataset.log && (target.dataset.log === "yes") !== first.log) page.toggleLog(first);
    else if ("clip" in target.dataset) { page.clip = !page.clip; remember(); tools(); redraw(); }
    else if ("fold" in target.dataset) bar.classList.toggle("open");
    else if ("csv" in target.dataset) csv();
    else if ("png" in target.dataset) first.plot?.ctx.canvas.toBlob((blob) => save(blob, `${first.name}.png`));
  });
  const slider = bar.querySelector("[data-smooth]");
  slider.oninput = () => { bar.querySelector("output").textContent = Number(slider.value).toFixed(2); };
  slider.onchange = () => { page.smooth = Number(slider.value); remember(); loadAll(); };
}

function chip() {
  host.querySelector(".chip")?.remove();
  const box = host.querySelector(".chart");
  if (!page.zoom || !box) return;
  const button = box.appendChild(document.createElement("button"));
  button.type = "button";
  button.className = "button small chip";
  button.textContent = `zoomed to ${short(page.zoom[0])}–${short(page.zoom[1])} · live →`;
  button.onclick = () => page.zoomTo(null);
}

function redraw() { for (const plot of page.plots) plot.later(); }

function csv() {
  const rows = [["job", "series", "step", "value", "min", "max", "at"]];
  for (const run of page.runs) for (const [name, curve] of run.series) curve.step.forEach((step, at) => rows.push([run.job, name, step, curve.last[at] ?? "", curve.min[at] ?? "", curve.max[at] ?? "", curve.at[at]]));
  save(new Blob([rows.map((row) => row.join(",")).join("\n")], { type: "text/csv" }), "curves.csv");
}

function save(blob, name) {
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(blob);
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
}
