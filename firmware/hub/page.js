// The hub's page. Everything a box sent is untrusted: it becomes text nodes and nothing else.
"use strict";

const SHOWN_MAX = 400;
const PRIORITIES = { 1: "P1 alarm", 2: "P2 warning", 3: "P3 report", 4: "P4 detail" };
const SEVERITIES = ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];

const $ = (id) => document.getElementById(id);
const filter = { priority: "", box: "" };
const open = new Map(); // command → the row's evidence corner, while it is not complete
let source = null;
let last = 0;
let first = null;
let refreshing = null;

function text(tag, value, className) {
  const node = document.createElement(tag);
  node.textContent = value;
  if (className) node.className = className;
  return node;
}

// UTC throughout, as the bar says: a fleet has no local time.
function moment(iso) {
  return iso.replace("T", " ").replace("Z", "");
}

function query(extra) {
  const values = new URLSearchParams(extra);
  for (const [name, value] of Object.entries(filter)) if (value) values.set(name, value);
  return values.toString();
}

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`expected ${path}, the hub answered ${answer.status}`);
  return answer.json();
}

function row(message) {
  const item = $("message").content.firstElementChild.cloneNode(true);
  item.classList.add(`p${message.priority}`);
  const time = item.querySelector("time");
  time.dateTime = message.origin;
  time.textContent = moment(message.origin);
  time.title = `arrived ${moment(message.arrived)}; clock ${message.origin_source}, ±${message.origin_uncertainty_ms} ms`;
  item.querySelector(".priority").textContent = PRIORITIES[message.priority];
  item.querySelector(".severity").textContent = SEVERITIES[message.severity];
  item.querySelector(".origin").textContent = [message.box, message.device, message.process].filter((name, at, all) => name !== all[at - 1]).join(" › ") + ` · ${message.kind}`;
  item.querySelector(".text").textContent = message.text ?? "";
  const fields = Object.entries(message.fields);
  if (fields.length) {
    item.querySelector("details").hidden = false;
    const list = item.querySelector("dl");
    for (const [name, value] of fields) list.append(text("dt", name), text("dd", String(value)));
  }
  const corner = item.querySelector(".evidence");
  corner.querySelector("button").addEventListener("click", () => ask(message, corner));
  if (message.evidence) follow(message.evidence, corner);
  return item;
}

function put(messages, { older = false } = {}) {
  const list = $("messages");
  for (const message of messages) {
    if (older) list.append(row(message));
    else list.prepend(row(message));
    last = Math.max(last, message.number);
    first = first === null ? message.number : Math.min(first, message.number);
  }
  if (!older) while (list.children.length > SHOWN_MAX) list.lastElementChild.remove();
  $("empty").hidden = list.children.length > 0;
}

async function ask(message, corner) {
  const button = corner.querySelector("button");
  button.disabled = true;
  const answer = await fetch("/api/evidence", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ box: message.box, message: message.identity, before_s: 30, after_s: 30 }),
  });
  if (!answer.ok) {
    button.disabled = false;
    corner.querySelector("span").textContent = `not asked: ${(await answer.json()).error}`;
    return;
  }
  follow((await answer.json()).command, corner);
}

function follow(command, corner) {
  corner.querySelector("button").disabled = true;
  open.set(command, corner);
  progress(command, corner);
}

async function progress(command, corner) {
  const state = await get(`/api/evidence/${command}`);
  const label = corner.querySelector("span");
  if (state.complete) {
    open.delete(command);
    label.textContent = `${state.frames} frames, ${Math.ceil(state.bytes / 1024)} KiB`;
    const link = corner.querySelector("a");
    link.href = state.download;
    link.hidden = false;
  } else if (state.state === "refused" || state.state === "expired") {
    open.delete(command);
    label.textContent = state.detail ? `${state.state}: ${state.detail}` : state.state;
    corner.querySelector("button").disabled = false;
  } else {
    const words = { waiting: "waiting for the box", sent: "asked", accepted: "the box is looking" };
    label.textContent = state.parts ? `${state.parts} parts, ${Math.ceil(state.bytes / 1024)} KiB so far` : (words[state.state] ?? state.state);
  }
}

function showCounts(counts) {
  const bar = $("priorities");
  bar.replaceChildren();
  for (const priority of ["", 1, 2, 3, 4]) {
    const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
    const button = text("button", priority ? `${PRIORITIES[priority]} · ${counts[priority] ?? 0}` : `all · ${all}`);
    button.type = "button";
    button.setAttribute("aria-pressed", String(filter.priority === String(priority)));
    button.addEventListener("click", () => {
      filter.priority = String(priority);
      load();
    });
    bar.append(button);
  }
}

function showBoxes(boxes) {
  $("boxes").replaceChildren(
    ...boxes.map((box) => {
      const item = document.createElement("li");
      item.append(text("strong", box.name), text("span", `${box.state} · ${box.site} · heard ${moment(box.seen).slice(0, 19)}`, box.state));
      return item;
    }),
  );
  const select = $("box");
  const known = new Set([...select.options].map((option) => option.value));
  for (const box of boxes) {
    if (!known.has(box.name)) {
      const option = text("option", box.name);
      option.value = box.name;
      select.append(option);
    }
  }
}

async function look() {
  try {
    const answer = await get("/api/boxes");
    showBoxes(answer.boxes);
    showCounts(answer.messages);
    for (const [command, corner] of open) await progress(command, corner);
  } catch (problem) {
    $("connection").textContent = problem.message;
  }
}

// Many knocks are one look: what changes beside the messages is looked at twice a second at most, and only when the hub knocked.
function refresh() {
  if (refreshing !== null) return;
  refreshing = setTimeout(() => {
    refreshing = null;
    look();
  }, 500);
}

async function load() {
  if (source) source.close();
  open.clear();
  last = 0;
  first = null;
  $("messages").replaceChildren();
  const answer = await get(`/api/messages?${query({ newest: 100 })}`);
  put(answer.messages);
  $("older").hidden = answer.messages.length < 100;
  await look();
  listen();
}

function listen() {
  // EventSource comes back by itself; each event's id is the last message seen, so nothing is missed in between.
  source = new EventSource(`/api/events?${query({ after: last })}`);
  source.addEventListener("open", () => { $("connection").textContent = "live"; });
  source.addEventListener("error", () => { $("connection").textContent = "the hub is away, trying again"; });
  source.addEventListener("messages", (event) => put(JSON.parse(event.data).filter((message) => message.number > last)));
  source.addEventListener("news", refresh);
}

$("box").addEventListener("change", (event) => {
  filter.box = event.target.value;
  load();
});
$("older").addEventListener("click", async () => {
  const answer = await get(`/api/messages?${query({ before: first ?? 0, newest: 100 })}`);
  put(answer.messages.reverse(), { older: true });
  $("older").hidden = answer.messages.length < 100;
});
load().catch((problem) => { $("connection").textContent = problem.message; });
