"use strict";
(() => {
  // Only claims of one verdict, and only sections that have one.
  const buttons = [...document.querySelectorAll(".filter button")];
  const told = document.querySelector(".filter output");
  function show(verdict) {
    let rows = 0, others = 0;
    for (const row of document.querySelectorAll("tr[data-verdict]")) {
      row.hidden = Boolean(verdict) && row.dataset.verdict !== verdict;
      if (row.hidden || !row.closest(".claims")) continue;
      rows++;
      if ("beside" in row.dataset) others++;
    }
    for (const part of document.querySelectorAll("[data-verdicts]")) {
      part.hidden = Boolean(verdict) && !part.dataset.verdicts.split(" ").includes(verdict);
    }
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.value === verdict));
    told.textContent = verdict ? `${rows} ${rows === 1 ? "row" : "rows"} shown${others ? `, ${others} of them not the paper's` : ""}` : "";
  }
  for (const button of buttons) button.addEventListener("click", () => show(button.value));

  // The list of contents is open where there is room beside the page, and says where the reader is.
  const contents = document.querySelector(".contents details");
  if (!contents) return;
  const wide = matchMedia("(min-width: 75rem)");
  const fit = () => { contents.open = wide.matches; };
  wide.addEventListener("change", fit);
  fit();
  const links = new Map([...contents.querySelectorAll("a")].map((a) => [a.hash.slice(1), a]));
  contents.addEventListener("click", (event) => { if (event.target.closest("a") && !wide.matches) contents.open = false; });
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "0px 0px -75% 0px" });
  document.querySelectorAll("article").forEach((article) => watch.observe(article));
})();
