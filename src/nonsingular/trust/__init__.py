"""No silent wrong number: programs as people write them, put together at random, against a slow reference."""

from nonsingular.trust.bench import Fault, Tally, bench
from nonsingular.trust.checks import CHECKS, Verdict, judged, runs
from nonsingular.trust.programs import Program, program, seeded

__all__ = ["CHECKS", "Fault", "Program", "Tally", "Verdict", "bench", "judged", "program", "runs", "seeded"]
