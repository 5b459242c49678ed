"""Right answers on benchmarks: asking for them, keeping, running and reckoning them; `own` has the user's files."""
