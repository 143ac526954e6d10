// Differential equations and small linear algebra in plain arrays of float64.
"use strict";
const play = { theory: {}, models: [] };

play.numbers = (() => {
  const TINY = 1e-14;
  // Evaluations of right-hand sides since the page opened: the cost of a frame, whatever the machine.
  const work = { evaluations: 0 };

  // Solves A x = b in place, A [n][n] overwritten by its LU factors; returns a function of b.
  function factorise(A) {
    const n = A.length;
    const order = Array.from({ length: n }, (_, i) => i);
    for (let k = 0; k < n; k++) {
      let pivot = k;
      for (let i = k + 1; i < n; i++) if (Math.abs(A[i][k]) > Math.abs(A[pivot][k])) pivot = i;
      [A[k], A[pivot]] = [A[pivot], A[k]];
      [order[k], order[pivot]] = [order[pivot], order[k]];
      for (let i = k + 1; i < n; i++) {
        const factor = (A[i][k] /= A[k][k]);
        for (let j = k + 1; j < n; j++) A[i][j] -= factor * A[k][j];
      }
    }
    return (b) => {
      const x = order.map((i) => b[i]);
      for (let i = 1; i < n; i++) for (let j = 0; j < i; j++) x[i] -= A[i][j] * x[j];
      for (let i = n - 1; i >= 0; i--) {
        for (let j = i + 1; j < n; j++) x[i] -= A[i][j] * x[j];
        x[i] /= A[i][i];
      }
      return x;
    };
  }

  // Eigenvalues of a symmetric matrix, ascending, by Jacobi rotations.
  function eigenvalues(symmetric) {
    const A = symmetric.map((row) => row.slice());
    const n = A.length;
    for (let sweep = 0; sweep < 50; sweep++) {
      let off = 0, all = 0;
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) {
        all += A[i][j] ** 2;
        if (i !== j) off += A[i][j] ** 2;
      }
      if (off <= 1e-30 * all) break;
      for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) {
        if (A[p][q] === 0) continue;
        const theta = (A[q][q] - A[p][p]) / (2 * A[p][q]);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
        const c = 1 / Math.hypot(t, 1), s = t * c;
        for (let k = 0; k < n; k++) {
          const [kp, kq] = [A[k][p], A[k][q]];
          A[k][p] = c * kp - s * kq;
          A[k][q] = s * kp + c * kq;
        }
        for (let k = 0; k < n; k++) {
          const [pk, qk] = [A[p][k], A[q][k]];
          A[p][k] = c * pk - s * qk;
          A[q][k] = s * pk + c * qk;
        }
      }
    }
    return A.map((row, i) => row[i]).sort((a, b) => a - b);
  }

  function plus(y, terms, ks) {
    const out = y.slice();
    for (let j = 0; j < terms.length; j++) {
      if (terms[j] === 0) continue;
      for (let i = 0; i < out.length; i++) out[i] += terms[j] * ks[j][i];
    }
    return out;
  }

  function size(error, y, next, tolerance) {
    let sum = 0;
    for (let i = 0; i < y.length; i++) {
      const scale = tolerance * (Math.max(Math.abs(y[i]), Math.abs(next[i])) + 1e-3);
      sum += (error[i] / scale) ** 2;
    }
    return Math.sqrt(sum / y.length);
  }

  // Dormand and Prince's pair of orders 5 and 4: for what is not stiff.
  const DP = [[1 / 5], [3 / 40, 9 / 40], [44 / 45, -56 / 15, 32 / 9],
    [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
    [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84]];
  const DP_ERROR = [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40];
  function explicitStep(f, _, y, h, slope) {
    const k = [slope];
    let next = y;
    for (const row of DP) {
      next = plus(y, row.map((a) => h * a), k);
      k.push(f(next));
    }
    return { next, error: plus(y.map(() => 0), DP_ERROR.map((e) => h * e), k), slope: k[6] };
  }

  // RODAS of orders 4 and 3 (Hairer & Wanner 1996, section IV.7): L-stable, for rates that differ a millionfold.
  const GAMMA = 0.25;
  const RODAS_A = [[], [1.544], [0.9466785280815826, 0.2557011698983284],
    [3.314825187068521, 2.896124015972201, 0.9986419139977817],
    [1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895]];
  const RODAS_C = [[], [-5.6688], [-2.430093356833875, -0.2063599157091915],
    [-0.1073529058151375, -9.594562251023355, -20.47028614809616],
    [7.496443313967647, -10.24680431464352, -33.99990352819905, 11.7089089320616],
    [8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136, -6.058818238834054]];
  function implicitStep(f, jacobian, y, h, slope) {
    const A = jacobian(y).map((row, i) => row.map((v, j) => (i === j ? 1 / (GAMMA * h) : 0) - v));
    const solve = factorise(A);
    const k = [];
    let at = y;
    for (let stage = 0; stage < 6; stage++) {
      at = stage < 5 ? plus(y, RODAS_A[stage], k) : plus(at, [1], [k[4]]);
      k.push(solve(plus(stage ? f(at) : slope, RODAS_C[stage].map((c) => c / h), k)));
    }
    const next = plus(at, [1], [k[5]]);
    return { next, error: k[5], slope: f(next) };
  }

  // A solution of y' = f(y) that is computed piece by piece: as much of it in one frame as there is time for.
  class Path {
    // f: y -> y'; start: y(0); options: jacobian (makes it implicit), tolerance (relative), stop (y -> ends there).
    constructor(f, start, { jacobian = null, tolerance = 1e-7, stop = null } = {}) {
      this.f = (y) => { work.evaluations++; return f(y); };
      this.step = jacobian ? implicitStep : explicitStep;
      this.order = jacobian ? 4 : 5;
      Object.assign(this, { jacobian, tolerance, stop });
      this.t = [0];
      this.y = [start.slice()];
      this.slopes = [this.f(start)];
      this.h = 0;
      this.refused = 0;
      this.ended = false;
    }

    get time() { return this.t[this.t.length - 1]; }

    // Goes on to `end`, in at most `steps` steps, refused ones too; true when it is there or the path has stopped.
    advance(end, steps = 100000) {
      while (!this.ended && this.time < end * (1 - TINY) && steps-- > 0) this.#attempt(end);
      return this.ended || this.time >= end * (1 - TINY);
    }

    #attempt(end) {
      const last = this.t.length - 1;
      const [t, y, slope] = [this.t[last], this.y[last], this.slopes[last]];
      if (!this.h) {
        const rate = Math.hypot(...slope);
        this.h = rate > 0 ? 1e-4 * (Math.hypot(...y) + 1e-3) / rate : end;
      }
      const h = Math.min(this.h, end - t);
      const { next, error, slope: after } = this.step(this.f, this.jacobian, y, h, slope);
      const size_ = size(error, y, next, this.tolerance);
      const factor = Math.min(6, Math.max(0.2, 0.9 * (size_ || 1e-12) ** (-1 / this.order)));
      if (!(size_ <= 1)) {
        this.h = Number.isFinite(factor) ? h * factor : h / 10;
        this.ended = ++this.refused > 60; // no step is small enough: the solution has left what numbers hold
        return;
      }
      this.refused = 0;
      if (h === this.h || factor < 1) this.h = h * factor;
      this.t.push(h === end - t ? end : t + h);
      this.y.push(next);
      this.slopes.push(after);
      this.ended = Boolean(this.stop && this.stop(next));
    }

    // y at every step and at `between` times within each, for a curve without corners.
    smooth(between = 4) {
      const points = [];
      this.t.forEach((t, k) => {
        const before = k ? this.t[k - 1] : t;
        for (let i = k ? 1 : between; i <= between; i++) points.push(this.at(before + (t - before) * i / between));
      });
      return points;
    }

    // y at time t, by the cubic that has the values and slopes of the two steps around it.
    at(t) {
      const { t: ts, y: ys, slopes } = this;
      if (t <= ts[0]) return ys[0];
      if (t >= this.time) return ys[ys.length - 1];
      let low = 0, high = ts.length - 1;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (ts[middle] <= t) low = middle; else high = middle;
      }
      const h = ts[high] - ts[low], s = (t - ts[low]) / h, r = 1 - s;
      return ys[low].map((a, i) => r * r * (1 + 2 * s) * a + s * s * (3 - 2 * s) * ys[high][i]
        + h * s * r * (r * slopes[low][i] - s * slopes[high][i]));
    }
  }

  // y at each of the times (from 0), to the integrator's own accuracy: steps end there.
  function solve(f, start, times, options = {}) {
    const path = new Path(f, start, { tolerance: 1e-9, ...options });
    return times.map((t) => { path.advance(t); return path.y[path.y.length - 1]; });
  }

  return { work, factorise, eigenvalues, Path, solve };
})();
