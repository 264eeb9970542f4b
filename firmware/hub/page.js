// The hub's page. Everything a box sent is untrusted: it becomes text nodes and nothing else.
"use strict";

const SHOWN_MAX = 400;
const PAGE_ROWS = 100;
const TEXT_SHORT = 240; // characters of a text shown in its row; the rest opens
const SUMMARY_FIELDS = 6;
const REFRESH_MS = 1000;
const ANNOUNCE_MS = 3000; // A screen reader hears of news this often at most; a room says fifty things a second.
const RETRY_MS = 5000;
const STREAMS_MAX = 4; // of one browser's six connections; two are left for what is asked
const ASK_MS = 2000;
const PRIORITIES = { 1: "P1 alarm", 2: "P2 warning", 3: "P3 report", 4: "P4 detail" };
const SEVERITIES = ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"];
// Controls, and what turns the direction of writing or has no width: they would show a text as what it is not.
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

const $ = (id) => document.getElementById(id);
const chosen = { priorities: new Set(["1", "2", "3"]), box: "" }; // Detail is a click away: fifty a second would bury an alarm.
const corners = new Map(); // command → evidence corners of rows that wait for it
let source = null;
let leavePlace = null; // gives up this window's place among those that have a stream
let attempt = 0; // which beginning to listen an answer belongs to
let isAsking = false; // it has none, and what it asked last was answered
let last = 0;
let first = null;
let away = null; // since when there is no stream, in the hub's time
let turn = 0; // which choice of the filter an answer belongs to
let isLoaded = false; // the first answer to it is here
let held = null; // messages that came while the list is on hold
let clock = null; // [the hub's time, our own] in ms at the last look
let trouble = null; // why the hub does not hear the boxes, at the last look
let boxes = [];
let counts = {};

