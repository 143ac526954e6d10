"""What a page of ours may do in its reader's browser: show what it holds, run its own scripts, and load nothing."""

from __future__ import annotations

import base64
import hashlib


def policy(*scripts: str, style: str | None = None) -> str:
    """The content of a page's ``Content-Security-Policy``, under which nothing else runs or is fetched.

    Args:
        *scripts: what stands between ``<script>`` and ``</script>``, and what these put there; nothing else runs.
        style: the page's only style sheet; by default styles may stand anywhere in the page.

    Example:
        >>> policy().split("; ")[:2]
        ["default-src 'none'", "script-src 'none'"]
    """
    allowed = " ".join(map(_hash, scripts)) or "'none'"
    styles = "'unsafe-inline'" if style is None else _hash(style)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {styles}; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
