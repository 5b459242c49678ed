"""Checkpoints that transformers cannot read as they are, made into ones that it can, without code of theirs.

Each module serves one kind: it says how the kind is recognised, what is different, and who says so.
"""
