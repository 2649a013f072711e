"""What the families of learners share, each written once; what a method of one's own is best made of."""

__all__ = ["action_distributions", "measure", "networks", "predictions", "replay", "updates"]
