"""The documentation site: Sphinx with myst-nb and furo; `make docs` builds and checks it.

Sphinx rather than mkdocs-material with mkdocstrings: it executes the lessons as notebooks, reads signatures from the
code as it is imported, resolves every reference or fails, and its search works from a folder without a server. furo
brings no font and no script from elsewhere.
"""

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

import generate  # noqa: E402
from latex2mathml.converter import convert  # noqa: E402

import nonsingular  # noqa: E402

project = "nonsingular"
author = "The nonsingular developers"
copyright = "the nonsingular developers, MIT licence"
release = version = nonsingular.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build", "_extra"]
templates_path: list[str] = []
default_role = "code"
html_math_renderer = "mathml"

html_theme = "furo"
html_title = "nonsingular"
html_static_path = ["_static"]
html_extra_path = ["_extra"]
generate.EXTRA.mkdir(exist_ok=True)
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "default", "github-dark"

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

nb_execution_mode = "cache"
nb_execution_cache_path = str(DOCS / "_build" / "cells")
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_merge_streams = True
nb_render_markdown_format = "myst"
nb_mime_priority_overrides = [("html", "image/svg+xml", 0), ("html", "text/html", 10)]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def bars(app: object, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Norms in docstrings are bars; to docutils they would be substitutions."""
    lines[:] = [re.sub(r"(``.*?``|:math:`.*?`)|\|", lambda found: found[1] or "\\|", line) for line in lines]


def plainly(app: object, what: str, name: str, value: object, options: object, signature: str, returns: str) -> Any:
    """Signatures name types without the modules that they come from."""
    return tuple(text and re.sub(r"~?\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", text) for text in (signature, returns))


def formula(writer: Any, node: Any) -> None:
    """Formulas in the browser's own MathML: what draws them elsewhere is fetched from a network."""
    writer.body.append(convert(node.astext(), display="inline" if node.tagname == "math" else "block"))
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Pages that are generated come before the others are read; pictures follow the page's light or dark after."""
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.connect("autodoc-process-docstring", bars)
    app.connect("autodoc-process-signature", plainly)
    app.connect("builder-inited", generate.write_pages)
    app.connect("source-read", generate.relink)
    app.connect("build-finished", generate.darken)
