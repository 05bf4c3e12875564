// Curves of jobs as data: fetched thinned from the server, and continued by what comes in.

import { ask } from "./frame.js";

const WIDE = 500, NARROW = 150; // buckets, each with its lowest and highest: two points for each pixel or so
const MAIN = ["loss"];

/** The curves of one job. A series has step, last, min, max, at and smooth, each an array. */
export class Curves {
  constructor(job) {
    this.job = job;
    this.series = new Map();
    this.ruler = { step: [], seconds: [] };
    this.names = [];
  }

  /** The names of all that there is, and what the large chart shows. False when another call has overtaken it. */
  async load(smooth, window) {
    const number = this.loading = (this.loading ?? 0) + 1;
    let large = this.names.length ? largest(this.names) : MAIN.flatMap((name) => [name, `eval_${name}`]);
    let found = await this.ask(large, WIDE, smooth, window);
    if (!Object.keys(found.series).length) {
      large = largest(found.names);
      if (large.length) found = await this.ask(large, WIDE, smooth, window);
    }
    if (number !== this.loading) return false;
    Object.assign(this, { names: found.names, smooth, window });
    if (!window) this.ruler = found.x;
    for (const [name, one] of Object.entries(found.series)) this.series.set(name, one);
    return true;
  }

  /** Of these names as well; all others are forgotten. */
  async more(names) {
    const number = this.loading, large = largest(this.names), rest = names.filter((name) => this.names.includes(name) && !large.includes(name));
    const series = large.filter((name) => this.series.has(name)).map((name) => [name, this.series.get(name)]);
    for (let at = 0; at < rest.length; at += MOST) series.push(...Object.entries((await this.ask(rest.slice(at, at + MOST), NARROW, this.smooth, this.window)).series));
    if (number === this.loading) this.series = new Map(series);
  }

  ask(names, points, smooth, window) {
    const fields = new URLSearchParams({ points, smooth: Math.min(0.99, smooth), names });
    if (window) { fields.set("from_step", Math.max(0, Math.floor(window[0]))); fields.set("to_step", Math.max(0, Math.ceil(window[1]))); }
    return ask("GET", `/api/v1/jobs/${this.job}/curves?${fields}`);
  }

  /** Goes on from what the feed tells; steps that are known already come again after a lost connection. */
  take(event) {
    const { step, split, values } = event.data;
    let fresh = false;
    for (const [value, number] of Object.entries(values)) {
      const name = called(split, value);
      let one = this.series.get(name);
      if (!one && this.names.includes(name)) continue; // nobody looks at it: it comes as a whole when somebody does
      if (!one) { one = { split, step: [], last: [], min: [], max: [], at: [], smooth: [] }; this.series.set(name, one); this.names.push(name); }
      while (one.step.length && one.step.at(-1) >= step) for (const part of [one.step, one.last, one.min, one.max, one.at, one.smooth || []]) part.pop();
      const before = last(one.smooth || one.last);
      one.step.push(step); one.last.push(number); one.min.push(number); one.max.push(number); one.at.push(event.at);
      if (one.smooth) one.smooth.push(number === null ? null : before === undefined ? number : this.smooth * before + (1 - this.smooth) * number);
      fresh = true;
    }
    const ruler = this.ruler;
    if (fresh && ruler.step.length && step > ruler.step.at(-1)) {
      ruler.step.push(step);
      ruler.seconds.push(ruler.seconds.at(-1) + Math.max(0, event.at - (this.heard ?? event.at)));
      if (ruler.tokens) ruler.tokens.push(values.num_tokens ?? ruler.tokens.at(-1));
    }
    this.heard = event.at;
    return fresh;
  }

  /** A job that went on from a checkpoint makes the steps after it again. */
  rewind(step) {
    for (const one of this.series.values())
      while (one.step.length && one.step.at(-1) > step) for (const part of [one.step, one.last, one.min, one.max, one.at, one.smooth || []]) part.pop();
  }

  /** Where a step is on another axis; null where nobody counts it. */
  place(step, axis) {
    if (axis === "step") return step;
    const places = this.ruler[axis], steps = this.ruler.step;
    if (!places?.length) return null;
    let low = 0, high = steps.length - 1;
    if (step <= steps[0]) return places[0];
    if (step >= steps[high]) return places[high];
    while (high - low > 1) { const middle = (low + high) >> 1; if (steps[middle] <= step) low = middle; else high = middle; }
    return places[low] + (places[high] - places[low]) * (step - steps[low]) / (steps[high] - steps[low]);
  }
}

function called(split, value) {
  if (split === "eval") return value.startsWith("eval_") ? value : `eval/${value}`;
  return value.startsWith("eval_") ? `train/${value}` : value;
}

function last(list) {
  for (let at = list.length - 1; at >= 0; at--) if (list[at] !== null) return list[at];
  return undefined;
}

const FIRST = ["learning_rate", "grad_norm", "rewards_margins", "rewards_accuracies", "logps_chosen", "logps_rejected", "tokens_per_second",
  "gpu_memory_mb", "gpu_utilization_percent", "gpu_temperature_celsius", "token_accuracy"];
const MOST = 40;
const NEVER = new Set(["num_tokens", "epoch", "total_flos"]);

export const both = ({ name, twin }) => [name, twin].filter(Boolean);
const largest = (names) => groups(names).slice(0, 1).flatMap(both);
export const isUsual = (name) => FIRST.includes(name);

/** Names of training and evaluation values that belong on the same axes, in the order in which they are shown. */
export function groups(names) {
  const known = new Set(names), found = [];
  const twin = (name) => [`eval_${name}`, `eval/${name}`].find((one) => known.has(one));
  const train = names.filter((name) => !NEVER.has(name) && !(name.startsWith("eval_") && known.has(name.slice(5))) && !(name.startsWith("eval/") && known.has(name.slice(5))));
  const rank = (name) => MAIN.includes(name) ? -1 : FIRST.includes(name) ? FIRST.indexOf(name) : name.includes("loss") ? 0 : FIRST.length + 1;
  for (const name of [...train].sort((one, other) => rank(one) - rank(other))) found.push({ name, twin: twin(name) });
  return found;
}

const WORDS = { gpu: "GPU", cpu: "CPU", mb: "MB", lr: "learning rate", grad: "gradient", rss: "memory", celsius: "°C", percent: "%" };

export function title(name) {
  const words = name.replace(/^eval\//, "eval ").split(/[_/ ]+/).map((word) => WORDS[word] ?? word).join(" ");
  return words.replace(/^./, (letter) => letter.toUpperCase());
}

export function written(number) {
  if (number === null || number === undefined) return "—";
  const size = Math.abs(number);
  const text = size === 0 || (size >= 0.01 && size < 100) ? number.toFixed(3) : size >= 100 ? Math.round(number).toLocaleString("en") : number.toExponential(2).replace("e-0", "e-");
  return number < 0 ? text.replace("-", "−") : text;
}
