"""Load on a Pictor gateway: calls start when they are due, whatever became of those before them."""
