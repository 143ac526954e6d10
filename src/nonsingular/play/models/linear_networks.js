"use strict";
play.models.push({
  id: "linear-networks",
  short: "Linear networks",
  title: "Deep linear networks",
  question: "One mode through L layers. A plain network starts near its saddle; a skip moves the saddle away from the start.",
  source: "Orhan & Pitkow 2018, Supplementary Note 5, equations 29-34 and figure S5; after Saxe et al. 2013",
  look: [
    "<em>The saddle</em> (cross): where all factors are zero. Plain: at the origin, where small weights start. Residual: at −1. Hyper-residual: at −1, −2, …",
    "<em>Add layers.</em> The plain network's plateau lasts ever longer; the residual one hardly notices.",
    "<em>Start at exactly 0:</em> the plain network never moves, its gradient is zero.",
    "<em>Is the hyper-residual network the fastest?</em> In time, yes. Set L to 10 and count steps of the largest stable size instead: its curvature makes them tiny.",
  ],
  build(stage) {
    const { linearNetworks: theory } = play.theory;
    const { numbers } = play;
    const { short } = play.plot;
    const state = { a: 0.08, b: 0.12, s: 3, layers: 4, network: "plain", clockIs: "time", paths: {}, first: 1e-3, last: 1e3 };
    const LAST = 1e12;
    const range = () => [state.first, state.last];
    const timeOf = (share) => (share <= 0 ? 0 : state.first * (state.last / state.first) ** share);

    const plane = stage.plot("Strengths of the layers", {
      x: { range: [-3, 3], label: "first layer, a₁" }, y: { range: [-3, 3], label: "the other layers, a₂ = a₃ = …" },
    }, [["plain", "", "var(--plain)"], ["residual", "", "var(--residual)"], ["hyper-residual", "", "var(--hyper-residual)"], ["slow to fast", "speed"]], stage.big);
    const solutions = plane.curve("trace wide quiet");
    const cross = plane.curve("trace");
    const ways = {}, dots = {}, curves = {}, ats = {};
    for (const n of theory.NETWORKS) { ways[n] = plane.curve(`trace ${n}`); dots[n] = plane.dot(n, 6); }
    const handle = plane.handle({ label: "Start: strength of the first and of the other layers", step: 0.05,
      words: (a, b) => `first layer ${a.toFixed(2)}, others ${b.toFixed(2)}`,
      move: (a, b) => { clock.pause(); aim(a, b); clock.show(1); }, done: () => clock.restart() });

    const losses = stage.plot("Loss", { x: { range: [1e-3, 1e3], log: true, label: "time" }, y: { range: [1e-4, 1e4], log: true, label: "loss / that of output 0" } });
    for (const n of theory.NETWORKS) { curves[n] = losses.curve(`trace ${n}`); ats[n] = losses.dot(n, 5); }

    const bars = stage.plot("Factors aₗ + cₗ now, layer by layer", { x: { range: [0.5, 3.5], label: "weight matrix" }, y: { range: [-1, 3], label: "aₗ + cₗ" } });
    const { node } = play.plot;

    const start = () => [state.a, ...Array(state.layers - 2).fill(state.b)];

    function aim(a, b) {
      [state.a, state.b] = [a, b];
      handle.put(a, b);
      state.todo = theory.NETWORKS.map((n) => {
        const c = theory.skipStrengths(n, state.layers);
        // Solved is solved: along the flat directions there is nothing to follow but rounding.
        const stop = (y) => theory.energy(y, state.s, c) < 1e-12 * state.s ** 2;
        const way = { c, path: theory.path(start(), state.s, c, { tolerance: 1e-6, stop }), curvature: 0, seen: 0, losses: [] };
        state.paths[n] = way;
        return n;
      });
      // The earliest thing that happens: a hundredth of the fastest time.
      const fastest = Math.max(...theory.NETWORKS.map((n) => top(state.paths[n].path.y[0], state.paths[n].c)), 1);
      state.first = 10 ** Math.floor(Math.log10(0.01 / fastest));
      grow();
      stage.whenIdle(grow);
    }

    const top = (y, c) => numbers.eigenvalues(theory.hessian(y, state.s, c)).at(-1);

    function grow() {
      let more = false;
      const steps = Math.ceil(60 / state.layers);
      for (const n of theory.NETWORKS) {
        const way = state.paths[n];
        if (!way.path.advance(LAST, steps)) more = true;
        for (; way.seen < way.path.t.length; way.seen++) {
          const y = way.path.y[way.seen];
          if (way.seen % 4 === 0) way.curvature = Math.max(way.curvature, top(y, way.c));
          way.losses.push([way.path.t[way.seen], 2 * theory.energy(y, state.s, way.c) / state.s ** 2]);
        }
        plane.set(ways[n], way.path.smooth(3));
      }
      // To ten times the moment when the last network that learns at all has learnt.
      const learnt = theory.NETWORKS.map((n) => state.paths[n].losses.find(([, loss]) => loss < 1e-3)?.[0] ?? 0);
      const decade = (v) => 10 ** Math.ceil(Math.log10(3 * v));
      state.last = decade(Math.max(...learnt, 1));
      const steps_ = state.clockIs === "steps";
      losses.x.range = steps_ ? [0.1, decade(Math.max(...theory.NETWORKS.map((n, k) => learnt[k] * unit(n)), 30))] : range();
      losses.x.label = steps_ ? "steps of the largest stable size" : "time";
      if (!more) losses.drawAxes();
      for (const n of theory.NETWORKS) losses.set(curves[n], state.paths[n].losses.filter(([t]) => t > 0).map(([t, loss]) => [t * unit(n), loss]));
      clock.refresh();
      return more;
    }

    // Steps of size 2 / (largest curvature on the way) in a unit of time.
    const unit = (n) => (state.clockIs === "steps" ? Math.max(state.paths[n].curvature, 1e-9) / 2 : 1);

    function tick(share) {
      if (!state.todo) return;
      const t = timeOf(share);
      for (const n of theory.NETWORKS) {
        const { path, c } = state.paths[n], y = path.at(Math.min(t, path.time));
        plane.place(dots[n], y[0], y[1]);
        losses.place(ats[n], Math.max(losses.x.range[0], t * unit(n)), 2 * theory.energy(y, state.s, c) / state.s ** 2);
      }
      bars.inside.querySelectorAll("rect.bar").forEach((r) => r.remove());
      theory.NETWORKS.forEach((n, k) => {
        const { path, c } = state.paths[n], y = path.at(Math.min(t, path.time));
        y.forEach((v, l) => {
          const [from, to] = [bars.py(0), bars.py(Math.max(-9, Math.min(12, v + c[l])))], width = Math.max(2, (bars.px(1.24) - bars.px(1)));
          node("rect", { class: `bar ${n}`, x: bars.px(l + 1 - 0.38 + 0.26 * k), y: Math.min(from, to), width, height: Math.max(1, Math.abs(to - from)) }, bars.lines);
        });
      });
      const now = state.paths[state.network];
      const u = theory.product(now.path.at(Math.min(t, now.path.time)), now.c);
      const aside = state.network === "hyper-residual" && state.layers > 3 ? " Its layers part: the plane shows a₁ and a₂ of the path." : "";
      stage.readout.textContent = `${state.network}: the product u is ${short(u)}, to become ${short(state.s)}.${aside}`;
    }

    const clock = stage.clock(8, tick, (share) => `time ${short(timeOf(share))}`);
    stage.slider("Layers L", { min: 3, max: 10, step: 1, value: state.layers, show: String, change: (v) => { state.layers = v; layout(); } });
    stage.slider("Teacher’s strength s", { min: 0.5, max: 5, step: 0.1, value: state.s, show: (v) => v.toFixed(1), change: (v) => { state.s = v; layout(); } });
    stage.choice("Field of", theory.NETWORKS.map((n) => [n, n]), state.network, (n) => { state.network = n; layout(); });
    stage.choice("Clock", [["time", "time"], ["steps", "stable steps"]], "time", (v) => { state.clockIs = v; layout(); });
    stage.buttons("Start", [["Small", () => preset(0.08, 0.12)], ["Exactly 0", () => preset(0, 0)], ["Wrong sign", () => preset(-0.6, 0.5)], ["Large", () => preset(1.6, -2.2)]]);
    const preset = (a, b) => { aim(a, b); clock.restart(); };

    function layout() {
      const c = theory.skipStrengths(state.network, state.layers);
      plane.flow((a, b) => {
        const g = theory.gradient([a, ...Array(state.layers - 2).fill(b)], state.s, c);
        return [-g[0], -g[1]];
      });
      // u = s: a = s / prod_(l > 1) (b + c_l) - c_1.
      const bs = Array.from({ length: 600 }, (_, i) => -3 + i / 99.83);
      let last = 0;
      plane.set(solutions, bs.map((b) => {
        const rest = c.slice(1).reduce((p, k) => p * (b + k), 1), a = state.s / rest - c[0];
        const broken = rest * last < 0;
        last = rest;
        return broken || Math.abs(a) > 6 ? [NaN, b] : [a, b];
      }));
      const [x, y] = [-c[0], -c[1]], r = 0.09;
      plane.set(cross, [[x - r, y - r], [x + r, y + r], [NaN, 0], [x - r, y + r], [x + r, y - r]]);
      plane.label([
        { at: [x, y], words: plane.width > 420 ? [`saddle of the ${state.network} network`, "saddle"] : "saddle", classes: "halo strong", dx: 12, dy: 16 },
        { at: [-2.95, -2.9], words: "thick: solved, u = s" },
      ]);
      bars.x.range = [0.5, state.layers - 0.5];
      bars.x.ticks = Array.from({ length: state.layers - 1 }, (_, i) => i + 1);
      bars.y.range = [-1, Math.max(3, state.layers)];
      bars.drawAxes();
      aim(state.a, state.b);
      losses.drawAxes();
      clock.refresh();
    }
    return { state, layout, begin: () => clock.restart() };
  },
});
