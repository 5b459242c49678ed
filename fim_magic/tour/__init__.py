"""`%fim tour`: the main job in the user's own notebook, one cell after the other."""

from fim_magic.tour.tour import Tour

__all__ = ["Tour"]
