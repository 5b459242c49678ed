"""How fast fim-magic is beside what people would use instead: `fim-magic bench`.

`subject` says which model, `workloads` what is asked of it, `arms` who answers, `measure` in which turn, `machine` on
what; `ratios` and `goals` are reckoned from the record, `report` shows them, and `plot` draws a picture.
"""
