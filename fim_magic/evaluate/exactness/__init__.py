"""How far one way of computing a model is from another: `fim-magic exactness`.

`prompts` says what both are given, `comparison` what each says at every place, `divergence` how far two distributions
are from each other, and `report` shows it.
"""
