// The Pindo page. It asks /pindo/ui/api for JSON and builds every element with textContent, so that nothing that a
// stranger wrote is read as HTML. It runs in Airflow's sandboxed frame: there are no dialogs, and links go through
// the router of the page around it.
"use strict";

const query = new URLSearchParams(location.search);
const base = new URL("../../", location.href).pathname;
const page = document.getElementById("page");
const WINDOWS = { "1h": "1 h", "24h": "24 h", "7d": "7 d", "30d": "30 d" };
const LONG = { "1h": "hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days" };
const WORDS = { accepted: "Accepted", rejected: "Rejected", unknown: "Unknown", not_sent: "Not sent", expired: "Expired" };
const STACK = ["accepted", "not_sent", "expired", "rejected", "unknown"]; // of a bar, from the bottom
const UNKNOWN = "–";
let chosen = "24h";

// ---- Elements -------------------------------------------------------------------------------------------------

function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function link(path, text, kind = null) {
  return h("a", {
    href: base + path,
    class: kind,
    onclick: (event) => {
      if (parent === window || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      parent.history.pushState({}, "", base + path);
      parent.dispatchEvent(new PopStateEvent("popstate", { state: {} }));
    },
  }, text);
}

const part = encodeURIComponent;
const runPath = (at) => `dags/${part(at.dag_id)}/runs/${part(at.run_id)}`;
const taskPath = (at) => `${runPath(at)}/tasks/${part(at.task_id)}${at.map_index >= 0 ? `/mapped/${at.map_index}` : ""}`;
const taskName = (at) => (at.map_index >= 0 ? `${at.task_id} [${at.map_index}]` : at.task_id);

// ---- Words ----------------------------------------------------------------------------------------------------

function timeZone() {
  try {
    const zone = JSON.parse(localStorage.getItem("timezone"));
    new Intl.DateTimeFormat("en", { timeZone: zone });
    return zone || undefined;
  } catch {
    return undefined;
  }
}

function time(iso, options = { dateStyle: "medium", timeStyle: "medium" }) {
  if (!iso) return UNKNOWN;
  const moment = new Date(iso);
  if (Number.isNaN(moment.getTime())) return iso; // a person edited the entry
  return new Intl.DateTimeFormat("en-GB", { timeZone: timeZone(), ...options }).format(moment);
}

const number = (value) => (value === null || value === undefined ? UNKNOWN : value.toLocaleString("en"));
// A text costs less than a cent, so small sums have a third place.
const money = (value) =>
  value === null || value === undefined
    ? UNKNOWN
    : `$${value.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: value < 10 ? 3 : 2 })}`;
const several = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

// ---- Requests -------------------------------------------------------------------------------------------------

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let response;
  try {
    response = await fetch(path, { ...options, credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new Error("Airflow does not respond. Check the connection and try again.");
  }
  const value = await response.json().catch(() => null);
  if (response.ok) return value;
  if (response.status === 401) throw new Error("You are logged out. Reload Airflow to log in again.");
  const detail = value && typeof value.detail === "string" ? value.detail : null;
  throw new Error(detail || `Airflow returned ${response.status}.`);
}

// Requests of which only the newest is shown. A turn says whether there is none after it.
function turns() {
  let last = 0;
  return () => {
    const turn = ++last;
    return () => turn === last;
  };
}

// ---- Parts ----------------------------------------------------------------------------------------------------

function tile(kind, label, value, hint = "") {
  return h("div", { class: `tile ${kind}` }, h("dt", {}, label), h("dd", {}, value), hint ? h("dd", { class: "hint" }, hint) : "");
}

const deliveryTiles = (answer, hint) => [
  tile(answer.delivered ? "accepted" : "", "Delivered", number(answer.delivered), hint),
  tile(answer.not_delivered ? "rejected" : "", "Not delivered", number(answer.not_delivered), hint),
];

function tiles(counts, scope) {
  const [delivered, failed] = deliveryTiles({}, "is being read");
  ask(`api/delivery?${scope}`).then(
    (answer) => (!answer ? deliveryTiles({}, "needs webhooks")
      : answer.of === null ? deliveryTiles({}, "cannot be read now")
        : deliveryTiles(answer, `of ${answer.is_cut ? "the newest " : ""}${number(answer.of)} with an ID`)),
    () => deliveryTiles({}, "cannot be read now"),
  ).then((known) => {
    delivered.replaceWith(known[0]);
    failed.replaceWith(known[1]);
  });
  return h("dl", { class: "tiles", "aria-label": "Totals" },
    tile("", "Messages", number(counts.messages)),
    tile(counts.accepted ? "accepted" : "", "Accepted", number(counts.accepted)),
    delivered,
    failed,
    tile(counts.unknown ? "unknown" : "", "Unknown", number(counts.unknown)),
    tile(counts.rejected ? "rejected" : "", "Rejected", number(counts.rejected)),
    tile("", "Expired", number(counts.expired)),
    tile("", "Not sent", number(counts.not_sent)),
    tile("", "Cost", money(counts.cost), counts.priced < counts.accepted + counts.unknown ? `of ${number(counts.priced)} with a price` : ""),
    query.get("run_id") ? "" : tile("", "Last balance", money(counts.balance), counts.balance === null ? "not known" : time(counts.balance_at, { dateStyle: "medium", timeStyle: "short" })),
  );
}

// A table whose rows become cards on a phone. A column is [label, cell of a row, class].
function table(label, columns, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": label },
    h("table", {},
      h("thead", {}, h("tr", {}, columns.map(([name, , kind]) => h("th", { scope: "col", class: kind }, name)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, columns.map(([name, cell, kind]) => {
        const shown = cell(row);
        return h("td", { class: `${kind || ""} ${shown === "" ? "none" : ""}`, "data-label": name }, shown);
      })))),
    ));
}

const countColumns = [
  ["Messages", (row) => number(row.messages), "number"],
  ["Accepted", (row) => number(row.accepted), "number"],
  ["Rejected", (row) => number(row.rejected), "number"],
  ["Unknown", (row) => number(row.unknown), "number"],
  ["Not sent", (row) => number(row.not_sent), "number"],
  ["Expired", (row) => number(row.expired), "number"],
  ["Cost", (row) => money(row.cost), "number"],
];

function section(title, ...children) {
  const id = `title-${title.toLowerCase().replaceAll(" ", "-")}`;
  return h("section", { "aria-labelledby": id }, h("h2", { id }, title), ...children);
}

function empty(...sentences) {
  return h("div", { class: "panel empty" }, sentences.map((sentence) => h("p", {}, sentence)));
}

function failure(error, again) {
  return h("div", { class: "notice", role: "alert" }, h("p", {}, error.message), h("button", { onclick: again }, "Try again"));
}

function chart(bars, name) {
  const isNarrow = innerWidth < 640;
  const [width, height, left, bottom] = [isNarrow ? 400 : 1200, 200, 40, 22];
  const most = Math.max(1, ...bars.map((bar) => bar.messages));
  const step = (width - left) / bars.length;
  const scale = (height - bottom - 14) / most;
  const short = isByDay(name) ? { month: "short", day: "numeric", timeZone: "UTC" } : { timeStyle: "short" };
  const drawing = svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": chartLabel(bars, name) });
  drawing.append(
    svg("line", { class: "axis", x1: left, x2: width, y1: height - bottom, y2: height - bottom }),
    svg("line", { class: "axis", x1: left, x2: width, y1: 14, y2: 14 }),
    svg("text", { x: left - 6, y: 18, "text-anchor": "end" }, number(most)),
    svg("text", { x: left - 6, y: height - bottom + 4, "text-anchor": "end" }, "0"),
  );
  bars.forEach((bar, index) => {
    let top = height - bottom;
    const x = left + index * step + step * 0.15;
    const group = svg("g", {}, svg("title", {}, `${barTime(bar, name)}: ${several(bar.messages, "message")}`));
    for (const kind of STACK) {
      if (!bar[kind]) continue;
      const tall = Math.max(2, bar[kind] * scale);
      top -= tall;
      group.append(svg("rect", { class: kind, x, y: top, width: step * 0.7, height: tall, rx: 1 }));
    }
    drawing.append(group);
    if (index % Math.ceil(bars.length / (isNarrow ? 4 : 8)) === 0) {
      drawing.append(svg("text", { x: x + step * 0.35, y: height - 6, "text-anchor": "middle" }, time(bar.start, short)));
    }
  });
  const kinds = STACK.filter((kind) => bars.some((bar) => bar[kind]));
  return h("div", { class: "panel" }, drawing,
    h("ul", { class: "legend" }, kinds.map((kind) => h("li", {}, h("span", { class: kind }), WORDS[kind]))),
    isByDay(name) ? h("p", { class: "quiet" }, "Days in UTC.") : "");
}

// Bars of six hours and of days begin at midnight in UTC, wherever the viewer is.
const isByDay = (name) => name === "7d" || name === "30d";

function barTime(bar, name) {
  const options = { dateStyle: "medium", timeStyle: "short" };
  return isByDay(name) ? `${time(bar.start, { ...options, timeZone: "UTC" })} UTC` : time(bar.start, options);
}

function chartLabel(bars, name) {
  const busiest = bars.reduce((best, bar) => (bar.messages > best.messages ? bar : best), bars[0]);
  const total = bars.reduce((sum, bar) => sum + bar.messages, 0);
  return `${several(total, "message")} in the last ${LONG[name]}${total ? `, most of them at ${barTime(busiest, name)}` : ""}`;
}

// ---- Settle ---------------------------------------------------------------------------------------------------

function needsAPerson(data) {
  const cards = [
    ...data.unknown.map((task, index) => settleCard(task, index < 3)),
    ...data.questions.map((question) => h("div", { class: "panel" },
      h("h3", {}, question.subject),
      h("p", { class: "quiet" }, place(question)),
      h("p", {}, "The task waits until somebody says what arrived. Open the question and choose an answer: then the run goes on."),
      h("p", {}, link(`${taskPath(question)}/required_actions`, "Answer the question", "button")))),
  ];
  if (data.unknown_count > data.unknown.length) {
    cards.push(h("p", { class: "quiet" }, `The newest ${data.unknown.length} of ${several(data.unknown_count, "task")} are listed.`));
  }
  return cards;
}

function place(at) {
  return h("span", {}, at.dag_name, " · ", link(taskPath(at), taskName(at)), " · ", link(runPath(at), at.run_id));
}

function settleCard(task, isOpen) {
  const body = h("div", {});
  const open = h("button", { onclick: () => fill(true) }, task.can_settle ? "Settle" : "Show");
  const card = h("div", { class: "panel" },
    h("div", { class: "bar" },
      h("div", {},
        h("h3", {}, `${several(task.unknown, "message")} may or may not have arrived`),
        h("p", { class: "quiet" }, place(task), ` · ${time(task.time)}`)),
      h("span", { class: "space" }), open),
    body);
  const replace = (...children) => {
    const hadFocus = body.contains(document.activeElement);
    body.replaceChildren(...children);
    if (hadFocus) body.querySelector("button, [tabindex]")?.focus();
  };
  const fill = async (isPressed) => {
    open.remove();
    body.replaceChildren(h("p", { class: "quiet", tabindex: "-1" }, "Loading…"));
    if (isPressed) body.firstChild.focus(); // the button that had the focus is gone
    try {
      const { people, next } = await ask("api/people", { ...key(task), outcome: "unknown" });
      replace(...settleForm(task, people, next !== null));
    } catch (error) {
      replace(failure(error, () => fill(true)));
    }
  };
  if (isOpen) fill(false);
  return card;
}

const key = (at) => ({ dag_id: at.dag_id, run_id: at.run_id, task_id: at.task_id, map_index: at.map_index });

function settleForm(task, people, areMore) {
  const decisions = new Map();
  const isBulk = people.some((person) => person.row !== null);
  let everybody = null;
  const status = h("p", { role: "status", class: "quiet" });
  const button = h("button", { class: "main", disabled: true, onclick: () => send() }, "Settle and clear");
  const toggles = [];

  function update() {
    for (const [toggle, isOn] of toggles) toggle.setAttribute("aria-pressed", String(isOn()));
    const settled = everybody === null ? decisions.size : task.unknown;
    button.disabled = settled === 0;
    const all = settled >= task.unknown;
    button.textContent = all || !settled ? "Settle and clear" : `Settle ${settled} of ${number(task.unknown)}`;
    status.textContent = !settled ? "" : all ? sentence() : "The task is cleared once all are settled.";
  }
  function sentence() {
    const arrived = everybody === null ? [...decisions.values()].filter((decision) => decision.arrived).length : everybody ? task.unknown : 0;
    const resent = task.unknown - arrived;
    const cleared = "The task is cleared, with what follows it,";
    const again = `${several(resent, "message")} ${resent === 1 ? "is" : "are"} sent again.`;
    // A bulk send may have stopped before it came to all rows, and a clear continues it.
    if (isBulk) {
      return resent
        ? `${again} ${cleared} and also sends to all who are left.`
        : `Nobody who got this message gets it again. ${cleared} and sends to all who are left.`;
    }
    return `${resent ? again : "The message is not sent again."} ${cleared} so the run goes on.`;
  }
  function toggle(text, label, isOn, choose) {
    const made = h("button", { "aria-pressed": "false", "aria-label": label, onclick: () => { choose(); update(); } }, text);
    toggles.push([made, isOn]);
    return made;
  }
  async function send() {
    for (const [made] of toggles) made.disabled = true;
    button.disabled = true;
    status.textContent = "Settling…";
    try {
      const settled = await ask("api/settle", { ...key(task), seen: task.time, everybody, decisions: everybody === null ? [...decisions.values()] : [] });
      // Somebody else may have settled others, and one request settles a million people at most.
      if (settled.unknown === 0) finish();
      else showDone(`Settled ${several(settled.arrived + settled.not_arrived, "message")}. ${several(settled.unknown, "message")} still ${settled.unknown === 1 ? "needs" : "need"} a person.`);
    } catch (error) {
      status.replaceChildren(failure(error, () => show()));
    }
  }
  // A clear that failed is repeated alone: once the page is loaded anew, it does not list the task any more.
  async function finish() {
    status.textContent = "Clearing…";
    try {
      await clear(task);
      showDone("Settled and cleared. ", link(runPath(task), "The run goes on."));
    } catch (error) {
      status.replaceChildren(failure(new Error(`The messages are settled, but the task is not cleared: ${error.message}`), finish));
    }
  }
  function showDone(...children) {
    show(h("div", { class: "notice done", tabindex: "-1" }, h("p", {}, ...children)));
  }

  const choices = (person) => h("span", { class: "group", role: "group", "aria-label": who(person) },
    toggle("Arrived", `${who(person)}: arrived`, () => (everybody ?? decisions.get(id(person))?.arrived) === true,
      () => { everybody = null; decisions.set(id(person), decide(person, true)); }),
    toggle("Did not arrive", `${who(person)}: did not arrive`, () => (everybody ?? decisions.get(id(person))?.arrived) === false,
      () => { everybody = null; decisions.set(id(person), decide(person, false)); }));

  const isMany = task.unknown > 1;
  const list = table("Messages whose outcome is unknown", [
    ["Row", (person) => (person.row === null ? "" : number(person.row)), "number"],
    ["Number", (person) => h("code", {}, person.number)],
    ["Why", (person) => person.reason || "no response to the request"],
    ...(task.can_settle ? [["Decision", choices]] : []),
  ], people);
  if (!task.can_settle) return [list, h("p", { class: "quiet" }, "To settle, you need the permission to edit this task instance.")];
  return [
    h("p", {}, "Find out whether they arrived: Pindo’s dashboard shows it. Then say so here."),
    isMany ? h("p", { class: "bar" }, "Everybody:", h("span", { class: "group", role: "group", "aria-label": "Everybody" },
      toggle("Arrived", "Everybody: arrived", () => everybody === true, () => { everybody = true; decisions.clear(); }),
      toggle("Did not arrive", "Everybody: did not arrive", () => everybody === false, () => { everybody = false; decisions.clear(); }))) : "",
    list,
    areMore ? h("p", { class: "quiet" }, `The first ${people.length} of ${number(task.unknown)} are listed.`) : "",
    people.some((person) => person.key === "pindo_verify")
      ? h("p", { class: "quiet" }, "A PIN that arrived cannot be checked, since its request ID is not known. For a new PIN, choose “Did not arrive”.") : "",
    h("p", { class: "bar" }, button), status,
  ];
}

const id = (person) => `${person.key}/${person.row}`;
const decide = (person, arrived) => ({ key: person.key, row: person.row, arrived });
const who = (person) => (person.row === null ? person.number : `Row ${person.row}, ${person.number}`);

// Airflow's own API clears the task: with this person's permissions, and in its audit log.
function clear(task) {
  return ask(`${base}api/v2/dags/${part(task.dag_id)}/clearTaskInstances`, {
    dry_run: false,
    dag_run_id: task.run_id,
    task_ids: [task.map_index >= 0 ? [task.task_id, task.map_index] : task.task_id],
    include_downstream: true,
    only_failed: false,
    reset_dag_runs: true,
  });
}

// ---- Lists of people ------------------------------------------------------------------------------------------

function outcome(row) {
  return h("span", { class: `word ${row.outcome}` }, WORDS[row.outcome] || row.outcome);
}

const personColumns = [
  ["Row", (row) => (row.row === null ? "" : number(row.row)), "number"],
  ["Number", (row) => h("code", {}, row.number)],
  ["Outcome", outcome],
  ["Reason", (row) => [row.reason, row.settled && `settled by ${row.settled.by}, ${time(row.settled.at)}`].filter(Boolean).join("; ")],
  ["Delivery", (row) => row.delivery || UNKNOWN],
];

const noDeliveries = (answer) =>
  answer.has_deliveries || !(answer.people || answer.matches).length ? ""
    : answer.has_deliveries === null ? h("p", { class: "quiet" }, "Deliveries cannot be read now.")
    : h("p", { class: "quiet" }, "Deliveries are not known. To know them, switch webhooks on: ", h("code", {}, "[pindo] webhooks = True"), ".");

function peopleList(task) {
  const results = h("div", { "aria-live": "polite" });
  const ending = h("input", { id: "ending", inputmode: "numeric", pattern: "[0-9]*", size: 12, autocomplete: "off" });
  const only = h("select", { id: "only" }, h("option", { value: "" }, "Everybody"),
    Object.entries(WORDS).map(([value, text]) => h("option", { value }, text)));
  const nextList = turns();
  let rows = [];
  const find = () => load({ ending: ending.value.replace(/[^0-9]/g, "").slice(-15), outcome: only.value }, null);
  // "Show more" is about the filter that was searched with, whatever is typed since.
  async function load(filter, next) {
    const isNewest = nextList();
    try {
      const answer = await ask("api/people", { ...key(task), ...filter, ...(next || {}) });
      if (!isNewest()) return;
      rows = next ? rows.concat(answer.people) : answer.people;
      const shown = rows.length ? table("People of this task", personColumns, rows) : empty(answer.next ? "Nobody in the first entries matches. “Show more” reads on." : "Nobody matches.");
      const more = h("button", { onclick: () => load(filter, answer.next) }, "Show more");
      results.replaceChildren(
        filter.ending.length > 3 ? h("p", { class: "quiet" }, "Only the last three digits are compared.") : "",
        shown, noDeliveries(answer),
        answer.next ? h("p", { class: "bar" }, more) : "");
      if (next) (answer.next ? more : shown).focus();
    } catch (error) {
      if (isNewest()) results.replaceChildren(failure(error, () => load(filter, next)));
    }
  }
  find();
  return section("People",
    h("form", { class: "bar", onsubmit: (event) => { event.preventDefault(); find(); } },
      h("label", { for: "ending" }, "Number ends with"), ending,
      h("label", { for: "only" }, "Outcome"), only,
      h("button", {}, "Search")),
    results);
}

// ---- Search by phone number -----------------------------------------------------------------------------------

// Made once, so that a number that was typed stays when the page loads anew.
function makeFinder() {
  const field = h("input", { id: "phone", type: "tel", placeholder: "+250 78…", autocomplete: "off", size: 20, required: true });
  const results = h("div", { "aria-live": "polite" });
  const nextSearch = turns();
  async function find(event) {
    event.preventDefault();
    const isNewest = nextSearch();
    const name = chosen;
    results.replaceChildren(h("p", { class: "quiet" }, "Searching…"));
    try {
      const answer = await ask("api/search", { number: field.value, window: name });
      if (isNewest()) results.replaceChildren(...matchesOf(answer, name));
    } catch (error) {
      if (isNewest()) results.replaceChildren(h("div", { class: "notice", role: "alert" }, error.message));
    }
  }
  const form = h("form", { class: "bar", onsubmit: find },
    h("label", { for: "phone" }, "Phone number"), field, h("button", { class: "main" }, "Find"));
  return {
    section: section("Find a person", form, results),
    again: () => field.value && results.hasChildNodes() && form.requestSubmit(),
  };
}

function matchesOf(answer, name) {
  const span = `the last ${LONG[name]}`;
  if (!answer.matches.length) return [empty(`Nothing was sent to ${answer.mask} in ${span}.`, "A run is searched by the time it was due or started. Choose a longer window above.")];
  return [
    h("p", {}, `${several(answer.matches.length, "message")} to `, h("code", {}, answer.mask), ` in ${span}. `,
      answer.matches.length > 1
        ? "Numbers are compared in this masked form, and several people may have it. Compare the run, the row and the time."
        : "Numbers are compared in this masked form, and other people may have it."),
    table("Messages that were found", [
      ["Time", (row) => time(row.time), "time"],
      ["DAG", (row) => row.dag_name],
      ["Run", (row) => link(runPath(row), row.run_id)],
      ["Task", (row) => link(taskPath(row), taskName(row))],
      ...personColumns.filter(([name]) => name !== "Number"),
    ], answer.matches),
    noDeliveries(answer),
    answer.is_cut ? h("p", { class: "quiet" }, "There may be more: choose a shorter window.") : "",
  ];
}

const finder = makeFinder();

// ---- Set-up, for those who may edit connections ------------------------------------------------------------

function setup() {
  const corner = h("div", {});
  ask("api/setup").then((answer) => corner.replaceChildren(section("Set up webhooks", ...setupLines(answer))), () => {});
  return corner;
}

const address = (row, value) =>
  h("input", { readonly: true, class: "address", value, "aria-label": `Webhook address of ${row.conn_id}`, onfocus: (event) => event.target.select() });

function setupLines(answer) {
  if (!answer.are_on) {
    return [h("div", { class: "panel" },
      h("p", {}, "Webhooks are off, so deliveries are not known."),
      h("p", { class: "quiet" }, "To switch them on, set ", h("code", {}, "[pindo] webhooks = True"), " for every component of Airflow."))];
  }
  if (!answer.connections.length) return [empty("There is no Pindo connection that the API server can read.")];
  return [
    h("p", { class: "quiet" }, "Copy the address into Pindo’s dashboard. Keep it secret: who has it can post webhooks."),
    table("Webhook addresses", [
      ["Connection", (row) => row.conn_id],
      ["For all webhooks", (row) => (row.addresses ? address(row, row.addresses.any) : row.problem), "wide"],
      ["For a sender ID, with the header X-Webhook-Secret", (row) => (row.addresses ? address(row, row.addresses.with_header) : ""), "wide"],
      ["Last webhook", (row) => (row.last ? time(row.last) : "none yet"), "time"],
    ], answer.connections),
  ];
}

// ---- Views ----------------------------------------------------------------------------------------------------

const title = (kind = null) => h("h1", { class: kind, tabindex: "-1" }, "Pindo");

function notes(data) {
  return [
    data.is_cut ? h("div", { class: "notice" }, `Only the newest ${number(data.entries)} entries of the ledger are counted.${data.scope.has("window") ? " Choose a shorter window." : ""}`) : "",
    data.unreadable ? h("div", { class: "notice" }, `${several(data.unreadable, "entry", "entries")} of the ledger cannot be read by this version of the provider, and are not counted.`) : "",
  ];
}

function attention(data) {
  const count = data.unknown_count + data.questions.length;
  return count ? h("div", { class: "notice" }, h("a", { href: "#title-needs-a-person" }, `${several(count, "task")} ${count === 1 ? "needs" : "need"} a person`)) : "";
}

function rejectionTable(rows) {
  return table("Newest rejections", [
    ["Time", (row) => time(row.time), "time"],
    ["Reason", (row) => row.reason],
    ["People", (row) => number(row.people), "number"],
    ["Rows", (row) => (row.rows.length > 40 ? `${row.rows.slice(0, 40)}…` : row.rows)],
    ["DAG", (row) => row.dag_name],
    ["Task", (row) => link(taskPath(row), taskName(row))],
  ], rows);
}

function noStore() {
  return empty("This Airflow keeps no record of what was sent.", "The page needs the task state store, which came with Airflow 3.3.");
}

function overviewView(data, done) {
  const windows = h("span", { class: "group", role: "group", "aria-label": "Window" },
    Object.entries(WINDOWS).map(([name, text]) => h("button", {
      id: `window-${name}`, "aria-pressed": String(name === chosen), "aria-label": `The last ${LONG[name]}`,
      onclick: () => { chosen = name; show(); finder.again(); },
    }, text)));
  const head = h("div", { class: "bar" }, title(), h("span", { class: "space" }), windows,
    h("button", { id: "refresh", onclick: () => show() }, "Refresh"));
  if (!data.has_store) return [head, noStore(), setup()]; // webhooks are received without a store too
  const isEmpty = !data.entries && !data.questions.length;
  const waiting = needsAPerson(data);
  return [
    head, done || "", attention(data), ...notes(data),
    isEmpty ? empty(`No run of the last ${LONG[chosen]} has sent anything with Pindo.`, "You see the DAGs that you may read.") : "",
    isEmpty ? "" : tiles(data.tiles, data.scope),
    isEmpty ? "" : section("Messages over time", chart(data.bars, chosen)),
    isEmpty ? "" : section("By DAG", table("By DAG", [
      ["DAG", (row) => link(`dags/${part(row.dag_id)}/runs`, row.dag_name)],
      ["Runs", (row) => number(row.runs), "number"], ...countColumns,
    ], data.dags)),
    isEmpty ? "" : section("Needs a person", waiting.length ? waiting : empty("Nothing needs a person.")),
    isEmpty || !data.rejections.length ? "" : section("Newest rejections", rejectionTable(data.rejections)),
    finder.section,
    setup(),
  ];
}

function runView(data, done) {
  if (!data.has_store) return [title("hidden"), noStore()];
  if (!data.entries) return [title("hidden"), empty("No task of this run has sent anything with Pindo.")];
  const waiting = needsAPerson(data);
  return [
    title("hidden"), done || "", ...notes(data), tiles(data.tiles, data.scope),
    section("Tasks", table("Tasks", [
      ["Task", (row) => link(taskPath(row), taskName(row))], ["State", (row) => row.state || UNKNOWN], ...countColumns,
      ...(data.tasks.some((row) => row.report_path) ? [["Report", (row) => (row.report_path ? h("code", {}, row.report_path) : "")]] : []),
    ], data.tasks), data.task_count > data.tasks.length
      ? h("p", { class: "quiet" }, `The first ${data.tasks.length} of ${number(data.task_count)} tasks are listed.`) : ""),
    waiting.length ? section("Needs a person", waiting) : "",
    data.rejections.length ? section("Newest rejections", rejectionTable(data.rejections)) : "",
  ];
}

function taskView(data, done) {
  if (!data.has_store) return [title("hidden"), noStore()];
  if (!data.entries) return [title("hidden"), empty("This task has sent nothing with Pindo.")];
  const waiting = needsAPerson(data);
  const [task] = data.tasks;
  return [
    title("hidden"), done || "", ...notes(data), tiles(data.tiles, data.scope),
    task && task.report_path ? section("Report", h("p", {}, "The task wrote everybody’s outcome to ", h("code", {}, task.report_path))) : "",
    waiting.length ? section("Needs a person", waiting) : "",
    task ? peopleList(task) : "",
  ];
}

function mapIndex() {
  return /^-?[0-9]+$/.test(query.get("map_index") || "") ? query.get("map_index") : "-1"; // Airflow leaves {MAP_INDEX} as it is
}

async function loadView() {
  const scope = new URLSearchParams(query.get("run_id") ? { dag_id: query.get("dag_id"), run_id: query.get("run_id") } : { window: chosen });
  if (query.get("run_id") && query.get("task_id")) {
    scope.set("task_id", query.get("task_id"));
    scope.set("map_index", mapIndex());
  }
  const view = scope.has("task_id") ? taskView : scope.has("run_id") ? runView : overviewView;
  const data = await ask(`${scope.has("run_id") ? "api/run" : "api/overview"}?${scope}`);
  return [view, { ...data, scope }];
}

const nextView = turns();

async function show(done = null) {
  const isNewest = nextView();
  page.setAttribute("aria-busy", "true");
  let children;
  try {
    const [view, data] = await loadView();
    if (isNewest()) children = view(data, done);
  } catch (error) {
    children = [title(), failure(error, () => show())];
  }
  if (!isNewest()) return;
  const focused = page.contains(document.activeElement) ? document.activeElement.id : null;
  page.replaceChildren(...children);
  page.removeAttribute("aria-busy");
  // The focus stays on the same button, or moves to the confirmation.
  if (done) done.focus();
  else if (focused !== null) (document.getElementById(focused) || page.querySelector("h1"))?.focus();
}

// ---- Airflow's looks ------------------------------------------------------------------------------------------

const COLOURS = {
  bg: "bg", panel: "bg-panel", subtle: "bg-subtle", fg: "fg", muted: "fg-muted", border: "border",
  brand: "brand-solid", "on-brand": "brand-contrast", link: "fg-info",
};

function followTheme() {
  let outer;
  try {
    outer = parent.document.documentElement;
  } catch {
    return; // another site shows the page: it keeps its own colours
  }
  const copy = () => {
    const style = document.documentElement.style;
    document.documentElement.classList.toggle("dark", outer.classList.contains("dark"));
    for (const [ours, airflows] of Object.entries(COLOURS)) {
      const colour = getComputedStyle(outer).getPropertyValue(`--chakra-colors-${airflows}`);
      if (colour && parent !== window) style.setProperty(`--${ours}`, colour);
    }
    const font = getComputedStyle(outer).getPropertyValue("--chakra-fonts-body");
    if (font && parent !== window) style.setProperty("--font", font);
  };
  new MutationObserver(copy).observe(outer, { attributes: true, attributeFilter: ["class"] });
  copy();
}

followTheme();
show();
