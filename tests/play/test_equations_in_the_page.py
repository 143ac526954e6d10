"""What the page computes is what `nonsingular.theory` computes, to 1e-6."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from nonsingular.play import page
from nonsingular.play.assembly import SHAPE
from nonsingular.theory import binary_weights as bw
from nonsingular.theory import linear_dependence as ld
from nonsingular.theory import linear_networks as ln
from nonsingular.theory import signal_propagation as sp
from nonsingular.theory import student_teacher as st
from nonsingular.theory import two_units as tu

UNITS = st.ErfUnits()
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def compute(browser, tmp_path_factory):
    """Calls a JavaScript function of the page with Python arguments."""
    path = tmp_path_factory.mktemp("play") / "play.html"
    path.write_text(page(), encoding="utf-8")
    opened = browser.new_page(reduced_motion="reduce")
    opened.goto(path.as_uri())

    def compute(function, *arguments):
        listed = [x.tolist() if hasattr(x, "tolist") else x for x in arguments]
        return opened.evaluate(
            f"given => {{ const t = play.theory, n = play.numbers; return ({function})(...given); }}", listed
        )

    yield compute
    opened.close()


def network(units, inputs, outputs):
    return st.Network(RNG.standard_normal((units, inputs)), RNG.standard_normal((outputs, units)))


def plain(net):
    return {"J": net.J.tolist(), "W": net.W.tolist()}


def same(found, expected, atol=1e-9):
    np.testing.assert_allclose(np.array(found, float), np.asarray(expected, float), rtol=1e-6, atol=atol)


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_linear_algebra(compute):
    for size in (1, 2, 5, 9):
        A, b = RNG.standard_normal((size, size)), RNG.standard_normal(size)
        same(compute("(A, b) => n.factorise(A)(b)", A, b), np.linalg.solve(A, b))
        same(compute("A => n.eigenvalues(A)", A + A.T), np.linalg.eigvalsh(A + A.T))


def test_both_integrators_follow_a_known_solution(compute):
    """y'' = -y, and two decays a millionfold apart."""
    times = [0.0, 0.3, 2.0, 7.0]
    turning = compute("ts => n.solve(([a, b]) => [b, -a], [1, 0], ts)", times)
    same([y[0] for y in turning], np.cos(times), atol=1e-6)
    stiff = "ts => n.solve(([a, b]) => [-1e6 * (a - b), -b], [3, 1], ts, { jacobian: () => [[-1e6, 1e6], [0, -1]] })"
    same([y[0] for y in compute(stiff, times)][1:], np.exp(-np.array(times[1:])) / (1 - 1e-6), atol=1e-6)


@pytest.mark.parametrize("jacobian", ["null", "([a, b]) => [[0, 1], [-Math.cos(a), 0]]"])
def test_the_error_falls_with_the_tolerance(compute, jacobian):
    swing = "n.solve(([a, b]) => [b, -Math.sin(a)], [2, 0], [10]"
    run = f"tolerance => {swing}, {{ tolerance, jacobian: {jacobian} }})[0][0]"
    exact = solve_ivp(lambda _, y: [y[1], -np.sin(y[0])], (0, 10), [2, 0], method="DOP853", rtol=1e-12, atol=1e-12).y[
        0, -1
    ]
    errors = [abs(compute(run, tolerance) - exact) for tolerance in (1e-4, 1e-6, 1e-8)]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-6


# --- students and teachers -------------------------------------------------------------------------------------------


def test_loss_and_gradient_of_student_and_teacher(compute):
    for units, inputs, outputs in ((2, 1, 1), (3, 3, 3)):
        student, teacher = network(units, inputs, outputs), network(3, inputs, outputs)
        same(
            compute("(a, b) => t.studentTeacher.loss(a, b)", plain(student), plain(teacher)),
            st.loss(student, teacher, UNITS),
        )
        found = compute("(a, b) => t.studentTeacher.gradient(a, b)", plain(student), plain(teacher))
        expected = st.gradient(student, teacher, UNITS)
        same(found["J"], expected.J)
        same(found["W"], expected.W)


def test_hessian_of_student_and_teacher(compute):
    student, teacher = network(2, 2, 1), network(3, 2, 1)
    found = compute("(a, b) => t.studentTeacher.hessian(a, b)", plain(student), plain(teacher))
    same(found, st.hessian(student, teacher, UNITS))


# --- two units -------------------------------------------------------------------------------------------------------


def test_the_reduced_flow_of_two_units(compute):
    z, eta = RNG.uniform(-2, 2, 20), RNG.uniform(-1.5, 1.5, 20)
    field = [tu.reduced_flow([a], [b]) for a, b in zip(z, eta, strict=True)]
    same(
        compute("(zs, es) => zs.map((z, i) => t.twoUnits.velocity(z, es[i]))", z, eta),
        [[float(f.dz[0, 0]), float(f.deta[0, 0])] for f in field],
    )
    same(compute("zs => zs.map(t.twoUnits.separatrix)", z), tu.separatrix(z))
    same(compute("(zs, es) => zs.map((z, i) => t.twoUnits.inBasin(z, es[i]))", z, eta), tu.in_basin(z, eta))
    times = np.linspace(0, 20, 9)
    path = """(z, e, ts) => {
      const p = t.twoUnits.reducedPath(z, e, { tolerance: 1e-10 });
      return ts.map(x => { p.advance(x); return p.y.at(-1); });
    }"""
    for start in ((0.4, 0.7), (0.4, 1.0), (-1.3, 0.2)):
        expected = tu.reduced_trajectory(*start, 20.0, points=9, tolerance=1e-11)
        same(compute(path, *start, times), np.stack([expected.z, expected.eta], 1), atol=1e-7)


@pytest.mark.parametrize("separation", [0.3, 0.6, 0.9])
def test_the_best_single_unit(compute, separation):
    teacher = tu.close_teacher(0.5, separation=separation)
    found = compute(
        "s => { const T = t.twoUnits.closeTeacher(0.5, 2, s); return [T, t.twoUnits.bestSingleUnit(T)]; }", separation
    )
    same(found[0]["J"], teacher.J)
    same(found[0]["W"], teacher.W)
    expected = tu.best_single_unit(teacher)
    same([found[1][k] for k in ("w", "J", "a", "loss")], [expected.w, expected.J[0], expected.a, expected.loss], atol=0)


FULL = """(z, e, ts) => {
  const T = t.twoUnits.closeTeacher(0.5), S = t.twoUnits.bestSingleUnit(T);
  const p = t.twoUnits.fullPath(t.twoUnits.startNear(S, z, e), T, { tolerance: 1e-9 });
  return ts.map(x => { p.advance(x); const N = p.network(p.y.at(-1)), c = t.twoUnits.toCoordinates(N);
    return [c.w / S.w, c.z, Math.abs(c.u) / S.w, t.studentTeacher.loss(N, T) / S.loss]; });
}"""


@pytest.mark.parametrize("start", [(0.4, 0.93), (1.3, -0.3)])
def test_the_whole_network_of_two_units(compute, start):
    teacher = tu.close_teacher(0.5)
    single = tu.best_single_unit(teacher)
    times = np.array([0, 0.1, 1, 10, 30, 100]) / (single.w * single.a)
    expected = tu.full_trajectory(tu.start_near(single, *start), teacher, times, tolerance=1e-10)
    shown = (expected.w / single.w, expected.z, expected.h / single.w, expected.loss / single.loss)
    same(compute(FULL, *start, times), np.stack(shown, 1), atol=1e-6)


# --- linear dependence -----------------------------------------------------------------------------------------------


def test_the_flow_of_linear_dependence_with_the_rest_held(compute):
    teacher = ld.random_teacher(1)
    field = ld.flow(teacher, [0.6, 1.4])
    m0, c0 = field.attrs["teacher_m"], field.attrs["teacher_c"]
    lengths = compute("T => t.linearDependence.lengths(T)", plain(teacher))
    same([lengths["m"], lengths["c"]], [m0, c0])
    for m in (0.6, 1.4):
        for c in (0.6, 1.4):
            at = field.sel(rest="teacher", m=m, c=c)
            found = compute("(m, c, T) => t.linearDependence.held(m, c, T)", m * m0, c * c0, plain(teacher))
            same([found["loss"], -found["dm"], -found["dc"]], [at.loss, at.dm, at.dc])


def test_the_weights_own_flow_of_linear_dependence(compute):
    teacher = ld.random_teacher(2)
    M, D, C = ld.to_combinations(teacher.J)
    start = st.Network(ld.from_combinations(0.3 * M, D, 1.5 * C), teacher.W)

    def flow(_, p):
        gradient = st.gradient(st.Network(p[:9].reshape(3, 3), p[9:].reshape(3, 3)), teacher, UNITS)
        return -np.concatenate([gradient.J.ravel(), gradient.W.ravel()])

    times = [0.0, 0.5, 5.0, 30.0]
    first = np.concatenate([start.J.ravel(), start.W.ravel()])
    expected = solve_ivp(flow, (0, 30), first, t_eval=times, method="DOP853", rtol=1e-10, atol=1e-12).y.T
    found = compute(
        """(m, c, T, ts) => {
          const L = t.linearDependence, p = L.weightPath(L.networkAt(m, c, T), T, { tolerance: 1e-9 });
          return ts.map(x => { p.advance(x); return p.y.at(-1); });
        }""",
        0.3 * np.linalg.norm(M), 1.5 * np.linalg.norm(C), plain(teacher), times,
    )  # fmt: skip
    same(found, expected, atol=1e-7)


# --- linear networks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ln.NETWORKS)
@pytest.mark.parametrize("layers", [3, 10])
def test_linear_networks(compute, kind, layers):
    c, a, s = ln.skip_strengths(kind, layers), RNG.uniform(-0.5, 0.9, layers - 1), 2.3
    same(compute("(k, L) => t.linearNetworks.skipStrengths(k, L)", kind, layers), c)
    same(compute("(a, s, c) => t.linearNetworks.gradient(a, s, c)", a, s, c), ln.mode_gradient(a, s, c))
    same(compute("(a, s, c) => t.linearNetworks.hessian(a, s, c)", a, s, c), ln.mode_hessian(a, s, c))
    times = np.array([0, 1e-9, 1e-4, 0.01, 0.3, 3.0, 50.0])
    expected = ln.mode_trajectory(kind, s, a, times, tolerance=1e-11)
    path = """(a, s, c, ts) => {
      const p = t.linearNetworks.path(a, s, c, { tolerance: 1e-9 });
      return ts.map(x => { p.advance(x); return p.y.at(-1); });
    }"""
    same(compute(path, a, s, c, times), expected.a, atol=1e-6)


# --- binary weights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", bw.NETWORKS)
def test_binary_landscapes(compute, kind):
    scape = bw.landscape(bw.problem(kind, SHAPE, 0))
    states = RNG.integers(scape.loss.size, size=300)
    found = compute(
        """(kind, states) => {
          const L = new t.binaryWeights.Landscape(play.data.binary[kind][0]), survey = L.survey();
          const next = s => { const bit = L.steepest(s); return bit < 0 ? s : s ^ (1 << bit); };
          return { loss: states.map(s => L.loss[s]), mean: L.mean, descent: states.map(next), survey,
            exchanged: states.map(s => L.loss[t.binaryWeights.exchange(L.problem, s, 0, 1)]) };
        }""",
        kind, states,
    )  # fmt: skip
    same(found["loss"], scape.loss[states])
    same(found["mean"], scape.loss.mean())
    assert found["descent"] == scape.descent[states].tolist()
    assert found["survey"]["optima"] == np.flatnonzero(scape.optimal).tolist()
    assert found["survey"]["strictMinima"] == int(scape.strict_minima.sum())
    same(found["survey"]["greedy"], bw.greedy_success(scape))
    kept = np.allclose(found["exchanged"], found["loss"], rtol=1e-9)
    assert kept == (bw.permutation_gap(bw.problem(kind, SHAPE, 0), samples=200) < 1e-9)


def test_the_teachers_are_the_librarys(compute):
    same(compute("() => play.data.dependence[3].J"), ld.random_teacher(3).J)
    same(compute("() => play.data.binary['random-skip'][2].skip"), bw.problem("random-skip", SHAPE, 2).skip)


# --- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", ["erf", "relu"])
def test_signals(compute, units):
    for weight, bias, skip, length, correlation in RNG.uniform([0.3, 0, 0, 0.1, -0.5], [4, 1, 1, 5, 1], (6, 5)):
        given = {"weight": weight, "bias": bias, "skip": skip, "length": length, "correlation": correlation}
        expected = sp.depth_profile(units, 40, **given)
        found = compute("(units, given) => t.signalPropagation.depthProfile(units, 40, given)", units, given)
        for name in ("length", "correlation", "gradient"):
            same(found[name], expected[name])


def test_the_critical_line(compute):
    fixed = np.array([0.0, 0.1, 1.0, 7.0])
    for skip in (0.0, 0.5, 1.0):
        found = compute("(qs, r) => qs.map(q => t.signalPropagation.criticalLine(q, r))", fixed, skip)
        same(np.transpose(found), np.stack(sp.critical_line(fixed, skip)))
