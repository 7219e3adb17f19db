// The list of tickets, and one ticket with its timeline.
import { $, ask, count, date, day, el, get, money, note, number, question, scroll, span, table, word } from "./lib.js";

const PAGE_SIZE = 25, GAP_SECONDS = 3600, N = "number";
const COLUMNS = [
  ["Ticket", "ticket_key"], ["Summary"], ["Status"], ["Created", "created_at"], ["Lead time", "lead_time_seconds", N],
  ["Pull requests", "pull_requests", N], ["LLM calls", "llm_calls", N], ["Cost", "cost_usd", N],
];
export const FILTERS = ["search", "project", "status_category", "has_pull_request", "created_after"];
let tokens = [null]; // the page tokens up to the page shown, so that Previous finds its way back
let turn = 0; // only the newest answer for the list is shown

const listQuestion = () => { const q = question(); return { ...Object.fromEntries(FILTERS.map((f) => [f, q[f]])), sort: q.sort || "-created_at" }; };

export function startOver(trouble) { tokens = [null]; return showTickets(trouble); }
export function goBack(trouble) { tokens.pop(); return showTickets(trouble); }

export async function showTickets(trouble) {
  const mine = ++turn, asked = listQuestion();
  $("list").classList.add("busy");
  try {
    const page = await get("tickets", { ...asked, limit: PAGE_SIZE, next: tokens.at(-1) });
    if (mine !== turn) return;
    const first = (tokens.length - 1) * PAGE_SIZE;
    $("list").replaceChildren(page.items.length ? ticketTable(page.items, asked.sort, trouble) : note("No ticket matches."));
    $("where").textContent = page.items.length ? `${count(first + 1)} to ${count(first + page.items.length)}` : "";
    $("back").disabled = tokens.length === 1;
    $("forth").disabled = !page.next;
    $("forth").onclick = () => { tokens.push(page.next); showTickets(trouble); };
  } catch (problem) {
    if (mine !== turn) return;
    if (problem.status === 400 && tokens.length > 1) return startOver(trouble);
    if ([400, 422].includes(problem.status)) $("list").replaceChildren(note(problem.message));
    else trouble(problem);
  } finally { if (mine === turn) $("list").classList.remove("busy"); }
}

function ticketTable(items, sort, trouble) {
  const name = sort.replace("-", ""), down = sort.startsWith("-");
  const head = ([text, key, kind]) => {
    if (!key) return el("th", { scope: "col" }, text);
    const on = key === name, order = on ? (down ? "descending" : "ascending") : null;
    // A first click on a number or a time wants the most or the newest.
    const next = on ? (down ? key : "-" + key) : (key === "ticket_key" ? key : "-" + key);
    return el("th", { scope: "col", class: kind, "aria-sort": order },
      el("button", { type: "button", class: "plain", onclick: () => { ask({ sort: next }); startOver(trouble); } }, text + (on ? (down ? " ↓" : " ↑") : "")));
  };
  const row = (t) => el("tr", null,
    el("td", null, el("button", { type: "button", class: "plain", onclick: () => openTicket(t.ticket_key) }, t.ticket_key)),
    el("td", { class: "wide" }, word(t.summary)), el("td", null, t.in_jira ? word(t.status) : "not in Jira"), el("td", null, day(t.created_at)),
    el("td", { class: N }, span(t.lead_time_seconds)), el("td", { class: N }, count(t.pull_requests)),
    el("td", { class: N }, count(t.llm_calls)), el("td", { class: N }, money(t.cost_usd)));
  return el("table", { "aria-label": "Tickets" }, el("thead", null, el("tr", null, ...COLUMNS.map(head))), el("tbody", null, ...items.map(row)));
}

const WHAT = {
  created: "Created", status_changed: "Status", resolved: "Resolved", plan_decided: "Plan", agent_run: "Agent run", score: "Score", pull_request_opened: "Pull request opened",
  commits_pushed: "Commit", ready_for_review: "Ready for review", force_pushed: "Force push", reviewed: "Review", merged: "Merged", closed: "Closed", ci_run: "CI", deployed: "Deployment",
  incident_opened: "Incident", incident_resolved: "Incident over",
};
const WHO = { agent: "agent", human: "person", bot: "bot" };

