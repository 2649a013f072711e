"""Whole studies, each a command: `demo`, `drivers` (hand-written ones at the junction), `equilibrium`, `microgrids`."""
