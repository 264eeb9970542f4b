// Service calls, sessions, versions rolled out and advice. What a box or a rule says is untrusted here, too: text nodes and nothing else.
// Loaded before page.js, whose helpers ($, text, visible, moment, second, date, get, refresh) it uses when it is called.
"use strict";

const BY = "scrubjay-by"; // who handles calls here, remembered by the browser

// An item says something new, and whoever is at one of its buttons or links with the keyboard is at the same one afterwards.
function refill(item, parts) {
  const at = [...item.querySelectorAll("button, a")].find((place) => place === document.activeElement);
  const name = (place) => place.getAttribute("aria-label") ?? place.textContent;
  item.replaceChildren(...parts);
  if (at) [...item.querySelectorAll("button, a")].find((place) => name(place) === name(at))?.focus();
}

// Items that have not changed are left alone, so that whoever is in one with the keyboard stays there.
function rows(list, entries, key, fill) {
  const known = new Map([...list.children].map((item) => [item.dataset.key, item]));
  const items = entries.map((entry) => {
    const item = known.get(String(entry[key])) ?? document.createElement("li");
    const shown = JSON.stringify(entry);
    if (item.shown === shown) return item;
    item.shown = shown;
    item.dataset.key = entry[key];
    refill(item, fill(entry));
    return item;
  });
  if (items.length !== list.children.length || items.some((item, at) => item !== list.children[at])) list.replaceChildren(...items);
}

function callRow(call) {
  const often = call.times > 1 ? `${call.times} times, last ${date(call.last)}` : `at ${date(call.opened)}`;
  const parts = [
    text("strong", call.state, call.state),
    text("bdi", call.about || "the fleet"),
    text("span", call.text || call.rule),
    text("span", often),
  ];
  if (call.by) parts.push(text("span", call.note ? `${call.by}: ${call.note}` : call.by));
  const buttons = document.createElement("span");
  buttons.className = "buttons";
  for (const [to, word] of [["acknowledged", "Acknowledge"], ["closed", "Close"]]) {
    if (to === call.state) continue;
    const button = text("button", word);
    button.type = "button";
    button.setAttribute("aria-label", visible(`${word} call ${call.number}, ${call.about || "the fleet"}`));
    button.addEventListener("click", () => handle(call.number, to, button));
    buttons.append(button);
  }
  parts.push(buttons);
  return parts;
}

async function handle(number, to, button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  const by = $("by").value.trim();
  if (!by) {
    $("calls-news").textContent = "Write your name first: a call is handled by somebody.";
    $("by").focus();
    return;
  }
  localStorage.setItem(BY, by);
  button.setAttribute("aria-disabled", "true");
  try {
    const answer = await fetch(`/api/calls/${number}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ to, by }),
    });
    if (!answer.ok) throw new Error((await answer.json()).error);
    $("calls-news").textContent = `Call ${number} is ${to}.`;
  } catch (problem) {
    button.setAttribute("aria-disabled", "false");
    $("calls-news").textContent = visible(`Call ${number} is as it was: ${problem.message}`);
  }
  refresh();
}

const SESSION_WORDS = { open: "open", closed: "closed, not all of it is here", complete: "complete" };

function sessionRow(session) {
  const isSameDay = session.end && day(session.end) === day(session.start);
  const until = session.end ? (isSameDay ? second : date)(session.end) : "now";
  const parts = [
    text("strong", session.box),
    text("span", session.kind),
    text("span", `${date(session.start)} – ${until}`),
    text("span", session.missing ? `closed, ${session.missing} messages not here yet` : SESSION_WORDS[session.state] ?? session.state, session.state),
  ];
  if (session.summary) {
    const alarms = session.summary.priorities["1"] ?? 0;
    parts.push(text("span", `${session.messages} messages, ${alarms} of them alarms${session.summary.slices ? `, evidence of ${session.summary.slices} ${session.summary.slices === 1 ? "event" : "events"}` : ""}`));
  }
  return parts;
}

const ADVICE_WORDS = { waiting: "waiting for the box", sent: "sent", accepted: "on the box", done: "", refused: "refused", expired: "came too late" };

function adviceRow(row) {
  return [
    text("strong", row.box),
    text("span", date(row.made)),
    text("span", `${row.device ? `(${row.device}) ` : ""}${row.sentence}`),
    text("span", [ADVICE_WORDS[row.state] ?? row.state, row.detail].filter(Boolean).join(", "), row.state === "refused" || row.state === "expired" ? "bad" : ""),
  ];
}

const ROLLOUT_WORDS = { running: "under way", halted: "halted", back: "taken back", done: "done" };

function rolloutRow(row) {
  const counts = Object.entries(row.counts).map(([state, boxes]) => `${boxes} ${state}`).join(", ");
  return [
    text("strong", row.version),
    text("span", ROLLOUT_WORDS[row.state] ?? row.state, row.state === "halted" ? "bad" : ""),
    text("span", `phase ${row.phase} of ${row.phases.length}: ${counts}`),
    text("span", `since ${date(row.changed)}${row.cause ? `: ${row.cause}` : ""}`),
  ];
}

async function lookAtAffairs(box) {
  const [{ calls }, { sessions }, { feedback }, { rollouts }] = await Promise.all([
    get("/api/calls"), get(`/api/sessions${box ? `?${new URLSearchParams({ box })}` : ""}`), get("/api/feedback"), get("/api/rollouts"),
  ]);
  for (const [name, entries, key, fill] of [["calls", calls, "number", callRow], ["sessions", sessions, "session", sessionRow], ["rollouts", rollouts, "number", rolloutRow], ["advice", feedback, "command", adviceRow]]) {
    $(`${name}-section`).hidden = !entries.length;
    rows($(name), entries, key, fill);
  }
  if (!$("by").value) $("by").value = localStorage.getItem(BY) ?? "";
}
