"use strict";
// The page reads the API as any other client does; it keeps nothing but the token (this tab) and the filters (the address).

const $ = (id) => document.getElementById(id);
const PAGE_SIZE = 25, REFRESH_MS = 60_000, RETRY_MS = 10_000, COLOURS = 6;
const COLUMNS = [
  ["Ticket", "ticket_key"], ["Summary"], ["Status"], ["Created", "created_at"], ["Lead time", "lead_time_seconds", "number"],
  ["Pull requests", "pull_requests", "number"], ["LLM calls", "llm_calls", "number"], ["Cost", "cost_usd", "number"],
];
const FILTERS = ["search", "project", "status_category", "has_pull_request", "created_after"];
let tokens = [null]; // the page tokens up to the page shown, so that Previous finds its way back
let turn = 0; // only the newest answer for the list is shown
let timer = 0;

// --- reading the API ---

class Problem extends Error {
  constructor(status, body) { super(body.detail || "The API gave no reason."); this.status = status; this.kind = body.type || ""; }
}

async function get(path, parameters) {
  const token = sessionStorage.getItem("token");
  const query = new URLSearchParams(Object.entries(parameters || {}).filter(([, value]) => value));
  let answer;
  try {
    answer = await fetch(`api/v1/${path}${query.size ? "?" + query : ""}`, {
      headers: token ? { Authorization: `Bearer ${token}` } : {}, cache: "no-cache",
    });
  } catch { throw new Problem(0, { detail: "The API does not answer. Is it still running?" }); }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, body);
  return body;
}

// --- words and elements ---

const count = (n) => n == null ? "–" : n.toLocaleString("en");
const word = (text) => text == null || text === "" ? "–" : text;
const day = (time) => time ? time.slice(0, 10) : "–";
function money(text) {
  if (text == null) return "–";
  const n = Number(text), digits = n !== 0 && Math.abs(n) < 1 ? 4 : 2;
  return n.toLocaleString("en", { style: "currency", currency: "USD", minimumFractionDigits: Math.min(digits, 2), maximumFractionDigits: digits });
}
function span(seconds) {
  if (seconds == null) return "–";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) { const n = seconds / size; return `${n.toFixed(n < 10 && unit !== "min" ? 1 : 0)} ${unit}`; }
  }
  return `${Math.round(seconds)} s`;
}
const ago = (time) => { const s = (Date.now() - Date.parse(time)) / 1000; return s < 60 ? "just now" : `${span(s)} ago`; };
const share = (part, whole) => whole > 0 ? `${Math.round(100 * part / whole)}%` : "–";
const plural = (n, one) => `${count(n)} ${one}${n === 1 ? "" : "s"}`;

