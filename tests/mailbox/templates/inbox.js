"use strict";
const every = 2000;
let shown = {};

function inLocalTime() {
  const today = new Date().toDateString();
  for (const time of document.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    const brief = at.toDateString() === today
      ? { hour: "2-digit", minute: "2-digit", second: "2-digit" }
      : { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" };
    const full = { dateStyle: "full", timeStyle: "medium" };
    time.textContent = at.toLocaleString(undefined, "full" in time.dataset ? full : brief);
    time.title = time.dateTime;
  }
}

function offerToEmpty() {
  document.getElementById("clear").hidden = document.querySelector(".summary").dataset.kept === "0";
}

// Puts a part of a freshly fetched page in place of what is shown, if it is different.
function renew(id, page) {
  const fresh = page.getElementById(id).innerHTML;
  if (fresh === shown[id]) return;
  shown[id] = fresh;
  const focused = document.activeElement && document.activeElement.closest("#" + id + " a");
  const part = document.getElementById(id);
  part.replaceChildren(...page.getElementById(id).childNodes);
  if (focused) {
    const same = [...part.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused.getAttribute("href"));
    if (same) same.focus({ preventScroll: true });
  }
}

async function load(url, whole) {
  const answer = await fetch(url, { headers: { accept: "text/html" } });
  if (!answer.ok && answer.status !== 404) throw new Error(answer.status);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!whole && url !== location.href) return;
  renew("list", page);
  // The open mail never changes, so a refresh leaves it, its frame and its scroll position alone; an empty pane it renews.
  if (whole || !document.querySelector("#detail article")) renew("detail", page);
  document.title = page.title;
  document.body.className = page.body.className;
  if (whole) for (const name of ["tag", "id"]) keepInForm(name);
  inLocalTime();
  offerToEmpty();
}

// The form submits what is shown besides the recipient too.
function keepInForm(name) {
  const value = new URL(location.href).searchParams.get(name);
  const form = document.querySelector(".search");
  let field = form.querySelector("[name=" + name + "]");
  if (!value) { if (field) field.remove(); return; }
  if (!field) {
    field = Object.assign(document.createElement("input"), { type: "hidden", name });
    form.append(field);
  }
  field.value = value;
}

function showFilter() {
  document.querySelector(".search input").value = new URL(location.href).searchParams.get("to") || "";
}

function go(url) {
  history.pushState(null, "", url);
  showFilter();
  load(location.href, true).catch(() => { location.href = url; });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-swap]");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.href);
});
window.addEventListener("popstate", () => {
  showFilter();
  load(location.href, true).catch(() => location.reload());
});

let typing;
document.querySelector(".search").addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    const url = new URL(location.href);
    url.searchParams.delete("before");
    if (event.target.value) url.searchParams.set("to", event.target.value);
    else url.searchParams.delete("to");
    history.replaceState(null, "", url);
    load(location.href, true).catch(() => {});
  }, 200);
});
document.querySelector(".search").addEventListener("submit", (event) => event.preventDefault());

document.getElementById("clear").addEventListener("click", async () => {
  if (!confirm("Drop all mails in this mailbox?")) return;
  await fetch("/messages", { method: "DELETE" });
  go("/");
});

setInterval(() => {
  if (!document.hidden) load(location.href, false).catch(() => {});
}, every);
for (const id of ["list", "detail"]) shown[id] = document.getElementById(id).innerHTML;
inLocalTime();
offerToEmpty();
