// The log of a job: the newest lines first, older ones on scrolling up, following until somebody scrolls.

import { ask } from "./frame.js";

const NEWEST = 1000, LOOK_MS = 1000, MOST_LINES = 20000;
const place = document.getElementById("log"), says = document.getElementById("log-says");
const button = document.getElementById("log-follow"), find = document.getElementById("log-find");
const BAD = /\b(error|exception|traceback|fatal|killed|out of memory)\b/i;
let following = true, missed = 0, tail = NEWEST, ended = false, offsets = null; // where each stream goes on
let turn = Promise.resolve();

if (place) start();

async function start() {
  document.getElementById("log-wrap").onchange = ({ target }) => place.classList.toggle("wraps", target.checked);
  place.addEventListener("scroll", onScroll, { passive: true });
  button.onclick = resume;
  find.addEventListener("input", search);
  find.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); next(); } });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, textarea, select")) return;
    if (event.key.toLowerCase() === "f" || (event.key === "End" && place.contains(document.activeElement))) resume();
  });
  await load();
  look();
}

/** One after the other: what one has shown is where the next goes on. */
function inTurn(work) { return (turn = turn.then(work, work)); }

async function newest() {
  const all = await ask("GET", `${place.dataset.log}?tail=${Math.min(tail, 100000)}`);
  place.replaceChildren(...all.lines.map(line));
  offsets = all.next_offsets;
  ended = all.ended;
}

async function load() {
  try { await inTurn(newest); } catch (problem) {
    says.textContent = problem.message;
    return;
  }
  if (!place.children.length) says.textContent = ended ? "it wrote nothing" : "nothing was written yet";
  else says.textContent = ended ? "complete" : "following";
  bottom();
}

async function look() {
  while (!ended) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (document.hidden || document.body.classList.contains("stale")) continue;
    try { await inTurn(more); } catch { /* the connection says so */ }
  }
}

async function more() {
  if (!offsets) return newest();
  let done = true;
  for (const stream of Object.keys(offsets)) {
    const found = await ask("GET", `${place.dataset.log}?stream=${stream}&offset=${offsets[stream]}`);
    offsets[stream] = found.next_offset;
    done &&= found.ended;
    if (found.lines.length) add(found.lines);
  }
  ended = done;
  if (ended && following) says.textContent = "complete";
}

function add(lines) {
  place.append(...lines.map(line));
  while (place.children.length > MOST_LINES) place.firstChild.remove();
  if (following) { bottom(); says.textContent = "following"; }
  else { missed += lines.length; stopped(); }
}

function line(text) {
  const row = document.createElement("div");
  row.textContent = text || " ";
  if (BAD.test(text)) row.className = "error";
  return row;
}

let byUs = 0;
function bottom() { byUs = Date.now(); place.scrollTop = place.scrollHeight; }

function onScroll() {
  const atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 24;
  if (atEnd) { if (!following) resume(); return; }
  if (Date.now() - byUs < 100 || ended) { if (place.scrollTop < 40) older(); return; }
  if (following) { following = false; missed = 0; stopped(); }
  if (place.scrollTop < 40) older();
}

let loading = false;
async function older() {
  if (loading || place.children.length < tail) return;
  loading = true;
  tail *= 2;
  try {
    await inTurn(async () => {
      const below = place.scrollHeight - place.scrollTop;
      await newest();
      place.scrollTop = place.scrollHeight - below;
    });
  } catch { tail /= 2; /* it stays as it is, and may be asked for again */ }
  loading = false;
}

function stopped() {
  says.textContent = "following stopped";
  button.hidden = false;
  button.textContent = missed ? `${missed} new lines` : "Follow";
}

function resume() {
  following = true;
  missed = 0;
  button.hidden = true;
  says.textContent = ended ? "complete" : "following";
  bottom();
}

let at = -1;
function search() {
  at = -1;
  const word = find.value.toLowerCase();
  for (const row of place.children) row.classList.toggle("found", Boolean(word) && row.textContent.toLowerCase().includes(word));
  next();
}
function next() {
  const found = place.querySelectorAll(".found");
  if (!find.value) { says.textContent = ended ? "complete" : "following"; return; }
  says.textContent = found.length ? `${found.length} ${found.length === 1 ? "line" : "lines"} found` : "not found in these lines";
  if (!found.length) return;
  at = (at + 1) % found.length;
  following = false;
  found[at].scrollIntoView({ block: "nearest" });
}
