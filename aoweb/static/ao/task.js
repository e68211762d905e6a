// The page of a task: parts that renew themselves when the doorbell rings, tabs, the change, the transcript's tail.
import { Sign, connect, tellTimes } from "./page.js";

const sign = new Sign();
const body = document.body;
let version = Number(body.dataset.version);
let renewing = null;
let again = false;

// What is being typed is never taken away: such a part is renewed later.
function busy(part) {
  const fields = [...part.querySelectorAll("textarea:not([readonly]), input:not([type=hidden])")];
  return fields.some((field) => field === document.activeElement || field.value !== field.defaultValue);
}

const shown = new Map();
for (const part of document.querySelectorAll("[data-live]")) shown.set(part.id, signature(part));

// Tokens differ in every answer and times are told by us: neither is a change.
function signature(part) {
  const copy = part.cloneNode(true);
  for (const field of copy.querySelectorAll("input[name=csrfmiddlewaretoken]")) field.remove();
  for (const time of copy.querySelectorAll("time")) time.textContent = "";
  for (const link of copy.querySelectorAll("[aria-current]")) link.removeAttribute("aria-current");
  return copy.innerHTML;
}

async function renew() {
  if (renewing) {
    again = true;
    return;
  }
  renewing = fetch(body.dataset.page, { headers: { Accept: "text/html" } });
  try {
    const answer = await renewing;
    if (answer.ok && !answer.redirected) place(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    // The sign says that the server is not heard; the next beat tries again.
  } finally {
    renewing = null;
    if (again) {
      again = false;
      setTimeout(renew, 300);
    }
  }
}

function place(page) {
  let postponed = false;
  for (const part of page.querySelectorAll("[data-live]")) {
    const old = document.getElementById(part.id);
    const fresh = signature(part);
    if (!old || shown.get(part.id) === fresh) continue;
    if (busy(old)) {
      postponed = true;
      continue;
    }
    const open = new Set([...old.querySelectorAll("details[open] summary strong")].map((name) => name.textContent));
    const focus = old.contains(document.activeElement) ? document.activeElement.getAttribute("name") : null;
    shown.set(part.id, fresh);
    old.replaceWith(document.adoptNode(part));
    for (const details of part.querySelectorAll("details")) {
      if (open.has(details.querySelector("summary strong")?.textContent)) details.open = true;
    }
    if (focus) part.querySelector(`[name="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
    tellTimes(part);
  }
  const tabs = page.getElementById("tabs");
  for (const [n, link] of [...document.querySelectorAll("#tabs a")].entries()) link.innerHTML = tabs.children[n].innerHTML;
  const diff = page.getElementById("diff");
  const old = document.getElementById("diff");
  if (diff && (!old || diff.dataset.key !== old.dataset.key)) {
    if (old) old.dataset.key = diff.dataset.key;
    else document.querySelector("#changes > .nothing")?.replaceWith(document.adoptNode(diff));
    loadDiff(true);
  }
  if (!postponed) version = Number(page.body.dataset.version);
  mark();
}

connect(body.dataset.socket, {
  sign,
  opened: renew,
  frame(said) {
    if (said.version !== version) renew();
  },
});
document.addEventListener("focusout", () => setTimeout(renew, 400));

// Tabs
const names = [...document.querySelectorAll(".tab")].map((tab) => tab.id);
function mark() {
  const wanted = location.hash.slice(1);
  const chosen = names.includes(wanted) ? wanted : names[0];
  for (const tab of document.querySelectorAll(".tab")) tab.classList.toggle("shown", tab.id === chosen);
  for (const link of document.querySelectorAll("#tabs a")) {
    if (link.hash === `#${chosen}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  if (chosen === "changes") loadDiff(false);
  if (chosen === "transcript") follow();
  return chosen;
}
addEventListener("hashchange", mark);
document.getElementById("tabs").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link) return;
  event.preventDefault();
  history.replaceState(null, "", link.hash);
  mark();
});

// The change
async function loadDiff(force) {
  const box = document.getElementById("diff");
  if (!box || (box.dataset.loaded && !force) || !document.getElementById("changes").classList.contains("shown")) return;
  if (busy(box)) return;
  box.dataset.loaded = "yes";
  const answer = await fetch(box.dataset.load);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  box.replaceChildren(document.adoptNode(page.getElementById("diff-content")));
  tellTimes(box);
  const form = box.querySelector("#line-form");
  if (form) form.hidden = true;
}

document.getElementById("changes").addEventListener("click", (event) => {
  const here = event.target.closest(".comment-here");
  const form = document.getElementById("line-form");
  if (event.target.closest("[data-close]")) {
    form.hidden = true;
    form.reset();
    return;
  }
  if (!here || !form) return;
  const row = document.createElement("tr");
  row.className = "row-comment";
  const cell = document.createElement("td");
  cell.colSpan = 3;
  row.append(cell);
  const before = form.closest(".row-comment");
  cell.append(form);
  before?.remove();
  here.closest("tr").after(row);
  form.elements.path.value = here.dataset.path;
  form.elements.line.value = here.dataset.line;
  form.querySelector(".fields").hidden = true;
  form.querySelector("[data-close]").hidden = false;
  form.hidden = false;
  form.elements.comment.focus();
});

