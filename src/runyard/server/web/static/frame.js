// What every page can do: stay live, ask for changes, open dialogs, keys, theme.

import { Feed, CAUGHT_UP_MS } from "./feed.js";
import { keepOrder, tellOrder, tintChanged } from "./order.js";

const YEAR = 31536000, TICK_MS = 10000, UNDO_SECONDS = 10, SAID = "runyard-said";
const REFRESH_MS = { moved: 300, told: 1000 }; // after a change of state, and after whatever else was told
const SELDOM_MS = 3000; // of a page of many jobs, which tell something all the time
const body = document.body, root = document.documentElement;
const $ = (selector) => document.querySelector(selector);

const cookie = (name, value) => { document.cookie = `${name}=${value};path=/;max-age=${YEAR};samesite=lax`; };
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const isNewZone = zone && !document.cookie.includes(`runyard_zone=${zone}`);
if (isNewZone) cookie("runyard_zone", zone);

// Staying live: the page is asked for again, and what differs is changed in place.

let refreshing = null, again = false, last = 0, isAsked = false;

/** `now`: somebody has asked for what there is, so that rows may move to where they belong. */
export async function refresh({ now = false } = {}) {
  isAsked ||= now;
  if (refreshing) { again = true; return refreshing; }
  refreshing = renew().finally(() => { refreshing = null; last = Date.now(); if (again) { again = false; soon(); } });
  return refreshing;
}

async function renew() {
  if (!$("[data-live]")) return;
  const ended = body.dataset.ended === "yes" || feed?.ended; // before it is asked: what is answered is younger
  const mayMove = isAsked;
  isAsked = false;
  let answer, text;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    text = await answer.text();
  } catch { return; }
  if (answer.redirected && new URL(answer.url).pathname === "/sign-in") { location.href = answer.url; return; }
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(text, "text/html");
  if (ended && isTakenUp(page.body.dataset)) { location.reload(); return; }
  body.dataset.attempts = page.body.dataset.attempts ?? "";
  const waiting = [];
  for (const part of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(part.id);
    if (fresh && !mayMove) waiting.push(keepOrder(part, fresh));
    if (fresh) await htmx.swap({ text: fresh.outerHTML, target: part, swap: "outerMorph", transition: false, sourceElement: part });
  }
  tellOrder(waiting.filter(Boolean).join(" · "), () => refresh({ now: true }));
  tintChanged();
  document.title = page.title;
  document.dispatchEvent(new CustomEvent("refreshed"));
  standStill();
}

/** Has a job that had ended gone on since, though it may have ended again? All that follows it has stopped for good. */
function isTakenUp(fresh) {
  return "ended" in fresh && (fresh.ended !== "yes" || (fresh.attempts ?? "") !== body.dataset.attempts);
}

let timer = null, due = Infinity;
function soon(after = REFRESH_MS.told) {
  const at = Math.max(Date.now() + 50, last + after);
  if (at >= due) return;
  clearTimeout(timer);
  due = at;
  timer = setTimeout(() => { due = Infinity; refresh(); }, at - Date.now());
}

const said = { live: "Live", waiting: "Reconnecting…", offline: "Offline" };
let feed = null;

function clock(at) { return new Date(at).toLocaleTimeString([], { hour12: false }); }

function show(state, words) {
  const place = $("#connection");
  if (!place) return;
  place.dataset.state = state;
  place.firstElementChild.textContent = words;
  body.classList.toggle("stale", state !== "live");
  standStill();
}

function standStill() {
  // While nobody knows what is true, nothing may be changed; the buttons say why.
  const stale = body.classList.contains("stale");
  for (const button of document.querySelectorAll("[data-post]")) {
    if (stale) { button.setAttribute("aria-disabled", "true"); button.title = "not connected: nothing can be changed now"; }
    else if (button.title.startsWith("not connected")) { button.removeAttribute("aria-disabled"); button.removeAttribute("title"); }
  }
}

function follow() {
  feed = new Feed(body.dataset.feed, body.dataset.after);
  feed.addEventListener("events", ({ detail }) => {
    document.dispatchEvent(new CustomEvent("feed", { detail }));
    if (body.dataset.ended === "yes" && detail.every((event) => event.type === "end")) return; // as the page says already
    const moved = detail.find((event) => event.type === "state");
    if (moved) tell(moved.data.after);
    soon(moved ? REFRESH_MS.moved : document.querySelector("[data-charts]") ? REFRESH_MS.told : SELDOM_MS);
  });
  feed.addEventListener("state", ({ detail }) => {
    const since = clock(feed.heard);
    if (detail === "waiting") show("waiting", `Reconnecting… data from ${since}`);
    else if (detail === "offline") show("offline", `Offline since ${since.slice(0, 5)}`);
    else show("live", said.live);
    if (detail !== "waiting") tell(detail === "live" ? "Live again" : "Offline");
  });
  feed.addEventListener("back", ({ detail }) => {
    if (detail) {
      show("live", `Live · ${detail} ${detail === 1 ? "event" : "events"} caught up`);
      setTimeout(() => feed.state === "live" && show("live", said.live), CAUGHT_UP_MS);
    }
    soon();
  });
}

