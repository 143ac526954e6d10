"""How good the diagnosis is: healthy and sick networks and programs with known answers, and the rates over them."""

from nonsingular.diagnosis.bench.measure import (
    CALIBRATION_SEED,
    FRESH_SEED,
    Answer,
    Outcome,
    Rate,
    bench,
    calibrate,
    diagnose_case,
    healthy_numbers,
    tabulated,
    trained,
    write_table,
)
from nonsingular.diagnosis.bench.patients import Case

__all__ = [
    "CALIBRATION_SEED",
    "FRESH_SEED",
    "Answer",
    "Case",
    "Outcome",
    "Rate",
    "bench",
    "calibrate",
    "diagnose_case",
    "healthy_numbers",
    "tabulated",
    "trained",
    "write_table",
]
