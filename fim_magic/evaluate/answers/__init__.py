"""How right answers are: asking for them, keeping them, running them, and reckoning; here for benchmarks."""
