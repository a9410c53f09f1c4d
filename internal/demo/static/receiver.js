// Puts new messages on top as they arrive, and gives every mail the height it needs. Without it the page is the same,
// but stands still.
"use strict";

const list = document.getElementById("messages");

function fit(frame) {
  const resize = () => {
    const root = frame.contentDocument?.documentElement;
    if (root) frame.style.height = `${Math.ceil(root.getBoundingClientRect().height)}px`;
  };
  frame.addEventListener("load", resize);
  resize();
}

async function update() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) return;
  const next = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.querySelector("nav").replaceWith(next.querySelector("nav"));
  const fresh = [...next.querySelectorAll("article")].filter((a) => !document.getElementById(a.id));
  if (fresh.length === 0) return;
  const empty = list.querySelector(".empty");
  if (empty) empty.remove();
  list.prepend(...fresh);
  fresh.forEach((a) => a.querySelectorAll("iframe").forEach(fit));
  [...list.querySelectorAll("article")].slice(200).forEach((a) => a.remove());
}

document.querySelectorAll("iframe").forEach(fit);
if (list.hasAttribute("data-live")) {
  let running = false;
  let again = false;
  const refresh = async () => {
    again = true;
    if (running) return;
    running = true;
    try {
      while (again) {
        again = false;
        await update();
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
    } catch {
      // The receiver is gone; EventSource connects again when it is back.
    } finally {
      running = false;
    }
  };
  new EventSource("/events").addEventListener("message", refresh);
}
