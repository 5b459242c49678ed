"""A model that a server runs: vLLM, llama-server, and others that people have already.

A request goes the same way as with any engine: our prompt, as token ids where the server takes ids, and our rules on
the tokens that come back. What differs from server to server is a dialect (`dialect`), a module each.
"""
