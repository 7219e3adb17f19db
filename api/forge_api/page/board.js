// The board: delivery, cost, waiting, and who does the work. Each name of a number opens its definition.
import { $, ago, ask, bar, columns, count, date, el, get, legend, money, note, number, percent, plural, question, scroll, span, table, word } from "./lib.js";

const WEEKS = 13, WEEK_MS = 7 * 864e5, COLOURS = 6, N = "number";
const SOURCES = { github: "GitHub", jira: "Jira", langfuse: "Langfuse", prometheus: "Prometheus" };
let definitions = new Map();

// --- definitions ---

const term = (metric, text) => el("button", { type: "button", class: "term", title: "What it means", onclick: () => define(metric) }, text);

export function define(metric) {
  const of = definitions.get(metric), dialog = $("define");
  if (!of) return;
  ask({ metric });
  const missing = of.missing_sources.map((type) => SOURCES[type] || type).join(", ");
  const facts = [["Formula", of.formula], ["Unit", of.unit], ["Statistic", of.statistic], ["Clock", of.clock], ["Left out", of.exclusions], ["Mind", of.caveats], ["Defined by", of.reference],
    ["Needs", of.is_available ? `${of.sources.map((type) => SOURCES[type] || type).join(", ")}` : `${missing}, which never loaded: so nobody can tell yet`]];
  dialog.replaceChildren(
    el("div", { class: "top" }, el("h2", { id: "define-title" }, of.title), el("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Close")),
    el("p", null, of.definition),
    el("dl", { class: "contract" }, ...facts.filter(([, text]) => text).flatMap(([name, text]) => [el("dt", null, name), el("dd", null, text)])),
    note("Values: ", address(of.values_at), " · the rows that say why: ", address(of.rows_at)));
  if (!dialog.open) dialog.showModal();
}

// A link, where a browser may follow it: it sends no token, and a ticket's key is to be filled in.
const address = (path) => path == null ? "–" : sessionStorage.getItem("token") || path.includes("{") ? el("code", null, path) : el("a", { href: path.slice(1) }, el("code", null, path));

// What a reader has opened stays open when the board is drawn anew.
const opened = new Set(["approvers"]);
const fold = (key, title, ...content) => el("details", { open: opened.has(key), ontoggle: ({ target }) => opened[target.open ? "add" : "delete"](key) }, el("summary", null, title), ...content);

// Two values in one cell: a line may end between them only.
const both = (...texts) => el("span", null, ...texts.flatMap((text, i) => [i ? " · " : null, el("span", { class: "whole" }, text)]));

// --- scope and time ---

// Everything, one team or one project: what the address says.
function scope() {
  const [kind, ...rest] = (question().scope || "").split(":");
  return ["team", "project"].includes(kind) && rest.length ? { scope: kind, scope_value: rest.join(":") } : { scope: "all" };
}
const narrowed = () => { const { scope: kind, scope_value: value } = scope(); return kind === "all" ? {} : { [kind]: value }; };

function showScopes(teams, projects) {
  const select = $("scope"), chosen = question().scope || "";
  const options = [...teams.map((team) => [`team:${team}`, `Team ${team}`]), ...projects.map((key) => [`project:${key}`, `Project ${key}`])];
  if (chosen && !options.some(([value]) => value === chosen)) options.push([chosen, chosen.replace(":", " ")]);
  select.replaceChildren(el("option", { value: "" }, "Everything"), ...options.map(([value, text]) => el("option", { value }, text)));
  select.value = chosen;
}

// Weeks up to the one of the newest event, so that a store at rest shows its last weeks and not empty ones.
function weeksUpTo(moment) {
  const monday = new Date(moment);
  monday.setUTCHours(0, 0, 0, 0);
  monday.setUTCDate(monday.getUTCDate() - (monday.getUTCDay() + 6) % 7);
  return Array.from({ length: WEEKS }, (_, i) => new Date(monday - WEEK_MS * (WEEKS - 1 - i)).toISOString().slice(0, 10));
}
const monthName = (start) => date(start, { month: "long", year: "numeric" });
// The newest month that has ended, or the only one there is.
function lastMonth(rows, moment) {
  const starts = [...new Set(rows.map((row) => row.period_start))].sort();
  return starts.filter((start) => start < `${new Date(moment).toISOString().slice(0, 7)}-01`).pop() ?? starts.pop();
}

