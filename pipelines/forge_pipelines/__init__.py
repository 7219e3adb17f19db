"""The loads: Langfuse, GitHub, Jira and Prometheus into bronze, by dlt."""
