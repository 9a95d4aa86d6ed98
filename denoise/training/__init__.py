"""Training: what LightningCLI puts together from a recipe."""
