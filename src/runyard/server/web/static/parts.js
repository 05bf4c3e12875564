// Parts of a page that are asked for when somebody wants them, so that what they say is true then: each in a dialog.

import { toast } from "./frame.js";

async function open(button) {
  let answer, text;
  try {
    answer = await fetch(button.dataset.part);
    text = await answer.text();
  } catch { toast("The server can't be reached."); return; }
  if (!answer.ok || answer.redirected) { toast("This job is not there any more."); return; }
  let place = document.getElementById("part");
  if (!place) {
    place = document.createElement("dialog");
    place.id = "part";
    place.setAttribute("aria-labelledby", "part-title");
    document.body.append(place);
  }
  place.innerHTML = text;
  place.onclose = () => (document.contains(button) ? button : document.querySelector(`[data-part="${button.dataset.part}"]`))?.focus();
  if (!place.open) place.showModal();
}

document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-part]");
  if (button) open(button);
});
