// nonsingular.theory.signal_propagation: lengths, correlations and gradients through depth at infinite width.
"use strict";
play.theory.signalPropagation = (() => {
  // (E[phi(u) phi(v)], E[phi'(u) phi'(v)]) for variances q and covariance k.
  const AVERAGES = {
    erf: (q, k) => [2 / Math.PI * Math.asin(k / (1 + q)), 2 / Math.PI / Math.sqrt((1 + q) ** 2 - k * k)],
    relu: (q, k) => {
      const angle = Math.acos(Math.min(1, Math.max(-1, k / q)));
      return [q / (2 * Math.PI) * (Math.sin(angle) + (Math.PI - angle) * Math.cos(angle)), (Math.PI - angle) / (2 * Math.PI)];
    },
  };

  // weight: sigma_w^2, bias: sigma_b^2, skip: r, length: q and correlation: c of the inputs.
  function depthProfile(units, layers, { weight, bias = 0, skip = 0, length: q = 1, correlation = 0 }) {
    const average = AVERAGES[units];
    let k = q * correlation;
    const lengths = [q], correlations = [correlation], factors = [];
    for (let l = 0; l < layers; l++) {
      const [own, slope] = average(q, q), [pair] = average(q, k);
      factors.push(Math.log10(skip * skip + weight * slope) / 2);
      q = skip * skip * q + weight * own + bias;
      k = skip * skip * k + weight * pair + bias;
      lengths.push(q);
      correlations.push(k / q);
    }
    const gradient = [0];
    for (const factor of factors.reverse()) gradient.unshift(gradient[0] + factor);
    return { length: lengths, correlation: correlations, gradient };
  }

  // (sigma_w^2, sigma_b^2) where erf networks with the fixed point q are critical.
  function criticalLine(q, skip = 0) {
    const left = 1 - skip * skip, weight = Math.PI / 2 * left * Math.sqrt(1 + 2 * q);
    return [weight, q * left - weight * 2 / Math.PI * Math.asin(q / (1 + q))];
  }

  return { depthProfile, criticalLine };
})();
