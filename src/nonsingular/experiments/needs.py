"""What networks must have done before anything is said of them: small checks that refuse, and can be put together.

A figure's ``needs`` are asked before each of its claims, with what the claim measures: where they are not met, nothing
is judged. What is measured before training needs none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from nonsingular.checks import checked
from nonsingular.experiments.claims import NotMeasured
from nonsingular.experiments.effects import per_run
from nonsingular.experiments.fit import HALFWAY, fitted
from nonsingular.experiments.known import known
from nonsingular.experiments.run.instruments import LABELS
from nonsingular.experiments.verbs import Measure, Needs, Test, listed


@dataclass(frozen=True)
class Need:
    """Something that must have happened.

    Attributes:
        check: as ``verbs.Needs``.
        said: measure -> the condition in words, as a claim's statement has it after "Judged where"; empty where nothing
            is asked of that measure.
        networks: those that it names itself.
        variables: those that it looks at.
    """

    check: Needs
    said: Callable[[Measure], str]
    networks: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()

    def __call__(self, results: xr.Dataset, measure: Measure) -> None:
        """Nothing, where it has happened.

        Raises:
            NotMeasured: it has not.
        """
        self.check(results, measure)


@checked
def trained(way: float = HALFWAY, *references: str) -> Need:
    """That networks have come ``way`` percent of the way from guessing to no error, on average over their runs.

    Where it is measured how well networks train, one of them must have, else there was no time to; whatever else is
    compared is compared of networks each of which has.

    Args:
        way: percent.
        references: networks one of which must have, instead of those that are compared: those that should train.
    """

    def need(results: xr.Dataset, measure: Measure) -> None:
        asked = references or measure.of(results)
        names = [name for name in asked if name in results.network.values] or asked
        came = {name: float(np.nanmean(fitted(results, name))) for name in names}
        behind = [f"{name} came {far:.0f} %" for name, far in came.items() if not far > way]
        one_is_enough = bool(references) or measure.tells_training
        if len(behind) == len(came) or (behind and not one_is_enough):
            raise NotMeasured(
                f"too little training: {', '.join(behind)} of the way from guessing to no error; more than {way:g} % "
                "is needed" + (" of one of them" if one_is_enough and len(came) > 1 else "")
            )

    def said(measure: Measure) -> str:
        names = references or (() if callable(measure.networks) else measure.networks)
        several = listed(names) if references else "those compared"
        one = bool(references) or measure.tells_training
        who = names[0] if len(names) == 1 else f"{'one' if one else 'each'} of {several}"
        return f"{who} came more than {way:g} % of the way from guessing to no error"

    return Need(need, said, references, ("train_accuracy",))


@checked
def took_place(variable: str, most: float, *networks: str) -> Need:
    """That a treatment has had an effect: that little is left at the end of the distance it is meant to shorten.

    Args:
        variable: that distance, as a share of the one without treatment.
        most: the share that may remain, on average over runs.
        networks: those that are treated; asked of those among them that are compared.

    Raises:
        InputError: no instrument has such a variable.
    """
    known("variable", variable, LABELS)

    def need(results: xr.Dataset, measure: Measure) -> None:
        for name in measure.of(results):
            if name not in networks:
                continue
            left = float(per_run(results, variable, name).isel(epoch=-1).mean())
            if not left <= most:
                raise NotMeasured(
                    f"{name} was not treated: {100 * left:.0f} % of the distance ({variable}) remain at the end, at "
                    f"most {100 * most:g} % may"
                )

    def said(measure: Measure) -> str:
        treated = [name for name in networks if callable(measure.networks) or name in measure.networks]
        what = LABELS[variable].partition(" /")[0]
        return f"at most {100 * most:g} % of the {what} remains in {' and '.join(treated)}" if treated else ""

    return Need(need, said, networks, (variable,))


@checked
def given(test: Test, otherwise: str) -> Need:
    """That something else is so of the same results.

    Args:
        test: from a verb; its value must lie in the region, whatever the interval.
        otherwise: what it means where it does not.
    """

    def need(results: xr.Dataset, measure: Measure) -> None:
        found = test.measure.judged(results).value
        if not test.region.low < found < test.region.high:
            raise NotMeasured(f"{otherwise} ({test.measure.words}: {found:.3g})")

    what, colon, of_what = test.measure.words.partition(": ")
    return Need(
        need,
        lambda _: f"{what} ({of_what}) is {test.region}" if colon else f"{what} is {test.region}",
        () if callable(test.measure.networks) else test.measure.networks,
        test.measure.variables,
    )


@checked
def all_of(*needs: Needs) -> Need:
    """All of several."""

    def need(results: xr.Dataset, measure: Measure) -> None:
        for one in needs:
            one(results, measure)

    def said(measure: Measure) -> str:
        every = [getattr(one, "said", lambda _: "")(measure) for one in needs]
        return ", and ".join(dict.fromkeys(filter(None, every)))

    networks, variables = (
        [name for one in needs for name in getattr(one, part, ())] for part in ("networks", "variables")
    )
    return Need(need, said, tuple(networks), tuple(variables))
