// What the pages do by themselves: the badge moves, filters apply when they are chosen, and the inbox has keys. Without this
// file everything works by links and forms.
"use strict";

const inField = (e) => e.target.closest("input:not([type=checkbox]), select, textarea, [contenteditable]") || document.querySelector("dialog[open]");

// The badge in header and title follows the stream of the API; a count that grows says that the inbox has something new. A
// browser has six connections for all its tabs, so one that is hidden holds none and asks once a minute.
function follow(stream) {
  const badge = document.getElementById("unread");
  const most = Number(document.body.dataset.most);
  let last = null;
  const show = ({ count }) => {
    const text = Math.min(count, most).toLocaleString("en") + (count > most ? "+" : "");
    badge.firstElementChild.textContent = text;
    badge.hidden = count === 0;
    document.title = (count ? `(${text}) ` : "") + document.body.dataset.title;
    const fresh = document.getElementById("fresh");
    if (fresh && last !== null && count > last) fresh.hidden = false;
    last = count;
  };
  let source = null;
  const listen = () => {
    source?.close();
    if (document.hidden) return;
    source = new EventSource(stream);
    source.addEventListener("unread", (event) => show(JSON.parse(event.data)));
  };
  listen();
  document.addEventListener("visibilitychange", listen);
  setInterval(async () => {
    if (!document.hidden) return;
    try {
      const answer = await fetch(stream.replace(/stream$/, "unread-count"));
      if (answer.ok) show(await answer.json());
    } catch { /* the network: the stream says it when somebody looks */ }
  }, 60_000);
  addEventListener("pagehide", () => source?.close());
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}

// The lines of the inbox, with one of them current.
class Inbox {
  constructor(form) {
    this.form = form;
    this.rows = [...form.querySelectorAll(".list > li")];
    this.at = -1;
    this.all = document.getElementById("pick-all");
    this.all.parentElement.hidden = false;
    form.addEventListener("change", (event) => {
      if (event.target === this.all) for (const row of this.rows) row.querySelector("input").checked = this.all.checked;
      this.count();
    });
    form.addEventListener("click", (event) => this.mark(event));
    this.count();
  }

  get current() { return this.rows[this.at]; }

  move(by) {
    this.go(Math.min(Math.max(this.at + by, 0), this.rows.length - 1));
  }

  go(at) {
    this.current?.classList.remove("current");
    this.at = at;
    this.current.classList.add("current");
    this.current.querySelector(".name").focus({ preventScroll: true });
    this.current.scrollIntoView({ block: "nearest" });
  }

  get chosen() { return this.rows.filter((row) => row.querySelector("input").checked); }

  // aim is what a key is about: what is selected, else the current line.
  get aim() {
    const chosen = this.chosen;
    return chosen.length ? chosen : this.current ? [this.current] : [];
  }

  count() {
    const n = this.chosen.length;
    document.getElementById("chosen").textContent = n ? `${n} selected` : "";
    this.all.checked = n === this.rows.length;
    this.all.indeterminate = n > 0 && !this.all.checked;
    for (const row of this.rows) row.classList.toggle("chosen", row.querySelector("input").checked);
  }

  select() {
    if (!this.current) return;
    const box = this.current.querySelector("input");
    box.checked = !box.checked;
    this.count();
  }

  mark(event) {
    const one = event.target.closest("button.dot");
    const rows = one ? [one.closest("li")] : event.target.closest("[data-act=view]") ? this.chosen : [];
    if (!rows.length) return;
    event.preventDefault();
    this.view(rows);
  }

  async view(rows) {
    const ids = rows.map((row) => Number(row.dataset.id));
    if (!ids.length) return;
    let ok = false;
    try {
      const answer = await fetch(`${this.form.dataset.api}/viewed`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ids }) });
      ok = answer.ok;
    } catch { /* the network: loading the page says more */ }
    if (!ok) { location.reload(); return; }
    for (const row of rows) {
      row.classList.add("viewed");
      row.querySelector("input").checked = false;
      const dot = row.querySelector("button.dot");
      if (!dot) continue;
      const seen = document.createElement("span");
      seen.className = "dot";
      seen.title = "Viewed";
      seen.innerHTML = '<span class="sr">viewed</span>';
      dot.replaceWith(seen);
    }
    this.count();
    document.getElementById("chosen").textContent = `${rows.length} marked as viewed`;
  }

  // remove leads to the page that asks.
  remove() {
    const button = this.form.querySelector("[data-act=delete]");
    const rows = this.aim;
    if (!button || !rows.length) return;
    for (const row of this.rows) row.querySelector("input").checked = rows.includes(row);
    this.form.requestSubmit(button);
  }
}

