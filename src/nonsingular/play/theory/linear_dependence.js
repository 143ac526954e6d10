// nonsingular.theory.linear_dependence: three units a, b, c; M = Ja + Jb - Jc, D = Ja - Jb - Jc, C = Jc.
"use strict";
play.theory.linearDependence = (() => {
  const { Path } = play.numbers;
  const st = play.theory.studentTeacher;
  const norm = (v) => Math.hypot(...v);
  const scaled = (v, k) => v.map((x) => k * x);
  const dot = (a, b) => a.reduce((s, x, i) => s + x * b[i], 0);

  function toCombinations([a, b, c]) {
    return [a.map((x, i) => x + b[i] - c[i]), a.map((x, i) => x - b[i] - c[i]), c];
  }

  function fromCombinations(M, D, C) {
    return [M.map((x, i) => (x + D[i]) / 2 + C[i]), M.map((x, i) => (x - D[i]) / 2), C];
  }

  // m = |M| and |Jc| of a network.
  function lengths(network) {
    const [M, , C] = toCombinations(network.J);
    return { m: norm(M), c: norm(C) };
  }

  // The teacher with m and |Jc| changed, all else kept.
  function networkAt(m, c, teacher) {
    const [M, D, C] = toCombinations(teacher.J);
    return { J: fromCombinations(scaled(M, m / norm(M)), D, scaled(C, c / norm(C))), W: teacher.W };
  }

  // Loss, dE/dm and dE/d|Jc| with all else at the teacher's values.
  function held(m, c, teacher) {
    const [M, , C] = toCombinations(teacher.J), student = networkAt(m, c, teacher);
    const [a, b, d] = st.gradient(student, teacher).J;
    return {
      loss: st.loss(student, teacher),
      dm: dot(a.map((x, i) => (x + b[i]) / 2), M) / norm(M),
      dc: dot(a.map((x, i) => x + d[i]), C) / norm(C),
    };
  }

  // The paper's flow, all else held: y = [m, |Jc|]. Ends where a length has come to 0.
  function heldPath(m, c, teacher, options = {}) {
    const f = ([m, c]) => { const at = held(m, c, teacher); return [-at.dm, -at.dc]; };
    return new Path(f, [m, c], { stop: ([m, c]) => Math.min(m, c) < 1e-3, ...options });
  }

  // The weights' own gradient flow: y is J by rows, then W by rows.
  function weightPath(start, teacher, options = {}) {
    const inputs = start.J[0].length, rows = (flat, width) =>
      Array.from({ length: flat.length / width }, (_, i) => flat.slice(i * width, (i + 1) * width));
    const unpack = (y) => ({ J: rows(y.slice(0, 3 * inputs), inputs), W: rows(y.slice(3 * inputs), 3) });
    const f = (y) => {
      const g = st.gradient(unpack(y), teacher);
      return [...g.J.flat(), ...g.W.flat()].map((x) => -x);
    };
    const path = new Path(f, [...start.J.flat(), ...start.W.flat()], options);
    path.network = unpack;
    return path;
  }

  return { toCombinations, fromCombinations, lengths, networkAt, held, heldPath, weightPath };
})();
