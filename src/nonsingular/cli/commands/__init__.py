"""One file a command, found by its name: ``command`` is what it does, ``SHOWN`` where ``--help`` lists it."""

from __future__ import annotations

from typing import Any

YOUR_NETWORK: dict[str, Any] = {"rich_help_panel": "Your own network"}
THE_PAPERS: dict[str, Any] = {"rich_help_panel": "The papers"}
HIDDEN: dict[str, Any] = {"hidden": True}

SECTIONS = (YOUR_NETWORK, THE_PAPERS, HIDDEN)
"""In the order of ``--help``."""