function el(name, attributes, ...children) {
  const node = ["svg", "rect", "title"].includes(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value != null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}
function table(heads, rows, caption) {
  return el("table", { "aria-label": caption },
    el("thead", null, el("tr", null, ...heads.map(([text, kind]) => el("th", { scope: "col", class: kind }, text)))),
    el("tbody", null, ...rows.map((cells) => el("tr", null, ...cells.map((cell, i) => el("td", { class: heads[i][1] }, cell))))));
}

// --- the board ---

function showFigures(s) {
  const { cost, lead_time: lead } = s;
  const figure = (name, value, note) => el("dl", { class: "figure" }, el("dt", null, name), el("dd", { class: "value" }, value), el("dd", { class: "note" }, note));
  const attributed = cost.total_usd == null ? "no agent runs loaded yet"
    : `${share(Number(cost.attributed_usd), Number(cost.total_usd))} belongs to a ticket, ${money(cost.unattributed_usd)} to none`;
  $("figures").replaceChildren(
    figure("Tickets done", count(s.done), `of ${count(s.tickets)}`),
    figure("Lead time, median", span(lead.median_seconds), lead.tickets ? `75% within ${span(lead.p75_seconds)}, 90% within ${span(lead.p90_seconds)}` : "no ticket resolved yet"),
    figure("Agent cost", money(cost.total_usd), attributed),
    figure("Cost per done ticket", money(cost.per_done_ticket_usd), `mean of ${plural(cost.done_tickets, "ticket")} that agents worked on`));
}

function showCosts(rows) {
  if (!rows.length) { $("costs").replaceChildren(el("p", { class: "note" }, "No agent runs loaded yet.")); return; }
  const models = new Map(), stages = new Map();
  for (const row of rows) {
    const dollars = Number(row.cost_usd), stage = row.stage || "(no stage)", model = row.model || "(no model)";
    models.set(model, (models.get(model) || 0) + dollars);
    if (!stages.has(stage)) stages.set(stage, { total: 0, parts: [] });
    stages.get(stage).total += dollars;
    stages.get(stage).parts.push([model, dollars]);
  }
  const order = [...models.keys()].sort((a, b) => models.get(b) - models.get(a));
  const colour = (model) => `c${Math.min(order.indexOf(model), COLOURS)}`;
  const sorted = [...stages].sort((a, b) => b[1].total - a[1].total);
  const widest = sorted[0][1].total || 1;
  const bars = sorted.flatMap(([stage, { total, parts }]) => {
    let x = 0;
    parts.sort((a, b) => order.indexOf(a[0]) - order.indexOf(b[0]));
    const words = parts.map(([model, dollars]) => `${model} ${money(dollars)}`).join(", ");
    const rects = parts.map(([model, dollars]) => {
      const width = 1000 * dollars / widest, rect = el("rect", { x, y: 0, width, height: 20, class: colour(model) }, el("title", null, `${stage}, ${model}: ${money(dollars)}`));
      x += width;
      return rect;
    });
    return [el("span", null, stage), el("svg", { viewBox: "0 0 1000 20", preserveAspectRatio: "none", role: "img", "aria-label": `${stage}: ${words}` }, ...rects), el("span", { class: "number" }, money(total))];
  });
  const legend = order.map((model, i) => el("li", null, el("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, el("rect", { width: 10, height: 10, rx: 2, class: `c${Math.min(i, COLOURS)}` })), `${model} ${money(models.get(model))}`));
  const n = "number";
  $("costs").replaceChildren(
    el("div", { class: "bars" }, ...bars), el("ul", { class: "legend" }, ...legend),
    el("details", null, el("summary", null, "As a table"), el("div", { class: "scroll" }, table(
      [["Stage"], ["Model"], ["Calls", n], ["Tokens", n], ["Cost", n]],
      rows.map((r) => [word(r.stage), word(r.model), count(r.llm_calls), count(r.total_tokens), money(r.cost_usd)]), "Agent cost by stage and model"))));
}

function showSources(sources) {
  const state = (s) => !s.available ? el("span", { class: "state bad" }, "Not loaded yet")
    : Date.now() - Date.parse(s.last_load_at) > 864e5 ? el("span", { class: "state warn" }, `Stale: ${ago(s.last_load_at)}`)
    : el("span", { class: "state good" }, s.last_load_at ? ago(s.last_load_at) : "Loaded");
  $("sources").replaceChildren(sources.length
    ? el("div", { class: "scroll" }, table([["Source", "name"], ["Last load"], ["Newest event"], ["Rows", "number"]],
        sources.map((s) => [el("span", null, s.source, s.source === s.type ? null : el("span", { class: "note" }, s.type)), state(s), s.newest_event_at ? ago(s.newest_event_at) : "–", s.available ? count(s.rows) : "–"]), "Sources"))
    : el("p", { class: "note" }, "The stack names no source."));
  const last = sources.map((s) => s.last_load_at).filter(Boolean).sort().pop();
  $("fresh").textContent = last ? `Newest load ${ago(last)}` : "Nothing loaded yet";
}

function showProjects(projects) {
  const n = "number";
  $("projects").replaceChildren(table([["Project"], ["Done", n], ["Tickets", n], ["Lead time, median", n], ["Agent cost", n]],
    projects.map((p) => [p.project_key ?? "(not in Jira)", count(p.done), count(p.tickets), span(p.median_lead_time_seconds), money(p.cost_usd)]), "Projects"));
  const select = $("filters").elements.project, chosen = question().project || "";
  const keys = projects.map((p) => p.project_key).filter(Boolean);
  if (chosen && !keys.includes(chosen)) keys.push(chosen);
  select.replaceChildren(el("option", { value: "" }, "All"), ...keys.map((key) => el("option", { value: key }, key)));
  select.value = chosen;
}

// --- the tickets ---

// The address after # holds the filters, the order and the ticket that is open, so that a view can be bookmarked.
const question = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
function ask(changes) {
  const next = { ...question(), ...changes };
  const text = String(new URLSearchParams(Object.entries(next).filter(([, value]) => value)));
  history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
}
const listQuestion = () => { const q = question(); return { ...Object.fromEntries(FILTERS.map((f) => [f, q[f]])), sort: q.sort || "-created_at" }; };

async function showTickets() {
  const mine = ++turn, asked = listQuestion();
  $("list").classList.add("busy");
  try {
    const page = await get("tickets", { ...asked, limit: PAGE_SIZE, next: tokens.at(-1) });
    if (mine !== turn) return;
    const first = (tokens.length - 1) * PAGE_SIZE;
    $("list").replaceChildren(page.items.length ? ticketTable(page.items, asked.sort) : el("p", { class: "note" }, "No ticket matches."));
    $("where").textContent = page.items.length ? `${count(first + 1)} to ${count(first + page.items.length)}` : "";
    $("back").disabled = tokens.length === 1;
    $("forth").disabled = !page.next;
    $("forth").onclick = () => { tokens.push(page.next); showTickets(); };
  } catch (problem) {
    if (mine !== turn) return;
    if (problem.status === 400 && tokens.length > 1) { tokens = [null]; return showTickets(); }
    if ([400, 422].includes(problem.status)) $("list").replaceChildren(el("p", { class: "note" }, problem.message));
    else trouble(problem);
  } finally { if (mine === turn) $("list").classList.remove("busy"); }
}

function ticketTable(items, sort) {
  const name = sort.replace("-", ""), down = sort.startsWith("-");
  const head = ([text, key, kind]) => {
    if (!key) return el("th", { scope: "col" }, text);
    const on = key === name, order = on ? (down ? "descending" : "ascending") : null;
    // A first click on a number or a time wants the most or the newest.
    const next = on ? (down ? key : "-" + key) : (key === "ticket_key" ? key : "-" + key);
    return el("th", { scope: "col", class: kind, "aria-sort": order },
      el("button", { type: "button", class: "plain", onclick: () => { ask({ sort: next }); tokens = [null]; showTickets(); } }, text + (on ? (down ? " ↓" : " ↑") : "")));
  };
  const row = (t) => el("tr", null,
    el("td", null, el("button", { type: "button", class: "plain", onclick: () => openTicket(t.ticket_key) }, t.ticket_key)),
    el("td", { class: "wide" }, word(t.summary)), el("td", null, t.in_jira ? word(t.status) : "not in Jira"), el("td", null, day(t.created_at)),
    el("td", { class: "number" }, span(t.lead_time_seconds)), el("td", { class: "number" }, count(t.pull_requests)),
    el("td", { class: "number" }, count(t.llm_calls)), el("td", { class: "number" }, money(t.cost_usd)));
  return el("table", { "aria-label": "Tickets" }, el("thead", null, el("tr", null, ...COLUMNS.map(head))), el("tbody", null, ...items.map(row)));
}

async function openTicket(key) {
  const n = "number", dialog = $("detail");
  const close = el("button", { type: "button", onclick: () => dialog.close(), autofocus: true }, "Close");
  const fill = (title, ...parts) => dialog.replaceChildren(el("div", { class: "top" }, el("h2", { id: "detail-title" }, title), close), ...parts);
  ask({ ticket: key });
  fill(key, el("p", { class: "note" }, "Loading"));
  if (!dialog.open) dialog.showModal();
  try {
    const { ticket: t, costs } = await get(`tickets/${encodeURIComponent(key)}`);
    const facts = [
      ["Type", word(t.issue_type)], ["Status", t.in_jira ? word(t.status) : "not in Jira"], ["Assignee", word(t.assignee_name)], ["Created", day(t.created_at)],
      ["Started", day(t.started_at)], ["Resolved", day(t.resolved_at)], ["Lead time", span(t.lead_time_seconds)], ["Cycle time", span(t.cycle_time_seconds)],
      ["Pull requests", t.pull_requests == null ? "–" : `${count(t.pull_requests)}, ${count(t.merged_pull_requests)} merged`], ["First merge", day(t.first_merged_at)],
      ["Reviews", t.reviews == null ? "–" : `${count(t.reviews)}, ${count(t.changes_requested)} asked for changes`], ["Agent runs", count(t.traces)],
      ["LLM calls", count(t.llm_calls)], ["Tokens in, out", t.input_tokens == null ? "–" : `${count(t.input_tokens)}, ${count(t.output_tokens)}`], ["Cost", money(t.cost_usd)],
    ];
    fill(`${t.ticket_key} ${t.summary ?? ""}`,
      el("dl", { class: "facts" }, ...facts.map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value)))),
      el("h3", null, "Agent cost by stage and model"),
      costs.length ? el("div", { class: "scroll" }, table([["Stage"], ["Model"], ["Calls", n], ["Tokens", n], ["Cost", n], ["Linked by"]],
        costs.map((c) => [word(c.stage), word(c.model), count(c.llm_calls), count(c.total_tokens), money(c.cost_usd), word(c.link_method)]), "Agent cost of this ticket"))
        : el("p", { class: "note" }, t.traces == null ? "No agent runs loaded yet." : "No agent worked on it."));
  } catch (problem) { fill(key, el("p", null, problem.message)); }
}

// --- what is wrong, and the beat ---

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
  $("notice").replaceChildren(el("h2", null, title), el("p", null, `${problem.message[0].toUpperCase()}${problem.message.slice(1)}.`.replace(/([.?!])\.$/, "$1")), el("p", { class: "note" }, `Trying again every ${RETRY_MS / 1000} s.${shown}`));
  if ($("board").hidden) $("fresh").textContent = "";
  schedule(RETRY_MS);
}

