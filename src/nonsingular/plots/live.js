"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 40rem)");
  const near = { rootMargin: "1200px" };

  // What Python packed: gzip in base64.
  const unpack = (text) => new Response(
    new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]).stream().pipeThrough(new DecompressionStream("gzip")));

  // --- pictures: at once where the reader is, the others when the browser has nothing else to do ---

  async function draw(image) {
    const content = image.dataset.picture;
    if (!content) return;
    delete image.dataset.picture;
    image.src = URL.createObjectURL(new Blob([await unpack(content).arrayBuffer()], { type: image.dataset.type }));
  }

  const pictures = [...document.querySelectorAll("img[data-picture]")];
  const seen = new IntersectionObserver((entries) => entries.forEach((e) => { if (e.isIntersecting) draw(e.target); }), near);
  pictures.forEach((image) => seen.observe(image));
  const idle = window.requestIdleCallback || ((work) => setTimeout(work, 50));
  const rest = async () => {
    const next = pictures.find((image) => image.dataset.picture);
    if (!next) return;
    await draw(next);
    idle(rest);
  };
  addEventListener("load", () => idle(rest));
  addEventListener("beforeprint", () => pictures.forEach(draw));

  // --- interactive figures: plotly is run when the first one comes near ---

  let library = null;
  async function plotly() {
    const code = document.createElement("script");
    code.textContent = await unpack(document.getElementById("plotly").textContent).text();
    document.head.append(code);
    return window.Plotly;
  }

  // Ink, lines and ground of the page, light or dark, as wide as it is.
  function coloured(text) {
    const [ink, line] = dark.matches ? ["#e8e8e8", "#4a4d52"] : ["#2a3f5f", "#dfe8f3"];
    const { data, layout } = JSON.parse(dark.matches ? text.replaceAll('"#000000"', `"${ink}"`) : text);
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line };
    for (const [name, value] of Object.entries(layout)) if (/^[xy]axis/.test(name)) Object.assign(value, axis);
    layout.xaxis = { ...axis, ...layout.xaxis };
    layout.yaxis = { ...axis, ...layout.yaxis };
    if (layout.scene) {
      for (const name of ["xaxis", "yaxis", "zaxis"]) layout.scene[name] = { ...layout.scene[name], ...axis, backgroundcolor: "rgba(0,0,0,0)" };
    }
    Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { ...layout.font, color: ink }, autosize: true });
    delete layout.width;
    return narrow.matches ? narrowed(data, layout) : { data, layout };
  }

  // A scene is seen from so far that all of it is there, the titles of its axes too: the further the narrower it is.
  function framed(layout, host) {
    const far = 1.3 * Math.max(1, 0.95 / (host.clientWidth / host.clientHeight));
    layout.scene.camera ??= { eye: { x: 1.25 * far, y: 1.25 * far, z: 0.95 * far }, center: { x: 0, y: 0, z: -0.15 } };
  }

  // On a phone the scale lies below the figure.
  function narrowed(data, layout) {
    for (const trace of data) {
      if (trace.colorbar) Object.assign(trace.colorbar, { orientation: "h", y: -0.05, yanchor: "top", thickness: 14, len: 0.9 });
    }
    layout.font = { ...layout.font, size: 11 };
    layout.margin = { l: 10, r: 10, t: 60, b: 70, ...(layout.scene ? {} : { l: 45 }) };
    return { data, layout };
  }

  async function enliven(host) {
    const text = await unpack(host.dataset.figure).text();
    library ??= plotly();
    const Plotly = await library;
    let width = 0, waits = null;
    const show = () => {
      const { data, layout } = coloured(text);
      if (layout.scene) framed(layout, host);
      width = host.clientWidth;
      Plotly.purge(host); // what was drawn at another width leaves its margins behind
      return Plotly.newPlot(host, data, layout, { responsive: true, displaylogo: false });
    };
    const again = () => { if (host.clientWidth !== width) { clearTimeout(waits); waits = setTimeout(show, 150); } };
    dark.addEventListener("change", show);
    addEventListener("resize", again);
    await show();
    host.dataset.shown = "";
  }

  const waiting = new IntersectionObserver((entries) => entries.forEach((e) => {
    if (!e.isIntersecting) return;
    waiting.unobserve(e.target);
    enliven(e.target).catch((error) => { e.target.textContent = `This figure cannot be drawn here: ${error.message}`; });
  }), { rootMargin: "300px" });
  document.querySelectorAll("[data-figure]").forEach((host) => waiting.observe(host));
})();
