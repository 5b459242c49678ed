"""From what a user asks for to a loaded model: which checkpoint, on which engine, where, and when it goes again."""
