"use strict";
play.models.push({
  id: "skip",
  short: "A skip",
  title: "A skip, switched on and off",
  question: "The network learns while you watch. Let it sit on the plateau, then switch the skip on.",
  source: "Orhan & Pitkow 2018, §2 and Supplementary Note 5, equations 29-34; here with a skip of any strength c and a teacher s + c²: "
    + "what the skip puts out by itself is no error",
  look: [
    "<em>Small weights start beside the saddle</em> (cross). Every slope is nearly zero there: without the skip the loss stays where it is for a minute.",
    "<em>The skip slides the landscape,</em> by c along both axes. The weights have not moved, nor has the loss, but the saddle has: now they stand on a slope.",
    "<em>Switch it off again</em> after learning: the loss jumps. The weights solve the network with the skip: the skip is part of the function.",
    "<em>Drag the point</em> onto the saddle with the skip on: −1, −1 is as bad a start for the residual network as 0, 0 for the plain one.",
  ],
  build(stage) {
    const { linearNetworks: theory } = play.theory;
    const { numbers } = play;
    const { short, node } = play.plot;
    // Off the saddle weights grow by exp(s t): a minute of talk is a factor of 10^6.5, and they go unseen to 10^-3.
    const START = [6e-10, 4e-10], S = 1, WINDOW = 6, RATE = 0.25; // units of time shown, and run through in a second
    const state = { y: START.slice(), c: 0, target: 0, s: S, time: 0, loss: [], on: [], jump: "" };
    let running = false, last = 0;

    const plane = stage.plot("Loss of a network of three layers", { x: { range: [-2.6, 2.6], label: "first layer, a₁" }, y: { range: [-2.6, 2.6], label: "second layer, a₂" } },
      [["solved", "", "var(--residual)"], ["low to high loss", "speed"]], stage.big);
    const LEVELS = [0.02, 0.1, 0.3, 0.6, 1, 1.6, 2.6, 4];
    const levels = LEVELS.map((_, k) => {
      const made = plane.curve("trace thin");
      made.style.stroke = `var(--flow-${Math.min(5, k)})`;
      return made;
    });
    const solved = plane.curve("trace wide residual"), cross = plane.curve("trace"), trail = plane.curve("trace path");
    const handle = plane.handle({ label: "The network: strengths of its two layers", step: 0.05, words: (a, b) => `first layer ${a.toFixed(2)}, second ${b.toFixed(2)}`,
      move: (a, b) => { held = true; put([a, b]); }, done: () => { held = false; trace = [state.y.slice()]; } });
    let held = false, trace = [START.slice()], named = "";

    const losses = stage.plot("Loss, as it happens", { x: { range: [0, WINDOW], label: "time" }, y: { range: [0, 1.5], label: "loss / that of weights 0" } },
      [["skip on", "", "var(--residual)"]]);
    const shade = node("path", { class: "on" }, losses.under), curve = losses.curve("trace path"), at = losses.dot("path");

    const bars = stage.plot("Curvature where it stands", { x: { range: [0.4, 2.6], label: "eigenvalue of the Hessian", ticks: [1, 2] }, y: { range: [-4, 8], label: "curvature" } });
    const two = [0, 1].map(() => node("rect", { class: "bar" }, bars.lines));

    const strengths = (c = state.c) => [c, c];
    const goal = (c = state.c) => state.s + c ** 2; // at weights of 0 the error is s, whatever the skip
    const lossNow = (c = state.c) => 2 * theory.energy(state.y, goal(c), strengths(c)) / state.s ** 2;

    // Gradient flow for a time; the skip's strength is fixed during it.
    function learn(duration) {
      const path = theory.path(state.y, goal(), strengths(), { tolerance: 1e-6 });
      path.advance(duration, 60);
      state.y = path.y.at(-1);
      state.time += path.time;
    }

    function put(y) { state.y = y; draw(); }

    function draw() {
      const c = state.c, [a, b] = state.y;
      // The loss depends on the product only: level lines are hyperbolas around the saddle (-c, -c).
      LEVELS.forEach((level, k) => plane.set(levels[k], [-1, 1].flatMap((side) => hyperbola(goal() + side * state.s * Math.sqrt(level), c))));
      plane.set(solved, hyperbola(goal(), c));
      const r = 0.08;
      plane.set(cross, [[-c - r, -c - r], [-c + r, -c + r], [NaN, 0], [-c - r, -c + r], [-c + r, -c - r]]);
      const place = `${c} ${plane.width} ${plane.height}`;
      if (place !== named) plane.label([{ at: [-c, -c], words: "saddle", classes: "halo strong", dx: 12, dy: 16 }]);
      named = place;
      plane.set(trail, trace);
      handle.put(a, b);
      const values = numbers.eigenvalues(theory.hessian(state.y, goal(), strengths()));
      values.forEach((v, k) => {
        const [from, to] = [bars.py(0), bars.py(Math.max(-4, Math.min(8, v)))];
        for (const [key, value] of Object.entries({ x: bars.px(k + 0.75), width: bars.px(1.5) - bars.px(1), y: Math.min(from, to), height: Math.max(1, Math.abs(to - from)),
          class: `bar ${v < -1e-9 ? "negative" : "positive"}` })) two[k].setAttribute(key, value);
      });
      losses.set(curve, state.loss);
      losses.place(at, state.time, lossNow());
      shade.setAttribute("d", state.on.map(([from, to]) => {
        const [x0, x1] = [losses.px(from), losses.px(to ?? state.time)];
        return `M${x0.toFixed(1)} ${losses.top}H${x1.toFixed(1)}V${losses.bottom}H${x0.toFixed(1)}Z`;
      }).join(""));
      const words = values[0] < -1e-3 ? "One curvature is negative: a saddle’s neighbourhood." : "No curvature is negative.";
      stage.readout.textContent = `Skip strength ${c.toFixed(2)}, loss ${short(lossNow())} of that of weights 0. ${words}${state.jump}`;
    }

    function hyperbola(p, c) {
      const points = [];
      for (const side of [-1, 1]) {
        for (let k = -30; k <= 30; k++) {
          const x = side * Math.exp(k / 12) * Math.sqrt(Math.max(Math.abs(p), 1e-4));
          points.push([x - c, p / x - c]);
        }
        points.push([NaN, 0]);
      }
      return points;
    }

    function step(seconds) {
      // The switch glides: the eye can follow the saddle.
      const glide = Math.sign(state.target - state.c) * Math.min(Math.abs(state.target - state.c), 2.5 * seconds);
      state.c += glide;
      if (!held) {
        learn(RATE * seconds);
        trace.push(state.y.slice());
        if (trace.length > 600) trace.splice(0, 200);
      }
      else state.time += RATE * seconds;
      state.loss.push([state.time, lossNow()]);
      const window_ = losses.x.range;
      if (state.time > window_[1]) {
        losses.x.range = [window_[0] + WINDOW / 2, window_[1] + WINDOW / 2];
        state.loss = state.loss.filter(([t]) => t >= losses.x.range[0]);
        losses.drawAxes();
      }
      draw();
    }

    function frame(now) {
      if (!running || stage.gone) return;
      step(Math.min(0.05, (now - last) / 1000));
      last = now;
      requestAnimationFrame(frame);
    }
    function go() { if (running) return; running = true; play_.textContent = "Pause"; last = performance.now(); requestAnimationFrame(frame); }
    function pause() { running = false; play_.textContent = "Play"; }

    function turn(c) {
      if ((c > 0) !== (state.target > 0)) {
        if (c > 0) state.on.push([state.time, null]);
        else if (state.on.length) state.on.at(-1)[1] = state.time;
      }
      const [before, after] = [lossNow(), lossNow(c)];
      state.jump = c === state.target ? state.jump : Math.abs(after - before) < 0.01 ? " The switch left the loss as it was: what changed is its slope."
        : ` The switch took the loss from ${short(before)} to ${short(after)}: the same weights now compute another function.`;
      state.target = c;
      strength.set(c);
      button.setAttribute("aria-pressed", String(c > 0));
      button.textContent = c > 0 ? "Skip is on" : "Skip is off";
      if (play.controls.still.matches) { state.c = c; draw(); }
    }

    function restart() {
      Object.assign(state, { y: START.slice(), time: 0, loss: [], jump: "", on: state.target > 0 ? [[0, null]] : [] });
      trace = [START.slice()];
      losses.x.range = [0, WINDOW];
      losses.drawAxes();
      draw();
    }

    const button = play.controls.element("button", { type: "button", className: "switch", textContent: "Skip is off" });
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => turn(state.target > 0 ? 0 : 1));
    const play_ = play.controls.element("button", { type: "button", className: "strong", textContent: "Play" });
    play_.addEventListener("click", () => (running ? pause() : go()));
    const again = play.controls.element("button", { type: "button", textContent: "From the start" });
    again.addEventListener("click", () => { restart(); go(); });
    stage.time.append(play_, button, again);
    stage.toggle = () => (running ? pause() : go());
    const strength = stage.slider("Skip strength c", { min: 0, max: 1, step: 0.01, value: 0, show: (v) => v.toFixed(2), change: (v) => { turn(v); state.c = v; draw(); } });
    stage.slider("Teacher’s strength s", { min: 0.5, max: 4, step: 0.1, value: S, show: (v) => v.toFixed(1), change: (v) => { state.s = v; draw(); } });
    stage.buttons("Put the network", [["Beside 0", () => { trace = []; put(START.slice()); }], ["On the saddle", () => { trace = []; put([-state.c + 1e-4, -state.c - 1e-4]); }]]);

    return {
      state, step,
      layout: draw,
      begin() { if (!play.controls.still.matches) go(); },
    };
  },
});
