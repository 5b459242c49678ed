"""How much a server gives to many users at once, and what fim-magic adds to asking it by hand.

`fim-magic bench --model vllm://…`: `crowd` has users ask at the same time, `overhead` compares a whole infill with a
plain request of the same token ids, `report` shows both, and `bench` is the run.
"""
