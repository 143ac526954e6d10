"""The small exact models, to move by hand: one page, computed in the browser, that ``nonsingular play`` opens.

``theory/`` holds the equations of `nonsingular.theory` once more, in plain JavaScript; ``models/`` what is shown of
each; ``parts/`` what they share. No framework, nothing loaded.
"""

from nonsingular.play.assembly import page, write_page

__all__ = ["page", "write_page"]
