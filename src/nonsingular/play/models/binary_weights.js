"use strict";
play.models.push({
  id: "binary-weights",
  short: "Binary weights",
  title: "Binary weights: the whole landscape",
  question: "Eighteen weights of ±1: all 262 144 networks on one map. Flip weights, or descend.",
  source: "Orhan & Pitkow 2017, abstract (“a toy model with binary weights”); the model is ours, nonsingular.theory.binary_weights",
  look: [
    "<em>Gold points solve the task.</em> Neighbours on the map differ in one weight. Plain: six solutions, one for every order of the three hidden units. Nothing tells them apart.",
    "<em>Exchange two hidden units:</em> in the plain network the loss stays as it is. With a skip it changes, and one solution is left.",
    "<em>All ones</em> is a skip that treats units alike: the symmetry stays, and all six solutions.",
    "<em>Descend</em> flips the weight that lowers the loss most. Where no flip helps you are in a local minimum. One solution is harder to find than six: compare the shares of starts that reach zero.",
  ],
  build(stage) {
    const { binaryWeights: theory } = play.theory;
    const { short, node } = play.plot;
    const { element } = play.controls;
    const state = { network: "plain", teacher: 0, at: 0, way: [] };
    const SIDE = 512;
    // Neighbours on the map differ in one weight: positions follow Gray's code.
    const gray = (k) => k ^ (k >> 1);
    const place = new Uint16Array(SIDE);
    for (let k = 0; k < SIDE; k++) place[gray(k)] = k;
    const spot = (s) => [place[s >> 9], place[s & 511]];

    const map = stage.plot("Loss of every network", { x: { range: [0, SIDE], label: "the nine weights of layer 1", ticks: [] },
      y: { range: [0, SIDE], label: "the nine weights of layer 2", ticks: [] } }, [["low to high loss", "loss"], ["solution", "", "#e69f00"], ["you", "", "var(--path)"]], stage.big);
    const picture = node("image", { preserveAspectRatio: "none" }, map.under);
    const way = map.curve("trace path"), golden = node("g", {}, map.over), you = map.dot("path", 8);
    you.style.pointerEvents = "none";
    map.ground.addEventListener("click", (event) => {
      const [x, y] = map.under_(event).map((v) => Math.min(SIDE - 1, Math.floor(v)));
      go((gray(x) << 9) | gray(y), []);
    });

    const { host } = stage.figure("Your weights: press one to flip it");
    host.classList.add("auto");
    const grids = element("div", { className: "matrices" });
    host.append(grids);
    const cells = [];
    for (const [title, matrix] of [["Layer 1", 0], ["Layer 2", 1]]) {
      const box = element("div", { className: "matrix", role: "group" }, element("b", { textContent: title }));
      box.setAttribute("aria-label", title);
      for (let r = 0; r < 3; r++) {
        const row = element("div", { className: "row" });
        for (let c = 0; c < 3; c++) {
          const bit = 17 - (9 * matrix + 3 * r + c);
          const button = element("button", { type: "button" });
          button.addEventListener("click", () => go(state.at ^ (1 << bit)));
          cells.push({ button, bit, what: `${title}, to unit ${r + 1} from ${matrix ? "unit" : "input"} ${c + 1}` });
          row.append(button);
        }
        box.append(row);
      }
      grids.append(box);
    }

    const flips = stage.plot("Loss after each single flip", { x: { range: [0, 19], label: "weight (layer 1: 1 to 9, layer 2: 10 to 18)", ticks: [1, 5, 9, 13, 18] },
      y: { range: [0, 1], label: "loss" } }, [["lower than now", "", "var(--plain)"], ["higher", "", "var(--line)"]]);
    const bars = cells.map(() => node("rect", {}, flips.lines)), level = flips.curve("cursor", flips.over);

    function enumerate() {
      state.scape = new theory.Landscape(play.data.binary[state.network][state.teacher]);
      state.survey = null;
      const { loss } = state.scape, canvas = document.createElement("canvas");
      canvas.width = canvas.height = SIDE;
      const context = canvas.getContext("2d"), image = context.createImageData(SIDE, SIDE);
      let most = 0;
      for (const v of loss) most = Math.max(most, v);
      state.most = most;
      // Every shade covers as many networks: the share of networks with a lower loss.
      const BINS = 2048, counts = new Float64Array(BINS + 1), bin = (v) => Math.min(BINS - 1, Math.floor(v / most * BINS));
      for (const v of loss) counts[bin(v) + 1]++;
      for (let k = 0; k < BINS; k++) counts[k + 1] += counts[k];
      const dark = [0, 34, 78], middle = [124, 123, 120], light = [254, 232, 150]; // cividis, near enough for three stops
      for (let s = 0; s < loss.length; s++) {
        const share = counts[bin(loss[s])] / loss.length, [x, y] = spot(s), [from, to] = share < 0.5 ? [dark, middle] : [middle, light];
        const k = (share < 0.5 ? share : share - 0.5) * 2, p = 4 * ((SIDE - 1 - y) * SIDE + x);
        for (let i = 0; i < 3; i++) image.data[p + i] = from[i] + k * (to[i] - from[i]);
        image.data[p + 3] = 255;
      }
      context.putImageData(image, 0, 0);
      picture.setAttribute("href", canvas.toDataURL());
      setTimeout(() => { if (!stage.gone) { state.survey = state.scape.survey(); layout(); } }, 30);
    }

    function go(at, path = [...state.way, state.at]) {
      [state.at, state.way] = [at, path];
      draw();
    }

    const middle = (s) => spot(s).map((v) => v + 0.5);

    function draw() {
      const { scape, at } = state, now = scape.loss[at], best = scape.steepest(at);
      map.set(way, [...state.way, at].map(middle));
      map.place(you, ...middle(at));
      const all = theory.signs(at, 1, 18)[0];
      cells.forEach(({ button, bit, what }, k) => {
        button.textContent = all[k] > 0 ? "+" : "−";
        button.setAttribute("aria-pressed", String(all[k] < 0));
        button.setAttribute("aria-label", `${what}: ${all[k] > 0 ? "plus" : "minus"} one; flip`);
        button.classList.toggle("next", bit === best);
        const after = scape.loss[at ^ (1 << bit)], [from, to] = [flips.py(0), flips.py(after)];
        for (const [key, value] of Object.entries({ x: flips.px(k + 0.65), width: flips.px(1.7) - flips.px(1), y: to, height: Math.max(0, from - to),
          class: `bar ${after < now - scape.tolerance ? "down" : "up"}` })) bars[k].setAttribute(key, value);
      });
      flips.set(level, [[0, now], [19, now]]);
      const place_ = scape.isOptimal(at) ? "A solution." : best < 0 ? "No single flip lowers the loss: a local minimum or a plateau." : "The outlined weight is the steepest flip.";
      const whole = state.survey ? ` ${state.survey.optima.length} solution${state.survey.optima.length > 1 ? "s" : ""}, ${state.survey.strictMinima} strict minima; descent solves it from ${(100 * state.survey.greedy).toFixed(0)} % of all starts.` : " Surveying all starts…";
      stage.readout.textContent = `Loss ${short(now)}. ${place_}${whole}`;
    }

    let walking = 0;
    function descend() {
      clearTimeout(walking);
      const bit = state.scape.steepest(state.at);
      if (bit < 0 || stage.gone) return;
      go(state.at ^ (1 << bit));
      walking = setTimeout(descend, 450);
    }
    const step = () => { clearTimeout(walking); const bit = state.scape.steepest(state.at); if (bit >= 0) go(state.at ^ (1 << bit)); };
    // Starts that differ, always the same ones.
    let tries = 0;
    const fresh = () => { clearTimeout(walking); tries++; go((tries * 104729 + 40503) % state.scape.loss.length, []); };
    const swap = () => { const { problem } = state.scape; go(theory.exchange(problem, state.at, 0, 1)); };

    const button = (words, act, strong) => {
      const made = element("button", { type: "button", textContent: words, className: strong ? "strong" : "" });
      made.addEventListener("click", act);
      return made;
    };
    stage.time.append(button("Descend", descend, true), button("One flip", step), button("Another start", fresh), button("Exchange units 1 and 2", swap));
    stage.time.classList.add("wrap");
    stage.toggle = descend;
    const NAMES = { plain: "plain", "all-ones": "all ones", residual: "identity", "random-skip": "random", biased: "none, but biases" };
    stage.choice("Skip", Object.keys(play.data.binary).map((n) => [n, NAMES[n]]), "plain", (n) => { state.network = n; change(); });
    stage.choice("Teacher (random)", play.data.binary.plain.map((_, i) => [i, String(i + 1)]), 0, (i) => { state.teacher = i; change(); });

    function change() { clearTimeout(walking); enumerate(); state.way = []; layout(); }

    function layout() {
      picture.setAttribute("x", map.left); picture.setAttribute("y", map.top);
      picture.setAttribute("width", Math.max(1, map.right - map.left)); picture.setAttribute("height", Math.max(1, map.bottom - map.top));
      flips.y.range = [0, Math.max(...cells.map(({ bit }) => state.scape.loss[state.at ^ (1 << bit)]), state.scape.mean) * 1.15];
      flips.y.range[1] = Math.max(flips.y.range[1], state.most * 0.55);
      flips.drawAxes();
      golden.replaceChildren();
      for (const s of state.survey?.optima || []) {
        const [x, y] = middle(s);
        node("circle", { class: "dot gold", r: 6, cx: map.px(x), cy: map.py(y) }, golden);
      }
      draw();
    }
    enumerate();
    fresh();
    return { state, layout, go };
  },
});
