// Uploading a file and telling how far it is.

import { ask } from "./frame.js";

const field = document.getElementById("upload-file"), says = document.getElementById("upload-says");
let uploads = 0;
field?.addEventListener("change", async () => {
  const [file] = field.files;
  if (!file) return;
  const number = ++uploads;
  says.className = "second";
  says.textContent = `Uploading ${file.name} and checking it row by row…`;
  const form = new FormData();
  form.append("file", file);
  try {
    const found = await ask("POST", "/api/v1/datasets", form);
    if (number === uploads) location.href = `/data/${found.id}`;
  } catch (problem) {
    if (number !== uploads) return;
    says.className = "wrong";
    says.textContent = problem.message;
    field.value = "";
  }
});
document.querySelector("label[for=upload-file]")?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); field.click(); }
});
