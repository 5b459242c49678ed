"""llama.cpp's own HTTP server, as xllamacpp has it: a process of its own, until it is ended.

Arguments: the .gguf file and the port. The key is in LLAMA_API_KEY, as for the program of that name.
"""

import os
import sys
import threading

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.port = int(sys.argv[2])
params.api_keys = [os.environ["LLAMA_API_KEY"]]
params.endpoint_metrics = True
params.n_parallel = 4
params.n_ctx = 4 * 2048  # each of those that run at once has its share
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
threading.Event().wait()
