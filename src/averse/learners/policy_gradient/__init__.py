"""MAPPO and its presets: PPO, reward shaping, mean-variance, CVaR, the entropic measure, and what derives from it."""

__all__ = ["advantages", "config", "mappo"]