const schedule = (ms) => { clearTimeout(timer); timer = setTimeout(refresh, ms); };

async function refresh() {
  schedule(REFRESH_MS);
  try {
    const s = await get("summary");
    $("login").hidden = $("notice").hidden = true;
    $("board").hidden = false;
    showFigures(s); showCosts(s.by_stage_and_model); showSources(s.coverage); showProjects(s.by_project);
    await showTickets();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    trouble(problem);
  }
}

function start() {
  const form = $("filters"), asked = question();
  for (const name of FILTERS) form.elements[name].value = asked[name] || "";
  let pause = 0;
  const changed = () => { ask(Object.fromEntries(FILTERS.map((name) => [name, form.elements[name].value.trim()]))); tokens = [null]; showTickets(); };
  form.addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(changed, 250); });
  form.addEventListener("reset", () => setTimeout(changed));
  form.addEventListener("submit", (event) => { event.preventDefault(); changed(); });
  $("back").addEventListener("click", () => { tokens.pop(); showTickets(); });
  $("refresh").addEventListener("click", refresh);
  $("detail").addEventListener("close", () => ask({ ticket: "" }));
  $("login").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("token", $("token").value.trim());
    $("token").value = "";
    refresh();
  });
  refresh().then(() => { if (asked.ticket && !$("board").hidden) openTicket(asked.ticket); });
}

start();
