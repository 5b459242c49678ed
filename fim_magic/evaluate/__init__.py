"""Measuring fim-magic: right answers on infilling benchmarks."""
