// Rows don't move under a hand: while one is pointed at, chosen or has the focus, a list keeps its order.

const rows = (list) => [...list.children].filter((row) => row.id);
const many = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

function isHeld(list) {
  return list.matches(":hover") || list.contains(document.activeElement) || list.querySelector(":scope > .chosen") || list.getBoundingClientRect().top < 0;
}

/** Puts the rows of what comes where they stand now, and gives what has to wait for that, in words. */
export function keepOrder(part, fresh) {
  const waiting = [];
  for (const list of part.querySelectorAll("[data-order]")) {
    const coming = fresh.querySelector(`#${list.id}`);
    if (!coming || !isHeld(list)) continue;
    const now = rows(list), then = new Map(rows(coming).map((row) => [row.id, row]));
    const known = new Set(now.map((row) => row.id)), stay = now.filter((row) => then.has(row.id));
    const added = [...then.keys()].filter((id) => !known.has(id)).length;
    const isMoved = [...then.keys()].filter((id) => known.has(id)).join() !== stay.map((row) => row.id).join();
    coming.replaceChildren(...now.map((row) => then.get(row.id) ?? row.cloneNode(true)));
    if (added) waiting.push(many(added, "new job"));
    if (isMoved) waiting.push("order changed");
    if (!added && stay.length < now.length) waiting.push(`${many(now.length - stay.length, "job")} left`);
  }
  return [...new Set(waiting)].join(" · ");
}

/** Says it over the page, where it pushes nothing; a click takes it up. */
export function tellOrder(words, takeUp) {
  let note = document.getElementById("order-note");
  if (!words) { note?.remove(); return; }
  if (!note) {
    note = document.createElement("button");
    note.id = "order-note";
    note.className = "button small";
    document.body.append(note);
  }
  note.onclick = takeUp;
  note.textContent = words;
}

// A row whose job has another state than before is tinted for a second.

const states = new Map();

export function tintChanged() {
  for (const row of document.querySelectorAll("[data-job-state]")) {
    const known = states.get(row.id);
    if (known && known !== row.dataset.jobState) row.classList.add("flash");
    states.set(row.id, row.dataset.jobState);
  }
}