let toldAt = 0;
function tell(words) {
  if (Date.now() - toldAt < 5000) return;
  toldAt = Date.now();
  const place = $("#told");
  if (place) place.textContent = words;
}

// Asking for changes: always through the API, as any other program.

export async function ask(method, url, content, more = {}) {
  const headers = { Accept: "application/json", ...more };
  const word = $("meta[name=csrf]")?.content;
  if (word) headers["X-CSRF-Token"] = word;
  if (content !== undefined && !(content instanceof FormData)) {
    headers["Content-Type"] = "application/json";
    content = JSON.stringify(content);
  }
  let answer;
  try {
    answer = await fetch(url, { method, headers, body: content });
  } catch { throw new Error("The server can't be reached; whether it heard of this is not known."); }
  if (answer.redirected && new URL(answer.url).pathname === "/sign-in") { location.href = answer.url; throw new Error("Sign in first."); }
  const text = await answer.text();
  const json = text && answer.headers.get("Content-Type")?.includes("json") ? JSON.parse(text) : null;
  if (answer.ok) return json;
  const problem = new Error(json?.detail ? sentence(json) : `The server answered ${answer.status}`);
  problem.details = json;
  throw problem;
}

function sentence(problem) {
  const fields = (problem.problems || []).map((one) => `${one.field ? `${one.field}: ` : ""}${one.message}`);
  return [fields.length ? fields.join("; ") : problem.detail, problem.hint].filter(Boolean).join(" – ");
}

/** Says it for some seconds; with `undo` there is a button that takes it back, as long as it can be asked for. */
export function toast(words, { undo = null, label = "Undo", seconds = undo ? UNDO_SECONDS : 8 } = {}) {
  $(".toast")?.remove();
  sessionStorage.removeItem(SAID);
  const place = document.createElement("div");
  place.className = "toast";
  place.setAttribute("role", "alert");
  place.append(words);
  for (const [text, act] of [...(undo ? [[label, undo]] : []), ["Close", () => {}]]) {
    const button = document.createElement("button");
    button.textContent = text;
    button.onclick = () => { place.remove(); sessionStorage.removeItem(SAID); act(); };
    place.append(button);
  }
  body.append(place);
  setTimeout(() => place.remove(), seconds * 1000);
}

// What a button did is said, with the request that takes it back; on the next page too, where one opens meanwhile.

function say(said) {
  const { words, undo, until } = said;
  const back = async () => {
    try { await ask(undo.method, undo.url, undo.body); await refresh({ now: true }); } catch (problem) { toast(problem.message); }
  };
  toast(words, { undo: undo && back, label: undo?.label, seconds: (until - Date.now()) / 1000 });
  sessionStorage.setItem(SAID, JSON.stringify(said));
}

/** Read before it is asked: the button may be one for something else afterwards. */
function afterwards({ done, undo, undoLabel, undoBody, method }) {
  if (!done) return () => null;
  return (found) => ({
    words: done, until: Date.now() + UNDO_SECONDS * 1000,
    undo: undo && { method: method || "POST", url: undo.replace("{id}", found?.id ?? ""), label: undoLabel, body: undoBody && JSON.parse(undoBody) },
  });
}

async function press(button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  const before = button.innerHTML, told = afterwards(button.dataset);
  button.setAttribute("aria-disabled", "true");
  button.dataset.busy = ""; // until the page was renewed, which may make it a button for something else
  if (button.dataset.saying) button.textContent = button.dataset.saying;
  try {
    const content = button.dataset.body ? JSON.parse(button.dataset.body) : undefined;
    const chosen = button.dataset.with && $(`[name="${button.dataset.with}"]:checked`);
    if (chosen) content[button.dataset.with] = Number(chosen.value);
    const found = await ask(button.dataset.method || "POST", button.dataset.post, content);
    if ("close" in button.dataset) button.closest("dialog")?.close();
    const said = told(found);
    if (said) say(said);
    if (button.dataset.open) { location.href = button.dataset.open.replace("{id}", found?.id ?? ""); return; }
    if ("reload" in button.dataset) { location.reload(); return; }
    await refresh({ now: true });
  } catch (problem) {
    toast(problem.message);
  }
  if (!("busy" in button.dataset)) return;
  delete button.dataset.busy;
  button.innerHTML = before;
  button.removeAttribute("aria-disabled");
}

