// nonsingular.theory.binary_weights with two layers: h = relu(W1 x + b), y = relu(W2 h) + S h, all weights +-1.
// A problem is { inputs, hidden, x [sample][input], skip [hidden][hidden], bias [hidden], state }, drawn by Python.
"use strict";
play.theory.binaryWeights = (() => {
  const TIE = 1e-9;

  // The bits of a number, most significant first, as +1 (0) and -1 (1).
  function signs(number, rows, columns) {
    let shift = rows * columns;
    return Array.from({ length: rows }, () => Array.from({ length: columns }, () => 1 - 2 * ((number >> --shift) & 1)));
  }

  function weights({ inputs, hidden }, state) {
    const top = hidden * hidden;
    return [signs(state >> top, hidden, inputs), signs(state, hidden, hidden)];
  }

  const dot = (a, b) => { let s = 0; for (let i = 0; i < a.length; i++) s += a[i] * b[i]; return s; };

  const hiddenUnits = ({ x, bias }, W1) => x.map((row) => W1.map((w, i) => Math.max(dot(w, row) + bias[i], 0)));

  function outputs(problem, state) {
    const [W1, W2] = weights(problem, state);
    return hiddenUnits(problem, W1).map((h) => W2.map((w, i) => Math.max(dot(w, h), 0) + dot(problem.skip[i], h)));
  }

  // Mean squared error (mean over samples, sum over outputs, halved) of every state: a table of one top unit's part
  // for each of its rows, summed over units.
  function losses(problem) {
    const { inputs, hidden: n, x, skip } = problem;
    const target = outputs(problem, problem.state);
    const rows = 1 << n, tops = 1 << (n * n), lows = 1 << (n * inputs);
    const loss = new Float64Array(lows * tops);
    const rowSigns = Array.from({ length: rows }, (_, row) => signs(row, 1, n)[0]);
    for (let low = 0; low < lows; low++) {
      const h = hiddenUnits(problem, signs(low, n, inputs));
      const active = rowSigns.map((w) => h.map((units) => Math.max(dot(w, units), 0)));
      const part = skip.map((s, unit) => {
        const wanted = h.map((units, k) => target[k][unit] - dot(s, units));
        return active.map((a) => a.reduce((sum, v, k) => sum + (v - wanted[k]) ** 2, 0) / x.length / 2);
      });
      let total = [0];
      for (const unit of part) total = total.flatMap((t) => unit.map((p) => t + p));
      loss.set(total, low * tops);
    }
    return loss;
  }

  // All losses, and what single flips do.
  class Landscape {
    constructor(problem) {
      this.problem = problem;
      this.bits = problem.hidden * (problem.inputs + problem.hidden);
      this.loss = losses(problem);
      let sum = 0;
      for (const v of this.loss) sum += v;
      this.mean = sum / this.loss.length;
      this.tolerance = TIE * this.mean;
    }

    // The bit whose flip lowers the loss most (a tie goes to the lower bit), or -1.
    steepest(state) {
      let best = Infinity, flip = -1;
      for (let bit = 0; bit < this.bits; bit++) {
        const flipped = this.loss[state ^ (1 << bit)];
        if (flipped < best - this.tolerance) [best, flip] = [flipped, bit];
      }
      return best < this.loss[state] - this.tolerance ? flip : -1;
    }

    isOptimal(state) { return this.loss[state] <= this.tolerance; }

    // States of zero loss, states whose every flip raises the loss, and the share of starts that steepest descent takes
    // to zero loss.
    survey() {
      const end = new Int32Array(this.loss.length).fill(-1);
      const optima = [];
      let strict = 0, solved = 0;
      for (let state = 0; state < end.length; state++) {
        if (this.isOptimal(state)) optima.push(state);
        let least = Infinity;
        for (let bit = 0; bit < this.bits; bit++) least = Math.min(least, this.loss[state ^ (1 << bit)]);
        if (least > this.loss[state] + this.tolerance) strict++;
        const way = [];
        let at = state;
        while (end[at] < 0) {
          way.push(at);
          const bit = this.steepest(at);
          if (bit < 0) { end[at] = at; break; }
          at ^= 1 << bit;
        }
        for (const passed of way) end[passed] = end[at];
        solved += this.isOptimal(end[state]);
      }
      return { optima, strictMinima: strict, greedy: solved / end.length };
    }
  }

  // The state with two hidden units exchanged: rows of W1, columns of W2.
  function exchange({ inputs, hidden }, state, i, k) {
    const order = Array.from({ length: hidden }, (_, u) => (u === i ? k : u === k ? i : u));
    const [W1, W2] = weights({ inputs, hidden }, state);
    const bits = [...order.flatMap((u) => W1[u]), ...W2.flatMap((row) => order.map((u) => row[u]))];
    return bits.reduce((number, sign) => number * 2 + (sign < 0 ? 1 : 0), 0);
  }

  return { signs, weights, outputs, losses, Landscape, exchange };
})();
