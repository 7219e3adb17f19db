"""The ObservabilityStack resource: its model, its CRD and the pure decisions that every runtime shares."""
