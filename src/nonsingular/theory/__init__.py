"""Small exact models: two hidden units, linear networks, binary weights."""
