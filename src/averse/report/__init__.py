"""Results as tables, figures and animations. Each module stands alone; nothing here computes a new figure."""
