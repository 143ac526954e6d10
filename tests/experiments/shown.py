"""What a figure lacks to stand among the papers': its judges must be able to hold, to fail and to be in doubt."""

from pathlib import Path

from null_results import null_results

from nonsingular.experiments.claims import judge
from nonsingular.experiments.run.sharing import run_shared

DRAWS = 40
"""Random results among which every verdict must be found."""
GIVE = "give Figure(..., examples=...), results for +1 and for -1"


def lacking(figure):
    """One line that says what a figure lacks, or nothing."""
    claims = figure.claims
    if not claims:
        return f"{figure.id} has no claims, by which it could come out otherwise than its paper says"
    for name, values in (("ids", [c.id for c in claims]), ("statements", [c.statement for c in claims])):
        if len(set(values)) < len(values):
            return f"{figure.id} has claims with equal {name}"
    if figure.examples is not None:
        found = [(figure.examples(sign), verdict) for sign, verdict in ((+1, "holds"), (-1, "fails"))]
        wrong = [c.id for results, verdict in found for c in claims if _verdict(c, results) != verdict]
        return f"{wrong[0]}: its figure's examples of +1 must hold and those of -1 fail" if wrong else ""
    spec = figure.spec("paper")
    if figure.run is not run_shared or spec.training is None:
        return f"{figure.id} measures by a function of its own: {GIVE}"
    missing = {c: {"holds", "fails", "inconclusive"} for c in claims}
    for seed in range(DRAWS):
        results = null_results(spec, "wandering" if seed % 4 == 3 else "different", seed)
        for claim in list(missing):
            missing[claim].discard(_verdict(claim, results))
            if not missing[claim]:
                del missing[claim]
        if not missing:
            return ""
    claim, never = next(iter(missing.items()))
    return f"{claim.id} never {' nor '.join(sorted(never))} on {DRAWS} random results: mend its judge, or {GIVE}"


def _verdict(claim, results):
    return judge(claim, results, scale="smoke", data="none").verdict


def misplaced(figure, module):
    """One line that says where a figure should stand, or nothing; ``module`` is the file that declares it."""
    folder = Path(module).parent.name
    return "" if figure.paper == folder else f"{figure.id} stands in papers/{folder}: its id begins with {folder}/"
