// Keeps the board true: says which versions it shows, puts what it is sent in place, and says when nothing is heard.
import { Sign, connect, tellTimes } from "./page.js";

const sign = new Sign();
const board = document.getElementById("board");
const parser = document.createElement("template");

function cardOf(id) {
  return document.getElementById(`task-${id}`);
}

function put(card) {
  const old = cardOf(card.id);
  if (old && Number(old.dataset.version) > card.version) return;
  parser.innerHTML = card.html.trim();
  const fresh = parser.content.firstElementChild;
  const column = board.querySelector(`[data-cards="${card.column}"]`);
  const focused = old?.contains(document.activeElement);
  if (old && old.dataset.column === card.column && old.dataset.rank === String(card.rank)) old.replaceWith(fresh);
  else {
    old?.remove();
    const after = [...column.children].find((other) => Number(other.dataset.rank) < card.rank);
    column.insertBefore(fresh, after ?? null);
  }
  tellTimes(fresh);
  fresh.classList.add("changed");
  if (focused) fresh.querySelector("a")?.focus({ preventScroll: true });
}

// A card that moves is counted a moment before it comes: what is missing is offered once it has stayed missing.
let later;

function isWhole(column, number) {
  return document.querySelectorAll(`#column-${column} .card`).length >= number;
}

function offerMore(counts) {
  for (const [column, number] of Object.entries(counts)) {
    const more = document.querySelector(`#column-${column} .more`);
    if (more) more.hidden = isWhole(column, number);
  }
}

function count(counts) {
  if (!counts) return;
  let total = 0;
  for (const [column, number] of Object.entries(counts)) {
    total += number;
    for (const place of document.querySelectorAll(`[data-count="${column}"]`)) place.textContent = number;
    const more = document.querySelector(`#column-${column} .more`);
    if (more && isWhole(column, number)) more.hidden = true;
  }
  clearTimeout(later);
  later = setTimeout(offerMore, 800, counts);
  board.hidden = total === 0;
  if (total > 0) document.getElementById("welcome")?.remove();
  document.title = document.title.replace(/^(\(\d+\) )?/, counts.respond ? `(${counts.respond}) ` : "");
  settle();
}

function settle() {
  for (const column of board.querySelectorAll(".column")) column.classList.toggle("vacant", !column.querySelector(".card"));
}

function take(frame) {
  for (const card of frame.cards ?? []) put(card);
  for (const id of frame.gone ?? []) cardOf(id)?.remove();
  count(frame.counts);
}

settle();
connect(document.body.dataset.socket + location.search, {
  sign,
  frame: take,
  opened(socket) {
    const have = {};
    for (const card of board.querySelectorAll(".card")) have[card.dataset.task] = Number(card.dataset.version);
    socket.send(JSON.stringify({ have }));
  },
});

// More of a column, below what is there. What could not be loaded is said on the button, which stays.
async function moreOf(column, link) {
  const url = new URL(link.href);
  url.searchParams.set("start", column.children.length);
  try {
    const answer = await fetch(url);
    return answer.ok && !answer.redirected ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
  } catch {
    return null;
  }
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest("[data-more]");
  if (!link) return;
  event.preventDefault();
  const column = board.querySelector(`[data-cards="${link.dataset.more}"]`);
  link.textContent = "Loading";
  const page = await moreOf(column, link);
  link.textContent = page ? "Show more" : "Not loaded. Try again";
  if (!page) return;
  for (const card of page.querySelectorAll(".card")) if (!cardOf(card.dataset.task)) column.append(document.adoptNode(card));
  tellTimes(column);
  link.closest(".more").hidden = !page.querySelector("[data-next]");
});

// Filters act at once; typing waits for a pause.
const filters = document.getElementById("filters");
let pause;
filters?.addEventListener("input", (event) => {
  clearTimeout(pause);
  pause = setTimeout(() => filters.requestSubmit(), event.target.type === "search" ? 450 : 0);
});
filters?.addEventListener("formdata", (event) => {
  for (const [name, value] of [...event.formData]) if (value === "") event.formData.delete(name);
});
const search = filters?.querySelector('input[type="search"]');
if (search?.value) {
  search.focus({ preventScroll: true });
  search.setSelectionRange(search.value.length, search.value.length);
}

// Keyboard: / filters, n makes a new task, arrows walk the cards.
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select") || event.metaKey || event.ctrlKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    search?.focus();
  } else if (event.key === "n") document.querySelector(".new-task")?.click();
  else if (event.key.startsWith("Arrow")) walk(event);
});

function walk(event) {
  const card = event.target.closest(".card");
  if (!card) return;
  const columns = [...board.querySelectorAll(".cards")].filter((cards) => cards.children.length);
  const here = columns.indexOf(card.parentElement);
  const row = [...card.parentElement.children].indexOf(card);
  const target = {
    ArrowDown: () => card.nextElementSibling,
    ArrowUp: () => card.previousElementSibling,
    ArrowRight: () => columns[here + 1]?.children[Math.min(row, columns[here + 1].children.length - 1)],
    ArrowLeft: () => columns[here - 1]?.children[Math.min(row, columns[here - 1].children.length - 1)],
  }[event.key]?.();
  if (target) {
    event.preventDefault();
    target.querySelector("a").focus();
  }
}
