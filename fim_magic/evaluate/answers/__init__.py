"""Right answers: asking for them, keeping them, running them and reckoning, on benchmarks; `own` has the user's files."""
