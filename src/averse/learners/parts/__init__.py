"""What the families of learners share."""