// The transcript: the last page of the chosen turn, and what comes after it while it runs; as people read it, or as it stands.
const tail = document.getElementById("tail");
const text = document.getElementById("tail-text");
const state = document.getElementById("tail-state");
const earlier = document.getElementById("earlier");
const rawLink = document.getElementById("raw");
let raw = new URLSearchParams(location.search).get("raw") === "1";
let turn = null;
let start = 0;
let next = null;
let timer = null;
let reading = false;

// What is asked for is what is shown: whoever changes turn or view meanwhile gets nothing of the old one.
function choose(id, url) {
  turn = { id, url };
  next = null;
  text.replaceChildren();
}

async function read(from) {
  const url = new URL(turn.url, location.href);
  if (raw) url.searchParams.set("raw", "1");
  for (const [name, offset] of Object.entries(from)) url.searchParams.set(name, offset);
  const answer = await fetch(url, { headers: { Accept: "application/json" } });
  return answer.ok ? answer.json() : null;
}

async function follow() {
  clearTimeout(timer);
  const links = [...document.querySelectorAll("[data-turn]")];
  if (!links.length || !document.getElementById("transcript").classList.contains("shown")) return;
  const link = links.find((one) => one.dataset.turn === turn?.id) ?? links.at(-1);
  for (const one of links) {
    if (one === link) one.setAttribute("aria-current", "true");
    else one.removeAttribute("aria-current");
  }
  if (turn?.id !== link.dataset.turn) choose(link.dataset.turn, link.href);
  tail.hidden = false;
  rawLink.textContent = raw ? "Readable" : "Raw";
  rawLink.href = raw ? "?#transcript" : "?raw=1#transcript";
  // One reader at a time: two would both append what comes next.
  if (reading) return;
  reading = true;
  const asked = turn;
  try {
    const page = await read(next === null ? {} : { after: next });
    if (page && asked === turn) show(page);
  } catch {
    timer = setTimeout(follow, 4000);
  } finally {
    reading = false;
  }
  if (asked !== turn) follow();
}

function show(page) {
  const atEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 40;
  const came = next === null || page.next > next;
  if (next === null) start = page.start;
  if (came) put(page, "end");
  next = page.next;
  earlier.hidden = start === 0;
  const dropped = page.dropped ? `, ${page.dropped} bytes were dropped` : "";
  state.textContent = `${page.live ? "running" : "ended"}, ${page.size} bytes${dropped}`;
  if (atEnd) text.scrollTop = text.scrollHeight;
  if (page.next < page.size && came) timer = setTimeout(follow, 0);
  else if (page.live) timer = setTimeout(follow, document.hidden ? 8000 : 1500);
}

function put(page, where) {
  const parts = document.createDocumentFragment();
  if (page.html === undefined) {
    const lines = document.createElement("pre");
    lines.className = "as-it-is";
    lines.dataset.open = "";
    lines.textContent = page.text;
    if (page.text) parts.append(lines);
  } else {
    const told = new DOMParser().parseFromString(page.html, "text/html").body;
    parts.append(...[...told.children].map((part) => document.adoptNode(part)));
  }
  const seam = where === "end" ? [text.lastElementChild, parts.firstElementChild] : [parts.lastElementChild, text.firstElementChild];
  if (where === "end") text.append(parts);
  else text.prepend(parts);
  join(...seam);
  gather();
}

// Lines as they stand go on where those before them ended.
function join(upper, lower) {
  if (!upper?.matches(".as-it-is") || !lower?.matches(".as-it-is")) return;
  upper.append(upper.dataset.open === undefined ? "\n" : "", lower.textContent);
  if (lower.dataset.open === undefined) delete upper.dataset.open;
  else upper.dataset.open = "";
  lower.remove();
}

// What came of a call stands under it, also where it came with a later page.
function gather() {
  const calls = new Map([...text.querySelectorAll("[data-call]")].map((call) => [call.dataset.call, call]));
  for (const output of text.querySelectorAll("[data-of]:not([data-placed])")) {
    const call = calls.get(output.dataset.of);
    if (!call) continue;
    let above = output.previousElementSibling;
    while (above && !above.matches("[data-call]")) above = above.previousElementSibling;
    // What a sub-agent did stands between its call and what came of that.
    const within = above?.matches(".inner") && !output.matches(".inner");
    if (above !== call && !within) placeOf(call, output.dataset.of).after(output);
    output.dataset.placed = "";
  }
}

function placeOf(call, id) {
  let last = call;
  while (last.nextElementSibling?.dataset.of === id) last = last.nextElementSibling;
  return last;
}

earlier.addEventListener("click", async () => {
  const asked = turn;
  const page = await read({ before: start });
  if (!page || asked !== turn) return;
  const height = text.scrollHeight;
  put(page, "start");
  start = page.start;
  earlier.hidden = start === 0;
  text.scrollTop += text.scrollHeight - height;
});

rawLink.addEventListener("click", (event) => {
  event.preventDefault();
  raw = !raw;
  history.replaceState(null, "", `${location.pathname}${raw ? "?raw=1" : ""}#transcript`);
  choose(turn.id, turn.url);
  follow();
});

document.getElementById("transcript").addEventListener("click", (event) => {
  const link = event.target.closest("[data-turn]");
  if (!link) return;
  event.preventDefault();
  choose(link.dataset.turn, link.href);
  follow();
});

mark();
