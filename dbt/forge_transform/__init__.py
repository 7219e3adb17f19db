"""The transform: the dbt project from bronze to silver and gold, and the program that runs it."""
