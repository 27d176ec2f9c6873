// The console's behaviour. Pages work without it but for dialogs and what refreshes itself.
"use strict";

const root = document.documentElement;
root.classList.add("scripted");
const relative = new Intl.RelativeTimeFormat("en", { style: "narrow" });

// Relative times go on while a page stays open.
const UNITS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];

function showTimes(inside) {
  for (const element of inside.querySelectorAll("time[datetime]")) {
    const seconds = (Date.parse(element.dateTime) - Date.now()) / 1000;
    const found = UNITS.find(([, size]) => Math.abs(seconds) >= size);
    if (found) element.textContent = relative.format(Math.trunc(seconds / found[1]), found[0]);
    else element.textContent = seconds > 0 ? "in under a minute" : "just now";
  }
}

function toast(text) {
  const element = document.createElement("p");
  element.className = "toast";
  element.textContent = text;
  document.getElementById("toasts")?.append(element);
  setTimeout(() => element.remove(), 6000);
}

// Dialogs
function openDialog(id) {
  const dialog = document.getElementById(id);
  if (!dialog || dialog.open) return;
  dialog.showModal();
  const first = dialog.querySelector("input:not([type=hidden]), select, textarea") || dialog.querySelector("[data-closes]");
  first?.focus();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) {
    if (event.target instanceof HTMLDialogElement) event.target.close(); // the backdrop
    return;
  }
  if (button.dataset.opens) openDialog(button.dataset.opens);
  else if ("closes" in button.dataset) button.closest("dialog").close();
  else if (button.dataset.copy !== undefined) copyText(button.dataset.copy);
  else if (button.dataset.saves) saveFile(button);
  else if (button.classList.contains("menu")) toggleMenu(button);
  else if (button.classList.contains("theme")) nextTheme(button);
});

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea"); // plain HTTP has no clipboard
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast("Copied.");
}

function saveFile(button) {
  const text = document.getElementById(button.dataset.saves).textContent;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
  link.download = button.dataset.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function toggleMenu(button) {
  const open = document.getElementById("sidebar").classList.toggle("open");
  button.setAttribute("aria-expanded", String(open));
}

// Theme: as the system, light, dark
const THEMES = ["", "light", "dark"];

function tellTheme(button) {
  const chosen = root.dataset.theme || "";
  button.setAttribute("aria-label", `Theme: ${chosen || "as the system"}`);
  button.title = `Theme: ${chosen || "as the system"}`;
}

function nextTheme(button) {
  const next = THEMES[(THEMES.indexOf(root.dataset.theme || "") + 1) % THEMES.length];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
  const life = next ? 31536000 : 0;
  document.cookie = `authsvc-theme=${next}; path=/console; max-age=${life}; SameSite=Strict`;
  tellTheme(button);
}

// Forms that change something: what is refused is said in the dialog, and nothing typed is lost.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post" || "plain" in form.dataset) return;
  event.preventDefault();
  send(form, event.submitter);
});

async function send(form, submitter) {
  submitter?.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      body: new URLSearchParams(new FormData(form)),
      headers: { "X-Console": "form" },
    });
    if ((answer.headers.get("content-type") || "").startsWith("application/json")) {
      const told = await answer.json();
      if (told.location) location.assign(told.location);
      else complain(form, told.problem);
    } else {
      form.closest("dialog")?.close();
      replaceMain(new DOMParser().parseFromString(await answer.text(), "text/html"));
    }
  } catch {
    complain(form, { title: "The service can't be reached", detail: "Nothing is known to have changed.", fields: [] });
  } finally {
    submitter?.removeAttribute("aria-busy");
  }
}

function complain(form, problem) {
  const place = form.querySelector(".form-problem");
  place.textContent = [problem.detail || problem.title, ...(problem.fields || [])].join("\n");
  place.hidden = false;
  if (form.secret) form.secret.value = ""; // what signs nobody in need not stay
}

function replaceMain(page) {
  const main = document.getElementById("main");
  main.replaceWith(document.adoptNode(page.getElementById("main")));
  document.title = page.title;
  document.getElementById("main").focus();
  scrollTo(0, 0);
}

// Parts that refresh themselves
async function refresh(part) {
  if (document.hidden || document.querySelector("dialog[open]")) return;
  const answer = await fetch(location.href, { headers: { "X-Console": "poll" } });
  if (answer.status === 401) {
    location.assign("/console/sign-in");
    return;
  }
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = page.getElementById(part.id);
  if (!next || !part.isConnected) return;
  showTimes(next);
  if (next.innerHTML === part.innerHTML) return;
  const focused = part.contains(document.activeElement) ? document.activeElement.outerHTML : null;
  part.replaceChildren(...document.adoptNode(next).childNodes);
  if (focused) [...part.querySelectorAll("a, button")].find((it) => it.outerHTML === focused)?.focus();
}

async function keepLive(part) {
  const pause = Number(part.dataset.live) * 1000;
  while (part.isConnected) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    try {
      await refresh(part);
    } catch {
      // The service is away; the next round may find it.
    }
  }
}

// Signing in by a link: its code stands in the fragment, which no server and no log has seen.
function signInByLink(form) {
  const code = location.hash.slice(1);
  if (!code) return;
  history.replaceState(null, "", location.pathname);
  form.secret.value = code;
  const go = () => form.requestSubmit();
  if (document.prerendering) document.addEventListener("prerenderingchange", go, { once: true });
  else go();
}

// "/" goes to the search
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable], dialog");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const field = document.querySelector("[data-slash]");
  if (!field) return;
  event.preventDefault();
  field.focus();
  field.select();
});

showTimes(document);
setInterval(() => showTimes(document), 15000);
for (const button of document.querySelectorAll("button.theme")) tellTheme(button);
for (const part of document.querySelectorAll("[data-live]")) keepLive(part);
for (const element of document.querySelectorAll(".toast")) setTimeout(() => element.remove(), 6000);
const signIn = document.querySelector("form[data-sign-in]");
if (signIn) signInByLink(signIn);

// What was done is told once, not again by a reload.
const here = new URL(location.href);
if (here.searchParams.has("done")) {
  here.searchParams.delete("done");
  history.replaceState(null, "", here.href);
}
