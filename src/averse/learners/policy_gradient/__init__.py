"""MAPPO and its presets."""
