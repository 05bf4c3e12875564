// Expected starts that have changed: "41 min, was 38 min", for a moment.

const CHANGED_MS = 4000, LEAST_SECONDS = 60;

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
