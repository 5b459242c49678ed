"""How many candidates there are where the user leaves it to us: `-n auto`."""

ON_A_CPU = 1
"""The one that further ones follow where it is doubtful: `fim_magic.pipeline` counts on a single one for that."""

IN_DOUBT = 6
"""On a CPU, where that one is doubtful: it computes a step of five rows nearly as soon as one of a single row."""

ON_A_GPU = 4
"""Little dearer than one there."""

TO_CHOOSE_FROM = 8
"""Where checks or ranking choose among them."""
