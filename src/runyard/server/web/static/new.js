// Form and job file as two views of one text; the plan is asked for a moment after the last key.

import { ask, toast } from "./frame.js";

const WAIT_MS = 400, MARK_MS = 1000;
const $ = (id) => document.getElementById(id);
const text = $("text"), form = $("form"), plan = $("plan"), start = $("start");
const MOST_CHANGES = 20;
const changes = new Map(); // of the form, by field, that are not in the text yet
let kind = form.firstElementChild?.dataset.kind, wanted = null, spec = null, asked = 0, timer = null;
let applied = {}, starting = false; // what the fields say by the text, and whether the job is on its way

/** False unless what the form and the file say by now is what the plan and `spec` are of. */
async function check() {
  const number = ++asked, before = text.value, other = wanted, sent = [...changes].slice(0, MOST_CHANGES);
  clearTimeout(timer);
  plan.parentElement.classList.add("old");
  $("refused").textContent = "";
  let found;
  try { found = await ask("POST", "/new/check", { text: before, kind: other, changes: sent.map(([field, value]) => ({ field, value })) }); }
  catch (problem) {
    if (number !== asked) return false;
    plan.parentElement.classList.remove("old"); $("refused").textContent = problem.message; return false;
  }
  if (number !== asked || text.value !== before) return false; // somebody has gone on writing, and what was changed is sent again
  if (wanted === other) wanted = null;
  if (!found.wrong) for (const [field, value] of sent) if (changes.get(field) === value) changes.delete(field);
  if (found.text !== text.value) { replace(found.text); mark(before, found.text); }
  if (found.wrong) $("refused").textContent = found.wrong;
  plan.innerHTML = found.plan;
  spec = found.spec;
  if (!starting) start.setAttribute("aria-disabled", spec ? "false" : "true");
  applied = found.values ?? applied;
  if (found.kind && found.kind !== kind) { kind = found.kind; form.innerHTML = found.form; }
  else if (found.values) fill(found.values);
  for (const radio of document.querySelectorAll("#kinds input")) radio.checked = radio.value === (wanted ?? kind);
  $("look").hidden = kind === "script";
  plan.parentElement.classList.remove("old");
  return !changes.size && !wanted;
}

/** Throws unless form and file say the same by now. */
async function requireOne() {
  if (!(await check())) throw new Error($("refused").textContent || "What you changed is being checked: try again.");
}

/** Throws unless `spec` is what form and file say by now. */
async function requireUsable() {
  await requireOne();
  if (!spec) throw new Error("Mend what the plan names first.");
}

/** Whoever writes in the file goes on where they were. */
function replace(fresh) {
  const { selectionStart, selectionEnd, scrollTop } = text;
  text.value = fresh;
  if (document.activeElement === text) { text.setSelectionRange(selectionStart, selectionEnd); text.scrollTop = scrollTop; }
}

function fill(values) {
  for (const field of form.elements) {
    if (!field.name || field === document.activeElement) continue;
    const value = values[field.name] ?? "";
    if (field.type === "radio") { if (value) field.checked = field.value === value; }
    else if (field.value !== value) { field.value = value; flash(field); }
  }
  const changed = [...form.querySelectorAll(".more [name]")].filter((field) => field.name in values).length;
  $("more-says").textContent = changed ? `${changed} of them set` : "all at their defaults";
}

function flash(field) {
  field.classList.add("flash");
  setTimeout(() => field.classList.remove("flash"), MARK_MS);
}

/** Chooses the line that has changed for a second, unless somebody writes there. */
function mark(before, after) {
  if (document.activeElement === text) return;
  const old = new Set(before.split("\n")), lines = after.split("\n");
  const at = lines.findIndex((line) => !old.has(line));
  if (at < 0) return;
  const from = lines.slice(0, at).join("\n").length + (at ? 1 : 0);
  text.setSelectionRange(from, from + lines[at].length);
  flash(text);
}

function later() {
  asked++;
  clearTimeout(timer);
  timer = setTimeout(() => check(), WAIT_MS);
}
text.addEventListener("input", () => { wanted = null; later(); }); // the file says its kind: what was chosen before is void
form.addEventListener("input", ({ target }) => { if (target.name === "data.train") uploads++; if (target.name && target.type !== "radio" && target.tagName !== "SELECT") { changes.set(target.name, target.value); later(); } });
form.addEventListener("change", ({ target }) => {
  if (!target.name || (target.value === (applied[target.name] ?? "") && !changes.has(target.name))) return; // typed, and taken since
  changes.set(target.name, target.value);
  check();
});
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("click", ({ target }) => { if (target.closest("[data-upload]")) $("new-upload").click(); });
$("kinds").addEventListener("change", ({ target }) => { changes.clear(); wanted = target.value; check(); });
$("template")?.addEventListener("change", ({ target }) => { location.href = target.value ? `/new?template=${encodeURIComponent(target.value)}` : "/new"; });
$("copy").onclick = async () => { try { await navigator.clipboard.writeText(text.value); toast("Copied", { seconds: 2 }); } catch { text.select(); } };

