// What every page does: relative times, the theme switch, questions before what cannot be undone, notes that go away.

const root = document.documentElement;
root.classList.add("scripted");

export function ago(date, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - date) / 1000));
  if (seconds < 10) return "now";
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export function tellTimes(where = document) {
  const now = Date.now();
  for (const time of where.querySelectorAll("time[datetime]")) {
    const said = ago(Date.parse(time.dateTime), now);
    if (time.textContent !== said) time.textContent = said;
  }
}

// A sign that follows a socket: live, late (the facts are old), or gone (nothing is heard from the server).
export class Sign {
  constructor() {
    this.live = document.getElementById("live");
    this.banner = document.getElementById("stale");
    this.trouble = document.getElementById("trouble");
    this.heardAt = Date.now();
    this.factsAt = Date.parse(this.live?.dataset.factsAt ?? "") || null;
    this.open = false;
    this.show();
    setInterval(() => this.show(), 1000);
  }

  heard() {
    this.heardAt = Date.now();
    this.open = true;
    this.show();
  }

  lost() {
    this.open = false;
    this.show();
  }

  beat(frame) {
    this.factsAt = frame.facts_at ? Date.parse(frame.facts_at) : null;
    this.trouble?.replaceChildren(...(frame.trouble ?? []).map((line) => banner(line)));
  }

  show() {
    if (!this.live) return;
    const silence = Date.now() - this.heardAt;
    const gone = silence > (this.open ? 40_000 : 5_000);
    const late = this.factsAt !== null && Date.now() - this.factsAt > 90_000;
    const state = gone ? "gone" : late ? "late" : this.open ? "live" : "connecting";
    const said = {
      gone: `last seen ${ago(this.heardAt)} ago`,
      late: `facts ${ago(this.factsAt ?? 0)} old`,
      live: "live",
      connecting: "connecting",
    }[state];
    if (this.live.dataset.state !== state) this.live.dataset.state = state;
    if (this.live.textContent !== said) this.live.textContent = said;
    root.classList.toggle("stale", gone);
    if (this.banner) {
      this.banner.hidden = !gone;
      const line = `The server is not heard. This is how it was ${ago(this.heardAt)} ago; it catches up by itself.`;
      if (gone && this.banner.firstElementChild.textContent !== line) this.banner.firstElementChild.textContent = line;
    }
  }
}

function banner(line) {
  const p = document.createElement("p");
  p.className = "banner warn";
  p.textContent = line;
  return p;
}

// A socket that comes back by itself: at once, then ever later up to ten seconds.
export function connect(path, { opened, frame, sign }) {
  let wait = 250;
  const open = () => {
    const url = new URL(path, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    socket.onopen = () => {
      wait = 250;
      sign.heard();
      opened?.(socket);
    };
    socket.onmessage = (event) => {
      sign.heard();
      const said = JSON.parse(event.data);
      if (said.kind === "beat") sign.beat(said);
      frame(said);
    };
    socket.onclose = () => {
      sign.lost();
      setTimeout(open, wait * (0.7 + 0.6 * Math.random()));
      wait = Math.min(wait * 2, 10_000);
    };
  };
  open();
}

tellTimes();
setInterval(tellTimes, 5000);

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-theme-toggle]")) {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("ao-theme", root.dataset.theme);
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.confirm && !confirm(form.dataset.confirm)) {
    event.preventDefault();
    return;
  }
  // Sent twice by an impatient finger, it is still one.
  if (form.method === "post") {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, 4000);
  }
});
addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));

for (const key of document.querySelectorAll('input[name="key"][value=""]')) key.value = crypto.randomUUID?.() ?? String(Math.random());
for (const note of document.querySelectorAll(".notes")) setTimeout(() => note.remove(), 7000);

// How much waits for whoever looks, kept true while a page stands open.
const counted = document.body.dataset.waitingFrom;
async function tellWaiting() {
  if (!counted || document.hidden) return;
  const answer = await fetch(counted, { headers: { Accept: "application/json" } }).catch(() => null);
  if (!answer?.ok || answer.redirected) return;
  const counts = await answer.json();
  for (const badge of document.querySelectorAll("[data-waiting]")) {
    const count = counts[badge.dataset.waiting] ?? 0;
    badge.textContent = count;
    badge.hidden = !count;
  }
}
setInterval(tellWaiting, 20_000);
document.addEventListener("visibilitychange", tellWaiting);
