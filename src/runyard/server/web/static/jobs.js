// Choosing jobs in the list, across pages and filters; the keys of rows; older pages on scrolling down.

import { ask, refresh, toast } from "./frame.js";

const MOST = 50, STORE = "runyard-chosen";
const OPPOSITE = { add_tags: "remove_tags", remove_tags: "add_tags" };
const bar = document.getElementById("selection"), live = document.getElementById("live");
let chosen = JSON.parse(sessionStorage.getItem(STORE) || "[]");

function show() {
  sessionStorage.setItem(STORE, JSON.stringify(chosen));
  for (const box of document.querySelectorAll("[data-choose]")) {
    box.checked = chosen.includes(box.value);
    box.closest("tr").classList.toggle("chosen", box.checked);
  }
  bar.hidden = !chosen.length;
  document.getElementById("chosen-count").textContent = chosen.length;
  document.getElementById("do-export").href = `/api/v1/analytics/compare?format=csv&job_ids=${chosen.slice(0, MOST).join(",")}`;
}

function choose(id, on) {
  chosen = on ? [...new Set([...chosen, id])] : chosen.filter((one) => one !== id);
  show();
}

live.addEventListener("change", ({ target }) => { if ("choose" in target.dataset) choose(target.value, target.checked); });
document.addEventListener("refreshed", show);
document.getElementById("choose-none").onclick = () => { chosen = []; show(); };
document.getElementById("do-compare").onclick = compare;
function compare() {
  if (chosen.length < 2) toast("Choose at least two jobs to compare.");
  else location.href = `/compare?jobs=${chosen.join(",")}`;
}

async function change(action, tags, ids = chosen) {
  const found = await ask("POST", "/api/v1/jobs/bulk", { job_ids: ids, action, ...(tags ? { tags } : {}) });
  const refused = found.items.filter((one) => one.outcome === "refused");
  const done = found.items.filter((one) => one.outcome === "done").map((one) => one.job_id);
  const undo = tags && done.length ? () => change(OPPOSITE[action], tags, done).catch((problem) => toast(problem.message)) : null;
  toast(`${done.length} changed${refused.length ? `, ${refused.length} not: ${refused[0].detail}` : ""}`, { undo });
  await refresh({ now: true });
}
const tagging = document.getElementById("tag-form");
tagging?.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await change(event.submitter.value, [document.getElementById("tag-name").value]);
    tagging.closest("dialog").close();
  } catch (problem) { tagging.querySelector("[data-wrong]").textContent = problem.message; }
});
document.getElementById("do-cancel")?.addEventListener("click", async ({ target }) => {
  target.closest("dialog").close();
  try { await change("cancel"); } catch (problem) { toast(problem.message); }
});

// Rows by keyboard.

function rows() { return [...document.querySelectorAll("#jobs tbody tr")]; }
function current() { return rows().findIndex((row) => row.contains(document.activeElement)); }
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input:not([type=checkbox]), textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase(), at = current(), all = rows();
  if (key === "j" || key === "k") { all[Math.max(0, Math.min(all.length - 1, at + (key === "j" ? 1 : -1)))]?.querySelector("a.name").focus(); event.preventDefault(); }
  else if (key === "x" && at >= 0) { choose(all[at].dataset.job, !chosen.includes(all[at].dataset.job)); event.preventDefault(); }
  else if (key === "c") compare();
});

for (const select of document.querySelectorAll("#filters select, #filters input[type=date]")) select.onchange = () => select.form.requestSubmit();
document.getElementById("filters").addEventListener("submit", ({ target }) => {
  for (const field of target.elements) if (field.name && !field.value) field.disabled = true; // short addresses
});

// The list goes on when its end comes into sight.

let fetching = false;
const older = () => document.getElementById("older");
new IntersectionObserver(async ([entry]) => {
  if (!entry.isIntersecting || !older() || fetching) return;
  fetching = true;
  try {
    let page, href;
    do { // until it is what follows the list as it is now: it may be renewed meanwhile
      ({ href } = older());
      page = new DOMParser().parseFromString(await (await fetch(href)).text(), "text/html");
    } while (older() && older().href !== href);
    append(page);
  } catch { /* the link stays, to be tried by hand */ }
  fetching = false;
}, { rootMargin: "400px" }).observe(document.querySelector("main").appendChild(document.createElement("div")));

function append(page) {
  if (!older()) return;
  document.querySelector("#jobs tbody").append(...page.querySelectorAll("#jobs tbody tr"));
  const next = page.getElementById("older");
  if (next) older().href = next.href; else older().remove();
  live.removeAttribute("data-live"); // rows that were added would vanish with the next look
  show();
}

show();
