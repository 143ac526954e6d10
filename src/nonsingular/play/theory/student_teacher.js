// nonsingular.theory.student_teacher: W phi(J x) with erf units and Gaussian inputs. J [unit][input], W [output][unit].
"use strict";
play.theory.studentTeacher = (() => {
  const TWO_PI = 2 / Math.PI;
  const dot = (a, b) => { let s = 0; for (let i = 0; i < a.length; i++) s += a[i] * b[i]; return s; };

  function products(a, b) {
    const s = dot(a, b), alpha = 1 + dot(a, a), beta = 1 + dot(b, b);
    return { s, alpha, beta, determinant: alpha * beta - s * s };
  }

  // Q(a, b) = E[phi(a.x) phi(b.x)] of two units (Saad & Solla 1995, equation 3).
  function overlap(a, b) {
    const { s, alpha, beta } = products(a, b);
    return TWO_PI * Math.asin(s / Math.sqrt(alpha * beta));
  }

  // dQ / da.
  function gradientOf(a, b) {
    const { s, alpha, determinant } = products(a, b);
    const root = TWO_PI / Math.sqrt(determinant);
    return a.map((x, i) => root * (b[i] - s / alpha * x));
  }

  // d2Q / da2 and d2Q / da db, each [input][input].
  function second(a, b) {
    const { s, alpha, beta, determinant } = products(a, b);
    const root = Math.sqrt(determinant), cube = root ** 3;
    const grid = (f) => a.map((_, i) => a.map((_, j) => TWO_PI * f(i, j, i === j ? 1 : 0)));
    const bend = (i) => (b[i] - s / alpha * a[i]) / cube;
    return {
      curvature: grid((i, j, one) => (-a[i] * b[j] - s * one + 2 * s / alpha * a[i] * a[j]) / (alpha * root)
        - bend(i) * (beta * a[j] - s * b[j])),
      mixed: grid((i, j, one) => (one - a[i] * a[j] / alpha) / root - bend(i) * (alpha * b[j] - s * a[j])),
    };
  }

  const column = (W, unit) => W.map((row) => row[unit]);
  const weights = (V, W, i, j) => dot(column(V, i), column(W, j));

  // E[|student(x) - teacher(x)|^2] / 2.
  function loss(student, teacher) {
    const sum = (a, b) => {
      let total = 0;
      a.J.forEach((u, i) => b.J.forEach((v, j) => { total += weights(a.W, b.W, i, j) * overlap(u, v); }));
      return total;
    };
    return (sum(student, student) - 2 * sum(student, teacher) + sum(teacher, teacher)) / 2;
  }

  // The gradient of `loss` by the student's J and W, in their shapes.
  function gradient(student, teacher) {
    const J = student.J.map((row) => row.map(() => 0));
    const W = student.W.map((row) => row.map(() => 0));
    student.J.forEach((a, i) => {
      for (const [net, sign] of [[student, 1], [teacher, -1]]) {
        net.J.forEach((b, j) => {
          const both = sign * weights(student.W, net.W, i, j), slope = gradientOf(a, b), q = sign * overlap(a, b);
          slope.forEach((g, d) => { J[i][d] += both * g; });
          W.forEach((row, o) => { row[i] += net.W[o][j] * q; });
        });
      }
    });
    return { J, W };
  }

  // The Hessian of `loss` for one output, parameters J by rows, then W.
  function hessian(student, teacher) {
    const { J, W: [w] } = student, v = teacher.W[0];
    const n = J.length, d = J[0].length;
    const H = Array.from({ length: n * (d + 1) }, () => new Array(n * (d + 1)).fill(0));
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        const { curvature, mixed } = second(J[i], J[j]), slope = gradientOf(J[i], J[j]);
        for (let p = 0; p < d; p++) {
          for (let q = 0; q < d; q++) {
            H[i * d + p][j * d + q] += w[i] * w[j] * mixed[p][q];
            H[i * d + p][i * d + q] += w[i] * w[j] * curvature[p][q];
          }
          H[i * d + p][n * d + j] += w[i] * slope[p];
          H[n * d + j][i * d + p] += w[i] * slope[p];
          H[i * d + p][n * d + i] += w[j] * slope[p];
          H[n * d + i][i * d + p] += w[j] * slope[p];
        }
        H[n * d + i][n * d + j] += overlap(J[i], J[j]);
      }
      teacher.J.forEach((b, k) => {
        const { curvature } = second(J[i], b), slope = gradientOf(J[i], b);
        for (let p = 0; p < d; p++) {
          for (let q = 0; q < d; q++) H[i * d + p][i * d + q] -= w[i] * v[k] * curvature[p][q];
          H[i * d + p][n * d + i] -= v[k] * slope[p];
          H[n * d + i][i * d + p] -= v[k] * slope[p];
        }
      });
    }
    return H;
  }

  // phi(t) = erf(t / sqrt 2), for drawing units (Abramowitz & Stegun 7.1.26, to 1.5e-7).
  function phi(t) {
    const x = Math.abs(t) / Math.SQRT2, k = 1 / (1 + 0.3275911 * x);
    const tail = k * (0.254829592 + k * (-0.284496736 + k * (1.421413741 + k * (-1.453152027 + k * 1.061405429))));
    return Math.sign(t) * (1 - tail * Math.exp(-x * x));
  }

  return { overlap, gradientOf, second, loss, gradient, hessian, phi };
})();
