"""The simulated organisation: one seeded world, served as the four APIs, with its ground truth."""
