// The model on the stage as one SVG or PNG: every figure where it stands, styles written into the elements.
"use strict";
play.picture = (() => {
  const { node } = play.plot;
  const KEPT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity", "paint-order",
    "font-family", "font-size", "font-weight", "text-anchor", "visibility"];
  const MARGIN = 20, HEAD = 56, FOOT = 30;

  function styled(source) {
    const copy = source.cloneNode(true);
    const [from, to] = [[source, ...source.querySelectorAll("*")], [copy, ...copy.querySelectorAll("*")]];
    from.forEach((element, i) => {
      const style = getComputedStyle(element);
      for (const key of KEPT) to[i].setAttribute(key, style.getPropertyValue(key));
      for (const key of ["class", "style", "tabindex", "role"]) to[i].removeAttribute(key);
    });
    return copy;
  }

  function label(parent, words, x, y, size, weight, colour, family) {
    node("text", { x, y, "font-size": size, "font-weight": weight, fill: colour, "font-family": family }, parent).textContent = words;
  }

  const RAMPS = {
    speed: (colours) => [0, 1, 2, 3, 4, 5].map((k) => colours.getPropertyValue(`--flow-${k}`).trim()),
    loss: () => ["#00224e", "#3e4d71", "#7c7b78", "#bdb284", "#fee896"],
  };

  // The legend of a figure: lines and ramps of colour, with their words.
  function legend(parent, figure, shift, quiet, colours, family) {
    for (const key of figure.querySelectorAll(".key")) {
      const swatch = key.querySelector("i"), box = swatch.getBoundingClientRect(), style = getComputedStyle(swatch);
      const x = box.left - shift.x, y = box.top - shift.y, ramp = RAMPS[swatch.className]?.(colours);
      if (ramp) ramp.forEach((fill, k) => node("rect", { x: x + k * box.width / ramp.length, y, width: box.width / ramp.length, height: box.height, fill }, parent));
      else {
        node("line", { x1: x, x2: x + box.width, y1: y + 1.5, y2: y + 1.5, stroke: style.borderTopColor, "stroke-width": style.borderTopWidth,
          "stroke-dasharray": swatch.className === "dashed" ? "5 4" : "none" }, parent);
      }
      label(parent, key.textContent, x + box.width + 6, y + box.height / 2 + 4.5, 12.5, 400, quiet, family);
    }
  }

  // The whole stage as the text of an SVG file.
  function svg(stage, model) {
    const figures = [...stage.root.querySelectorAll("figure")].filter((f) => f.querySelector("svg"));
    const boxes = figures.map((f) => f.getBoundingClientRect());
    const [left, top] = [Math.min(...boxes.map((b) => b.left)), Math.min(...boxes.map((b) => b.top))];
    const width = Math.max(...boxes.map((b) => b.right)) - left + 2 * MARGIN;
    const height = Math.max(...boxes.map((b) => b.bottom)) - top + MARGIN + HEAD + FOOT;
    const page = getComputedStyle(document.body), colours = getComputedStyle(document.documentElement);
    const [ink, quiet] = ["--ink", "--quiet"].map((name) => colours.getPropertyValue(name).trim());
    const out = node("svg", { xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `0 0 ${width} ${height}` });
    node("rect", { width, height, fill: page.backgroundColor }, out);
    label(out, model.title, MARGIN, 36, 22, 600, ink, "Georgia, serif");
    figures.forEach((figure, i) => {
      const [x, y] = [boxes[i].left - left + MARGIN, boxes[i].top - top + HEAD];
      const style = getComputedStyle(figure);
      node("rect", { x, y, width: boxes[i].width, height: boxes[i].height, rx: 8, fill: style.backgroundColor, stroke: style.borderTopColor }, out);
      label(out, figure.querySelector("figcaption > span").textContent, x + 14, y + 25, 14, 600, ink, page.fontFamily);
      legend(out, figure, { x: left - MARGIN, y: top - HEAD }, quiet, colours, page.fontFamily);
      const original = figure.querySelector("svg"), place = original.getBoundingClientRect(), copy = styled(original);
      for (const [key, value] of Object.entries({ x: place.left - left + MARGIN, y: place.top - top + HEAD, width: place.width, height: place.height })) {
        copy.setAttribute(key, value);
      }
      out.append(copy);
    });
    label(out, `${model.source}; drawn by nonsingular play`, MARGIN, height - 12, 12, 400, quiet, page.fontFamily);
    return { text: new XMLSerializer().serializeToString(out), width, height };
  }

  function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  const saveSvg = (stage, model) => save(new Blob([svg(stage, model).text], { type: "image/svg+xml" }), `${model.id}.svg`);

  // Twice the size on the screen, for slides.
  function savePng(stage, model) {
    const { text, width, height } = svg(stage, model);
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [2 * width, 2 * height];
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(blob, `${model.id}.png`));
    };
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  }

  return { svg, saveSvg, savePng };
})();
