"use strict";
play.models.push({
  id: "two-units",
  short: "Two units",
  title: "Two hidden units",
  question: "Drag the start. Where two units coincide, or one has no outgoing weight, learning all but stops.",
  source: "Orhan & Pitkow 2018, §2.2 and figure 2a-c, after Wei et al. 2008; erf units, one Gaussian input, the exact loss",
  look: [
    "<em>Overlap.</em> On the line <i>h</i> = 0 both units are the same. Its thick part attracts: from the shaded basin the network ends there for good.",
    "<em>Elimination.</em> On <i>z</i> = ±1 one unit's outgoing weight is zero. Both kinds of line cost nothing to walk along: the loss is flat on them.",
    "<em>Just outside the basin</em> the trajectory still sticks: the loss stays flat for decades of time, then falls.",
    "The dashed curve is the reduced flow of two numbers, the solid one the whole network of four. They agree while <i>h</i> is small.",
    "<i>w</i> is the outgoing weight of the best single unit, <i>a</i> how strongly its error bends with the incoming weights: they are the units of <i>h</i> and of time.",
  ],
  build(stage) {
    const { twoUnits: theory, studentTeacher } = play.theory;
    const { short } = play.plot;
    const state = { z: 0.4, eta: 1.06 * theory.separatrix(0.4), separation: 0.6, scale: 0.5, full: null, reduced: null };
    const [FIRST, LAST] = [0.05, 300];
    const tauOf = (share) => (share <= 0 ? 0 : FIRST * (LAST / FIRST) ** share);

    const plane = stage.plot("The plane of both singularities", {
      x: { range: [-2, 2], label: "z,  how unequal the outgoing weights are" }, y: { range: [-1.5, 1.5], label: "h / w,  how far apart the units are" },
    }, [["whole network", "", "var(--path)"], ["reduced", "dashed", "var(--ink)"], ["slow to fast", "speed"]], stage.big);
    const basin = plane.curve("basin", plane.under);
    const elimination = plane.curve("trace thin elimination"), unstable = plane.curve("trace thin dashed"), stable = plane.curve("trace wide");
    const full = plane.curve("trace path"), reduced = plane.curve("trace thin dashed"), now = plane.dot("path", 6.5);
    const handle = plane.handle({ label: "Start: z and h / w", step: 0.02, words: (z, e) => `z ${z.toFixed(2)}, h over w ${e.toFixed(2)}`,
      move: (z, e) => { clock.pause(); aim(z, e); clock.show(1); }, done: () => clock.restart() });

    const losses = stage.plot("Loss", { x: { range: [FIRST, LAST], log: true, label: "time,  in units of 1 / (w a)" },
      y: { range: [1e-3, 3], log: true, label: "loss / best single unit’s" } });
    const one = losses.curve("cursor"), curve = losses.curve("trace path"), at = losses.dot("path");

    const units = stage.plot("The network now", { x: { range: [-3, 3], label: "input x" }, y: { range: [-2.6, 2.6], label: "output / w" } },
      [["unit 1", "", "var(--residual)"], ["unit 2", "", "var(--plain)"], ["sum", "", "var(--ink)"], ["teacher", "dashed", "var(--quiet)"]]);
    const drawn = ["trace residual", "trace plain", "trace", "trace thin dashed quiet"].map((c) => units.curve(c));

    function teach() {
      state.teacher = theory.closeTeacher(state.scale, 2, state.separation);
      state.single = theory.bestSingleUnit(state.teacher);
      state.rate = state.single.w * state.single.a;
    }

    // A new start; what of its path does not fit in this frame is computed in the next ones.
    function aim(z, eta) {
      [state.z, state.eta] = [z, eta];
      handle.put(z, eta);
      state.reduced = theory.reducedPath(z, eta, { tolerance: 1e-4 });
      state.reduced.advance(LAST, 60);
      plane.set(reduced, state.reduced.smooth());
      state.full = theory.fullPath(theory.startNear(state.single, z, eta), state.teacher, { tolerance: 2e-6 });
      state.seen = [];
      grow();
      stage.whenIdle(grow);
    }

    function grow() {
      const done = state.full.advance(LAST / state.rate, 40);
      for (let k = state.seen.length; k < state.full.t.length; k++) {
        const network = state.full.network(state.full.y[k]), c = theory.toCoordinates(network);
        state.seen.push([state.full.t[k] * state.rate, c.z, c.u / state.single.w, studentTeacher.loss(network, state.teacher) / state.single.loss]);
      }
      plane.set(full, state.seen.map(([, z, e]) => [z, e]));
      losses.set(curve, state.seen.filter(([t]) => t > 0).map(([t, , , loss]) => [t, loss]));
      clock.refresh();
      return !done;
    }

    function tick(share) {
      if (!state.full) return;
      const tau = tauOf(share), t = Math.min(tau / state.rate, state.full.time);
      const network = state.full.network(state.full.at(t)), c = theory.toCoordinates(network);
      const loss = studentTeacher.loss(network, state.teacher) / state.single.loss;
      plane.place(now, c.z, c.u / state.single.w);
      losses.place(at, Math.max(FIRST, t * state.rate), loss);
      const w = state.single.w, xs = Array.from({ length: 61 }, (_, i) => -3 + i / 10);
      const output = ({ J, W: [v] }, x, k) => v[k] * studentTeacher.phi(J[k][0] * x) / w;
      units.set(drawn[0], xs.map((x) => [x, output(network, x, 0)]));
      units.set(drawn[1], xs.map((x) => [x, output(network, x, 1)]));
      units.set(drawn[2], xs.map((x) => [x, output(network, x, 0) + output(network, x, 1)]));
      units.set(drawn[3], xs.map((x) => [x, output(state.teacher, x, 0) + output(state.teacher, x, 1)]));
      const where = theory.inBasin(state.z, state.eta) ? "The start lies in the basin: the network ends as a single unit."
        : "The start lies outside the basin: the network escapes in the end.";
      stage.readout.textContent = `${where} Loss now ${short(loss)} of the best single unit’s.`;
    }

    const clock = stage.clock(7, tick, (share) => `time ${short(tauOf(share))} / (w a)`);
    const preset = (z, times) => { aim(z, times * theory.separatrix(z)); clock.restart(); };
    stage.buttons("Start", [["Inside the basin", () => preset(0.4, 0.85)], ["Just outside", () => preset(0.4, 1.02)], ["Well outside", () => preset(0.4, 1.5)],
      ["Near elimination", () => { aim(1.04, 0.12); clock.restart(); }]]);
    stage.slider("Distance of the teacher’s units", { min: 0.2, max: 1, step: 0.02, value: state.separation, show: (v) => v.toFixed(2),
      change: (v) => { state.separation = v; teach(); aim(state.z, state.eta); } });
    teach();

    return {
      state,
      layout() {
        plane.flow(theory.velocity);
        const zs = Array.from({ length: 200 }, (_, i) => -1 + (i + 0.5) / 100), edge = (z) => Math.min(9, theory.separatrix(z));
        plane.set(basin, [...zs.map((z) => [z, edge(z)]), ...zs.toReversed().map((z) => [z, -edge(z)])]);
        plane.set(elimination, [[-1, -9], [-1, 9], [NaN, 0], [1, -9], [1, 9]]);
        plane.set(unstable, [[-9, 0], [-1, 0], [NaN, 0], [1, 0], [9, 0]]);
        plane.set(stable, [[-1, 0], [1, 0]]);
        plane.label([
          { at: [0, 0], words: "overlap, attracting", anchor: "middle", dy: 20 },
          ...[-1, 1].map((side) => ({ at: [side, -1.45], words: `elimination: z = ${side < 0 ? "−1" : "1"}`, dx: side < 0 ? -7 : 15, turn: -90 })),
          { at: [1.95, 0], words: ["overlap, repelling", "repelling"], anchor: "end", dy: 20 },
        ]);
        losses.set(one, [[FIRST, 1], [LAST, 1]]);
        aim(state.z, state.eta);
        clock.refresh();
      },
      begin: () => clock.restart(),
    };
  },
});
