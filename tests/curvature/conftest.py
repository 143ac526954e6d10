import sys
from pathlib import Path

# The models of these tests, and the ResNet that the benchmarks time.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "benchmarks")]
