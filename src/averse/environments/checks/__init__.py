"""The parts of `environments.check`: what an environment says of itself, how it steps, how its episodes go."""
