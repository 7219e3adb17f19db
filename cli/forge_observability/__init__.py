"""forge-observability: writes ObservabilityStacks, reads their status, runs one on this machine."""
