"""The rules by what they look at, and which kinds bring which others along.

A mistake in the contract or the loop comes before what it does to the network, where both are as severe.
"""

from nonsingular.diagnosis.rules import contract, loop, network
from nonsingular.diagnosis.rules.rule import Rule

RULES: tuple[Rule, ...] = (*contract.RULES, *loop.RULES, *network.RULES)

EXPLAINS: dict[str, tuple[str, ...]] = {}
"""Kind -> kinds that it may bring along. The first in the order of severity is taken for the cause."""
for _room in (contract, loop, network):
    for _kind, _others in _room.EXPLAINS.items():
        EXPLAINS[_kind] = (*EXPLAINS.get(_kind, ()), *_others)

__all__ = ["EXPLAINS", "RULES", "Rule"]