// --- the cards ---

const DORA = [
  ["change_lead_time", "Change lead time", (r) => r.change_lead_time_seconds_p50, span, (r) => `median of ${plural(r.changes, "change")}, 90% within ${span(r.change_lead_time_seconds_p90)}`],
  ["deployment_frequency", "Deployments", (r) => r.deployments, count, (r) => `on ${plural(r.deployment_days, "day")} of the week`],
  ["change_fail_rate", "Change fail rate", (r) => r.change_fail_rate, percent, (r) => `${count(r.failed_deployments)} of ${plural(r.deployments, "deployment")}`],
  ["failed_deployment_recovery_time", "Recovery time", (r) => r.recovery_time_seconds_p50, span, (r) => r.recoveries ? `median of ${r.recoveries === 1 ? "1 recovery" : `${count(r.recoveries)} recoveries`}` : "no failed deployment recovered"],
  ["deployment_rework_rate", "Rework rate", (r) => r.rework_rate, percent, (r) => `${count(r.rework_deployments)} of ${plural(r.deployments, "deployment")}`],
];

function showDora({ items, missing_sources: missing }, weeks) {
  const rows = new Map(items.map((row) => [row.period_start, row])), last = weeks.length - 2;
  const nothing = { deployments: 0, deployment_days: 0, failed_deployments: 0, rework_deployments: 0, changes: 0, recoveries: 0 };
  const of = (week) => rows.get(week) ?? (missing.includes("github") ? null : nothing);
  $("dora-when").textContent = `Week of ${date(weeks[last], { day: "numeric", month: "long" })}, the last whole one; bars: ${weeks.length} weeks`;
  $("dora").replaceChildren(...DORA.map(([metric, name, pick, say, more]) => {
    const row = of(weeks[last]), before = of(weeks[last - 1]), needsJira = !["change_lead_time", "deployment_frequency"].includes(metric);
    const known = row != null && !(needsJira && missing.includes("jira"));
    const points = weeks.map((week, i) => {
      const value = of(week) && known ? pick(of(week)) ?? null : null;
      return { value, words: `${date(week, { day: "numeric", month: "short" })} ${say(value)}${i > last ? " so far" : ""}`, now: i === last, open: i > last };
    });
    return el("dl", { class: "figure" },
      el("dt", null, term(metric, name)), el("dd", { class: "value" }, known ? say(pick(row)) : "–"),
      el("dd", { class: "note" }, known ? more(row) : missing.includes("github") ? "no GitHub source loaded yet" : "no Jira source loaded yet"),
      el("dd", { class: "chart" }, columns(points, `${name} by week`)),
      el("dd", { class: "note" }, known && before ? `week before: ${say(pick(before))}` : ""));
  }));
}

const LINKS = { metadata: "metadata", session: "session", tag: "tag", trace_name: "trace name", none: "no ticket" };

function showCost(parts, byStage, agents, moment, since) {
  const total = Number(parts.total_usd);
  $("cost-when").textContent = `Since ${date(since, { day: "numeric", month: "long" })}: failed runs and abandoned tickets included`;
  if (parts.total_usd == null) { $("cost").replaceChildren(note("No Langfuse source loaded yet.")); return; }
  const sum = (wanted) => parts.items.filter(wanted).reduce((all, row) => all + Number(row.cost_usd), 0);
  const methods = [...new Set(parts.items.map((row) => row.link_method))].map((method) => [method, parts.items.find((row) => row.link_method === method).link_confidence, sum((row) => row.link_method === method)])
    .sort((a, b) => b[1] - a[1]);
  const month = lastMonth(agents.items, moment);
  const unit = agents.items.find((row) => row.actor_kind === "agent" && row.period_start === month);
  const fact = (metric, name, value, more) => el("div", null, el("dt", null, term(metric, name)), el("dd", null, el("b", null, value), " ", el("span", { class: "note" }, more)));
  const failed = sum((row) => row.is_failed_run), abandoned = sum((row) => row.ticket_outcome === "abandoned");
  $("cost").replaceChildren(
    el("dl", { class: "facts" },
      fact("agent_cost", "Total", money(parts.total_usd), `${money(failed)} of it in failed runs`),
      fact("agent_cost", "Attributed to tickets", percent(total ? Number(parts.attributed_usd) / total : null), `${money(parts.attributed_usd)}, of it ${money(abandoned)} on abandoned ones`),
      fact("cost_per_outcome", "Per merged pull request", money(unit?.cost_per_merged_pull_request), month ? monthName(month) : ""),
      fact("cost_per_outcome", "Per done ticket", money(unit?.cost_per_done_ticket), month ? monthName(month) : "")),
    el("h3", null, "How the ticket is known"),
    bar(methods.map(([method, , dollars], i) => [total ? dollars / total : 0, method === "none" ? "c6" : `s${Math.min(i, 3)}`, `${LINKS[method] ?? method}: ${money(dollars)}`]), methods.map(([method, , dollars]) => `${LINKS[method] ?? method} ${money(dollars)}`).join(", ")),
    legend(methods.map(([method, confidence, dollars], i) => [method === "none" ? "c6" : `s${Math.min(i, 3)}`, `${LINKS[method] ?? method} ${money(dollars)}${method === "none" ? " unattributed" : `, confidence ${number(confidence, 2)}`}`])),
    el("h3", null, "By stage and model"), ...stageBars(byStage));
}

