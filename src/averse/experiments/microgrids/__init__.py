"""Studies of mean-variance team games on multi-microgrids, and their figures: the command `averse microgrids`.

`studies` and `week` compute with the known model and store what they find, `figures` and `architecture` draw it,
`training_curves` learns without the model, `command` runs the chosen ones and goes on where it was interrupted.
"""
