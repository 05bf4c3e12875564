// Rows of jobs: their menus, and expected starts that have changed.

import { toast } from "./frame.js";

const CHANGED_MS = 4000, LEAST_SECONDS = 60;

async function open(button) {
  let answer, text;
  try {
    answer = await fetch(button.dataset.menu);
    text = await answer.text();
  } catch { toast("The server can't be reached."); return; }
  if (!answer.ok || answer.redirected) { toast("This job is not there any more."); return; }
  let place = document.getElementById("row-menu");
  if (!place) {
    place = document.createElement("dialog");
    place.id = "row-menu";
    place.setAttribute("aria-labelledby", "menu-title");
    document.body.append(place);
  }
  place.innerHTML = text;
  place.onclose = () => (document.contains(button) ? button : document.querySelector(`[data-menu="${button.dataset.menu}"]`))?.focus();
  if (!place.open) place.showModal();
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-menu]");
  if (button) open(button);
});

// "41 min, was 38 min", for a moment.

const starts = new Map();

function look() {
  for (const place of document.querySelectorAll("[data-start]")) {
    const { id } = place.closest("li"), at = Number(place.dataset.start), known = starts.get(id);
    const now = { at, text: place.textContent, was: known?.was, until: known?.until ?? 0 };
    if (known && Math.abs(at - known.at) >= LEAST_SECONDS && known.text !== now.text) {
      now.was = known.text;
      now.until = Date.now() + CHANGED_MS;
      setTimeout(look, CHANGED_MS);
    }
    starts.set(id, now);
    if (Date.now() < now.until) place.dataset.was = now.was; else delete place.dataset.was;
  }
}

document.addEventListener("refreshed", look);
look();