function stageBars(rows) {
  if (!rows.length) return [note("No agent run in this time.")];
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
  const sorted = [...stages].sort((a, b) => b[1].total - a[1].total), widest = sorted[0][1].total || 1;
  const bars = sorted.flatMap(([stage, { total, parts }]) => {
    parts.sort((a, b) => order.indexOf(a[0]) - order.indexOf(b[0]));
    const words = parts.map(([model, dollars]) => `${model} ${money(dollars)}`).join(", ");
    return [el("span", null, stage), bar(parts.map(([model, dollars]) => [dollars / widest, colour(model), `${stage}, ${model}: ${money(dollars)}`]), `${stage}: ${words}`), el("span", { class: N }, money(total))];
  });
  return [el("div", { class: "bars" }, ...bars), legend(order.map((model) => [colour(model), `${model} ${money(models.get(model))}`])),
    fold("stages", "As a table", scroll(table([["Stage"], ["Model"], ["Calls", N], ["Tokens", N], ["Cost", N]],
      rows.map((r) => [word(r.stage), word(r.model), count(r.llm_calls), count(r.total_tokens), money(r.cost_usd)]), "Agent cost by stage and model")))];
}

const GATES = { proposed: "Proposed", plan_approved: "Plan approved", pull_request_opened: "Pull request", reviewed: "Reviewed", approved: "Approved", merged: "Merged", deployed: "Deployed" };

function showFunnel(funnel, approvers, moment, since) {
  $("funnel-when").textContent = `Tickets proposed since ${date(since, { day: "numeric", month: "long" })}, and how long they waited before each gate`;
  const rows = funnel.gates.map((gate) => [GATES[gate.gate],
    gate.tickets == null ? "–" : bar([[gate.conversion ?? 0, "c0", `${GATES[gate.gate]}: ${count(gate.tickets)}`]], `${GATES[gate.gate]}: ${percent(gate.conversion)} of the tickets`),
    count(gate.tickets), span(gate.wait_seconds_p50), span(gate.wait_seconds_p90)]);
  const parts = [scroll(table([[term("approval_funnel", "Gate")], ["Share", "track"], ["Tickets", N], ["Median wait", N], ["90% within", N]], rows, "Approval funnel"))];
  if (funnel.plan_rejections != null) {
    const reasons = funnel.reasons.slice(0, 3).map((r) => `“${r.reason}” ${count(r.rejections)}×`).join(", ");
    parts.push(note(`Sent back: ${plural(funnel.plan_rejections, "plan")}, ${funnel.review_rejections == null ? "–" : plural(funnel.review_rejections, "review")}.${reasons ? ` Most said: ${reasons}` : ""}`));
  }
  const month = lastMonth(approvers.items, moment), people = new Map();
  for (const row of approvers.items.filter((each) => each.period_start === month)) {
    const person = people.get(row.approver) ?? people.set(row.approver, { all: 0 }).get(row.approver);
    person.all += row.decisions;
    person[row.gate] = row;
  }
  const busiest = [...people].sort((a, b) => b[1].all - a[1].all).slice(0, 5);
  if (busiest.length) {
    const cell = (row) => row ? both(count(row.decisions), span(row.wait_seconds_p50)) : "–";
    parts.push(fold("approvers", `Who decides, ${monthName(month)}`,
      scroll(table([[term("approver_load", "Approver")], ["Plans · median wait", N], ["Reviews · median wait", N]], busiest.map(([name, p]) => [name, cell(p.plan), cell(p.review)]), "Load of approvers")),
      scope().scope === "all" ? null : note("Of everybody: approvers are not counted by team or project.")));
  }
  $("funnel").replaceChildren(...parts);
}

