// Reading the API, words for its values, and elements.

export class Problem extends Error {
  constructor(status, body) { super(body.detail || "The API gave no reason."); this.status = status; this.kind = body.type || ""; }
}

export async function get(path, parameters) {
  const token = sessionStorage.getItem("token"), query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters || {})) for (const one of [value].flat()) if (one) query.append(name, one);
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

export const $ = (id) => document.getElementById(id);
export const count = (n) => n == null ? "–" : n.toLocaleString("en");
export const word = (text) => text == null || text === "" ? "–" : text;
export const day = (time) => time ? time.slice(0, 10) : "–";
export const plural = (n, one) => `${count(n)} ${one}${n === 1 ? "" : "s"}`;
export const number = (n, digits = 1) => n == null ? "–" : n.toLocaleString("en", { maximumFractionDigits: digits });
export const percent = (ratio) => ratio == null ? "–" : `${(100 * ratio).toLocaleString("en", { maximumFractionDigits: ratio < 0.1 || ratio > 0.99 && ratio < 1 ? 1 : 0 })}%`;
export function money(amount) {
  if (amount == null) return "–";
  const n = Number(amount), digits = n !== 0 && Math.abs(n) < 0.1 ? 4 : 2;
  return n.toLocaleString("en", { style: "currency", currency: "USD", minimumFractionDigits: digits, maximumFractionDigits: digits });
}
export function span(seconds) {
  if (seconds == null) return "–";
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) { const n = seconds / size; return `${n.toFixed(n < 10 && unit !== "min" ? 1 : 0)} ${unit}`; }
  }
  return `${Math.round(seconds)} s`;
}
export const ago = (time) => { const s = (Date.now() - Date.parse(time)) / 1000; return s < 60 ? "just now" : `${span(s)} ago`; };
export const date = (iso, format) => new Date(iso).toLocaleDateString("en-GB", { timeZone: "UTC", ...format });

const SVG = ["svg", "rect", "title"];
export function el(name, attributes, ...children) {
  const node = SVG.includes(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value != null && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}
export const note = (...text) => el("p", { class: "note" }, ...text);
export const scroll = (child) => el("div", { class: "scroll" }, child);

export function table(heads, rows, caption) {
  return el("table", { "aria-label": caption },
    el("thead", null, el("tr", null, ...heads.map(([text, kind]) => el("th", { scope: "col", class: kind }, text)))),
    el("tbody", null, ...rows.map((cells) => el("tr", null, ...cells.map((cell, i) => el("td", { class: heads[i][1] }, cell))))));
}

// A bar of parts, each [share of the whole track, colour, words].
export function bar(parts, label) {
  let x = 0;
  const rects = parts.map(([share, colour, words]) => {
    const rect = el("rect", { x, y: 0, width: Math.max(0, 1000 * share), height: 20, class: colour }, el("title", null, words));
    x += 1000 * share;
    return rect;
  });
  return el("svg", { viewBox: "0 0 1000 20", preserveAspectRatio: "none", role: "img", "aria-label": label }, ...rects);
}
export const legend = (items) => el("ul", { class: "legend" }, ...items.map(([colour, text]) => el("li", null,
  el("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, el("rect", { width: 10, height: 10, rx: 2, class: colour })), text)));

// Columns over time, oldest first, each { value, words, open }; null is a gap, an open one has not ended yet.
export function columns(points, label) {
  const most = Math.max(...points.map((p) => p.value || 0)) || 1, wide = 100 / points.length;
  return el("svg", { class: "trend", viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img", "aria-label": `${label}: ${points.map((p) => p.words).join(", ")}` },
    ...points.map((p, i) => {
      const height = p.value == null ? 0 : Math.max(0.8, 29 * p.value / most);
      return el("rect", { x: i * wide + 0.6, y: 30 - height, width: wide - 1.2, height, class: p.open ? "open" : p.now ? "now" : "then" }, el("title", null, p.words));
    }));
}

// The address after # holds the scope, the filters, the order and what is open, so that a view can be bookmarked.
export const question = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
export function ask(changes) {
  const text = String(new URLSearchParams(Object.entries({ ...question(), ...changes }).filter(([, value]) => value)));
  history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
}