function visible(value) {
  return String(value).replace(INVISIBLE, (sign) => `⟨U+${sign.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

function text(tag, value, className) {
  const node = document.createElement(tag);
  node.textContent = visible(value);
  if (className) node.className = className;
  return node;
}

// UTC throughout, as the bar says: a fleet has no local time.
function moment(iso) {
  return iso.replace("T", " ").replace("Z", "");
}

function day(iso) {
  return moment(iso).slice(0, 10);
}

function second(iso) {
  return moment(iso).slice(11, 19);
}

// With the day: what stands there for days would pass for something of today.
function date(iso) {
  return moment(iso).slice(5, 19);
}

function hubNow() {
  return clock === null ? Date.now() : clock[0] + performance.now() - clock[1];
}

function ago(iso) {
  const seconds = Math.max(0, Math.round((hubNow() - Date.parse(iso)) / 1000));
  if (seconds < 2) return "just now";
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 172800 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86400)} days ago`;
}

function size(bytes) {
  return bytes < 1048576 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 1048576).toFixed(1)} MiB`;
}

function query(extra) {
  const values = new URLSearchParams(extra);
  if (chosen.priorities.size < 4) for (const priority of chosen.priorities) values.append("priority", priority);
  if (chosen.box) values.set("box", chosen.box);
  return values.toString();
}

async function get(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`the hub answered ${answer.status}`);
  return answer.json();
}

function connection(state, words) {
  $("connection").className = state;
  if ($("connection").textContent !== words) $("connection").textContent = words;
}

// The stream is the page's alone: what is behind it may be dead all the same, and then nothing arrives.
function live() {
  if (trouble === null) connection("live", "live");
  else connection("away", `the hub does not hear all boxes: ${visible(trouble)}`);
}

// Rows.

function row(message) {
  const item = $("message").content.firstElementChild.cloneNode(true);
  item.classList.add(`p${message.priority}`);
  item.dataset.number = message.number;
  const time = item.querySelector("time");
  time.dateTime = message.origin;
  time.append(text("span", day(message.origin)), ` ${moment(message.origin).slice(11)}`);
  time.title = `arrived ${moment(message.arrived)}; clock: ${message.origin_source}, ±${message.origin_uncertainty_ms} ms`;
  item.querySelector(".priority").textContent = PRIORITIES[message.priority];
  item.querySelector(".severity").textContent = SEVERITIES[message.severity];
  const where = item.querySelector(".where");
  const names = [message.box, message.device, message.process].filter((name, at, all) => name && name !== all[at - 1]);
  names.forEach((name, at) => where.append(at ? " › " : "", text("bdi", name)));
  const label = message.event ?? (message.kind === "published" ? null : message.kind);
  if (label) where.append(" · ", text("bdi", label, "event"));
  fill(item.querySelector(".what"), message);
  const corner = item.querySelector(".evidence");
  corner.querySelector("button").addEventListener("click", () => ask(message, corner));
  name(corner.querySelector("button"));
  if (message.evidence) follow(message.evidence, corner);
  return item;
}

function fill(what, message) {
  const whole = message.text ?? "";
  const isLong = whole.length > TEXT_SHORT;
  what.querySelector(".text").textContent = visible(isLong ? `${[...whole].slice(0, TEXT_SHORT).join("")}…` : whole);
  const fields = Object.entries(message.fields);
  if (!fields.length && !isLong) return;
  const details = what.querySelector("details");
  details.hidden = false;
  const summary = details.querySelector("summary");
  for (const [name, value] of fields.slice(0, SUMMARY_FIELDS)) summary.append(text("bdi", `${name} ${value}`.slice(0, 60)), " ");
  if (fields.length > SUMMARY_FIELDS) summary.append(`+${fields.length - SUMMARY_FIELDS}`);
  if (isLong) summary.prepend(text("bdi", `whole text, ${message.cut_from ?? [...whole].length} characters`), " ");
  // The rest is made when somebody opens it: most rows are never opened.
  details.addEventListener("toggle", () => {
    if (isLong) details.querySelector(".whole").textContent = visible(whole);
    if (message.cut_from) fetchWhole(message.number, details.querySelector(".whole"));
    const list = details.querySelector("dl");
    for (const [name, value] of fields) list.append(text("dt", name), text("dd", value));
  }, { once: true });
}

async function fetchWhole(number, place) {
  try {
    place.textContent = visible((await get(`/api/messages/${number}`)).text);
  } catch (problem) {
    place.append(text("span", ` [the rest is not here: ${problem.message}]`, "bad"));
  }
}

function put(messages, { older = false } = {}) {
  for (const message of messages) {
    last = Math.max(last, message.number);
    first = first === null ? message.number : Math.min(first, message.number);
  }
  const rows = messages.slice(older ? 0 : -SHOWN_MAX).map(row);
  const list = $("messages");
  if (older) list.append(...rows);
  else {
    list.prepend(...rows.reverse());
    if (list.children.length > SHOWN_MAX) {
      while (list.children.length > SHOWN_MAX) list.lastElementChild.remove();
      // What was cut off is older now.
      first = Number(list.lastElementChild.dataset.number);
      $("older").hidden = false;
    }
  }
  showEmpty();
}

function arrive(messages) {
  const fresh = messages.filter((message) => message.number > last && (held === null || message.number > (held.at(-1)?.number ?? 0)));
  if (!fresh.length) return;
  announce(fresh);
  if (held === null) put(fresh);
  else {
    held = [...held, ...fresh].slice(-SHOWN_MAX);
    showHold();
  }
}

let untold = [];
function announce(fresh) {
  if (!untold.length) {
    setTimeout(() => {
      const worst = untold.reduce((one, other) => (other.priority < one.priority ? other : one));
      const more = untold.length > 1 ? `${untold.length} new messages, most important ` : "New message, ";
      $("news").textContent = visible(`${more}${PRIORITIES[worst.priority]}: ${(worst.text ?? worst.process).slice(0, 120)}`);
      untold = [];
    }, ANNOUNCE_MS);
  }
  untold = [...untold, ...fresh].slice(-SHOWN_MAX);
}

function showEmpty() {
  const empty = $("empty");
  empty.hidden = $("messages").children.length > 0;
  if (empty.hidden) return;
  const hidden = Object.entries(counts).reduce((sum, [priority, count]) => sum + (chosen.priorities.has(priority) ? 0 : count), 0);
  const shown = [...chosen.priorities].sort().map((priority) => PRIORITIES[priority]).join(", ");
  const of = chosen.box ? ` of ${visible(chosen.box)}` : "";
  if (chosen.priorities.size === 4) empty.textContent = `No message${of} has arrived yet. Messages appear here by themselves.`;
  else empty.textContent = `No ${shown}${of}. ${hidden ? `${hidden} messages of other priorities are not shown. ` : ""}Messages appear here by themselves.`;
}

// Evidence.

function name(button) {
  const around = $("around").selectedOptions[0].textContent.trim();
  button.textContent = `Evidence ${around}`;
  button.title = `Ask the box for the frames ${around} around this message`;
}

async function ask(message, corner) {
  const button = corner.querySelector("button");
  if (button.getAttribute("aria-disabled") === "true") return;
  // Not `disabled`: that would take the focus away from whoever works with the keyboard.
  button.setAttribute("aria-disabled", "true");
  say(corner, "asking the hub");
  corner.querySelector("a").hidden = true;
  const around = Number($("around").value);
  try {
    const answer = await fetch("/api/evidence", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ box: message.box, message: message.identity, before_s: around, after_s: around }),
    });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error);
    follow(said.command, corner);
    refresh();
  } catch (problem) {
    button.setAttribute("aria-disabled", "false");
    say(corner, `not asked: ${problem.message}`);
  }
}

function say(corner, words) {
  const label = corner.querySelector("span");
  if (label.textContent !== words) label.textContent = words;
}

function follow(command, corner) {
  corner.querySelector("button").setAttribute("aria-disabled", "true");
  if (!corners.has(command)) corners.set(command, new Set());
  corners.get(command).add(corner);
  get(`/api/evidence/${command}`).then((state) => show(state)).catch(() => {});
}

function words(state) {
  const more = state.detail ? ` · ${visible(state.detail)}` : "";
  if (state.complete) return `${state.state === "cancelled" ? "cancelled, " : ""}${state.frames} frames, ${size(state.bytes)}${more}`;
  if (state.state === "cancelled") return "cancelled";
  if (state.state === "refused" || state.state === "expired") return state.detail ? `${state.state}: ${visible(state.detail)}` : state.state;
  const away = state.away ? ` · the box is away since ${second(state.away)}` : ""; // Nothing moves until it is back.
  if (state.parts) return `${state.parts} parts, ${size(state.bytes)} so far${more}${away}`;
  if (state.state === "accepted" && state.until && Date.parse(state.until) > hubNow()) return `recording until ${second(state.until)}${away}`;
  return ({ waiting: "waiting for the box", sent: "asked", accepted: "the box is looking", done: "on its way" }[state.state] ?? state.state) + away;
}

function isOver(state) {
  return state.complete || ["refused", "expired", "cancelled"].includes(state.state);
}

function show(state) {
  for (const corner of corners.get(state.command) ?? []) {
    say(corner, words(state));
    const link = corner.querySelector("a");
    link.hidden = !state.complete;
    if (state.complete) link.href = state.download;
    if (isOver(state)) corner.querySelector("button").setAttribute("aria-disabled", "false");
  }
  if (isOver(state)) corners.delete(state.command);
}

function showRequests(requests) {
  $("requests-section").hidden = !requests.length;
  const list = $("requests");
  const known = new Map([...list.children].map((item) => [item.dataset.command, item]));
  const items = requests.map((state) => {
    const item = known.get(state.command) ?? document.createElement("li");
    const shown = JSON.stringify(state) + words(state);
    if (item.shown === shown) return item; // Left alone, so that whoever is in it with the keyboard stays there.
    item.shown = shown;
    item.dataset.command = state.command;
    const range = state.since && state.until ? `${moment(state.since).slice(5, 19)} – ${second(state.until)}` : "";
    const parts = [text("strong", state.box), text("span", range), text("span", words(state), isOver(state) && !state.complete ? "bad" : "")];
    if (state.complete) {
      const link = text("a", "Download");
      link.href = state.download;
      link.download = "";
      parts.push(link);
    } else if (!isOver(state)) {
      const button = text("button", "Cancel");
      button.type = "button";
      button.title = `End this request; what ${visible(state.box)} has found until then can be downloaded`;
      button.addEventListener("click", () => cancel(state.command, button));
      parts.push(button);
    }
    refill(item, parts);
    return item;
  });
  if (items.length !== list.children.length || items.some((item, at) => item !== list.children[at])) list.replaceChildren(...items);
}

async function cancel(command, button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  button.textContent = "ending";
  const item = button.parentElement;
  item.querySelector("[role=alert]")?.remove();
  try {
    const answer = await fetch(`/api/evidence/${command}/cancel`, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
    if (!answer.ok) throw new Error((await answer.json()).error);
  } catch (problem) {
    button.setAttribute("aria-disabled", "false");
    button.textContent = "Cancel";
    const said = text("span", `not ended: ${problem.message}`, "bad");
    said.setAttribute("role", "alert");
    item.append(said);
  }
  refresh();
}

async function lookAtEvidence() {
  const { evidence } = await get("/api/evidence");
  showRequests(evidence);
  const newest = new Set(evidence.map((state) => state.command));
  evidence.forEach(show);
  for (const [command, places] of corners) {
    for (const corner of places) if (!corner.isConnected) places.delete(corner);
    if (!places.size) corners.delete(command);
    else if (!newest.has(command)) show(await get(`/api/evidence/${command}`));
  }
}

// Clocks.

const CERTIFIED = { netsync: true, ntp: true };
const OFF_NS = 1e6; // sub-millisecond is what is promised

function span(ns) {
  const size = Math.abs(ns);
  for (const [unit, whole] of [["s", 1e9], ["ms", 1e6], ["µs", 1e3]]) if (size >= whole) return `${Number((ns / whole).toPrecision(3))} ${unit}`;
  return `${ns} ns`;
}

// The interval over time: where the device's clock lies, not a line through its middle that nobody vouches for.
function plot({ device, method, points }) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  figure.append(caption);
  caption.append(text("bdi", device));
  if (!points.length) {
    caption.append(text("span", "unknown"));
    return figure;
  }
  const [, low, high] = points.at(-1);
  const furthest = Math.max(Math.abs(low), Math.abs(high));
  const words = CERTIFIED[method] ? `certified ±${span(furthest)}` : `self-reported ±${span(furthest)}`;
  caption.append(text("span", words, low > OFF_NS || high < -OFF_NS ? "off" : ""));
  const scale = 10 ** Math.ceil(Math.log10(Math.max(1000, ...points.map(([, from, to]) => Math.max(Math.abs(from), Math.abs(to))))));
  const [begin, end] = [points[0][0], Math.max(points.at(-1)[0], points[0][0] + 1)];
  const x = (at) => (((at - begin) / (end - begin)) * 300).toFixed(1);
  const y = (ns) => (30 - (ns / scale) * 28).toFixed(1);
  const picture = $("plot").content.firstElementChild.cloneNode(true);
  const minutes = Math.round((end - begin) / 60000);
  picture.setAttribute("aria-label", visible(`offset of ${device} over ${minutes} minutes, ${words}, scale ±${span(scale)}`));
  picture.querySelector("title").textContent = visible(`${words} by ${method}; ${span(low)} to ${span(high)}; scale ±${span(scale)}, ${minutes} min`);
  const there = points.map(([at, , to]) => `${x(at)},${y(to)}`);
  const back = points.map(([at, from]) => `${x(at)},${y(from)}`).reverse();
  const shape = points.length === 1 ? [`0,${y(high)}`, `300,${y(high)}`, `300,${y(low)}`, `0,${y(low)}`] : [...there, ...back];
  const band = picture.querySelector("polygon");
  band.setAttribute("points", shape.join(" "));
  band.setAttribute("class", CERTIFIED[method] ? "measured" : "claimed");
  const axes = document.createElement("div");
  axes.className = "axes";
  axes.append(text("span", `±${span(scale)}`), text("span", minutes ? `${minutes} min` : "now"));
  figure.append(picture, axes);
  return figure;
}

// Hours of a fleet are megabytes: after the first answer each look brings what is new, and the rest is kept here.
let clocksKnown = new Map(); // box → [its entry, its devices → their points]; a device that is silent for a while keeps its own
let clocksNumber = 0;
async function lookAtClocks() {
  const [mine, after, shown] = [turn, clocksNumber, newest()];
  const answer = await get(`/api/clocks?${new URLSearchParams({ after, ...(chosen.box ? { box: chosen.box } : {}) })}`);
  if (mine !== turn || after !== clocksNumber) return; // Another look brought it meanwhile.
  // Of a database that was restored: what arrives has numbers that were here already, and the stream is asked for greater ones.
  if (answer.number < shown) {
    load();
    return;
  }
  if (answer.whole) clocksKnown = new Map();
  clocksNumber = answer.number;
  for (const clock of answer.clocks) {
    const points = clocksKnown.get(clock.box)?.[1] ?? new Map();
    for (const entry of clock.devices) points.set(entry.device, [...(points.get(entry.device) ?? []), ...entry.points]);
    for (const [device, all] of points) {
      const kept = all.filter(([at]) => at >= clock.since);
      if (kept.length) points.set(device, kept);
      else points.delete(device);
    }
    const devices = clock.devices.map((entry) => ({ ...entry, points: points.get(entry.device) ?? [] }));
    clocksKnown.set(clock.box, [{ ...clock, devices }, points]);
  }
  if (answer.whole || answer.clocks.length) showClocks([...clocksKnown.values()].map(([clock]) => clock).sort((one, other) => (one.box < other.box ? -1 : 1)));
}

let clocksShown = "";
function showClocks(clocks) {
  $("clocks-section").hidden = !clocks.length;
  const shown = JSON.stringify(clocks);
  if (shown === clocksShown) return;
  clocksShown = shown;
  $("clocks").replaceChildren(
    ...clocks.map((clock) => {
      const item = document.createElement("li");
      const line = document.createElement("p");
      line.append(text("strong", clock.box), " ", text("span", `${clock.state} by ${clock.source}`, clock.state === "locked" ? "locked" : clock.state === "holdover" ? "holdover" : "free"));
      line.append(text("span", clock.uncertainty_ns === null ? "" : `, known to ±${span(clock.uncertainty_ns)}`), text("span", ` · ${date(clock.at)}`));
      const plots = document.createElement("div");
      plots.className = "plots";
      plots.append(...clock.devices.map(plot));
      item.append(line, plots);
      return item;
    }),
  );
}

// Boxes, counts, choice.

function showCounts() {
  for (const button of $("priorities").children) {
    const priority = button.dataset.priority;
    button.querySelector("b").textContent = counts[priority] ?? 0;
    button.setAttribute("aria-pressed", String(chosen.priorities.has(priority)));
  }
}

function makePriorities() {
  for (const [priority, words] of Object.entries(PRIORITIES)) {
    const button = text("button", `${words} `, `p${priority}`);
    button.type = "button";
    button.dataset.priority = priority;
    button.append(text("b", "–"));
    button.addEventListener("click", () => {
      if (!chosen.priorities.delete(priority)) chosen.priorities.add(priority);
      if (!chosen.priorities.size) chosen.priorities = new Set(Object.keys(PRIORITIES));
      showCounts();
      load();
    });
    $("priorities").append(button);
  }
}

function showBoxes() {
  $("no-boxes").hidden = boxes.length > 0;
  $("boxes").replaceChildren(
    ...boxes.map((box) => {
      const item = document.createElement("li");
      item.title = `${box.state} since ${moment(box.since)}, last heard ${moment(box.seen)}`;
      item.append(text("strong", box.name), text("span", box.state, `state ${box.state}`), text("span", `${box.site} · last heard ${ago(box.seen)}, ${second(box.seen)}`));
      return item;
    }),
  );
  for (const box of boxes) option(box.name);
}

const offered = new Set(); // by its own count: to look among thousands for each of thousands takes a browser seconds, at every look
function option(box) {
  if (!box || offered.has(box)) return;
  offered.add(box);
  const made = text("option", box);
  made.value = box;
  $("box").append(made);
}

async function look() {
  try {
    const answer = await get(`/api/boxes${chosen.box ? `?${new URLSearchParams({ box: chosen.box })}` : ""}`);
    clock = [Date.parse(answer.now), performance.now()];
    ({ boxes, messages: counts, trouble } = answer);
    showBoxes();
    showCounts();
    showEmpty();
    await lookAtClocks();
    await lookAtEvidence();
    await lookAtAffairs(chosen.box);
    if (isAsking || source?.readyState === EventSource.OPEN) live(); // What a look said, the next one takes back.
  } catch (problem) {
    connection("away", `the hub does not answer (${problem.message})`);
  }
}

// Many knocks are one look: what changes beside the messages is looked at once a second at most, and only when the hub knocked.
let refreshing = null;
let knocked = false; // while a look was under way, which may have been past what it is about
function refresh() {
  knocked = true;
  if (refreshing !== null) return;
  refreshing = setTimeout(async () => {
    knocked = false;
    await look();
    refreshing = null;
    if (knocked) refresh();
  }, REFRESH_MS);
}

function showHold() {
  const button = $("hold");
  button.setAttribute("aria-pressed", String(held !== null));
  button.textContent = held === null ? "Hold" : `Resume · ${held.length}${held.length === SHOWN_MAX ? "+" : ""} new`;
}

async function load() {
  const mine = ++turn;
  isLoaded = false;
  hangUp();
  corners.clear();
  clocksNumber = 0;
  last = 0;
  first = null;
  held = null;
  showHold();
  $("older").textContent = "Older messages";
  // All of it is a choice, too: an address that says nothing has the detail left out.
  history.replaceState(null, "", `?${query({}) || "priority="}`);
  try {
    const answer = await get(`/api/messages?${query({ newest: PAGE_ROWS })}`);
    if (mine !== turn) return; // somebody has chosen anew meanwhile
    $("messages").replaceChildren();
    put(answer.messages);
    $("older").hidden = answer.messages.length < PAGE_ROWS;
    isLoaded = true;
    listen();
    await look();
  } catch (problem) {
    if (mine !== turn) return;
    connection("away", `the hub does not answer (${problem.message}), trying again`);
    setTimeout(() => mine === turn && load(), RETRY_MS);
  }
}

async function older() {
  const mine = turn;
  const button = $("older");
  if (button.getAttribute("aria-disabled") === "true") return; // pressed twice, the same would be there twice
  button.setAttribute("aria-disabled", "true");
  try {
    const answer = await get(`/api/messages?${query({ before: first ?? 0, newest: PAGE_ROWS })}`);
    if (mine !== turn) return;
    put(answer.messages.reverse(), { older: true });
    button.textContent = "Older messages";
    button.hidden = answer.messages.length < PAGE_ROWS;
  } catch (problem) {
    if (mine === turn) button.textContent = `Older messages: not here yet, ${problem.message}; press again`;
  } finally {
    button.setAttribute("aria-disabled", "false");
  }
}

function newest() {
  return held?.at(-1)?.number ?? last;
}

// A stream is one of the six connections a browser has to the hub, for all its windows: what nobody looks at leaves it to the others, and of
// those that stand side by side only so many have one that all can still ask.
async function place() {
  for (let number = 0; number < STREAMS_MAX; number++) {
    const free = await new Promise((resolve) =>
      navigator.locks.request(`stream ${number}`, { ifAvailable: true }, (lock) => (lock ? new Promise((done) => resolve(done)) : resolve(null))),
    );
    if (free) return free;
  }
  return null;
}

function hangUp() {
  attempt++;
  isAsking = false;
  source?.close();
  source = null;
  leavePlace?.();
  leavePlace = null;
}

async function listen() {
  if (document.hidden) return;
  hangUp();
  const mine = attempt;
  const free = await place();
  if (mine !== attempt || document.hidden) {
    free?.();
    return;
  }
  leavePlace = free;
  if (free) hear();
  else lookWithout();
}

function hear() {
  // EventSource comes back by itself; each event's id is the last message seen, so nothing is missed in between.
  const stream = new EventSource(`/api/events?${query({ after: newest() })}`);
  source = stream;
  stream.addEventListener("open", () => {
    away = null;
    live();
    refresh();
  });
  stream.addEventListener("error", () => {
    if (stream !== source) return;
    lost();
    // Refused for good, as a hub with too many pages open does: then it does not come back by itself.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => stream === source && listen(), RETRY_MS);
  });
  stream.addEventListener("messages", (event) => stream === source && arrive(JSON.parse(event.data)));
  stream.addEventListener("news", refresh);
}

// Without a stream: every other second, and each time there may be a place.
async function lookWithout() {
  const mine = attempt;
  try {
    const answer = await get(`/api/messages?${query({ after: newest(), newest: SHOWN_MAX })}`);
    if (mine !== attempt) return;
    arrive(answer.messages);
    if (answer.messages.length === SHOWN_MAX) $("older").hidden = false;
    away = null;
    isAsking = true;
    live();
    refresh();
  } catch {
    if (mine !== attempt) return;
    lost();
  }
  setTimeout(async () => {
    if (mine !== attempt) return;
    const free = await place();
    if (mine !== attempt) free?.();
    else if (free) {
      leavePlace = free;
      isAsking = false;
      hear();
    } else lookWithout();
  }, ASK_MS);
}

function lost() {
  isAsking = false;
  away ??= second(new Date(hubNow()).toISOString()); // Each attempt that fails is an error, too, and no later beginning.
  connection("away", `no connection to the hub since ${away}, trying again`);
}

function leave() {
  hangUp();
  connection("waiting", "not looked at");
}

// Not by the stream: that would bring all of a night, and the list keeps the newest.
async function comeBack() {
  const mine = turn;
  connection("waiting", "catching up");
  try {
    const answer = await get(`/api/messages?${query({ after: newest(), newest: SHOWN_MAX })}`);
    if (mine !== turn || document.hidden || source || leavePlace || isAsking) return;
    arrive(answer.messages);
    if (answer.messages.length === SHOWN_MAX) $("older").hidden = false;
    listen();
  } catch (problem) {
    if (mine !== turn || document.hidden || source || leavePlace || isAsking) return;
    connection("away", `the hub does not answer (${problem.message}), trying again`);
    setTimeout(() => mine === turn && !document.hidden && !source && !isAsking && comeBack(), RETRY_MS);
  }
}

function start() {
  const asked = new URLSearchParams(location.search);
  const priorities = asked.getAll("priority").filter((priority) => priority in PRIORITIES);
  if (priorities.length) chosen.priorities = new Set(priorities);
  else if (location.search) chosen.priorities = new Set(Object.keys(PRIORITIES));
  chosen.box = asked.get("box") ?? "";
  option(chosen.box);
  $("box").value = chosen.box;
  makePriorities();
  $("box").addEventListener("change", (event) => {
    chosen.box = event.target.value;
    load();
  });
  $("around").addEventListener("change", () => document.querySelectorAll("#messages .evidence button").forEach(name));
  $("hold").addEventListener("click", () => {
    const waiting = held;
    held = held === null ? [] : null;
    if (waiting) put(waiting);
    showHold();
  });
  $("older").addEventListener("click", older);
  document.addEventListener("visibilitychange", () => {
    if (!isLoaded) return; // Then it looks for itself when the answer is here.
    if (document.hidden) leave();
    else comeBack();
  });
  setInterval(showBoxes, 5000); // "last heard … ago" grows also when nothing comes
  load();
}

start();
