// nonsingular.theory.linear_networks: one mode of L layers, E = (s - prod_l (a_l + c_l))^2 / 2 (equations 29-34).
"use strict";
play.theory.linearNetworks = (() => {
  const { Path } = play.numbers;
  const NETWORKS = ["plain", "residual", "hyper-residual"];

  // c_l for the layers - 1 weight matrices.
  function skipStrengths(network, layers) {
    const n = layers - 1;
    return Array.from({ length: n }, (_, l) => ({ plain: 0, residual: 1, "hyper-residual": l + 1 })[network]);
  }

  const product = (a, c) => a.reduce((u, x, l) => u * (x + c[l]), 1);

  const energy = (a, s, c) => (s - product(a, c)) ** 2 / 2;

  // The product of all factors but one (or two).
  function others(x, i, k = -1) {
    let p = 1;
    for (let l = 0; l < x.length; l++) if (l !== i && l !== k) p *= x[l];
    return p;
  }

  function gradient(a, s, c) {
    const x = a.map((v, l) => v + c[l]), error = s - product(a, c);
    return x.map((_, i) => -error * others(x, i));
  }

  function hessian(a, s, c) {
    const x = a.map((v, l) => v + c[l]), u = product(a, c);
    return x.map((_, i) => x.map((_, k) => (i === k ? others(x, i) ** 2 : (2 * u - s) * others(x, i, k))));
  }

  // Gradient flow of the mode strengths, y = a.
  function path(a, s, c, options = {}) {
    const jacobian = (y) => hessian(y, s, c).map((row) => row.map((v) => -v));
    return new Path((y) => gradient(y, s, c).map((v) => -v), a, { jacobian, ...options });
  }

  return { NETWORKS, skipStrengths, product, energy, gradient, hessian, path };
})();
