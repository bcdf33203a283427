"""How the next parameters are chosen: one module per family, each a pure function of space, seed and history."""