async function send(form) {
  const wrong = form.querySelector("[data-wrong]"), button = form.querySelector("button:not([type=button])");
  if (button?.getAttribute("aria-disabled") === "true") return;
  const fields = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  for (const input of form.querySelectorAll("input[type=checkbox][name]")) fields[input.name] = input.checked;
  for (const input of form.querySelectorAll("input[type=number][name]")) if (input.name in fields) fields[input.name] = Number(fields[input.name]);
  for (const group of form.querySelectorAll("fieldset[data-list]")) fields[group.dataset.list] = [...group.querySelectorAll(":checked")].map((input) => input.value);
  if (wrong) wrong.textContent = "";
  button?.setAttribute("aria-disabled", "true");
  try {
    const found = await ask(form.dataset.method || "POST", form.dataset.submit, fields);
    const shown = form.dataset.show && document.getElementById(form.dataset.show);
    if (shown) { form.closest("dialog")?.close(); const word = found.key ?? found.secret; shown.hidden = !word; shown.querySelector("code").textContent = word ?? ""; form.reset(); await refresh(); }
    else if (form.dataset.open) location.href = form.dataset.open;
    else location.reload();
  } catch (problem) {
    if (wrong) wrong.textContent = problem.message; else toast(problem.message);
  }
  button?.removeAttribute("aria-disabled");
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) { event.preventDefault(); document.getElementById(opener.dataset.dialog)?.showModal(); return; }
  const button = event.target.closest("[data-post]");
  if (button) { event.preventDefault(); press(button); return; }
  if (event.target.closest("dialog [data-close]")) event.target.closest("dialog").close();
  if (event.target.closest("[data-keys]")) keys();
  if (event.target.closest("[data-sign-out]")) ask("DELETE", "/api/v1/session").then(() => { location.href = "/sign-in"; }, (problem) => toast(problem.message));
  for (const menu of document.querySelectorAll("details.person[open]")) if (!menu.contains(event.target)) menu.removeAttribute("open");
});
document.addEventListener("submit", (event) => {
  if (event.target.dataset.submit) { event.preventDefault(); send(event.target); }
});
document.addEventListener("change", ({ target }) => {
  if (target.name !== "theme") return;
  root.dataset.theme = target.value;
  cookie("runyard_theme", target.value);
  document.dispatchEvent(new CustomEvent("theme"));
});

// Keys: never while something is typed.

const GO = { o: "/", j: "/jobs", d: "/data", t: "/templates" };
const KEYS = [["/", "find"], ["G then O, J, D, T", "overview, jobs, data, templates"], ["N", "new job"], ["J K", "rows down and up"],
  ["Enter", "open the row"], ["X", "choose the row"], ["C", "compare the chosen"], ["M", "what may be done with the row"], ["P, R", "in a job: pause, resume or retry"],
  ["F", "in a job: follow the log"], ["← → Home End + − 0", "in a chart: move, zoom"], ["L S T", "in a chart: log axis, smoothing, table"], ["Esc", "close, free the cursor"]];
let going = false;

function keys() {
  let place = $("#keys-dialog");
  if (!place) {
    place = document.createElement("dialog");
    place.id = "keys-dialog";
    place.setAttribute("aria-label", "Keys");
    place.innerHTML = "<h2>Keys</h2><dl></dl><form method='dialog' class='acts'><label class='second'><input type='checkbox'> single keys are on</label><button class='button' autofocus>Close</button></form>";
    for (const [key, what] of KEYS) {
      const dt = document.createElement("dt"), dd = document.createElement("dd"), kbd = document.createElement("kbd");
      kbd.textContent = key; dd.textContent = what; dt.append(kbd); place.querySelector("dl").append(dt, dd);
    }
    const on = place.querySelector("input");
    on.checked = !keysAreOff();
    on.onchange = () => localStorage.setItem("runyard-keys", on.checked ? "on" : "off");
    body.append(place);
  }
  place.showModal();
}

function keysAreOff() { return localStorage.getItem("runyard-keys") === "off"; }

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || keysAreOff() || $("dialog[open]")) return;
  const key = event.key.toLowerCase();
  if (going) { going = false; if (GO[key]) { event.preventDefault(); location.href = GO[key]; } return; }
  if (event.defaultPrevented) return;
  if (key === "g") going = true;
  else if (key === "/") { event.preventDefault(); $(".find input")?.focus(); }
  else if (key === "?") keys();
  else if (key === "m") document.activeElement.closest("tr, li")?.querySelector("[data-part]")?.click();
  else if (key === "n" && $("a[href='/new']")) location.href = "/new";
  else $(`[data-key="${CSS.escape(key)}"]`)?.click();
});

const told = JSON.parse(sessionStorage.getItem(SAID) || "null");
if (told && told.until > Date.now()) say(told);
if (body.dataset.feed && body.dataset.ended !== "yes") follow();
else if ($("#connection") && !body.dataset.feed) show("live", said.live);
if ($("[data-live]")) {
  tintChanged();
  setInterval(() => { if (!document.hidden || (feed && !feed.ended)) refresh(); }, TICK_MS); // unseen, for its title
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  if (isNewZone) refresh();
}
