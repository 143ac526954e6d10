// The page: which model is shown, keys, presentation, light and dark.
"use strict";
play.start = () => {
  const { Stage, element } = play.controls;
  const host = document.getElementById("stage");
  const tabs = document.querySelector(".models");
  let stage = null, index = -1;

  const buttons = play.models.map((model, i) => {
    const button = element("button", { type: "button", role: "tab", textContent: model.short, id: `tab-${model.id}` });
    button.addEventListener("click", () => show(i));
    tabs.append(button);
    return button;
  });

  function show(wanted) {
    const next = (wanted + play.models.length) % play.models.length;
    if (next === index) return;
    if (stage) stage.gone = true;
    index = next;
    const model = play.models[index];
    stage = new Stage(model);
    host.replaceChildren(stage.root);
    buttons.forEach((b, i) => {
      b.setAttribute("aria-selected", String(i === index));
      b.tabIndex = i === index ? 0 : -1;
      if (i === index) b.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    stage.model = model.build(stage);
    play.shown = { id: model.id, stage, state: stage.model.state };
    history.replaceState(null, "", `#${model.id}`);
    layout();
    stage.model.begin?.();
  }

  function layout() {
    if (!stage) return;
    for (const plot of stage.plots) plot.measure();
    stage.model.layout();
  }

  let size = "";
  new ResizeObserver(() => {
    const now = `${innerWidth}x${innerHeight}`;
    if (now !== size) { size = now; requestAnimationFrame(layout); }
  }).observe(document.body);

  // --- presentation ---

  const leave = element("button", { type: "button", className: "leave", textContent: "Leave (Esc)" });
  document.body.append(leave);
  function present(on) {
    document.body.classList.toggle("present", on);
    document.getElementById("present").setAttribute("aria-pressed", String(on));
    if (on) document.documentElement.requestFullscreen?.().catch(() => {});
    else if (document.fullscreenElement) document.exitFullscreen();
    requestAnimationFrame(layout);
  }
  const presenting = () => document.body.classList.contains("present");
  document.getElementById("present").addEventListener("click", () => { present(true); host.focus({ preventScroll: true }); });
  leave.addEventListener("click", () => present(false));
  document.addEventListener("fullscreenchange", () => { if (!document.fullscreenElement && presenting()) present(false); });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) {
      if (event.key === "Escape") present(false);
      return;
    }
    const onTab = event.target.matches("[role=tab]");
    if (event.key === "ArrowRight" || event.key === "PageDown") show(index + 1);
    else if (event.key === "ArrowLeft" || event.key === "PageUp") show(index - 1);
    else if (event.key === "ArrowDown" && presenting()) stage.turn(1);
    else if (event.key === "ArrowUp" && presenting()) stage.turn(-1);
    else if (event.key === " " && !event.target.matches("button")) stage.toggle?.();
    else if (event.key === "p" || event.key === "P") present(!presenting());
    else if (event.key === "Escape") present(false);
    else if (/^[1-9]$/.test(event.key) && play.models[event.key - 1]) show(event.key - 1);
    else return;
    if (onTab) buttons[index].focus();
    event.preventDefault();
  });

  // --- light and dark ---

  // The reader's choice, kept where a browser lets a file keep something; until there is one, the system's.
  const KEY = "nonsingular-play-theme", dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = (choice) => {
    try {
      if (choice) localStorage.setItem(KEY, choice);
      return localStorage.getItem(KEY);
    } catch { return null; }
  };
  let chosen = kept();
  const theme = () => {
    document.documentElement.dataset.theme = chosen || (dark.matches ? "dark" : "light");
    if (stage) layout();
  };
  theme();
  dark.addEventListener("change", theme);
  document.getElementById("theme").addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    kept(chosen);
    theme();
  });

  document.getElementById("svg").addEventListener("click", () => play.picture.saveSvg(stage, play.models[index]));
  document.getElementById("png").addEventListener("click", () => play.picture.savePng(stage, play.models[index]));

  const asked = play.models.findIndex((model) => `#${model.id}` === location.hash);
  show(Math.max(0, asked));
};