const KINDS = [["agent", "Agents"], ["human", "People"], ["bot", "Bots"]];
const ACTORS = [
  ["agent_pull_requests", "Pull requests merged", (r) => count(r.merged)],
  ["agent_pull_requests", "Merged, of those closed", (r) => percent(r.merge_rate)],
  ["first_pass_rate", "Approved at first pass", (r) => percent(r.first_pass_rate)],
  ["agent_pull_requests", "Revision rounds, mean", (r) => number(r.revision_cycles_mean, 2)],
  ["human_intervention_rate", "A person stepped in", (r) => percent(r.human_intervention_rate)],
  ["autonomy_rate", "Tickets without a person's change", (r) => percent(r.autonomy_rate)],
  ["agent_pull_requests", "Tickets done alone", (r) => count(r.tickets_done)],
  ["agent_run_failures", "Failed runs", (r) => r.actor_kind !== "agent" || r.agent_runs == null ? "–" : `${count(r.failed_runs)} of ${count(r.agent_runs)}`],
];

function showActors({ items, missing_sources: missing }, moment) {
  const month = lastMonth(items, moment);
  $("actors-when").textContent = month ? monthName(month) : "";
  if (!month) { $("actors").replaceChildren(note(missing.length ? `No ${missing.map((type) => SOURCES[type]).join(", no ")} source loaded yet.` : "Nothing happened yet.")); return; }
  const of = Object.fromEntries(items.filter((row) => row.period_start === month).map((row) => [row.actor_kind, row]));
  $("actors").replaceChildren(scroll(table([["", "name"], ...KINDS.map(([, name]) => [name, N])],
    ACTORS.map(([metric, name, say]) => [term(metric, name), ...KINDS.map(([kind]) => of[kind] ? say(of[kind]) : "–")]), "Agents, people and bots side by side")));
}

const PARTS = [["coding", "Coding", "c0"], ["pickup", "Wait for review", "c1"], ["review", "Review", "c3"], ["merge", "Merge", "c2"], ["deploy", "Deploy", "c5"]];

function showPullRequests({ items, missing_sources: missing }, moment) {
  const month = lastMonth(items, moment);
  $("pulls-when").textContent = month ? `Merged in ${monthName(month)}; bars: mean of each part` : "";
  if (!month) { $("pulls").replaceChildren(note(missing.includes("github") ? "No GitHub source loaded yet." : "None was merged yet.")); return; }
  const of = Object.fromEntries(items.filter((row) => row.period_start === month).map((row) => [row.author_kind, row]));
  const kinds = KINDS.filter(([kind]) => of[kind]?.merged);
  const mean = (kind, part) => of[kind][`${part}_seconds_mean`] ?? 0;
  const whole = (kind) => PARTS.reduce((all, [part]) => all + mean(kind, part), 0);
  const widest = Math.max(...kinds.map(([kind]) => whole(kind))) || 1;
  $("pulls").replaceChildren(
    el("div", { class: "bars" }, ...kinds.flatMap(([kind, name]) => [el("span", null, name),
      bar(PARTS.map(([part, title, colour]) => [mean(kind, part) / widest, colour, `${name}, ${title}: ${span(mean(kind, part))}`]), `${name}: ${PARTS.map(([part, title]) => `${title} ${span(mean(kind, part))}`).join(", ")}`),
      el("span", { class: N }, span(whole(kind)))])),
    legend(PARTS.map(([, title, colour]) => [colour, title])),
    scroll(table([[term("pull_request_cycle_time", "Part"), "name"], ...kinds.map(([, name]) => [name, N])],
      [...PARTS, ["cycle", "First commit to merge"]].map(([part, title]) => [title, ...kinds.map(([kind]) => both(span(of[kind][`${part}_seconds_p50`]), span(of[kind][`${part}_seconds_p90`])))]), "Pull-request times, median and 90th percentile")),
    note("Median · 90% within"));
}

