// Changing roles and quotas where they stand.

import { ask, toast } from "./frame.js";

let turn = Promise.resolve(); // one after the other: the last that was chosen holds
for (const select of document.querySelectorAll("[data-change]")) {
  select.onchange = () => { const { value } = select; turn = turn.then(() => change(select, value)); };
}
async function change(select, value) {
  try { await ask("PATCH", select.dataset.change, { [select.dataset.field]: value }); toast(`${select.ariaLabel}: ${value}`); }
  catch (problem) { toast(problem.message); location.reload(); }
}
const quota = document.getElementById("quota-form"), of = (id) => document.getElementById(`quota-${id}`);
quota.addEventListener("submit", async (event) => {
  event.preventDefault();
  const amount = of("amount").value === "" ? null : Number(of("amount").value);
  try { await ask("PUT", "/api/v1/quotas", { of: of("of").value, amounts: { [of("name").value]: amount } }); location.reload(); }
  catch (problem) { quota.querySelector("[data-wrong]").textContent = problem.message; }
});