let uploads = 0; // whoever chooses another file, or names other data, has given the earlier one up
$("new-upload").addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  if (!file) return;
  const number = ++uploads;
  const say = (words) => { const place = $("upload-says"); if (place && number === uploads) place.textContent = words; };
  say(`Uploading ${file.name} and checking it row by row…`);
  const content = new FormData();
  content.append("file", file);
  try {
    const found = await ask("POST", "/api/v1/datasets", content);
    if (number !== uploads || !$("upload-says")) return; // given up, or the form is one without data by now
    changes.set("data.train", `dataset:${found.id}`);
    await check();
    say(`${found.name}: ${found.rows} rows${found.report.bad ? `, ${found.report.bad} of them can't be used` : ", all readable"}`);
  } catch (problem) { say(problem.message); }
  target.value = ""; // the same file may be chosen again once it is mended
});

let key = "", keyOf = "";
/** The same for as long as the job is: should its answer get lost, starting it again makes no second one. */
function once(spec) {
  const asked = JSON.stringify(spec);
  if (asked !== keyOf) { keyOf = asked; key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (one) => one.toString(16).padStart(2, "0")).join(""); }
  return { "Idempotency-Key": key };
}

start.onclick = async () => {
  if (start.getAttribute("aria-disabled") === "true") return;
  starting = true;
  start.setAttribute("aria-disabled", "true");
  start.textContent = "Starting…";
  try {
    await requireUsable();
    const template = $("new").dataset.template;
    const found = template
      ? await ask("POST", `/api/v1/templates/${encodeURIComponent(template)}/jobs`, { spec }, once(spec))
      : await ask("POST", "/api/v1/jobs", spec, once(spec));
    keyOf = ""; // whoever comes back and starts the same again wants another
    location.href = `/jobs/${found.id}`;
    return;
  } catch (problem) { $("refused").textContent = problem.message; }
  starting = false;
  start.textContent = "Start job";
  start.setAttribute("aria-disabled", "false");
};

// On a phone the plan stands before the form: once it is out of sight, what it says and its button stay at hand.
const bar = $("start-bar"), follow = () => {
  bar.querySelector("p").textContent = plan.querySelector(".sentence, .wrong")?.textContent ?? "";
  bar.querySelector("button").setAttribute("aria-disabled", start.getAttribute("aria-disabled") ?? "false");
};
new MutationObserver(follow).observe(plan.parentElement, { childList: true, subtree: true, attributes: true });
new IntersectionObserver(([seen]) => { bar.hidden = seen.isIntersecting || seen.boundingClientRect.top > 0; }).observe(start);
bar.querySelector("button").onclick = () => start.click();
follow();

$("show-rows").onclick = async ({ target }) => {
  if (target.getAttribute("aria-disabled") === "true") return;
  target.setAttribute("aria-disabled", "true");
  $("rows").replaceChildren(words("p", "Reading model and rows…", "second"));
  try {
    await requireUsable();
    $("rows").replaceChildren(...rowsOf(await ask("POST", "/api/v1/previews?count=5", spec)));
  } catch (problem) { $("rows").replaceChildren(words("p", problem.message, "wrong")); }
  target.removeAttribute("aria-disabled");
};

function rowsOf({ examples, trained_share: share, sample_rows: sample, rows, dropped, warnings }) {
  const left = dropped ? `, ${dropped.toLocaleString("en")} left out` : "";
  const total = words("p", `${rows.toLocaleString("en")} rows${left}. ${Math.round(100 * share)} % of the tokens in the first ${sample.toLocaleString("en")} are trained; they are marked.`);
  return [total, ...warnings.map((one) => words("p", one, "unsure-text")), ...examples.flatMap((one) => {
    const head = words("h3", one.title[0].toUpperCase() + one.title.slice(1));
    head.append(" ", words("small", `${one.trained_tokens} of ${one.tokens} tokens trained${one.truncated ? ", cut at training.max_length" : ""}`));
    const text = words("pre", "", "row");
    text.tabIndex = 0;
    text.append(...one.pieces.map(([piece, trained]) => (trained ? words("mark", piece) : piece)));
    return [head, text];
  })];
}

function words(tag, text, name = "") { const place = document.createElement(tag); place.textContent = text; place.className = name; return place; }

$("save-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try { await requireOne(); await ask("POST", "/api/v1/templates", { name: $("save-name").value, yaml: text.value }); location.href = "/templates"; }
  catch (problem) { event.target.querySelector("[data-wrong]").textContent = problem.message; }
});
check();
