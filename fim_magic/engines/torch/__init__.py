"""The engine on transformers and torch: checkpoints, their placement, and a decoder of our own."""
