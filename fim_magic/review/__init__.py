"""What the user sees of a request."""

from fim_magic.review.view import View

__all__ = ["View"]
