"""How fast fim-magic is beside what people would use instead: `fim-magic bench`.

`subject` says which model, `workloads` what is asked of it, `arms` who answers, `measure` in which turn, `machine` on
what; `report` draws the ratios from the record, and `plot` a picture.
"""
