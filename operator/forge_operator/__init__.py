"""The controller that turns one ObservabilityStack into its children."""