function showSources(sources) {
  const state = (s) => !s.available ? el("span", { class: "state bad" }, "Not loaded yet")
    : Date.now() - Date.parse(s.last_load_at) > 864e5 ? el("span", { class: "state warn" }, `Stale: ${ago(s.last_load_at)}`)
    : el("span", { class: "state good" }, s.last_load_at ? ago(s.last_load_at) : "Loaded");
  $("sources").replaceChildren(sources.length
    ? scroll(table([[term("freshness", "Source"), "name"], ["Last load"], ["Newest event"], ["Rows", N]],
        sources.map((s) => [el("span", null, s.source, s.source === s.type ? null : el("span", { class: "note" }, s.type)), state(s), s.newest_event_at ? ago(s.newest_event_at) : "–", s.available ? count(s.rows) : "–"]), "Sources"))
    : note("The stack names no source."));
  const newest = (column) => sources.map((s) => s[column]).filter(Boolean).sort().pop();
  const [load, event] = [newest("last_load_at"), newest("newest_event_at")], loaded = sources.filter((s) => s.available).length;
  $("fresh").textContent = load ? `Newest load ${ago(load)}, newest event ${event ? ago(event) : "–"} · ${loaded} of ${plural(sources.length, "source")} loaded` : "Nothing loaded yet";
}

function showProjects(s) {
  $("projects-when").textContent = `${count(s.done)} of ${plural(s.tickets, "ticket")} done; lead time ${span(s.lead_time.median_seconds)} in the median, 90% within ${span(s.lead_time.p90_seconds)}`;
  $("projects").replaceChildren(scroll(table([["Project"], ["Done", N], ["Tickets", N], [term("ticket_lead_time", "Lead time, median"), N], [term("ticket_cost", "Agent cost"), N]],
    s.by_project.map((p) => [p.project_key ?? "(not in Jira)", count(p.done), count(p.tickets), span(p.median_lead_time_seconds), money(p.cost_usd)]), "Projects")));
  const select = $("filters").elements.project, chosen = question().project || "";
  const keys = s.by_project.map((p) => p.project_key).filter(Boolean);
  const all = chosen && !keys.includes(chosen) ? [...keys, chosen] : keys;
  select.replaceChildren(el("option", { value: "" }, "All"), ...all.map((key) => el("option", { value: key }, key)));
  select.value = chosen;
}

// --- all of it ---

export async function showBoard() {
  const summary = await get("summary");
  const moment = Math.min(Date.now(), Math.max(...summary.coverage.map((s) => Date.parse(s.newest_event_at)).filter(Boolean), 0) || Date.now());
  const weeks = weeksUpTo(moment), since = weeks[0], months = new Date(moment - 100 * 864e5).toISOString().slice(0, 10);
  const here = scope(), part = narrowed(), monthly = { period: "month", after: months, limit: 1000 };
  const [catalogue, dora, pulls, agents, parts, stages, funnel, approvers, teams] = await Promise.all([
    definitions.size ? null : get("metrics"),
    get("metrics/dora", { period: "week", after: since, ...here }),
    get("metrics/pull_requests", { ...monthly, by: "author_kind", ...here }),
    get("metrics/agents", { ...monthly, ...here }),
    get("costs", { by: ["link_method", "link_confidence", "is_failed_run", "ticket_outcome"], after: since, limit: 1000, ...part }),
    get("costs", { by: ["stage", "model"], after: since, limit: 1000, ...part }),
    get("approvals/funnel", { after: since, ...part }),
    get("metrics/approvers", monthly),
    get("metrics/agents", { ...monthly, scope: "team", actor_kind: "agent" }),
  ]);
  if (catalogue) definitions = new Map(catalogue.items.map((each) => [each.metric, each]));
  showDora(dora, weeks);
  showCost(parts, stages.items, agents, moment, since);
  showFunnel(funnel, approvers, moment, since);
  showActors(agents, moment);
  showPullRequests(pulls, moment);
  showSources(summary.coverage);
  showProjects(summary);
  showScopes([...new Set(teams.items.map((row) => row.scope_value))].sort(), summary.by_project.map((p) => p.project_key).filter(Boolean));
}
