"use strict";
play.models.push({
  id: "signals",
  short: "Signals",
  title: "Signals through depth",
  question: "Two inputs and a gradient on their way through a random network. Drag the initialisation across the critical line.",
  source: "Poole et al. 2016; Schoenholz et al. 2017; with skips Yang & Schoenholz 2017; blumenfeld2020, §3. Infinite width, exact",
  look: [
    "<em>Left of the line</em> all inputs become alike and gradients vanish (blue): the layers above see one and the same point.",
    "<em>Right of it</em> neighbouring inputs fly apart and gradients explode (red). Only near the line do both survive many layers.",
    "<em>Turn up the skip.</em> The critical line moves to the origin: with a full skip no start lets the gradient vanish, and correlations move slowly.",
    "<em>Input scale.</em> In an erf network small inputs stay in the linear part for some layers, large ones saturate at once: see the length.",
  ],
  build(stage) {
    const { signalPropagation: theory } = play.theory;
    const { short, node } = play.plot;
    const state = { units: "erf", weight: 1.15, bias: 0.05, skip: 0, layers: 40, length: 1, correlation: 0.5 };
    const LIMIT = 6; // powers of ten at which the colour is full

    const plane = stage.plot("Initialisations", { x: { range: [0.05, 5], label: "variance of the weights, σw²" }, y: { range: [0, 1], label: "variance of the biases, σb²" } },
      [["gradient vanishes", "", "var(--vanish)"], ["explodes", "", "var(--explode)"], ["critical", "", "var(--ink)"]], stage.big);
    const picture = node("image", { preserveAspectRatio: "none" }, plane.under), line = plane.curve("trace wide");
    const ground = plane.curve("trace thin dashed quiet");
    const handle = plane.handle({ label: "Initialisation: variance of weights and of biases", step: 0.02,
      words: (w, b) => `weights ${w.toFixed(2)}, biases ${b.toFixed(2)}`, move: (w, b) => aim(w, b) });

    const gradients = stage.plot("Gradient norm, last layer = 1", { x: { range: [0, 40], label: "layer" }, y: { range: [-8, 8], label: "power of ten" } },
      [["this start", "", "var(--path)"], ["without the skip", "dashed", "var(--quiet)"]]);
    const likeness = stage.plot("Correlation of two inputs", { x: { range: [0, 40], label: "layer" }, y: { range: [-0.05, 1.05], label: "correlation c" } });
    const sizes = stage.plot("Length of a signal", { x: { range: [0, 40], label: "layer" }, y: { range: [1e-3, 1e3], log: true, label: "mean square q" } });
    const rows = [[gradients, "gradient"], [likeness, "correlation"], [sizes, "length"]];
    const curves = rows.map(([plot]) => ({ off: plot.curve("trace thin dashed quiet"), on: plot.curve("trace path") }));
    stage.small.classList.add("three");

    const profile = (skip) => theory.depthProfile(state.units, state.layers, { ...state, skip });

    function aim(weight, bias) {
      [state.weight, state.bias] = [weight, bias];
      handle.put(weight, bias);
      const [on, off] = [profile(state.skip), profile(0)];
      state.profile = on;
      const g = on.gradient[0], reach = Math.max(2, Math.ceil(1.1 * Math.max(Math.abs(g), state.skip > 0 ? Math.abs(off.gradient[0]) : 0)));
      if (gradients.y.range[1] !== reach) { gradients.y.range = [-reach, reach]; gradients.drawAxes(); }
      rows.forEach(([plot, name], i) => {
        plot.set(curves[i].on, on[name].map((v, l) => [l, v]));
        plot.set(curves[i].off, state.skip > 0 ? off[name].map((v, l) => [l, v]) : []);
      });
      const told = Math.abs(g) < 0.5 ? "hardly changes" : g < 0 ? `shrinks ${short(10 ** -g)} times` : `grows ${short(10 ** g)} times`;
      stage.readout.textContent = `Over ${state.layers} layers the gradient ${told} on its way back; the correlation goes from ${state.correlation.toFixed(2)} to ${on.correlation.at(-1).toFixed(3)}.`;
    }

    // The colour of the plane: a coarse grid that the browser smooths, some rows of it in each frame.
    function paint() {
      const [w, h] = [36, 24], canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [w, h];
      const context = canvas.getContext("2d"), image = context.createImageData(w, h);
      const blue = [59, 111, 182], red = [200, 85, 61];
      let row = 0;
      const some = () => {
        for (const stop = Math.min(h, row + 4); row < stop; row++) for (let k = 0; k < w; k++) {
          const weight = plane.value(plane.x, (k + 0.5) / w), bias = plane.value(plane.y, 1 - (row + 0.5) / h);
          const g = theory.depthProfile(state.units, state.layers, { ...state, weight, bias }).gradient[0];
          const p = 4 * (row * w + k), tone = g < 0 ? blue : red;
          for (let i = 0; i < 3; i++) image.data[p + i] = tone[i];
          image.data[p + 3] = 200 * Math.min(1, Math.abs(g) / LIMIT) ** 0.7;
        }
        if (row < h) return true;
        context.putImageData(image, 0, 0);
        picture.setAttribute("href", canvas.toDataURL());
        return false;
      };
      stage.whenIdle(some);
    }

    function layout() {
      picture.setAttribute("x", plane.left); picture.setAttribute("y", plane.top);
      picture.setAttribute("width", Math.max(1, plane.right - plane.left)); picture.setAttribute("height", Math.max(1, plane.bottom - plane.top));
      const fixed = Array.from({ length: 200 }, (_, i) => 40 * (i / 199) ** 3);
      const critical = 2 * (1 - state.skip ** 2);
      plane.set(line, state.units === "relu" ? [[critical, -1], [critical, 2]] : fixed.map((q) => theory.criticalLine(q, state.skip)));
      plane.set(ground, []);
      const said = (name, what) => (plane.width > 420 ? name + what : name);
      const strong = { classes: "halo strong" }, right = { ...strong, anchor: "end" };
      plane.label(state.skip < 0.75
        ? [{ at: [0.1, 0.93], words: said("order", ": gradients vanish"), ...strong }, { at: [4.95, 0.05], words: said("chaos", ": gradients explode"), ...right }]
        : [{ at: [4.95, 0.93], words: "nowhere does the gradient vanish fast", ...right }]);
      for (const [plot] of rows) plot.x.range = [0, state.layers];
      for (const [plot] of rows) plot.drawAxes();
      paint();
      aim(state.weight, state.bias);
    }

    const skip = stage.slider("Skip strength r", { min: 0, max: 1, step: 0.02, value: 0, show: (v) => v.toFixed(2), change: (v) => { state.skip = v; toggle(); layout(); } });
    const button = play.controls.element("button", { type: "button", className: "switch", textContent: "Skip is off" });
    const toggle = () => { button.setAttribute("aria-pressed", String(state.skip > 0)); button.textContent = state.skip > 0 ? "Skip is on" : "Skip is off"; };
    toggle();
    button.addEventListener("click", () => { state.skip = state.skip > 0 ? 0 : 1; skip.set(state.skip); toggle(); layout(); });
    stage.time.append(button);
    stage.toggle = () => button.click();
    stage.slider("Layers", { min: 5, max: 100, step: 5, value: state.layers, show: String, change: (v) => { state.layers = v; layout(); } });
    stage.slider("Input scale (mean square)", { min: -2, max: 2, step: 0.1, value: 0, show: (v) => short(10 ** v), change: (v) => { state.length = 10 ** v; layout(); } });
    stage.slider("Correlation of the inputs", { min: 0, max: 1, step: 0.01, value: state.correlation, show: (v) => v.toFixed(2), change: (v) => { state.correlation = v; aim(state.weight, state.bias); } });
    stage.choice("Units", [["erf", "erf"], ["relu", "ReLU"]], "erf", (v) => { state.units = v; layout(); });
    stage.buttons("Start", [["Ordered", () => aim(1.15, 0.05)], ["Critical", () => { const [w, b] = state.units === "relu" ? [2 * (1 - state.skip ** 2), 0] : theory.criticalLine(0.3, state.skip); aim(w, b); }], ["Chaotic", () => aim(3.4, 0.05)]]);
    return { state, layout };
  },
});
