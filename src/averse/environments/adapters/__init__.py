"""Other people's worlds in, ours out."""
