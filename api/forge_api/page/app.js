// The page reads the API as any other client does; it keeps nothing but the token (this tab) and the view (the address).
import { define, showBoard } from "./board.js";
import { $, Problem, ask, el, note, question } from "./lib.js";
import { FILTERS, goBack, openTicket, showTickets, startOver } from "./tickets.js";

const REFRESH_MS = 60_000, RETRY_MS = 10_000;
let timer = 0;

function trouble(problem) {
  $("login").hidden = problem.status !== 401;
  $("notice").hidden = problem.status === 401;
  if (problem.status === 401) {
    $("board").hidden = true;
    if (sessionStorage.getItem("token")) $("login-why").textContent = "The API does not know this token. Paste another one.";
    sessionStorage.removeItem("token");
    $("token").focus();
    return;
  }
  const waiting = problem.kind.endsWith(":gold-not-built");
  const title = waiting ? "No data yet" : problem.status === 503 || problem.status === 504 ? "The store is not available" : problem.status === 0 ? "The API is not reachable" : "Something went wrong";
  if (waiting) $("board").hidden = true;
  const shown = $("board").hidden ? "" : " What is below is from before.";
  $("notice").replaceChildren(el("h2", null, title), el("p", null, `${problem.message[0].toUpperCase()}${problem.message.slice(1)}.`.replace(/([.?!])\.$/, "$1")), note(`Trying again every ${RETRY_MS / 1000} s.${shown}`));
  if ($("board").hidden) $("fresh").textContent = "";
  schedule(RETRY_MS);
}

const schedule = (ms) => { clearTimeout(timer); timer = setTimeout(refresh, ms); };

async function refresh() {
  schedule(REFRESH_MS);
  try {
    await showBoard();
    $("login").hidden = $("notice").hidden = true;
    $("board").hidden = false;
    await showTickets(trouble);
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    trouble(problem);
  }
}

function start() {
  const form = $("filters"), asked = question();
  for (const name of FILTERS) form.elements[name].value = asked[name] || "";
  let pause = 0;
  const changed = () => { ask(Object.fromEntries(FILTERS.map((name) => [name, form.elements[name].value.trim()]))); startOver(trouble); };
  form.addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(changed, 250); });
  form.addEventListener("reset", () => setTimeout(changed));
  form.addEventListener("submit", (event) => { event.preventDefault(); changed(); });
  $("scope").addEventListener("change", () => { ask({ scope: $("scope").value }); refresh(); });
  $("back").addEventListener("click", () => goBack(trouble));
  $("refresh").addEventListener("click", refresh);
  $("detail").addEventListener("close", () => ask({ ticket: "" }));
  $("define").addEventListener("close", () => ask({ metric: "" }));
  $("login").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("token", $("token").value.trim());
    $("token").value = "";
    refresh();
  });
  refresh().then(() => {
    if ($("board").hidden) return;
    if (asked.ticket) openTicket(asked.ticket);
    else if (asked.metric) define(asked.metric);
  });
}

start();
