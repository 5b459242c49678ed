"""`fim-magic serve`: the command that starts a server for a model on this machine, for one person or a whole class.

`model` finds what is to be served, `machine` what can serve it here, `commands` decides on each option and says why,
`keys` keeps the server's key, `process` runs the command, and `shown` writes it all down. vLLM and llama-server do the
work: fim-magic has no serving system of its own.
"""
