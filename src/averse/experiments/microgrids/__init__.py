"""Studies of mean-variance team games on multi-microgrids: the command `averse microgrids`.

`studies` compute with the known model and store what they find (a `week` and the `large_optimum` of scenario 2 among
them), `training_curves` learn without the model, `command` runs the chosen ones and goes on where it was interrupted.
`averse.report.microgrids` and `averse.report.microgrids_architecture` draw.
"""
