"""Learners of action values: DQN, C51, QR-DQN, VDN, QMIX, RMIX, RiskQ."""