const keysOf = (inbox, one) => ({
  j: () => inbox?.move(1),
  k: () => inbox?.move(-1),
  x: () => inbox?.select(),
  e: () => {
    if (one) { one.querySelector("[data-act=view]")?.click(); return; }
    if (!inbox) return;
    const rows = inbox.aim;
    inbox.view(rows);
    if (rows.length === 1 && rows[0] === inbox.current) inbox.move(1);
  },
  "#": () => (one ? one.querySelector("[data-act=delete]")?.click() : inbox?.remove()),
  "/": () => document.getElementById("search")?.select() ?? document.getElementById("search")?.focus(),
  "?": () => document.getElementById("keys")?.showModal(),
});

function listen() {
  const form = document.getElementById("list");
  const inbox = form ? new Inbox(form) : null;
  const one = document.getElementById("one");
  const keys = keysOf(inbox, one);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || inField(event) || !Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  const help = document.getElementById("help-button");
  if (help) {
    help.hidden = false;
    help.addEventListener("click", () => document.getElementById("keys").showModal());
  }
  for (const auto of document.querySelectorAll("form[data-auto]")) {
    auto.addEventListener("change", (event) => { if (event.target.closest("select, [type=checkbox], [type=date]")) auto.requestSubmit(); });
  }
  // What a menu shows goes away with a click elsewhere, and with Escape.
  const menus = document.querySelectorAll("details.menu");
  document.addEventListener("click", (event) => menus.forEach((menu) => { if (!menu.contains(event.target)) menu.open = false; }));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") menus.forEach((menu) => { menu.open = false; }); });
}

// Times come in UTC. They are shown and typed by the clock of the browser, but not in a form that was refused: it comes
// back as it was typed.
function showTimesHere() {
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!here || here === "UTC") return;
  const words = (text) => text.replace(/(\d{4}-\d\d-\d\d) (\d\d:\d\d)(:\d\d)? UTC/g, (_, day, time, seconds = "") =>
    `${local(`${day}T${time}${seconds}`).replace("T", " ")} ${here}`);
  for (const time of document.querySelectorAll("time[title]")) time.title = words(time.title);
  for (const pause of document.querySelectorAll(".applies b, .notice b")) pause.textContent = words(pause.textContent);
  showPauseHere(here);
  const zone = document.querySelector("form[action$='/subscriptions#add'] [name=timezone]");
  if (zone?.value === "UTC" && !document.querySelector("[role=alert]")) zone.value = here;
}

// The clock of the browser at a time in UTC, both as in datetime-local, to the minute or the second.
function local(utc) {
  const at = new Date(`${utc}Z`);
  return new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, utc.length);
}

function showPauseHere(here) {
  const zone = document.getElementById("f-notification_paused_timezone");
  if (zone?.value !== "UTC") return;
  const was = (field) => zone.form.elements[`${field.name}.was`];
  const times = [...zone.form.querySelectorAll("input[type=datetime-local]")];
  if ([zone, ...times].some((field) => field.value !== was(field).value)) return;
  for (const time of times.filter((field) => field.value)) {
    time.value = local(time.value);
    was(time).value = time.value;
  }
  zone.value = here;
  was(zone).value = here;
}

// Empty filters need not stand in the address.
addEventListener("submit", (event) => {
  if (!event.target.matches("form.search")) return;
  for (const field of event.target.elements) if (field.name && !field.value) field.disabled = true;
  addEventListener("pageshow", () => { for (const field of event.target.elements) field.disabled = false; }, { once: true });
});

listen();
showTimesHere();
if (document.body.dataset.stream) follow(document.body.dataset.stream);
