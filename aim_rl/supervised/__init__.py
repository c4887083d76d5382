"""Stage I: supervised training of the world-action model on demonstrations."""
