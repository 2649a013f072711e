"""How the built-in worlds look: one module each, with a `DRAWING` (`averse.report.film`) of its name."""
