"""Where cells come from and accepted text goes: one class per front end.

A front end makes cells in two ways. While a cell runs, its reply may carry a text for the next
cell: every front end knows that. After it has run, a click in its output can reach the notebook
only through the page itself, by the hidden bridge of `frontends/bridge.py`: that of JupyterLab, Notebook 7
and nbclassic can make a cell. Elsewhere (VS Code, Colab) the text is kept, and goes out with the next
cell that the user runs.
"""

from fim_magic.frontends.connection import Connection
from fim_magic.frontends.front_ends import OF_PAGES, has_prompt, notebook_path, recognise
from fim_magic.frontends.owner import Owner, Placed, accept_now, has_next_input

__all__ = [
    "OF_PAGES",
    "Connection",
    "Owner",
    "Placed",
    "accept_now",
    "has_next_input",
    "has_prompt",
    "notebook_path",
    "recognise",
]
