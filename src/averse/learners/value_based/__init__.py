"""Learners of action values: DQN, C51, QR-DQN, VDN, QMIX, RMIX, RiskQ."""

__all__ = ["config", "exploration", "learner", "mixers", "risk_level", "rmix"]
