"use strict";
play.models.push({
  id: "linear-dependence",
  short: "Linear dependence",
  title: "Linear dependence",
  question: "Three units: m = |Ja + Jb − Jc| = 0 makes their incoming weights linearly dependent. Drag the start.",
  source: "Orhan & Pitkow 2018, §2.2, figure 2d-e and Note 2; 3-3-3 network, erf units, Gaussian inputs, the exact loss",
  look: [
    "<em>The gap.</em> The arrows Ja and Jb, head to tail, miss the head of Jc by <i>m</i>. Where the gap closes one unit's input is the sum of the others'.",
    "<em>The field</em> is the paper's: the slopes of the loss by <i>m</i> and |Jc|, all else kept at the teacher's values (the paper optimises it). The slower, the stronger.",
    "<em>Two learners from one start.</em> Dashed: <i>m</i> and |Jc| alone follow those slopes. Solid: all 18 weights follow their own gradient.",
    "<em>Coordinates matter.</em> A unit of <i>m</i> moves the weights by √½, one of |Jc| by √2. In the weights' own flow <i>m</i> is often the faster one: compare teachers.",
  ],
  build(stage) {
    const { linearDependence: theory, studentTeacher } = play.theory;
    const { short, node } = play.plot;
    const state = { m: 0.25, c: 1.6, seed: 0 };
    const [FIRST, LAST] = [0.01, 200];
    const timeOf = (share) => (share <= 0 ? 0 : FIRST * (LAST / FIRST) ** share);

    const plane = stage.plot("The plane of m and |Jc|, relative to the teacher’s", {
      x: { range: [0.02, 2], label: "m = |Ja + Jb − Jc|  (teacher’s = 1)" }, y: { range: [0.02, 2], label: "|Jc|  (teacher’s = 1)" },
    }, [["all weights", "", "var(--path)"], ["m and |Jc| alone", "dashed", "var(--ink)"], ["slow to fast", "speed"]], stage.big);
    const dependent = plane.curve("trace wide elimination"), own = plane.curve("trace path"), held = plane.curve("trace thin dashed");
    const goal = plane.dot("", 5), now = plane.dot("path", 6.5), alone = plane.dot("", 5);
    const handle = plane.handle({ label: "Start: m and length of Jc", step: 0.02, words: (m, c) => `m ${m.toFixed(2)}, length of Jc ${c.toFixed(2)}`,
      move: (m, c) => { clock.pause(); aim(m, c); clock.show(1); }, done: () => clock.restart() });

    const losses = stage.plot("Loss", { x: { range: [FIRST, LAST], log: true, label: "time" }, y: { range: [1e-5, 10], log: true, label: "loss / that of output 0" } });
    const curves = [losses.curve("trace path"), losses.curve("trace thin dashed")], at = losses.dot("path");

    const { host } = stage.figure("Incoming weights now", [["Ja", "", "var(--residual)"], ["Jb", "", "var(--plain)"], ["Jc", "", "var(--path)"],
      ["gap m", "", "var(--elimination)"]]);
    const space = node("svg", { role: "img", "aria-label": "The three vectors of incoming weights, seen along a slant" }, host);
    const arrows = ["residual", "plain", "path", "elimination"].map((c) => node("path", { class: `trace ${c}` }, space));

    const names = ["Ja", "Jb", "Jc", "m"].map((words) => {
      const text = node("text", { class: "halo strong" }, space);
      text.textContent = words;
      return text;
    });

    // A vector of three inputs as it is drawn, and what the drawing must hold: start and end of the path.
    const seen = ([x, y, z]) => [0.88 * x - 0.47 * y, 0.24 * x + 0.3 * y + 0.92 * z];
    function framed(networks) {
      const points = networks.flatMap(({ J: [Ja, Jb, Jc] }) => [[0, 0, 0], Ja, Ja.map((x, i) => x + Jb[i]), Jc]).map(seen);
      const ends = (k) => [Math.min(...points.map((p) => p[k])), Math.max(...points.map((p) => p[k]))];
      return { x: ends(0), y: ends(1) };
    }

    function teach(seed) {
      state.seed = seed;
      state.teacher = play.data.dependence[seed];
      state.unit = theory.lengths(state.teacher);
      state.zero = studentTeacher.loss({ J: [[1, 0, 0]], W: [[0], [0], [0]] }, state.teacher);
    }

    function aim(m, c) {
      [state.m, state.c] = [m, c];
      handle.put(m, c);
      const { unit, teacher } = state;
      state.held = theory.heldPath(m * unit.m, c * unit.c, teacher, { tolerance: 1e-5 });
      state.own = theory.weightPath(theory.networkAt(m * unit.m, c * unit.c, teacher), teacher, { tolerance: 1e-5 });
      state.seen = [];
      state.seenHeld = [];
      grow();
      stage.whenIdle(grow);
    }

    function grow() {
      const { unit, teacher, zero } = state;
      const done = [state.own.advance(LAST, 6), state.held.advance(LAST, 4)].every(Boolean);
      for (let k = state.seen.length; k < state.own.t.length; k++) {
        const network = state.own.network(state.own.y[k]), { m, c } = theory.lengths(network);
        state.seen.push([m / unit.m, c / unit.c, state.own.t[k], studentTeacher.loss(network, teacher) / zero]);
      }
      for (let k = state.seenHeld.length; k < state.held.t.length; k++) {
        const [m, c] = state.held.y[k];
        state.seenHeld.push([m / unit.m, c / unit.c, state.held.t[k], theory.held(m, c, teacher).loss / zero]);
      }
      [[own, curves[0], state.seen], [held, curves[1], state.seenHeld]].forEach(([way, curve, points]) => {
        plane.set(way, points);
        losses.set(curve, points.filter(([, , t]) => t > 0).map(([, , t, loss]) => [t, loss]));
      });
      state.frame = framed([state.own.y[0], state.own.y.at(-1)].map(state.own.network));
      clock.refresh();
      return !done;
    }

    function tick(share) {
      if (!state.own) return;
      const t = Math.min(timeOf(share), state.own.time), { unit, teacher, zero } = state;
      const network = state.own.network(state.own.at(t)), { m, c } = theory.lengths(network);
      const loss = studentTeacher.loss(network, teacher) / zero;
      plane.place(now, m / unit.m, c / unit.c);
      const [hm, hc] = state.held.at(t);
      plane.place(alone, hm / unit.m, hc / unit.c);
      losses.place(at, Math.max(FIRST, t), loss);
      const { x: [left, right], y: [low, high] } = state.frame, [w, h] = [host.clientWidth, host.clientHeight];
      const scale = Math.min((w - 60) / (right - left), (h - 40) / (high - low));
      const flat = (v) => { const [x, y] = seen(v); return [w / 2 + scale * (x - (left + right) / 2), h / 2 - scale * (y - (low + high) / 2)]; };
      const [Ja, Jb, Jc] = network.J, sum = Ja.map((x, i) => x + Jb[i]);
      const arrow = (from, to) => {
        const [[x0, y0], [x1, y1]] = [flat(from), flat(to)], angle = Math.atan2(y1 - y0, x1 - x0);
        const barb = (turn) => `M${x1.toFixed(1)} ${y1.toFixed(1)}L${(x1 + 9 * Math.cos(angle + turn)).toFixed(1)} ${(y1 + 9 * Math.sin(angle + turn)).toFixed(1)}`;
        return `M${x0.toFixed(1)} ${y0.toFixed(1)}L${x1.toFixed(1)} ${y1.toFixed(1)}${Math.hypot(x1 - x0, y1 - y0) > 4 ? barb(2.7) + barb(-2.7) : ""}`;
      };
      [[[0, 0, 0], Ja], [Ja, sum], [[0, 0, 0], Jc], [Jc, sum]].forEach(([a, b], i) => {
        arrows[i].setAttribute("d", arrow(a, b));
        const [[x0, y0], [x1, y1]] = [flat(a), flat(b)];
        names[i].setAttribute("x", (x0 + x1) / 2 + 7);
        names[i].setAttribute("y", (y0 + y1) / 2 - 5);
      });
      stage.readout.textContent = `Now m is ${short(m / unit.m)} and |Jc| ${short(c / unit.c)} of the teacher’s; loss ${short(loss)} of that of output 0.`;
    }

    const clock = stage.clock(7, tick, (share) => `time ${short(timeOf(share))}`);
    stage.choice("Teacher (random)", play.data.dependence.map((_, i) => [i, String(i + 1)]), 0, (seed) => { teach(seed); layout(); clock.restart(); });
    const preset = (m, c) => { aim(m, c); clock.restart(); };
    stage.buttons("Start", [["Nearly dependent", () => preset(0.06, 1.2)], ["Jc too long", () => preset(1, 1.8)], ["Both off", () => preset(0.25, 1.6)]]);
    teach(0);

    function layout() {
      const { unit, teacher } = state;
      plane.flow((m, c) => { const at = theory.held(m * unit.m, c * unit.c, teacher); return [-at.dm / unit.m, -at.dc / unit.c]; });
      plane.set(dependent, [[0.02, 0], [0.02, 9]]);
      plane.label([{ at: [1, 1], words: "teacher", dx: 9, dy: -8 }, { at: [0.02, 1.93], words: "linear dependence: m = 0", dx: 8 }]);
      plane.place(goal, 1, 1);
      space.setAttribute("viewBox", `0 0 ${host.clientWidth} ${host.clientHeight}`);
      aim(state.m, state.c);
      clock.refresh();
    }
    return { state, layout, begin: () => clock.restart() };
  },
});
