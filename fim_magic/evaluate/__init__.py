"""Measuring fim-magic: how right its answers are, on benchmarks and on the user's own files, and how fast they come."""
