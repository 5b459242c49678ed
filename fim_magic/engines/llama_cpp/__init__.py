"""The engine on llama.cpp: .gguf files on the CPU."""
