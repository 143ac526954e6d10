// nonsingular.theory.two_units: the plane of elimination z and overlap eta = h / w, and the network behind it (one input).
"use strict";
play.theory.twoUnits = (() => {
  const { Path, factorise } = play.numbers;
  const st = play.theory.studentTeacher;

  // The network with outgoing weights of sum w, and these z, J and u = J1 - J2.
  function fromCoordinates(w, z, J, u) {
    return { J: [[J + (1 - z) / 2 * u], [J - (1 + z) / 2 * u]], W: [[w / 2 * (1 + z), w / 2 * (1 - z)]] };
  }

  function toCoordinates({ J: [[J1], [J2]], W: [[w1, w2]] }) {
    const w = w1 + w2;
    return { w, z: (w1 - w2) / w, J: (w1 * J1 + w2 * J2) / w, u: J1 - J2 };
  }

  // A teacher that comes near a single unit as `scale` goes to 0.
  function closeTeacher(scale, z = 2, separation = 0.6, J = 2) {
    return fromCoordinates(0.1 * scale, z, J, separation * Math.sqrt(scale));
  }

  // The best single unit w phi(J x) for a teacher: Newton's method from the teacher's own (w, J).
  function bestSingleUnit(teacher) {
    const v = teacher.W[0], sum = v.reduce((a, b) => a + b), scale = v.reduce((a, b) => a + Math.abs(b), 0);
    const target = { J: teacher.J, W: [v.map((x) => x / scale)] };
    let [w, J] = [sum / scale, v.reduce((a, x, i) => a + x * teacher.J[i][0], 0) / sum];
    for (let step = 0; step < 50; step++) {
      const student = { J: [[J]], W: [[w]] }, g = st.gradient(student, target);
      const [dJ, dw] = factorise(st.hessian(student, target))([g.J[0][0], g.W[0][0]]);
      [J, w] = [J - dJ, w - dw];
      if (Math.abs(dJ) + Math.abs(dw) < 1e-15) break;
    }
    w *= scale;
    let a = w * st.second([J], [J]).curvature[0][0];
    v.forEach((x, k) => { a -= x * st.second([J], teacher.J[k]).curvature[0][0]; });
    return { w, J, a, loss: st.loss({ J: [[J]], W: [[w]] }, teacher) };
  }

  const startNear = (single, z, eta) => fromCoordinates(single.w, z, single.J, eta * single.w);

  // --- the reduced flow, in tau = w a t ---

  function velocity(z, eta) {
    const wide = eta * eta, scale = 1 + z * z + wide;
    return [z * wide / scale, -eta / 2 * (1 - z * z + wide) / scale];
  }

  function separatrix(z) {
    const size = Math.abs(z);
    return Math.abs(1 - size) * Math.sqrt((size + 2) / (3 * size));
  }

  const inBasin = (z, eta) => Math.abs(z) < 1 && Math.abs(eta) < separatrix(z);

  const excess = (z, eta) => (1 - z * z) * eta * eta / 8;

  // y = [z, eta]; ends where |eta| has reached 1000.
  const reducedPath = (z, eta, options = {}) =>
    new Path(([z, eta]) => velocity(z, eta), [z, eta], { stop: ([, e]) => Math.abs(e) > 1e3, ...options });

  // --- the full network ---

  // y = [w1, w2, J1, J2], outgoing weights in units of the teacher's largest; time in the loss's own units.
  function fullPath(start, teacher, options = {}) {
    const scale = Math.max(...teacher.W[0].map(Math.abs));
    const unpack = ([w1, w2, J1, J2]) => ({ J: [[J1], [J2]], W: [[scale * w1, scale * w2]] });
    const f = (y) => {
      const g = st.gradient(unpack(y), teacher);
      return [-g.W[0][0] / scale, -g.W[0][1] / scale, -g.J[0][0], -g.J[1][0]];
    };
    const order = [2, 3, 0, 1]; // the Hessian has J first
    const jacobian = (y) => {
      const H = st.hessian(unpack(y), teacher);
      return order.map((i, r) => order.map((j, c) => -H[i][j] * (r < 2 ? 1 / scale : 1) * (c < 2 ? scale : 1)));
    };
    const path = new Path(f, [...start.W[0].map((w) => w / scale), start.J[0][0], start.J[1][0]], { jacobian, ...options });
    path.network = unpack;
    return path;
  }

  return { fromCoordinates, toCoordinates, closeTeacher, bestSingleUnit, startNear, velocity, separatrix, inBasin, excess,
    reducedPath, fullPath };
})();