function event(e) {
  const clock = el("time", { datetime: e.at }, e.at.slice(11, 16));
  const title = e.url ? el("a", { href: e.url, rel: "noreferrer" }, e.title) : e.title;
  const more = [e.detail, e.value == null ? null : number(e.value, 3), e.duration_seconds == null ? null : span(e.duration_seconds), e.cost_usd == null ? null : money(e.cost_usd), e.tokens == null ? null : `${count(e.tokens)} tokens`];
  return el("li", { class: `event ${e.actor_kind}` }, clock,
    el("div", null, el("b", null, WHAT[e.kind] ?? e.kind), " ", title,
      el("span", { class: "note" }, [e.actor && `${e.actor}${WHO[e.actor_kind] ? ` (${WHO[e.actor_kind]})` : ""}`, ...more].filter(Boolean).join(" · "))));
}

// Days as headings, and the longer gaps between events, which is where tickets wait.
function timeline(events) {
  let last = null;
  const lines = events.flatMap((e) => {
    const gap = last ? (Date.parse(e.at) - Date.parse(last)) / 1000 : 0, fresh = day(last) !== day(e.at);
    last = e.at;
    return [gap >= GAP_SECONDS ? el("li", { class: "gap" }, `${span(gap)} later`) : null,
      fresh ? el("li", { class: "day" }, date(e.at, { weekday: "long", day: "numeric", month: "long", year: "numeric" })) : null, event(e)];
  });
  return el("ol", { class: "timeline" }, ...lines.filter(Boolean));
}

export async function openTicket(key) {
  const dialog = $("detail");
  const close = el("button", { type: "button", onclick: () => dialog.close(), autofocus: true }, "Close");
  const fill = (title, ...parts) => dialog.replaceChildren(el("div", { class: "top" }, el("h2", { id: "detail-title" }, title), close), ...parts);
  ask({ ticket: key });
  fill(key, note("Loading"));
  if (!dialog.open) dialog.showModal();
  try {
    const path = `tickets/${encodeURIComponent(key)}`;
    const [{ ticket: t, costs }, events] = await Promise.all([get(path), get(`${path}/timeline`, { limit: 1000 })]);
    const facts = [
      ["Type", word(t.issue_type)], ["Status", t.in_jira ? word(t.status) : "not in Jira"], ["Assignee", word(t.assignee_name)], ["Created", day(t.created_at)],
      ["Started", day(t.started_at)], ["Resolved", day(t.resolved_at)], ["Lead time", span(t.lead_time_seconds)], ["Cycle time", span(t.cycle_time_seconds)],
      ["Pull requests", t.pull_requests == null ? "–" : `${count(t.pull_requests)}, ${count(t.merged_pull_requests)} merged`], ["First merge", day(t.first_merged_at)],
      ["Reviews", t.reviews == null ? "–" : `${count(t.reviews)}, ${count(t.changes_requested)} asked for changes`], ["Agent runs", count(t.traces)],
      ["LLM calls", count(t.llm_calls)], ["Tokens in, out", t.input_tokens == null ? "–" : `${count(t.input_tokens)}, ${count(t.output_tokens)}`], ["Cost", money(t.cost_usd)],
    ];
    fill(`${t.ticket_key} ${t.summary ?? ""}`,
      el("dl", { class: "facts" }, ...facts.map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value)))),
      el("h3", null, "Timeline, from all sources (UTC)"), events.items.length ? timeline(events.items) : note("Nothing is known to have happened."),
      ...(events.next ? [note("The first 1,000 events; the API has the rest.")] : []),
      el("h3", null, "Agent cost by stage and model"),
      costs.length ? scroll(table([["Stage"], ["Model"], ["Calls", N], ["Tokens", N], ["Cost", N], ["Linked by"]],
        costs.map((c) => [word(c.stage), word(c.model), count(c.llm_calls), count(c.total_tokens), money(c.cost_usd), word(c.link_method)]), "Agent cost of this ticket"))
        : note(t.traces == null ? "No agent runs loaded yet." : "No agent worked on it."));
  } catch (problem) { fill(key, el("p", null, problem.message)); }
}
